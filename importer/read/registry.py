"""save_dir -> TrainingRun: one module per generator.

A reader is a module of this package with two functions: `recognise(save_dir, names)` says by content whether a
directory is one of its own, `read(directory)` reads it. PRIORITY orders readers that might both say yes, LOOKS_FOR
tells a person what `recognise` wants to see in which files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Set
from importlib import import_module
from pathlib import Path
from typing import Protocol

from importer.errors import RunDirError
from importer.model import TrainingRun
from importer.read.directory import RunDirectory
from importer.sources.opening import open_source

READERS = ("ultralytics", "yolov5", "yolov7", "tune")


class Reader(Protocol):
    """What a module of this package offers."""

    PRIORITY: int
    LOOKS_FOR: Mapping[str, str]

    def recognise(self, save_dir: Path, names: Set[str]) -> bool:
        """Whether the directory, whose entries are `names`, is one of this reader's."""
        ...

    def read(self, directory: RunDirectory) -> TrainingRun:
        """The training that the directory holds. Errors: RunDirError."""
        ...


def _load() -> tuple[Reader, ...]:
    readers = [import_module(f"importer.read.{name}") for name in READERS]
    return tuple(sorted(readers, key=lambda reader: reader.PRIORITY))


_loaded: tuple[Reader, ...] = ()


def _readers() -> tuple[Reader, ...]:
    global _loaded
    _loaded = _loaded or _load()
    return _loaded


def recognise(save_dir: Path, names: Set[str]) -> Reader | None:
    """The reader whose layout the directory has, or None."""
    return next((reader for reader in _readers() if reader.recognise(save_dir, names)), None)


def look_alikes(names: Set[str]) -> list[str]:
    """Of a directory that no reader recognised: each file that is called as a trainer's is, and what it lacks."""
    wanted = {name: what for reader in _readers() for name, what in reader.LOOKS_FOR.items()}
    return [f"{name} is not a YOLO trainer's: {wanted[name]}" for name in sorted(names & wanted.keys())]


def why_not(save_dir: Path) -> str:
    """Why a directory that no reader recognised is no run directory, as a hint."""
    try:
        alike = look_alikes({entry.name for entry in save_dir.iterdir()})
        if save_dir.name == "weights" and recognise(save_dir.parent, {at.name for at in save_dir.parent.iterdir()}):
            return f"give the run directory that holds it: {save_dir.parent}"
    except OSError:
        alike = []
    return "; ".join(alike) or "a run directory holds args.yaml or results.csv"


def read_run(
    place: str | os.PathLike[str],
    *,
    follow_symlinks: bool = False,
    segment: int | None = None,
    light: bool = False,
) -> TrainingRun:
    """The training that a run directory holds; of a results.csv that holds several, the last or that `segment`.

    Errors: RunDirError when there is no run directory at `place`, or it cannot be read as one; as open_source.
    """
    save_dir = open_source(place)
    if not save_dir.exists():
        raise RunDirError(f"{save_dir}: no such file or directory", hint="check the spelling, or where you are")
    try:
        names = {entry.name for entry in save_dir.iterdir()}
    except NotADirectoryError as error:
        raise RunDirError(f"{save_dir}: is a file", hint="give the run directory that holds it") from error
    except OSError as error:
        raise RunDirError(f"{save_dir}: {error.strerror or error}", hint="check the directory's permissions") from error
    reader = recognise(save_dir, names)
    if reader is None:
        raise RunDirError(f"{save_dir}: no run directory here", hint=why_not(save_dir))
    return reader.read(RunDirectory(save_dir, follow_symlinks=follow_symlinks, segment=segment, light=light))
