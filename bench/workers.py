"""What do more workers bring? `python bench/workers.py` prints the table of bench/README.md.

    http     threads of one process before a default `mlflow server`, of 4 workers, on PostgreSQL
    local    2 processes of this host, straight into PostgreSQL
    dask     the same by `--dask local:2`

Each row is the median of the rounds, which take turns: from directories to a complete batch, and the start of processes
or of a cluster with it. Each import goes into an experiment of its own.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from make_tree import make_tree
from support.services.mlflow_server import mlflow_server
from support.services.postgres import postgres

from importer.batch.executors import Workers
from importer.batch.gather import gather
from importer.batch.run import import_work
from importer.model import ImportOptions
from importer.store.opening import open_store

THREADS = (1, 2, 4, 8)
PROCESSES = 2


def seconds(tree: Path, uri: str, experiment: str, workers: Workers) -> float:
    """How long an import of the tree takes, all of which must come through."""
    began = time.perf_counter()
    work = gather([tree], ImportOptions(experiment=experiment), workers=workers)
    wrong = [told for told in import_work(work, open_store(uri), workers=workers) if told.kind.value != "imported"]
    assert not wrong, wrong[:3]
    return time.perf_counter() - began


def shapes(tree: Path, server: str, database: str, artifacts: Path) -> dict[str, Callable[[str], float]]:
    """The rows of the table: each imports into the experiment of a name, and tells how long that took."""

    def over_http(threads: int) -> Callable[[str], float]:
        return lambda name: seconds(tree, server, name, Workers(threads))

    def direct(workers: Workers) -> Callable[[str], float]:
        def work(name: str) -> float:
            open_store(database).experiment_id(name, str(artifacts))
            return seconds(tree, database, name, workers)

        return work

    rows = {f"http, {threads} thread{'s' * (threads > 1)}": over_http(threads) for threads in THREADS}
    rows[f"local, {PROCESSES} processes"] = direct(Workers(PROCESSES, processes=True))
    rows[f"dask, {PROCESSES} processes"] = direct(Workers(dask=f"local:{PROCESSES}"))
    return rows


def print_table(taken: dict[str, list[float]], runs: int) -> None:
    """The medians, as Markdown; ratios to the first row of the same store."""
    print(f"\n### Workers, {runs} runs\n\n| workers | runs/s | range | ratio |\n|---|---|---|---|")
    first: dict[bool, float] = {}
    for name, rounds in taken.items():
        rates = sorted(runs / one for one in rounds)
        base = first.setdefault(name.startswith("http"), median(rates))
        spread = f"{rates[0]:.2f} to {rates[-1]:.2f}"
        print(f"| {name} | {median(rates):.2f} | {spread} | {median(rates) / base:.2f} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ.update(MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true", MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ymlf-bench-")))
        make_tree(folder / "tree", options.runs)
        make_tree(folder / "warm-up", 16, epochs=1)
        database = stack.enter_context(postgres())
        backend = database.create_database("served")
        server = stack.enter_context(mlflow_server(backend, str(folder / "served"), workers=4))
        rows = shapes(folder / "tree", server.url, database.create_database("direct"), folder / "direct")
        seconds(folder / "warm-up", server.url, "warm-up", Workers(8))
        taken: dict[str, list[float]] = {name: [] for name in rows}
        for turn in range(options.rounds):
            for name, work in rows.items():
                taken[name].append(work(f"{name}, round {turn + 1}"))
                print(f"  round {turn + 1}: {name}: {taken[name][-1]:.1f} s", file=sys.stderr)
        print_table(taken, options.runs)


if __name__ == "__main__":
    main()
