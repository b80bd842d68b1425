"""The tables that hyperparameter tuning leaves: tune_results.ndjson, tune_results.csv and YOLOv5's evolve.csv."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from importer.errors import RunDirError
from importer.formats.csv_table import read_results
from importer.formats.text_file import HEAD_BYTES, column_names, read_head, read_text
from importer.model import Note

MAX_BYTES = 8_000_000  # 300 iterations have 300 kB
MAX_LINE = 1_000_000
MAX_NAMES = 2_000  # hyperparameters, metrics and datasets that a file may speak of
MAX_ITERATIONS = 10_000
MAX_DATASETS = 20_000  # in all iterations together
MAX_NUMBER = 2**31

TABLES = ("tune_results.ndjson", "tune_results.csv", "evolve.csv")
RESTORE = "restore the file as the tuner wrote it"

_PLACE = re.compile(r"#\s*Results saved to (.+)")
_PROGRESS = re.compile(r"#\s*\d+/(\d{1,9}) iterations[^(\n]{0,40}(?:\((\d{1,9}(?:\.\d{1,9})?)s\))?")


@dataclass(frozen=True)
class Iteration:
    """One training of a tune."""

    number: int  # from 1, as the tuner counts
    fitness: float
    hyperparameters: Mapping[str, object]
    metrics: Mapping[str, float] = field(default_factory=dict)  # of evolve.csv
    datasets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # metrics of best.pt, by dataset
    save_dirs: Mapping[str, str] = field(default_factory=dict)  # as recorded, by dataset


@dataclass(frozen=True)
class TuneTable:
    """The iterations of a tune in their order, each once; workers of a distributed tune may share a number."""

    iterations: tuple[Iteration, ...]
    notes: tuple[Note, ...] = ()

    def best(self) -> int:
        """Index of the fittest, the first of equals, as both tuners choose."""
        fitness = [-math.inf if math.isnan(told.fitness) else told.fitness for told in self.iterations]
        return fitness.index(max(fitness))


def table_name(save_dir: Path, names: Collection[str]) -> str | None:
    """The file of a directory that begins as a tuner's table does, or None; others have a tune_results.csv, too."""
    return next((name for name in TABLES if name in names and _begins_as_table(save_dir / name)), None)


def _begins_as_table(path: Path) -> bool:
    if path.suffix == ".ndjson":
        head = read_head(path)
        return head.startswith("{") and '"fitness"' in head
    columns = column_names(path)
    return columns[0] == "fitness" if path.name != "evolve.csv" else _is_evolve(columns)


def _is_evolve(columns: list[str]) -> bool:
    return columns[0].startswith("metrics/") and "lr0" in columns


def read_tune_table(path: Path) -> TuneTable:
    """The iterations that a file of one of the three forms holds.

    Errors: RunDirError when a line cannot be read as an iteration, or there are more of them than anyone trains.
    Source: ultralytics/engine/tuner.py, 8.0.170 to 8.4.190; print_mutation in yolov5/utils/general.py, v6.0 to v7.0.
    """
    table = _read_ndjson(path) if path.suffix == ".ndjson" else _read_csv(path)
    if not table.iterations:
        raise RunDirError(f"{path}: holds no iteration", hint="the tune died in its first; import what lies beside it")
    return table


def _read_csv(path: Path) -> TuneTable:
    is_evolve = path.name == "evolve.csv"
    table = read_results(path, "lr0" if is_evolve else "fitness")
    for short in table.short_rows:
        raise RunDirError(
            f"{path}: the last line has {len(short.cells)} values, the header has {len(table.header)}",
            hint="restore the file from a copy, or remove the line",
        )
    if len(table.rows) > MAX_ITERATIONS:
        raise RunDirError(f"{path}: more than {MAX_ITERATIONS:,} iterations", hint="is it the right file?")
    iterations = []
    for number, row in enumerate(table.rows, start=1):
        cells = {name: cell for name, cell in zip(table.header, row, strict=True) if cell is not None}
        metrics = {name: cell for name, cell in cells.items() if "/" in name}
        fitness = _evolve_fitness(metrics) if is_evolve else cells.get("fitness")
        if fitness is None:
            raise RunDirError(f"{path}: iteration {number} has no fitness", hint="restore the file from a copy")
        plain = {name: cell for name, cell in cells.items() if name != "fitness" and name not in metrics}
        iterations.append(Iteration(number, fitness, plain, metrics))
    return TuneTable(tuple(iterations), table.notes)


def _evolve_fitness(metrics: Mapping[str, float]) -> float | None:
    """Source: fitness in yolov5/utils/metrics.py, and in utils/segment/metrics.py."""
    halves = [metrics.get(f"metrics/mAP_0.5{suffix}") for suffix in ("", "(B)", "(M)")]
    wholes = [metrics.get(f"metrics/mAP_0.5:0.95{suffix}") for suffix in ("", "(B)", "(M)")]
    told = [0.1 * a + 0.9 * b for a, b in zip(halves, wholes, strict=True) if a is not None and b is not None]
    return sum(told) if told else None


def _read_ndjson(path: Path) -> TuneTable:
    text, notes = read_text(path, MAX_BYTES)
    found: dict[tuple[object, ...], Iteration] = {}
    names: dict[str, str] = {}  # each name once in memory, however often it is written
    repeated = datasets = 0
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        told = _iteration(_parsed(line, where), where, names)
        trial = (told.number, *told.hyperparameters.items())
        repeated += trial in found
        found[trial] = told
        datasets += max(len(told.datasets), len(told.save_dirs))
        if len(names) > MAX_NAMES or len(found) > MAX_ITERATIONS or datasets > MAX_DATASETS:
            raise RunDirError(f"{where}: more names or iterations than anyone trains", hint="is it the right file?")
    if repeated:
        notes.append(Note("repeated-iterations", f"{repeated} iterations stand twice; the last record of each is kept"))
    iterations = tuple(sorted(found.values(), key=lambda iteration: iteration.number))
    shared = len(iterations) - len({iteration.number for iteration in iterations})
    if shared:
        text = f"{shared} trials share the number of another; they are numbered in the order of the file"
        notes.append(Note("shared-iterations", text))
        iterations = tuple(found.values())
        iterations = tuple(replace(each, number=number) for number, each in enumerate(iterations, start=1))
    return TuneTable(iterations, tuple(notes))


def _parsed(line: str, where: str) -> Mapping[str, object]:
    try:
        if len(line) > MAX_LINE:
            raise ValueError(f"is longer than {MAX_LINE:,} characters")
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        told = "is nested too deep" if isinstance(error, RecursionError) else str(error)[:120]
        raise RunDirError(
            f"{where}: no JSON: {told}", hint="restore the file from a copy, or remove the line"
        ) from error
    if not isinstance(record, dict):
        raise RunDirError(f"{where}: a {type(record).__name__}, not a record", hint="restore the file from a copy")
    return record


def _iteration(record: Mapping[str, object], where: str, names: dict[str, str]) -> Iteration:
    number = record.get("iteration")
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number < MAX_NUMBER:
        raise RunDirError(f"{where}: iteration is {str(number)[:40]!r}, not a whole number from 1", hint=RESTORE)
    hyperparameters = _mapping(record, "hyperparameters", where)
    for name, value in hyperparameters.items():
        if not isinstance(value, (int, float, str, type(None))):
            raise RunDirError(f"{where}: hyperparameter {name[:40]} is a {type(value).__name__}", hint=RESTORE)
    datasets = {}
    for dataset, metrics in _mapping(record, "datasets", where).items():
        told = _mapping({dataset: metrics}, dataset, where)
        datasets[_once(dataset, names)] = {
            _once(name, names): _number(value, where, name) for name, value in told.items() if value is not None
        }
    save_dirs = _mapping(record, "save_dirs", where)
    return Iteration(
        number=number,
        fitness=_number(record.get("fitness"), where, "fitness"),
        hyperparameters={_once(name, names): value for name, value in hyperparameters.items()},
        datasets=datasets,
        save_dirs={_once(name, names): value for name, value in save_dirs.items() if isinstance(value, str)},
    )


def _once(name: str, names: dict[str, str]) -> str:
    return names.setdefault(name, name)


def _mapping(record: Mapping[str, object], name: str, where: str) -> Mapping[str, object]:
    value = record.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RunDirError(f"{where}: {name[:40]} is a {type(value).__name__}, not names and values", hint=RESTORE)
    return value


def _number(value: object, where: str, name: str) -> float:
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    except OverflowError:
        pass
    raise RunDirError(f"{where}: {name[:40]} is {str(value)[:40]!r}, not a number", hint=RESTORE)


class Header(NamedTuple):
    """What the comments of best_hyperparameters.yaml say of the tune."""

    place: str | None = None  # where it wrote its results
    planned: int | None = None  # iterations
    seconds: float | None = None  # that it had taken so far


def read_header(path: Path) -> Header:
    """Read the comments of a best_hyperparameters.yaml. Errors: RunDirError when it is no text."""
    text, _ = read_text(path, MAX_BYTES)
    place = planned = seconds = None
    for line in text[:HEAD_BYTES].split("\n"):
        if (found := _PLACE.match(line)) is not None:
            place = found[1].strip()
        if (found := _PROGRESS.match(line)) is not None:
            planned = int(found[1])
            seconds = float(found[2]) if found[2] else None
    return Header(place, planned, seconds)
