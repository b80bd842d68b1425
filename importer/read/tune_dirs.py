"""Where the trainings of a tune lie now: found by their place beside the tune, believed by what they hold."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path, PureWindowsPath

from importer.errors import RunDirError
from importer.model import RunPath, TrainingRun
from importer.read.directory import RunDirectory, list_names
from importer.read.evidence import near
from importer.read.fitness import EARLY, MIXED, TODAY, fitness
from importer.read.tune_table import Iteration, Iterations, table_name
from importer.sources.opening import is_within

SIBLING = re.compile(r"train-?(\d{0,9})")  # train, train2 up to 8.4.38, train-2 from 8.4.39
MAX_PATH = 4_096
MAX_DEPTH = 4  # multitrain-2/coco8 is two below the tune's parent
FITNESS_ABS = 2e-5  # from metrics that were rounded to five digits

TrainingAt = Callable[[RunPath], TrainingRun | None]
IterationDirs = dict[int, dict[str, RunPath]]  # by the number of the iteration and the dataset, "" for all of them


def iteration_dirs(directory: RunDirectory, iterations: Iterations, recorded: str | None) -> IterationDirs:
    """Return the directory of each training that is still there; no directory belongs to two.

    A tune that wrote down its directories is believed where they hold these hyperparameters; they lie where they lay
    then, as seen from the tune. Of a tune that did not, `train`, `train2`.. beside it are taken that hold the
    hyperparameters and reached the fitness of one iteration and no other.
    """
    save_dir = directory.save_dir
    beside = save_dir.parent if save_dir.name not in ("", "..") else Path(os.path.abspath(str(save_dir))).parent  # noqa: PTH100

    @cache
    def training_at(path: RunPath) -> TrainingRun | None:
        """Return a summary of the Ultralytics training at a path."""
        try:
            if not (path / "args.yaml").is_file() or not (directory.follow_symlinks or is_within(path, beside)):
                return None
            if table_name(path, list_names(path)) is not None:
                return None  # another tune, which might lead back here
            run = directory.summarize(path)
        except (RunDirError, OSError, ValueError):  # ValueError: no path has such characters
            return None
        return run if run.args and run.family == "ultralytics" else None

    if any(iteration.save_dirs for iteration in iterations):
        return _written_down(iterations, recorded, beside, training_at)
    if any(iteration.metrics for iteration in iterations):
        return {}  # YOLOv5 evolves in one directory
    return _siblings(iterations, beside, training_at)


def _written_down(
    iterations: Iterations, recorded: str | None, beside: RunPath, training_at: TrainingAt
) -> IterationDirs:
    """Give a directory to the latest iteration of its name: the tuner removes what is not the best."""
    dirs: IterationDirs = {}
    taken: set[RunPath] = set()
    for iteration in reversed(iterations):
        for dataset, text in iteration.save_dirs.items():
            path = _place_now(text, recorded, beside)
            if path is None or path in taken:
                continue
            run = training_at(path)
            if run is not None and _has_hyperparameters(run, iteration):
                taken.add(path)
                dirs.setdefault(iteration.number, {})[dataset] = path
    return dirs


def _place_now(text: str, recorded: str | None, beside: RunPath) -> RunPath | None:
    """Return where a directory is that lay at `text` when the tune lay at `recorded`, both maybe on another host."""
    parts = _parts(text)
    above = _parts(recorded or "")[:-1]
    below = parts[-2:] if len(parts) > 1 and parts[-2].startswith("multitrain") else parts[-1:]
    for depth in range(1, MAX_DEPTH + 1):
        if above and parts[-depth - len(above) : -depth] == above:
            below = parts[-depth:]
    strange = any(part == ".." or "\0" in part or PureWindowsPath(part).drive for part in below)
    return None if strange or not below else beside / "/".join(below)


def _parts(path: str) -> list[str]:
    """Return the names in a path of any system; of one that is longer than a path can be, nothing."""
    names = path.replace("\\", "/").split("/") if len(path) <= MAX_PATH else []
    return [name for name in names if name not in ("", ".")]


def _siblings(iterations: Iterations, beside: RunPath, training_at: TrainingAt) -> IterationDirs:
    """Return iterations and directories that fit each other and nothing else; equal ones go together in order."""
    try:
        numbered = [(int(match[1] or 1), name) for name in list_names(beside) if (match := SIBLING.fullmatch(name))]
    except RunDirError:
        return {}
    paths = [beside / name for _, name in sorted(numbered)]
    runs = [(path, run, _fitnesses(run)) for path in paths if (run := training_at(path)) is not None]
    fitting: dict[tuple[RunPath, ...], list[int]] = {}
    for iteration in iterations:
        fit = tuple(
            path
            for path, run, reached in runs
            if _has_hyperparameters(run, iteration)
            and any(abs(value - iteration.fitness) <= FITNESS_ABS for value in reached)
        )
        if fit:
            fitting.setdefault(fit, []).append(iteration.number)
    groups = Counter(path for fit in fitting for path in fit)
    return {
        number: {"": path}
        for fit, numbers in fitting.items()
        if len(fit) == len(numbers) and all(groups[path] == 1 for path in fit)
        for number, path in zip(numbers, fit, strict=True)
    }


def _has_hyperparameters(run: TrainingRun, iteration: Iteration) -> bool:
    """Return whether a training was made with an iteration's hyperparameters, as far as it knows them by name."""
    pairs = [(run.args[name], value) for name, value in iteration.hyperparameters.items() if name in run.args]
    return 0 < len(iteration.hyperparameters) <= 2 * len(pairs) and all(
        near(ours, theirs) if isinstance(ours, (int, float)) and isinstance(theirs, (int, float)) else ours == theirs
        for ours, theirs in pairs
    )


def _fitnesses(run: TrainingRun) -> list[float]:
    """Return the fitness of each epoch by the rule of each release; the tuner gave 0 to a training without an epoch."""
    rows = [zip(run.epochs.columns, cells, strict=True) for cells in run.epochs.rows]
    known = [{name: cell for name, cell in row if cell is not None} for row in rows]
    return [fitness(cells, rule)[0] or 0.0 for cells in known or [{}] for rule in (EARLY, MIXED, TODAY)]
