"""Where the trainings of a tune lie now: found by their place beside the tune, believed by what they hold."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

from importer.errors import RunDirError
from importer.model import TrainingRun
from importer.read.directory import RunDirectory
from importer.read.registry import read_run
from importer.read.tune_table import Iteration, TuneTable, table_name
from importer.sources.opening import is_within

SIBLING = re.compile(r"train-?(\d{0,9})")  # train, train2 up to 8.4.38, train-2 from 8.4.39
MAX_PATH = 4_096
MAX_DEPTH = 4  # multitrain-2/coco8 is two below the tune's parent
HYPERPARAMETER_ABS = 6e-6  # the tuner rounds them to five digits after the point
FITNESS_ABS = 2e-5  # from metrics that were rounded to five


class Claim(NamedTuple):
    """A training that an iteration says it made."""

    number: int
    dataset: str


def iteration_dirs(directory: RunDirectory, table: TuneTable, recorded: str | None) -> dict[Claim, Path]:
    """The directory of each training that is still there; no directory belongs to two.

    A tune that wrote down its directories is believed where they hold these hyperparameters; they lie where they lay
    then, as seen from the tune. Of a tune that did not, `train`, `train2`.. beside it are taken that hold the
    hyperparameters and reached the fitness of one iteration and no other.
    """
    save_dir = directory.save_dir
    beside = save_dir.parent if save_dir.name not in ("", "..") else Path(os.path.abspath(save_dir)).parent  # noqa: PTH100
    looked_at = _Trainings(directory, beside)
    if any(told.save_dirs for told in table.iterations):
        return _written_down(table, recorded, looked_at)
    if any(told.metrics for told in table.iterations):
        return {}  # YOLOv5 evolves in one directory
    return _siblings(table, looked_at)


class _Trainings:
    """The trainings beside a tune, each read once, and lightly."""

    def __init__(self, directory: RunDirectory, beside: Path) -> None:
        self.directory, self.beside = directory, beside
        self._read: dict[Path, TrainingRun | None] = {}

    def at(self, path: Path) -> TrainingRun | None:
        """The Ultralytics training at a path, or None where there is none that can be read and has args.yaml."""
        if path not in self._read:
            try:
                self._read[path] = self._look(path)
            except (RunDirError, OSError, ValueError):  # ValueError: no path has such characters
                self._read[path] = None
        return self._read[path]

    def _look(self, path: Path) -> TrainingRun | None:
        follow = self.directory.follow_symlinks
        if not (path / "args.yaml").is_file():
            return None
        if not follow and not is_within(path, self.beside):
            return None
        if table_name(path, {entry.name for entry in path.iterdir()}) is not None:
            return None  # another tune, which might lead back here
        run = read_run(path, follow_symlinks=follow, light=True)
        return run if run.args and run.family == "ultralytics" else None


def _written_down(table: TuneTable, recorded: str | None, trainings: _Trainings) -> dict[Claim, Path]:
    """The tuner removes what is not the best, and its successor may get the same name: the later claim holds."""
    claims: dict[Path, Claim] = {}
    for told in reversed(table.iterations):
        for dataset, text in told.save_dirs.items():
            place = _place_now(text, recorded, trainings.beside)
            run = trainings.at(place) if place is not None and place not in claims else None
            if place is not None and run is not None and _has_hyperparameters(run, told):
                claims[place] = Claim(told.number, dataset)
    return {claim: place for place, claim in claims.items()}


def _place_now(text: str, recorded: str | None, beside: Path) -> Path | None:
    """Where a directory is that lay at `text` when the tune lay at `recorded`, which need not be this host's paths."""
    parts = _parts(text)
    above = _parts(recorded or "")[:-1]
    below = parts[-2:] if len(parts) > 1 and parts[-2].startswith("multitrain") else parts[-1:]
    for depth in range(1, MAX_DEPTH + 1):
        if above and parts[-depth - len(above) : -depth] == above:
            below = parts[-depth:]
    strange = any(part == ".." or "\0" in part or PureWindowsPath(part).drive for part in below)
    return None if strange or not below else beside.joinpath(*below)


def _parts(path: str) -> list[str]:
    """The names in a path of any system; none where it is longer than a path can be."""
    if len(path) > MAX_PATH:
        return []
    return [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]


def _siblings(table: TuneTable, trainings: _Trainings) -> dict[Claim, Path]:
    """Iterations and directories that fit each other and nothing else; as many equal ones go together in order."""
    places = sorted((path for path in _folders(trainings.beside) if SIBLING.fullmatch(path.name)), key=_rank)
    runs = [(path, run, _fitnesses(run)) for path in places if (run := trainings.at(path)) is not None]
    fitting: dict[tuple[Path, ...], list[int]] = {}
    for told in table.iterations:
        paths = tuple(
            path
            for path, run, reached in runs
            if _has_hyperparameters(run, told)
            and any(abs(fitness - told.fitness) <= FITNESS_ABS for fitness in reached)
        )
        if paths:
            fitting.setdefault(paths, []).append(told.number)
    groups = Counter(path for paths in fitting for path in paths)
    found: dict[Claim, Path] = {}
    for paths, numbers in fitting.items():
        if len(paths) == len(numbers) and all(groups[path] == 1 for path in paths):
            found |= {Claim(number, ""): path for number, path in zip(numbers, paths, strict=True)}
    return found


def _folders(beside: Path) -> Sequence[Path]:
    try:
        return [path for path in beside.iterdir() if path.is_dir()]
    except OSError:
        return ()


def _rank(path: Path) -> int:
    number = SIBLING.fullmatch(path.name)
    return int(number[1] or 1) if number is not None else 0


def _has_hyperparameters(run: TrainingRun, told: Iteration) -> bool:
    """Whether a training was made with an iteration's hyperparameters, as far as it knows them by name."""
    shared = [name for name in told.hyperparameters if name in run.args]
    if not shared or 2 * len(shared) < len(told.hyperparameters):
        return False
    return all(_same(run.args[name], told.hyperparameters[name]) for name in shared)


def _same(ours: object, theirs: object) -> bool:
    if not isinstance(ours, (int, float)) or not isinstance(theirs, (int, float)):
        return ours == theirs
    try:
        return abs(float(ours) - float(theirs)) <= HYPERPARAMETER_ABS
    except OverflowError:
        return False


def _fitnesses(run: TrainingRun) -> list[float]:
    """The fitness of each epoch, by every rule; a training without an epoch failed, and the tuner gave it 0."""
    if not len(run.epochs):
        return [0.0]
    rows = [dict(zip(run.epochs.columns, cells, strict=True)) for cells in run.epochs.rows]
    return [fitness for row in rows for fitness in _fitness(row)]


def _fitness(row: Mapping[str, float | None]) -> list[float]:
    """What tuners of all releases would have called the fitness of an epoch. Source: ultralytics/utils/metrics.py."""
    told = {name: cell for name, cell in row.items() if cell is not None}
    top1, top5 = told.get("metrics/accuracy_top1"), told.get("metrics/accuracy_top5")
    if top1 is not None and top5 is not None:
        return [(top1 + top5) / 2, top5]
    for name in ("metrics/mIoU", "metrics/delta1"):
        if name in told:
            return [told[name]]
    halves = [told.get(f"metrics/mAP50({part})", 0.0) for part in "BMP"]
    wholes = [told.get(f"metrics/mAP50-95({part})", 0.0) for part in "BMP"]
    return [0.1 * sum(halves) + 0.9 * sum(wholes), sum(wholes)]
