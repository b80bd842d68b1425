"""Paths and trees to run directories, recognised by content, never by path."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Set
from pathlib import Path
from typing import NamedTuple, cast

from importer.errors import RunDirError
from importer.read.registry import look_alikes, recognise
from importer.sources.opening import PathLike, as_paths, identity_of, open_source
from importer.sources.remote import RemotePath

log = logging.getLogger(__name__)

SKIPPED = {"mlruns", "mlartifacts", "node_modules", "site-packages", "__pycache__"}  # copies of artifacts, and code
DATASET = {"images", "labels"}  # side by side they hold a dataset, which may have a million files


class FoundRun(NamedTuple):
    """A run directory, the path below which it was found, and the names in it."""

    save_dir: Path
    root: Path
    names: frozenset[str] = frozenset()


def find_runs(
    paths: PathLike | Iterable[PathLike], *, follow_symlinks: bool = False, passed_by: list[Path] | None = None
) -> Iterator[FoundRun]:
    """Every run directory at or below the paths, URLs and archives, each once, in natural order.

    Folders with files that are called as a trainer's are, and are none, are added to `passed_by`; the log says why.

    Errors: as open_source; RunDirError when a path does not exist. A path without a run below it gives none.
    """
    seen: set[str] = set()
    for root in map(open_source, as_paths(paths)):
        for save_dir, names in _below(root, follow_symlinks, passed_by if passed_by is not None else []):
            identity = identity_of(save_dir)
            if identity not in seen:
                seen.add(identity)
                yield FoundRun(save_dir, root, frozenset(names))


def _below(root: Path, follow_symlinks: bool, passed_by: list[Path]) -> Iterator[tuple[Path, Set[str]]]:
    try:
        if isinstance(root, RemotePath):
            return _walk_listed(cast(Path, root.with_tree()), passed_by)
        if root.is_dir():
            return _walk(root, follow_symlinks, passed_by)
        if root.exists():
            holds = root.parent.parent if root.parent.name == "weights" else root.parent
            raise RunDirError(f"{root}: is a file", hint=f"give the run directory that holds it, such as {holds}")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise RunDirError(f"{root}: {error.strerror or error}", hint="check the path and its permissions") from error
    raise RunDirError(f"{root}: no such file or directory", hint="check the spelling, or where you are")


def natural_order(name: str) -> tuple[tuple[int, int | str], ...]:
    """A sort key under which train2 comes before train10, and train-2 likewise."""
    return tuple((0, int(part)) if part.isdigit() else (1, part.casefold()) for part in re.findall(r"\d+|\D+", name))


def _walk(root: Path, follow: bool, passed_by: list[Path]) -> Iterator[tuple[Path, Set[str]]]:
    """The run directories from the root down; a stack of its own, for a tree may be deeper than Python's."""
    waiting: list[tuple[Path, frozenset[tuple[int, int]]]] = [(root, frozenset())]
    while waiting:
        folder, above = waiting.pop()
        try:
            here = folder.stat()
            with os.scandir(folder) as entries:
                inside = {entry.name: _is_folder(entry, follow) for entry in entries}
        except OSError as error:
            text = f"{folder}: {error.strerror or error}"
            if folder is root:
                raise RunDirError(text, hint="check the path and its permissions") from error
            log.warning("%s; not searched", text)
            continue
        identity = (here.st_dev, here.st_ino)
        if identity in above:  # a link back to a folder that we came through
            continue
        is_run = _is_run(folder, inside.keys(), passed_by)
        if is_run:
            yield folder, inside.keys()
        folders = _to_search((name for name, is_folder in inside.items() if is_folder), inside.keys(), is_run)
        waiting += [(folder / name, above | {identity} if follow else above) for name in reversed(folders)]


def _walk_listed(root: Path, passed_by: list[Path]) -> Iterator[tuple[Path, Set[str]]]:
    """As `_walk`, over what one listing has told of an object store."""
    waiting = [root] if root.is_dir() else []
    while waiting:
        folder = waiting.pop()
        inside = {entry.name: entry for entry in folder.iterdir()}
        is_run = _is_run(folder, inside.keys(), passed_by)
        if is_run:
            yield folder, inside.keys()
        folders = _to_search((name for name, entry in inside.items() if entry.is_dir()), inside.keys(), is_run)
        waiting += [folder / name for name in reversed(folders)]


def _is_run(folder: Path, names: Set[str], passed_by: list[Path]) -> bool:
    if recognise(folder, names) is not None:
        return True
    if alike := look_alikes(names):
        passed_by.append(folder)
        log.info("%s: passed by: %s", folder, "; ".join(alike))
    return False


def _to_search(folders: Iterable[str], names: Set[str], is_run: bool) -> list[str]:
    """The folders of a folder that may hold runs, in natural order.

    Not the weights of a run, a dataset's images and labels, or an MLflow file store, which has only copies.
    """
    if "meta.yaml" in names and not is_run:
        return []
    skipped = {*SKIPPED, "weights"} if is_run else SKIPPED
    if names >= DATASET:
        skipped = {*skipped, *DATASET}
    return sorted((name for name in folders if name not in skipped and name[:1] != "."), key=natural_order)


def _is_folder(entry: os.DirEntry[str], follow: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow)
    except OSError:
        return False
