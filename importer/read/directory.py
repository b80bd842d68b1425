"""What lies in a run directory: one listing, made once, that everything else is decided from."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from importer.errors import RunDirError
from importer.model import Note, RunFile
from importer.naming import storable
from importer.sources.archive import UnpackedPath

NEVER = {".ipynb_checkpoints", "__pycache__", ".git", ".DS_Store", "Thumbs.db", "desktop.ini"}
MAX_WEIGHTS_DEPTH = 4


class RunDirectory:
    """A run directory with its listing, and the notes that reading it collects.

    A `light` reading is enough to know which training it is and whether it has changed: checkpoints and event files
    are opened only where args or results are missing.
    """

    def __init__(
        self,
        save_dir: Path,
        *,
        follow_symlinks: bool = False,
        segment: int | None = None,
        light: bool = False,
    ) -> None:
        self.save_dir = save_dir
        self.follow_symlinks = follow_symlinks
        self.segment = segment
        self.light = light
        self.files, self.notes = list_run_directory(save_dir, follow_symlinks=follow_symlinks)
        self.by_path = {found.path: found for found in self.files}

    @property
    def name(self) -> str:
        """The directory's own name, also where it was given as `.`."""
        return storable(self.save_dir.name or self.save_dir.resolve().name)

    def get(self, path: str) -> RunFile | None:
        """The file at `path` below the directory, or None."""
        return self.by_path.get(path)

    def note(self, code: str, text: str) -> None:
        """Keep an oddity, once."""
        self.add([Note(code, text)])

    def add(self, notes: Iterable[Note]) -> None:
        """Keep notes, each once."""
        self.notes += [note for note in notes if note not in self.notes]


def list_run_directory(save_dir: Path, *, follow_symlinks: bool = False) -> tuple[tuple[RunFile, ...], list[Note]]:
    """The top-level files and everything inside weights/, by name, and notes on links that were not followed.

    Errors: RunDirError when the directory cannot be listed.
    """
    notes: list[Note] = save_dir.notes() if isinstance(save_dir, UnpackedPath) else []
    files = list(_files(save_dir, save_dir, "", follow_symlinks, notes))
    weights = save_dir / "weights"
    if _is_inside(weights, save_dir, follow_symlinks, notes) and weights.is_dir():
        files += _files(weights, save_dir, "weights/", follow_symlinks, notes, MAX_WEIGHTS_DEPTH)
    return tuple(sorted(files)), notes


def _files(
    folder: Path, save_dir: Path, prefix: str, follow: bool, notes: list[Note], depth: int = 0
) -> Iterator[RunFile]:
    try:
        entries = sorted(entry for entry in folder.iterdir() if entry.name not in NEVER)
    except OSError as error:
        raise RunDirError(f"{folder}: {error.strerror or error}", hint="check the directory's permissions") from error
    for entry in entries:
        if not _is_inside(entry, save_dir, follow, notes):
            continue
        try:
            found = entry.stat()
        except OSError:
            notes.append(Note("broken-link", f"{prefix}{entry.name} leads nowhere; left out"))
            continue
        if stat.S_ISREG(found.st_mode):
            mtime_ms = int(found.st_mtime * 1000)
            yield RunFile(prefix + entry.name, found.st_size, mtime_ms, entry)
        elif stat.S_ISDIR(found.st_mode) and depth:
            yield from _files(entry, save_dir, f"{prefix}{entry.name}/", follow, notes, depth - 1)


def _is_inside(path: Path, save_dir: Path, follow: bool, notes: list[Note]) -> bool:
    """Whether a path may be read: no link, or one that stays below the directory."""
    if follow or not path.is_symlink():
        return True
    target = os.path.realpath(path)
    if target.startswith(os.path.realpath(save_dir) + os.sep):
        return True
    name = path.relative_to(save_dir).as_posix()
    notes.append(Note("link-outside", f"{name} is a link that leaves the directory; not followed"))
    return False
