"""save_dir -> TrainingRun: one module per generator.

A reader is a module of this package with two functions: `recognise(save_dir, names)` tells by content whether a
directory with these entries is one of its own, `read(directory)` reads it or raises RunDirError. LOOKS_FOR says for
people what `recognise` wants to see in which files.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace
from functools import partial
from typing import Protocol

from importer.errors import RunDirError
from importer.model import RunPath, TrainingRun
from importer.read import tune, ultralytics, yolov5, yolov7
from importer.read.directory import RunDirectory, find_sweep, list_files, list_names
from importer.sources.opening import PathLike, open_source


class Reader(Protocol):
    """What a module of this package offers."""

    LOOKS_FOR: dict[str, str]

    def recognise(self, save_dir: RunPath, names: Set[str]) -> bool: ...
    def read(self, directory: RunDirectory) -> TrainingRun: ...


READERS: tuple[Reader, ...] = (tune, yolov7, yolov5, ultralytics)  # the first that recognises a directory reads it


def recognise(save_dir: RunPath, names: Set[str]) -> Reader | None:
    """Return the reader whose layout the directory has, or None."""
    return next((reader for reader in READERS if reader.recognise(save_dir, names)), None)


def look_alikes(names: Set[str]) -> list[str]:
    """Return, for a directory that no reader recognised, each file named as a trainer's, and what the file lacks."""
    wanted = {name: what for reader in READERS for name, what in reader.LOOKS_FOR.items()}
    return [f"{name} is not a YOLO trainer's: {wanted[name]}" for name in sorted(names & wanted.keys())]


def why_not(save_dir: RunPath) -> str:
    """Return, as a hint, why a directory that no reader recognised is no run directory."""
    try:
        alike = look_alikes(list_names(save_dir))
        if save_dir.name == "weights" and recognise(save_dir.parent, list_names(save_dir.parent)):
            return f"give the run directory that holds it: {save_dir.parent}"
    except RunDirError:
        alike = []
    return "; ".join(alike) or "a run directory holds args.yaml or results.csv"


def read_run(place: PathLike, *, follow_symlinks: bool = False, segment: int | None = None) -> TrainingRun:
    """Read the training of a run directory; of a results.csv that holds several, the last or `segment`.

    Errors: RunDirError when there is no run directory at `place`, or it cannot be read as one; as open_source.
    """
    save_dir = open_source(place)
    run = _read(save_dir, list_names(save_dir), follow_symlinks, segment, is_summary=False)
    return replace(run, sweep=find_sweep(save_dir))


def read_summary(
    place: PathLike, *, follow_symlinks: bool = False, segment: int | None = None, names: Set[str] = frozenset()
) -> TrainingRun:
    """Read as read_run does, but event files never, and checkpoints only if args or epochs are missing without them.

    That is enough to know which training it is and whether it has changed. `names` are the directory's, if known.
    """
    save_dir = open_source(place)
    return _read(save_dir, names or list_names(save_dir), follow_symlinks, segment, is_summary=True)


def _read(
    save_dir: RunPath, names: Set[str], follow_symlinks: bool, segment: int | None, *, is_summary: bool
) -> TrainingRun:
    reader = recognise(save_dir, names)
    if reader is None:
        raise RunDirError(f"{save_dir}: no run directory here", hint=why_not(save_dir))
    files, notes = list_files(save_dir, names, follow_symlinks=follow_symlinks)
    summarize = partial(read_summary, follow_symlinks=follow_symlinks)
    read_child = summarize if is_summary else partial(read_run, follow_symlinks=follow_symlinks)
    run = reader.read(RunDirectory(save_dir, files, notes, read_child, summarize, follow_symlinks, segment, is_summary))
    return replace(run, notes=tuple(dict.fromkeys(run.notes)))
