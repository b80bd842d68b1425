"""The tables that hyperparameter tuning leaves: tune_results.ndjson, tune_results.csv and YOLOv5's evolve.csv."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from importer.errors import RunDirError
from importer.formats.csv_table import no_final_newline, read_results
from importer.formats.text_file import HEAD_BYTES, column_names, read_head, read_text
from importer.model import Note, RunPath
from importer.read.fitness import YOLOV5, fitness

MAX_BYTES = 8_000_000  # 300 iterations have 300 kB
MAX_LINE = 1_000_000
MAX_NAMES = 2_000  # hyperparameters, metrics and datasets that a file may speak of
MAX_ITERATIONS = 10_000
MAX_DATASETS = 20_000  # in all iterations together
MAX_NUMBER = 2**31

NDJSON, EVOLVE = "tune_results.ndjson", "evolve.csv"
TABLES = (NDJSON, "tune_results.csv", EVOLVE)
RESTORE = "restore the file as the tuner wrote it, or remove the line"

_PLACE = re.compile(r"^# *Results saved to (.+)", re.MULTILINE)
_PROGRESS = re.compile(r"^# *\d+/(\d{1,9}) iterations[^(\n]{0,40}(?:\((\d{1,9}(?:\.\d{1,9})?)s\))?", re.MULTILINE)


@dataclass(frozen=True)
class Iteration:
    """One training of a tune."""

    number: int  # from 1, as the tuner counts
    fitness: float
    hyperparameters: Mapping[str, object]
    metrics: Mapping[str, float] = field(default_factory=dict)  # of evolve.csv
    datasets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # metrics of best.pt, by dataset
    save_dirs: Mapping[str, str] = field(default_factory=dict)  # as recorded, by dataset


Iterations = Sequence[Iteration]  # in their order, each once; workers of a distributed tune may share a number


def fittest(iterations: Iterations) -> int:
    """Return the index of the fittest iteration, the first of equals, as both tuners choose."""
    values = [-math.inf if math.isnan(iteration.fitness) else iteration.fitness for iteration in iterations]
    return values.index(max(values))


def table_name(save_dir: RunPath, names: Collection[str]) -> str | None:
    """Return the file of a directory that begins as a tuner's table does, or None."""
    return next((name for name in TABLES if name in names and _begins_as_table(save_dir / name)), None)


def _begins_as_table(path: RunPath) -> bool:
    if path.name == NDJSON:
        head = read_head(path)
        return head.startswith("{") and '"fitness"' in head
    columns = column_names(path)
    if path.name == EVOLVE:
        return columns[0].startswith("metrics/") and "lr0" in columns
    return columns[0] == "fitness"


def read_tune_table(path: RunPath) -> tuple[Iterations, list[Note]]:
    """Read the iterations that a file of one of the three forms holds.

    Errors: RunDirError when a line cannot be read as an iteration, or there are more of them than anyone trains.
    Source: ultralytics/engine/tuner.py, 8.0.170 to 8.4.190; print_mutation in yolov5/utils/general.py, v6.0 to v7.0.
    """
    iterations, notes = _read_ndjson(path) if path.name == NDJSON else _read_csv(path)
    if not iterations:
        raise RunDirError(f"{path}: holds no iteration", hint="the tune died in its first; import what lies beside it")
    return iterations, notes


def _read_csv(path: RunPath) -> tuple[Iterations, list[Note]]:
    is_evolve = path.name == EVOLVE
    table = read_results(path, "lr0" if is_evolve else "fitness")
    left_out = [Note("ragged-row", f"the last line of {path.name} is short; left out")] if table.short_rows else []
    if len(table.rows) > MAX_ITERATIONS:
        raise RunDirError(f"{path}: more than {MAX_ITERATIONS:,} iterations", hint="is it the right file?")
    iterations = []
    for number, row in enumerate(table.rows, start=1):
        cells = {name: cell for name, cell in zip(table.header, row, strict=True) if cell is not None}
        metrics = {name: cell for name, cell in cells.items() if "/" in name}
        reached = fitness(metrics, YOLOV5)[0] if is_evolve else cells.get("fitness")
        if reached is None:
            raise RunDirError(f"{path}: iteration {number} has no fitness", hint=RESTORE)
        varied = {name: cell for name, cell in cells.items() if name != "fitness" and name not in metrics}
        iterations.append(Iteration(number, reached, varied, metrics))
    return iterations, [*table.notes, *left_out]


def _read_ndjson(path: RunPath) -> tuple[Iterations, list[Note]]:
    text, notes = read_text(path, MAX_BYTES)
    trials: dict[tuple[object, ...], Iteration] = {}
    names: dict[str, str] = {}  # each name once in memory, however often it is written
    repeated = datasets = 0
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            iteration = _iteration(line, names)
        except ValueError as error:
            if number == len(lines) and isinstance(error.__cause__, json.JSONDecodeError):  # cut, without a line end
                notes.append(no_final_newline(path.name))
                break
            raise RunDirError(f"{path}: line {number}: {error}", hint=RESTORE) from error
        trial = (iteration.number, *iteration.hyperparameters.items())
        repeated += trial in trials
        trials[trial] = iteration
        datasets += max(len(iteration.datasets), len(iteration.save_dirs))
        if len(names) > MAX_NAMES or len(trials) > MAX_ITERATIONS or datasets > MAX_DATASETS:
            text = f"{path}: line {number}: more names or iterations than anyone trains"
            raise RunDirError(text, hint="is it the right file?")
    if repeated:
        notes.append(Note("repeated-iterations", f"{repeated} iterations stand twice; the last record of each is kept"))
    iterations = sorted(trials.values(), key=lambda iteration: iteration.number)
    if shared := len(iterations) - len({iteration.number for iteration in iterations}):
        text = f"{shared} trials share the number of another; they are numbered in the order of the file"
        notes.append(Note("shared-iterations", text))
        iterations = [replace(iteration, number=number) for number, iteration in enumerate(trials.values(), start=1)]
    return iterations, notes


def _iteration(line: str, names: dict[str, str]) -> Iteration:
    """Return a line as an iteration. Errors: ValueError."""
    try:
        record = json.loads(line) if len(line) <= MAX_LINE else None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no JSON: {str(error)[:120]}") from error
    if not isinstance(record, dict):
        raise ValueError(f"a {type(record).__name__}, not a record of at most {MAX_LINE:,} characters")
    number = record.get("iteration")
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number < MAX_NUMBER:
        raise ValueError(f"iteration is {str(number)[:40]!r}, not a whole number from 1")
    hyperparameters = _mapping(record, "hyperparameters", names)
    for name, value in hyperparameters.items():
        if not isinstance(value, (int, float, str, type(None))):
            raise ValueError(f"hyperparameter {name[:40]} is a {type(value).__name__}")
    recorded = _mapping(record, "datasets", names)
    datasets = {dataset: _mapping(recorded, dataset, names) for dataset in recorded}
    return Iteration(
        number=number,
        fitness=_number(record, "fitness"),
        hyperparameters=hyperparameters,
        datasets={
            dataset: {name: _number(metrics, name) for name, value in metrics.items() if value is not None}
            for dataset, metrics in datasets.items()
        },
        save_dirs={name: at for name, at in _mapping(record, "save_dirs", names).items() if isinstance(at, str)},
    )


def _mapping(record: Mapping[str, object], name: str, names: dict[str, str]) -> dict[str, object]:
    value = record.get(name)
    if not isinstance(value, (dict, type(None))):
        raise ValueError(f"{name[:40]} is a {type(value).__name__}, not names and values")
    return {names.setdefault(key, key): item for key, item in (value or {}).items()}


def _number(record: Mapping[str, object], name: str) -> float:
    value = record.get(name)
    with suppress(OverflowError):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    raise ValueError(f"{name[:40]} is {str(value)[:40]!r}, not a number")


class Header(NamedTuple):
    """What the comments of best_hyperparameters.yaml say of the tune."""

    place: str | None = None  # where it wrote its results
    planned: int | None = None  # iterations
    seconds: float | None = None  # that it had taken so far


def read_header(path: RunPath) -> Header:
    """Read the comments of a best_hyperparameters.yaml. Errors: RunDirError when it is no text."""
    text = read_text(path, MAX_BYTES)[0][:HEAD_BYTES]
    place = _PLACE.search(text)
    progress = _PROGRESS.search(text)
    return Header(
        place=place[1].strip() if place else None,
        planned=int(progress[1]) if progress else None,
        seconds=float(progress[2]) if progress and progress[2] else None,
    )
