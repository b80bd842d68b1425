"""Paths and trees to run directories, recognised by content, never by path."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, cast

from importer.errors import RunDirError
from importer.readers import recognise
from importer.sources.opening import identity_of, open_source
from importer.sources.remote import RemotePath

log = logging.getLogger(__name__)

SKIPPED = {
    "weights", "mlruns", "mlartifacts", "mlflow", "images", "labels", "node_modules", "site-packages", "wandb",
    "__pycache__", "datasets", "crops",
}  # fmt: skip


class FoundRun(NamedTuple):
    """A run directory and the path below which it was found."""

    save_dir: Path
    root: Path


def find_runs(paths: Iterable[str | os.PathLike[str]], *, follow_symlinks: bool = False) -> Iterator[FoundRun]:
    """Every run directory at or below the paths, URLs and archives, each once, in natural order.

    Errors: as open_source; RunDirError when a path does not exist. A path without a run below it gives none.
    """
    seen: set[str] = set()
    for root in map(open_source, paths):
        for save_dir in _below(root, follow_symlinks):
            identity = identity_of(save_dir)
            if identity not in seen:
                seen.add(identity)
                yield FoundRun(save_dir, root)


def _below(root: Path, follow_symlinks: bool) -> Iterator[Path]:
    try:
        if isinstance(root, RemotePath):
            return _walk_listed(cast(Path, root.with_tree()))
        if root.is_dir():
            os.scandir(root).close()  # what cannot be listed is told, not passed over
            return _walk(root, follow_symlinks, frozenset())
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


def _walk(folder: Path, follow: bool, above: frozenset[tuple[int, int]]) -> Iterator[Path]:
    try:
        here = folder.stat()
        entries = list(os.scandir(folder))
    except OSError as error:
        log.warning("%s: %s; not searched", folder, error.strerror or error)
        return
    if (here.st_dev, here.st_ino) in above:  # a link back to a folder that we came through
        return
    above |= {(here.st_dev, here.st_ino)}
    names = {entry.name for entry in entries}
    if recognise(folder, names) is not None:
        yield folder
    elif "meta.yaml" in names:  # an MLflow file store
        return
    folders = [entry.name for entry in entries if entry.name not in SKIPPED and _is_folder(entry, follow)]
    for name in sorted(folders, key=natural_order):
        if not name.startswith("."):
            yield from _walk(folder / name, follow, above)


def _walk_listed(folder: Path) -> Iterator[Path]:
    """As `_walk`, over what one listing has told of an object store."""
    entries = {entry.name: entry for entry in folder.iterdir()} if folder.is_dir() else {}
    if recognise(folder, entries.keys()) is not None:
        yield folder
    elif "meta.yaml" in entries:
        return
    for name in sorted(entries, key=natural_order):
        if name not in SKIPPED and not name.startswith(".") and entries[name].is_dir():
            yield from _walk_listed(entries[name])


def _is_folder(entry: os.DirEntry[str], follow: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow)
    except OSError:
        return False
