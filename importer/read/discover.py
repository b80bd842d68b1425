"""Find run directories at or below paths, recognised by content, never by path."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import suppress
from typing import NamedTuple

from importer.errors import RunDirError
from importer.formats.text_file import option_names
from importer.model import RunPath
from importer.read.registry import look_alikes, recognise
from importer.sources.opening import PathLike, as_paths, identity_of, local_file, open_source
from importer.sources.remote import RemotePath
from importer.sources.scratch import remove_left_folders

log = logging.getLogger(__name__)

SKIPPED = {"mlruns", "mlartifacts", "node_modules", "site-packages", "__pycache__"}  # copies of artifacts, and code
DATASET = {"images", "labels"}  # side by side they hold a dataset, which may have a million files
_STORED = re.compile("(?:m-)?[0-9a-f]{32}")  # an MLflow server's folder of a run or a model


class FoundRun(NamedTuple):
    """A run directory, the path below which it was found, and the names in it."""

    save_dir: RunPath
    root: RunPath
    names: frozenset[str] = frozenset()


def find_runs(
    paths: PathLike | Iterable[PathLike], *, follow_symlinks: bool = False, passed_by: list[RunPath] | None = None
) -> Iterator[FoundRun]:
    """Yield every run directory at or below the paths, URLs and archives, each once, in natural order.

    Folders whose file names look like a trainer's but that are not run directories go to `passed_by`; the log says why.

    Errors: as open_source; RunDirError when a path does not exist. A path without a run below it gives none.
    """
    remove_left_folders()
    seen: set[str] = set()
    for root in map(open_source, as_paths(paths)):
        for save_dir, names in _walk(_checked(root), follow_symlinks, passed_by if passed_by is not None else []):
            identity = identity_of(save_dir)
            if identity not in seen:
                seen.add(identity)
                yield FoundRun(save_dir, root, frozenset(names))


def natural_order(name: str) -> tuple[tuple[int, int | str], ...]:
    """Return a sort key under which train2 comes before train10, and train-2 likewise."""
    return tuple((0, int(part)) if part.isdecimal() else (1, part.casefold()) for part in re.findall(r"\d+|\D+", name))


def _checked(root: RunPath) -> RunPath:
    """Return a path that can be searched. Errors: RunDirError."""
    try:
        if isinstance(root, RemotePath):
            root.find()
            return root
        if root.is_dir():
            return root
        is_file = root.exists()
    except FileNotFoundError:
        is_file = False
    except OSError as error:
        raise RunDirError(f"{root}: {error.strerror or error}", hint="check the path and its permissions") from error
    if is_file:
        holds = root.parent.parent if root.parent.name == "weights" else root.parent
        raise RunDirError(f"{root}: is a file", hint=f"give the run directory that holds it, such as {holds}")
    raise RunDirError(f"{root}: no such file or directory", hint="check the spelling, or where you are")


def _walk(root: RunPath, follow: bool, passed_by: list[RunPath]) -> Iterator[tuple[RunPath, Set[str]]]:
    """Yield the run directories from the root down; a stack of its own, for a tree may be deeper than Python's."""
    waiting: list[tuple[RunPath, frozenset[object]]] = [(root, frozenset())]
    while waiting:
        folder, above = waiting.pop()
        try:
            identity, inside = _list_folder(folder, follow)
        except OSError as error:
            message = f"{folder}: {error.strerror or error}"
            if folder is root:
                raise RunDirError(message, hint="check the path and its permissions") from error
            log.warning("%s; not searched", message)
            continue
        if identity in above:  # a link back to a folder that we came through
            continue
        is_run = recognise(folder, inside.keys()) is not None
        if is_run:
            yield folder, inside.keys()
        elif alike := look_alikes(inside.keys()):
            passed_by.append(folder)
            log.info("%s: passed by: %s", folder, "; ".join(alike))
        folders = _to_search(folder, inside, is_run)
        waiting += [(folder / name, above | {identity} if follow else above) for name in reversed(folders)]


def _list_folder(folder: RunPath, follow: bool) -> tuple[object, dict[str, bool]]:
    """Return what tells a folder from others, and whether each name in it is a folder."""
    local = local_file(folder)
    if local is None:
        with suppress(NotADirectoryError):
            return str(folder), {entry.name: entry.is_dir() for entry in folder.iterdir()}
        return str(folder), {}
    here = local.stat()
    with os.scandir(local) as entries:
        return (here.st_dev, here.st_ino), {entry.name: _is_folder(entry, follow) for entry in entries}


def _to_search(folder: RunPath, inside: Mapping[str, bool], is_run: bool) -> list[str]:
    """Return the folders of a folder that may hold runs, in natural order.

    Not the weights of a run, a dataset's images and labels, or the artifacts in an MLflow store, which are copies.
    """
    if "meta.yaml" in inside and "experiment_id" in option_names(folder / "meta.yaml"):
        return []
    skipped = {*SKIPPED, *(("weights",) if is_run else ()), *(DATASET if inside.keys() >= DATASET else ())}
    skipped |= {"artifacts"} if _STORED.fullmatch(folder.name) else set()
    names = [name for name, is_folder in inside.items() if is_folder and name not in skipped and name[:1] != "."]
    return sorted(names, key=natural_order)


def _is_folder(entry: os.DirEntry[str], follow: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow)
    except OSError:
        return False
