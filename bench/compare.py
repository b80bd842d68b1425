"""How fast is it, side by side from one run: `python bench/compare.py` prints the tables of bench/README.md.

    live      the shape of the live callback: fluent API, two log_metrics an epoch, an artifact at a time
    ymlf      ymlf at its default number of workers, from directories to a complete batch
    ymlf -j1  the same by one worker
    ymlf -j1 --no-bulk  the same by MLflow's API only
    client    the plain batched MlflowClient: everything parsed beforehand, nothing looked up, nothing made safe
    sql       the same rows by executemany in one transaction a run: the floor

CPU is that of the importing processes; a server's and a database's own are not in it.
"""

from __future__ import annotations

import argparse
import getpass
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from make_tree import make_tree
from support.services.mlflow_server import mlflow_server
from support.services.postgres import PostgresServer, postgres

from importer import plan_import, read_run
from importer.batch.executors import Workers
from importer.batch.gather import gather
from importer.batch.run import import_work
from importer.model import Artifact, ImportOptions, ImportPlan
from importer.store.opening import open_store

EXPERIMENT = "bench"
PARALLEL = ("ymlf", "ymlf --no-bulk")  # their CPU is that of workers


class Measured:
    """Runs, points and what they cost."""

    def __init__(self, runs: int, points: int, wall: float, cpu: float) -> None:
        self.runs, self.points, self.wall, self.cpu = runs, points, wall, cpu


def cpu_seconds() -> float:
    """CPU of this process and of its children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(part.ru_utime + part.ru_stime for part in used)


def measure(work: Callable[[], int], runs: int) -> Measured:
    """What `work` costs; it returns how many points it wrote."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    points = work()
    return Measured(runs, points, time.perf_counter() - wall, cpu_seconds() - cpu)


def folder_of(artifact: Artifact) -> str | None:
    """The folder that an artifact is logged to, None for the top."""
    parent = str(Path(artifact.artifact_path).parent)
    return None if parent == "." else parent


def live(plans: list[ImportPlan], uri: str) -> int:
    """What the live callback sends, without the training between."""
    import mlflow

    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(EXPERIMENT)
    points = 0
    for plan in plans:
        steps: dict[int, tuple[dict[str, float], dict[str, float]]] = {}
        for point in plan.points:
            train = point.key.startswith(("train/", "lr/"))
            steps.setdefault(point.step, ({}, {}))[0 if train else 1][point.key] = point.value
        with mlflow.start_run(run_name=plan.run_name):
            mlflow.log_params(dict(plan.params))
            for step, (trained, fitted) in steps.items():
                mlflow.log_metrics(trained, step=step)
                mlflow.log_metrics(fitted, step=step)
            for artifact in plan.artifacts:
                mlflow.log_artifact(str(artifact.location), folder_of(artifact))
        points += len(plan.points)
    return points


def client(plans: list[ImportPlan], uri: str) -> int:
    """The batched client alone."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    mlflow_client = MlflowClient(uri)
    found = mlflow_client.get_experiment_by_name(EXPERIMENT)
    assert found is not None
    points = 0
    for plan in plans:
        tags = {"mlflow.user": getpass.getuser(), **plan.tags}
        run = mlflow_client.create_run(found.experiment_id, plan.timeline.started_ms, tags, plan.run_name)
        metrics = [Metric(point.key, point.value, point.timestamp, point.step) for point in plan.points]
        params = [Param(key, value) for key, value in plan.params.items()]
        mlflow_client.log_batch(run.info.run_id, metrics, params)
        for artifact in plan.artifacts:
            mlflow_client.log_artifact(run.info.run_id, str(artifact.location), folder_of(artifact))
        mlflow_client.set_terminated(run.info.run_id, plan.status, plan.timeline.ended_ms)
        points += len(plan.points)
    return points


def ymlf(tree: Path, uri: str, jobs: int | None, artifacts: str = "all", *, bulk: bool = True) -> int:
    """From directories to a complete batch, as `ymlf import` does it once it has started."""
    workers = Workers(jobs, processes=True)
    batch = gather([tree], ImportOptions(experiment=EXPERIMENT, artifacts=artifacts, bulk=bulk), workers=workers)
    outcomes = list(import_work(batch, open_store(uri), workers=workers))
    workers.close()
    wrong = [outcome for outcome in outcomes if outcome.kind.value != "imported"]
    assert not wrong, wrong[:3]
    return sum(outcome.points for outcome in outcomes)


def sql(plans: list[ImportPlan], uri: str) -> int:
    """The same rows by executemany, one transaction a run."""
    connection, mark = _connect(uri)
    cursor = connection.cursor()
    cursor.execute(f"SELECT experiment_id FROM experiments WHERE name = {mark}", (EXPERIMENT,))
    experiment_id = cursor.fetchone()[0]
    points = 0
    for plan in plans:
        run_id = uuid.uuid4().hex
        _insert(cursor, mark, "runs", ("run_uuid", "name", "experiment_id", "status", "start_time", "end_time",
                "lifecycle_stage", "source_type", "artifact_uri"),
                [(run_id, plan.run_name, experiment_id, plan.status, plan.timeline.started_ms, plan.timeline.ended_ms,
                  "active", "LOCAL", "")])  # fmt: skip
        _insert(cursor, mark, "params", ("key", "value", "run_uuid"), [(k, v, run_id) for k, v in plan.params.items()])
        _insert(cursor, mark, "tags", ("key", "value", "run_uuid"), [(k, v, run_id) for k, v in plan.tags.items()])
        columns = ("key", "value", "timestamp", "step", "is_nan", "run_uuid")
        rows = [(p.key, p.value, p.timestamp, p.step, False, run_id) for p in plan.points]
        _insert(cursor, mark, "metrics", columns, rows)
        _insert(cursor, mark, "latest_metrics", columns, list({row[0]: row for row in rows}.values()))
        connection.commit()
        points += len(rows)
    connection.close()
    return points


def _connect(uri: str):
    if uri.startswith("sqlite"):
        import sqlite3

        return sqlite3.connect(uri.removeprefix("sqlite:///")), "?"
    import psycopg

    return psycopg.connect(uri.replace("+psycopg", "")), "%s"


def _insert(cursor, mark: str, table: str, columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    marks = ", ".join([mark] * len(columns))
    cursor.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)


@contextmanager
def fresh(stores: Stores, name: str, folder: Path) -> Iterator[tuple[str, str]]:
    """An empty store: its tracking URI, and the URI of the database behind it."""
    place = Path(tempfile.mkdtemp(dir=folder))
    artifacts = str(place / "artifacts")
    database = (
        stores.postgres.create_database(f"b{place.name.lower()}") if "postgres" in name else f"sqlite:///{place}/m.db"
    )
    open_store(database).experiment_id(EXPERIMENT, artifacts)
    if name.startswith("server"):
        with mlflow_server(database, artifacts, workers=4) as server:
            yield server.url, database
    else:
        yield database, database
    shutil.rmtree(place, ignore_errors=True)


class Stores:
    """The services that are running."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    @cached_property
    def postgres(self) -> PostgresServer:
        """A PostgreSQL server, started when it is first needed."""
        return self._stack.enter_context(postgres())


def compare(name: str, stores: Stores, tree: Path, folder: Path, few: int) -> list[tuple[str, Measured]]:
    """Every shape on one kind of store, each on an empty one."""
    runs = [Path(summary.save_dir) for summary in gather([tree]).summaries]
    options = ImportOptions(experiment=EXPERIMENT)
    plans = [plan_import(read_run(save_dir), replace(options, root=str(tree))) for save_dir in runs]
    shapes: list[tuple[str, int, Callable[[str, str], int]]] = [
        ("live", few, lambda uri, database: live(plans[:few], uri)),
        ("client", len(plans), lambda uri, database: client(plans, uri)),
        ("ymlf -j1", len(plans), lambda uri, database: ymlf(tree, uri, 1)),
        ("ymlf -j1 --no-bulk", len(plans), lambda uri, database: ymlf(tree, uri, 1, bulk=False)),
        ("ymlf", len(plans), lambda uri, database: ymlf(tree, uri, None)),
        ("ymlf --no-bulk", len(plans), lambda uri, database: ymlf(tree, uri, None, bulk=False)),
        ("sql", len(plans), lambda uri, database: sql(plans, database)),
    ]
    measured = []
    for shape, count, work in shapes:
        with fresh(stores, name, folder) as (uri, database):
            measured.append((shape, measure(lambda work=work, uri=uri, database=database: work(uri, database), count)))
            print(f"  {name} {shape}: {measured[-1][1].wall:.1f} s", file=sys.stderr)
    return measured


def print_table(name: str, measured: list[tuple[str, Measured]]) -> None:
    """One store's figures, as Markdown."""
    by = dict(measured)
    print(f"\n### {name}\n\n| shape | runs | runs/s | points/s | CPU ms/run | rate / live | CPU / client |")
    print("|---|---|---|---|---|---|---|")
    for shape, m in measured:
        rate = m.runs / m.wall
        times = rate / (by["live"].runs / by["live"].wall)
        cpu = m.cpu / m.runs
        more = cpu / (by["client"].cpu / by["client"].runs)
        spent = (
            f"{cpu * 1000:.0f} | {times:.1f} | {more:.2f}" if shape not in PARALLEL else f"in workers | {times:.1f} |"
        )
        print(f"| {shape} | {m.runs} | {rate:.2f} | {m.points / m.wall:,.0f} | {spent} |")


def compare_artifacts(folder: Path, weights: int, runs: int) -> None:
    """MB/s of artifacts on a local store against `cp -r`; ymlf's time is less that of the same import without any."""
    tree = folder / "weights"
    make_tree(tree, runs, epochs=1, weights_bytes=weights, plot_bytes=100_000)
    total = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    rates: dict[str, list[float]] = {"cp -r": [], "ymlf": []}
    for turn in range(5):
        os.sync()  # or a commit waits for what was copied before
        wall = time.perf_counter()
        subprocess.run(["cp", "-r", str(tree), str(folder / f"copy{turn}")], check=True)
        rates["cp -r"].append(total / (time.perf_counter() - wall) / 1e6)
        shutil.rmtree(folder / f"copy{turn}")
        passed = {}
        for artifacts in ("none", "all"):
            uri = f"sqlite:///{folder}/artifacts-{artifacts}{turn}.db"
            open_store(uri).experiment_id(EXPERIMENT, str(folder / "kept"))
            os.sync()
            wall = time.perf_counter()
            ymlf(tree, uri, 1, artifacts)
            passed[artifacts] = time.perf_counter() - wall
        rates["ymlf"].append(total / (passed["all"] - passed["none"]) / 1e6)
        shutil.rmtree(folder / "kept")
    middle = {name: statistics.median(found) for name, found in rates.items()}
    print(f"\n### artifacts, {runs} runs of 2 x {weights / 1e6:.0f} MB\n\n| | MB/s | of cp -r |\n|---|---|---|")
    for name, rate in middle.items():
        print(f"| {name} | {rate:,.0f} | {rate / middle['cp -r']:.2f} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--few", type=int, default=10, help="runs of the live shape, which is slow")
    parser.add_argument("--stores", default="sqlite,postgres,server+postgres", help="may be empty")
    parser.add_argument("--weights", type=int, default=50_000_000, help="bytes of a checkpoint in the artifact table")
    options = parser.parse_args()
    os.environ.update(MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true", MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ymlf-bench-")))
        make_tree(folder / "tree", options.runs)
        stores = Stores(stack)
        for name in filter(None, options.stores.split(",")):
            print_table(name, compare(name, stores, folder / "tree", folder, options.few))
        compare_artifacts(folder, options.weights, 8)


if __name__ == "__main__":
    main()
