"""Import every directory below a folder into a fresh database, and hold what is there against the files themselves.

    PYTHONPATH=tests python -m support.wild FOLDER

FOLDER/MANIFEST.tsv, where there is one, says by slug and path what each directory is. results.csv is read here by other
code than the importer's. Exit status: 1 on any fault.
"""

from __future__ import annotations

import csv
import json
import math
import re
import sqlite3
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from support.command import Answer, ymlf_process

LARGEST = 1.7976931348623157e308  # what a database holds for inf
Cells = dict[tuple[str, int], float]


def main(folder: Path) -> int:
    """The exit status."""
    with tempfile.TemporaryDirectory(prefix="wild-") as temporary:
        work = Path(temporary)
        uri = f"sqlite:///{work / 'mlflow.db'}"
        first = ymlf_process("import", folder, "--json", "--tracking-uri", uri, cwd=work)
        before = contents(work / "mlflow.db")
        second = ymlf_process("import", folder, "--json", "--tracking-uri", uri, cwd=work)
        after = contents(work / "mlflow.db")
        verified = ymlf_process("verify", folder, "--json", "--tracking-uri", uri, cwd=work)
        faults = [*crashes(import_=first, again=second, verify=verified)]
        faults += [("second import", f"changed the table {name}") for name in before if before[name] != after[name]]
        faults += [*unwelcome(second, folder), *differences(verified, folder)]
        expected = {**on_disk(folder), **manifest(folder)}
        outcomes = by_directory(first, folder)
        for place in sorted({*expected, *outcomes}):
            told, meant = outcomes.get(place, []), expected.get(place)
            try:
                faults += [(place, fault) for fault in check(folder / place, told, meant, MlflowClient(uri))]
            except (ValueError, LookupError, OSError) as error:
                faults.append((place, f"cannot be read here: {error!r}"))
    for where, fault in faults:
        print(f"{where}: {fault}")
    failed = len({where for where, _ in faults})
    print(f"{len({*expected, *outcomes} - {where for where, _ in faults})} passed, {failed} failed")
    return 1 if faults else 0


def crashes(**answers: Answer) -> Iterator[tuple[str, str]]:
    """A traceback, or an exit status that tells of a failed store or of misuse."""
    for name, answer in answers.items():
        if answer.status not in (0, 1) or "Traceback" in answer.err:
            yield name.strip("_"), f"exit status {answer.status}: {answer.err[-2000:]}"


def unwelcome(second: Answer, folder: Path) -> Iterator[tuple[str, str]]:
    """Directories that a second import would write."""
    for told in second.told:
        if told.get("outcome") in ("imported", "updated", "replaced", "resumed", "changed", "failed"):
            yield place_of(told, folder), f"{told['outcome']} by the second import"


def differences(verified: Answer, folder: Path) -> Iterator[tuple[str, str]]:
    """Directories that the store does not hold as they are."""
    for told in verified.told:
        if told.get("outcome") in ("mismatch", "failed", "not imported"):
            yield place_of(told, folder), f"verify: {told['outcome']}: {told.get('mismatches') or told.get('reason')}"


def place_of(told: Mapping[str, object], folder: Path) -> str:
    """The directory that an outcome is about, as seen from the folder."""
    return Path(str(told["source"])).relative_to(folder).as_posix()


def contents(database: Path) -> dict[str, list[object]]:
    """The rows of the tables that hold runs."""
    tables = ("runs", "params", "tags", "metrics", "latest_metrics", "inputs")
    with closing(sqlite3.connect(database)) as connection:
        return {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in tables}


def manifest(folder: Path) -> dict[str, str]:
    """What MANIFEST.tsv says becomes of each directory: imported, no epochs, tune or not found."""
    path = folder / "MANIFEST.tsv"
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE))
    return {f"{row['slug']}/{row['path in repo']}": _meant(row["anomalies"]) for row in rows}


def _meant(anomalies: str) -> str:
    if "DECOY" in anomalies:
        return "not found"
    if "tune dir" in anomalies:
        return "tune"
    has_other = re.search(r"'results[^/']*\.csv'|results\.txt", anomalies)
    return "no epochs" if "no results.csv" in anomalies and not has_other else "imported"


def on_disk(folder: Path) -> dict[str, str]:
    """Directories that hold epochs, as far as that is plain without a MANIFEST."""
    found = {}
    for path in folder.rglob("results.csv"):
        place = path.parent.relative_to(folder).as_posix()
        lines = path.read_text(encoding="utf-8-sig", errors="replace").strip().splitlines()
        if "." not in {part[0] for part in place.split("/")} and lines and lines[0].startswith("epoch"):
            found[place] = "imported" if len(lines) > 1 else "no epochs"
    return found


def by_directory(answer: Answer, folder: Path) -> dict[str, list[dict[str, object]]]:
    """The outcomes by directory; those of a tune's iterations that have none are its own."""
    found: dict[str, list[dict[str, object]]] = defaultdict(list)
    for told in answer.told:
        if "outcome" in told:
            found[place_of(told, folder)].append(told)
    return found


def check(save_dir: Path, told: list[dict[str, object]], meant: str | None, client: MlflowClient) -> Iterator[str]:
    """What is wrong with the import of one directory."""
    outcome = str(told[0]["outcome"]) if told else "not found"
    notes = {note["code"] for note in told[0].get("notes", [])} if told else set()  # type: ignore[attr-defined]
    if outcome == "duplicate":
        yield from lost_cells(save_dir / "results.csv", Path(str(told[0]["reason"])) / "results.csv")
        return
    if meant == "no epochs" and outcome == "imported" and "results-from-checkpoint" in notes:
        meant = "imported"
    if meant is not None and outcome != {"tune": "imported"}.get(meant, meant):
        yield f"expected {meant}, found {outcome}: {told[0].get('reason') if told else ''}"
    for one in told:
        if one["outcome"] == "imported":
            yield from faulty_times(client, client.get_run(str(one["run_id"])))
    if outcome == "imported" and "results-from-checkpoint" not in notes:
        run = client.get_run(str(told[0]["run_id"]))
        yield from (tune_faults if meant == "tune" else cell_faults)(save_dir, points(client, run))


def lost_cells(ours: Path, theirs: Path) -> Iterator[str]:
    """What a directory that was passed over as a copy has, and the one that was imported in its place has not."""
    if ours.is_file():
        lost = read_cells(ours).items() - (read_cells(theirs).items() if theirs.is_file() else set())
        if any(not math.isnan(value) for _, value in lost):
            yield f"passed over for {theirs.parent}, which lacks {len(lost)} of its cells"


def points(client: MlflowClient, run: Run) -> dict[str, list[tuple[int, float, int]]]:
    """(step, value, timestamp) of each metric, by step."""
    return {
        key: sorted((point.step, point.value, point.timestamp) for point in history)
        for key in run.data.metrics
        if (history := client.get_metric_history(run.info.run_id, key))
    }


def faulty_times(client: MlflowClient, run: Run) -> Iterator[str]:
    """Steps that are there twice, and times that run backwards or out of the run."""
    for key, series in points(client, run).items():
        steps, times = [step for step, _, _ in series], [at for _, _, at in series]
        if len(set(steps)) != len(steps):
            yield f"{key}: a step is there twice"
        if times != sorted(times) or not run.info.start_time <= times[0] <= times[-1] <= run.info.end_time:
            yield f"{key}: time runs backwards, or out of the run"


def cell_faults(save_dir: Path, series: Mapping[str, list[tuple[int, float, int]]]) -> Iterator[str]:
    """Cells of results.csv without a point, and points without a cell but those of one final validation."""
    found: Cells = {(key, step): value for key, told in series.items() for step, value, _ in told}
    if (save_dir / "results.txt").is_file() and not list(save_dir.glob("results*.csv")):
        yield from results_txt_faults(save_dir / "results.txt", found)
        return
    paths = [save_dir / "results.csv"] if (save_dir / "results.csv").is_file() else [*save_dir.glob("results*.csv")]
    if len(paths) != 1:
        yield f"imported from {len(paths)} results*.csv"
        return
    expected = read_cells(paths[0])
    last = max((step for _, step in expected), default=-1)
    for place in sorted(expected.keys() - found.keys()):
        yield f"{place[0]} step {place[1]}: no point"
    for key, step in sorted(found.keys() - expected.keys()):
        if step != last + 1 or not key.startswith("metrics/"):
            yield f"{key} step {step}: a point of no cell"
    for place in sorted(expected.keys() & found.keys()):
        if not same(expected[place], found[place]):
            yield f"{place[0]} step {place[1]}: {found[place]}, the file has {expected[place]}"


def read_cells(path: Path) -> Cells:
    """The numbers of the last training in a results.csv by metric key and step, read by the csv module."""
    with path.open(newline=None, encoding="utf-8-sig", errors="replace") as handle:
        header, *rows = [[cell.strip() for cell in row] for row in csv.reader(handle) if any(map(str.strip, row))]
    epoch = header.index("epoch")
    whole = [row for row in rows if len(row) == len(header)]
    numbers = [int(float(row[epoch])) for row in whole]
    base = 0 if 0 in numbers else 1
    fixed = [at for at, name in enumerate(header) if name.startswith(("train/", "x/lr", "lr/"))]
    is_yolov5 = "metrics/mAP_0.5" in header or "x/lr0" in header
    if is_yolov5 and numbers[-2:-1] == numbers[-1:] and all(whole[-1][at] == whole[-2][at] for at in fixed):
        whole, numbers = whole[:-1], numbers[:-1]  # best.pt's validation, no epoch
    begin = max((row for row, number in enumerate(numbers) if number == base), default=0)
    cells: Cells = {}
    for row in whole[begin:]:
        for name, cell in zip(header, row, strict=True):
            if name not in ("epoch", "time") and cell:
                key = re.sub(r"[^/\w.\- :]", "_", name.replace("(", "").replace(")", ""))
                cells[key, int(float(row[epoch])) - base] = float(cell)
    return cells


def results_txt_faults(path: Path, found: Cells) -> Iterator[str]:
    """Epochs of a results.txt whose values are not those of the step."""
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    expected = {int(row[0].split("/")[0]): sorted(map(float, row[2:])) for row in rows}
    for step in sorted({*expected, *(step for _, step in found)}):
        values = sorted(value for (_, at), value in found.items() if at == step)
        if values != expected.get(step):
            yield f"step {step}: {values}, the file has {expected.get(step)}"


def tune_faults(save_dir: Path, series: Mapping[str, list[tuple[int, float, int]]]) -> Iterator[str]:
    """Iterations of a tune whose fitness is not that of the table."""
    ndjson, table = save_dir / "tune_results.ndjson", save_dir / "tune_results.csv"
    if ndjson.is_file():
        records = [json.loads(line) for line in ndjson.read_text(encoding="utf-8").splitlines() if line.strip()]
        expected = {record["iteration"] - 1: float(record["fitness"]) for record in records}
    else:
        with table.open(newline=None, encoding="utf-8-sig") as handle:
            _, *rows = [row for row in csv.reader(handle) if row]
        expected = {step: float(row[0]) for step, row in enumerate(rows)}
    found = {step: value for step, value, _ in series.get("fitness", [])}
    if expected != found:
        yield f"fitness: {found}, the table has {expected}"


def same(told: float, stored: float) -> bool:
    """Whether a database holds a number that a file told."""
    if math.isnan(told):
        return math.isnan(stored)
    return stored == (math.copysign(LARGEST, told) if math.isinf(told) else told)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
