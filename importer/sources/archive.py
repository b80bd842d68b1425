"""A .zip or .tar of run directories: unpacked to be read, and shown as `archive.zip!runs/train`."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from importer.model import Note
from importer.sources.unpack import unpack

log = logging.getLogger(__name__)

_folders: set[str] = set()

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


class Archive:
    """An archive that was unpacked. Its folder lasts as long as a path into it is kept, or this process."""

    def __init__(self, shown: str, top: Path, left_out: tuple[tuple[str, str], ...], zone: str | None) -> None:
        self.shown = shown
        self.top = top
        self.left_out = left_out  # (member, why)
        self.zone = zone  # that its file times were taken to be in; None where they tell it

    def __reduce__(self) -> tuple[object, ...]:
        return Archive, (self.shown, self.top, self.left_out, self.zone)  # a copy does not own the folder


class UnpackedPath:
    """A place in an unpacked archive, read as a `Path` is, and shown as where it is in the archive."""

    def __init__(self, archive: Archive, local: Path) -> None:
        self.archive = archive
        self.local = local

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("archive", "local"):
            raise AttributeError(name)
        return getattr(self.local, name)

    def __fspath__(self) -> str:
        return str(self.local)

    def __str__(self) -> str:
        below = self.local.relative_to(self.archive.top).as_posix()
        return self.archive.shown if below == "." else f"{self.archive.shown}!{below}"

    def __repr__(self) -> str:
        return f"UnpackedPath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnpackedPath) and self.local == other.local

    def __lt__(self, other: UnpackedPath) -> bool:
        return self.local < other.local

    def __hash__(self) -> int:
        return hash(self.local)

    def __truediv__(self, name: str) -> UnpackedPath:
        return UnpackedPath(self.archive, self.local / name)

    def joinpath(self, *names: str) -> UnpackedPath:
        """The place below."""
        return UnpackedPath(self.archive, self.local.joinpath(*names))

    @property
    def parent(self) -> UnpackedPath:
        """The folder that it is in; the archive itself is its own."""
        return self if self.local == self.archive.top else UnpackedPath(self.archive, self.local.parent)

    def iterdir(self) -> Iterator[UnpackedPath]:
        """What the folder holds."""
        return (UnpackedPath(self.archive, entry) for entry in self.local.iterdir())

    def as_posix(self) -> str:
        """As shown."""
        return str(self)

    def resolve(self) -> UnpackedPath:
        """Itself: nothing was unpacked that is a link."""
        return self

    def notes(self) -> list[Note]:
        """What is odd about the members below: those that were left out, and times without a zone."""
        below = self.local.relative_to(self.archive.top).as_posix()
        prefix = "" if below == "." else f"{below}/"
        notes = [
            Note("archive-member", f"{name[len(prefix) :]} was left in the archive: {why}")
            for name, why in self.archive.left_out
            if name.startswith(prefix)
        ]
        if self.archive.zone is not None:
            text = f"the zip's file times have no time zone; taken as {self.archive.zone}, this host's"
            notes.append(Note("archive-zone", text))
        return notes


def is_archive(name: str) -> bool:
    """Whether a name is that of an archive."""
    return name.lower().endswith(SUFFIXES)


def open_archive(path: Path, shown: str) -> UnpackedPath:
    """The top folder of what an archive holds, in a temporary directory.

    Errors: RunDirError when it is damaged, encrypted, or announces or holds more than can be meant.
    """
    log.info("unpacking %s", shown)
    folder = tempfile.mkdtemp(prefix="ymlf-")
    top = Path(folder) / (_stem(path.name) or "archive")
    try:
        top.mkdir()
        unpacked = unpack(path, shown, top)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    archive = Archive(shown, top, unpacked.left_out, time.strftime("UTC%z") if unpacked.zoneless else None)
    _folders.add(folder)
    weakref.finalize(archive, _remove, folder)
    return UnpackedPath(archive, top)


def _remove(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _folders.discard(folder)


def remove_unpacked() -> None:
    """Leave nothing behind that was unpacked, where the process is about to end without its own ending."""
    for folder in list(_folders):
        _remove(folder)


def _stem(name: str) -> str:
    """The name less the suffix: what the run is called when it is all that the archive holds."""
    return next(name[: -len(suffix)] for suffix in SUFFIXES if name.lower().endswith(suffix))
