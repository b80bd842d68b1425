"""A .zip or .tar of run directories: unpacked to be read, and shown as `archive.zip!runs/train`.

An archive is data from strangers: links and devices stay in it, no member may leave the folder, and both the number of
the members and their size are limited.
"""

from __future__ import annotations

import errno
import logging
import lzma
import os
import shutil
import stat
import struct
import tarfile
import time
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from importer.errors import RunDirError
from importer.model import Note
from importer.sources.remote import ShownPath
from importer.sources.scratch import new_folder, remove_folder

log = logging.getLogger(__name__)

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MAX_MEMBERS = 500_000  # a tree of 20,000 runs
MAX_RATIO = 100  # of what it unpacks to: weights and plots hardly shrink, tables to a fifth
SMALL = 64_000_000  # bytes, up to which the ratio does not matter
MAX_LEFT_OUT = 1_000  # members that were left out and are remembered
BLOCK = 1 << 20
LINK, NO_FILE = "it is a link", "it is no plain file"
UNWRITABLE = dict.fromkeys((errno.ENOTDIR, errno.EEXIST, errno.EISDIR), "another member has its name")
UNWRITABLE[errno.ENAMETOOLONG] = "its name is too long"
DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, ValueError,
    OverflowError, NotImplementedError, RuntimeError,
)  # fmt: skip


class Archive:
    """An archive that was unpacked. Its folder lasts as long as a path into it is kept, or this process."""

    def __init__(self, shown: str, top: Path, left_out: tuple[tuple[str, str], ...], *, zoneless: bool) -> None:
        self.shown, self.top = shown, top
        self.left_out = left_out  # (member, why)
        self.zone = time.strftime("UTC%z") if zoneless else None  # of this host, for times that name no zone


class UnpackedPath(ShownPath):
    """A real path below an unpacked archive, and the archive beside it, which gives the text to show."""

    def __init__(self, archive: Archive, local: Path) -> None:
        self.archive, self.local = archive, local
        self.name = local.name
        self.exists, self.is_dir, self.is_file = local.exists, local.is_dir, local.is_file
        self.stat, self.open, self.read_bytes = local.stat, local.open, local.read_bytes
        self.below = local.relative_to(archive.top).as_posix()
        super().__init__(archive.shown if self.below == "." else f"{archive.shown}!{self.below}")

    def __fspath__(self) -> str:
        return str(self.local)

    def __truediv__(self, name: str) -> UnpackedPath:
        return UnpackedPath(self.archive, self.local / name)

    @property
    def parent(self) -> UnpackedPath:
        return self if self.local == self.archive.top else UnpackedPath(self.archive, self.local.parent)

    def iterdir(self) -> Iterator[UnpackedPath]:
        return (UnpackedPath(self.archive, entry) for entry in self.local.iterdir())

    def resolve(self) -> UnpackedPath:
        return self

    def notes(self) -> list[Note]:
        """Return the oddities of the members below: those that were left out, and times without a zone."""
        prefix = "" if self.below == "." else f"{self.below}/"
        notes = [
            Note("archive-member", f"{name.removeprefix(prefix)} was left in the archive: {why}")
            for name, why in self.archive.left_out
            if name.startswith(prefix)
        ]
        if self.archive.zone is not None:
            text = f"the zip's file times have no time zone; taken as {self.archive.zone}, this host's"
            notes.append(Note("archive-zone", text))
        return notes


def is_archive(name: str) -> bool:
    """Return whether a name is that of an archive."""
    return name.lower().endswith(SUFFIXES)


def open_archive(path: Path, shown: str) -> UnpackedPath:
    """Unpack an archive into a temporary directory and return its top folder.

    Errors: RunDirError when it is damaged, encrypted, or announces or holds more than can be meant.
    """
    log.info("unpacking %s", shown)
    folder = new_folder()
    suffix = max((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), key=len)
    top = folder / (path.name[: -len(suffix)] or "archive")  # the run's name when the archive is one run
    try:
        top.mkdir()
        archive = unpack(path, shown, top)
    except BaseException:
        remove_folder(folder)
        raise
    weakref.finalize(archive, remove_folder, folder)
    return UnpackedPath(archive, top)


def unpack(path: Path, shown: str, top: Path) -> Archive:
    """Write the plain files of an archive below `top`, with their times. Errors: RunDirError as open_archive."""
    folder = _Folder(top, shown, path.stat().st_size)
    try:
        zoneless = _unpack_zip(path, folder) if zipfile.is_zipfile(path) else _unpack_tar(path, folder)
    except DAMAGE as error:
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise RunDirError(f"{shown}: cannot be unpacked: {words}", hint="is it whole? copy it again") from error
    return Archive(shown, top, tuple(folder.left_out), zoneless=zoneless)


class _Folder:
    """Where members are written, within the limits, and which of them were left out."""

    def __init__(self, top: Path, shown: str, archive_bytes: int) -> None:
        self.top, self.shown = top, shown
        self.limit = SMALL + MAX_RATIO * archive_bytes
        self.left_out: list[tuple[str, str]] = []
        self.members = self.announced = 0

    def refusal(self, problem: str, hint: str | None = None) -> RunDirError:
        return RunDirError(f"{self.shown}: {problem}", hint=hint)

    def admit(self, size: int) -> None:
        """Count a member. Errors: RunDirError when that is one too many, or too large."""
        self.members += 1
        self.announced += size
        if self.members > MAX_MEMBERS:
            raise self.refusal(f"has more than {MAX_MEMBERS:,} members", "unpack it yourself")
        if self.announced > self.limit:
            problem = f"unpacks to {self.announced:,} bytes or more, over {MAX_RATIO} times its size"
            raise self.refusal(problem, "unpack it yourself if you trust it")

    def require_room(self, size: int) -> None:
        """Raise RunDirError when the disk has no room for so many bytes."""
        if size > shutil.disk_usage(self.top).free:
            problem = f"unpacks to {size:,} bytes, for which {self.top.parent.parent} has no room"
            raise self.refusal(problem, "set TMPDIR to a larger disk, or unpack it yourself")

    def leave_out(self, name: str, why: str) -> None:
        """Remember a member that stays in the archive."""
        if len(self.left_out) < MAX_LEFT_OUT:
            self.left_out.append((name, why))

    def write(self, name: str, size: int, source: IO[bytes], modified: float) -> None:
        """Write a member whose name stays below the folder. Errors: RunDirError when its size is not as announced."""
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or "\0" in name or ":" in parts[0]:
            return self.leave_out(name, "its name leads out of the archive")
        target = self.top.joinpath(*parts)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            handle = target.open("wb")
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
            return self.leave_out(name, UNWRITABLE[error.errno])
        with handle:
            left = size
            while block := source.read(min(BLOCK, left + 1)):
                left -= len(block)
                if left < 0:
                    raise self.refusal(f"{name} holds more than the {size:,} bytes that it announces")
                handle.write(block)
        if left:
            raise self.refusal(f"{name} is cut short", "copy the archive again")
        with suppress(OverflowError, OSError, ValueError):  # a time that this file system cannot hold
            os.utime(target, (modified, modified))


def _unpack_zip(path: Path, folder: _Folder) -> bool:
    """Unpack a zip and return whether some file time had no time zone."""
    zoneless = False
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            folder.admit(info.file_size)
        folder.require_room(folder.announced)
        for info in archive.infolist():
            name, kind = info.filename.replace("\\", "/"), stat.S_IFMT(info.external_attr >> 16)
            if name.endswith("/"):
                continue
            if info.flag_bits & 1:
                raise folder.refusal(f"{name} is encrypted", "unpack it yourself and import the folder")
            if kind not in (0, stat.S_IFREG):
                folder.leave_out(name, LINK if kind == stat.S_IFLNK else NO_FILE)
                continue
            modified = _unix_time(info.extra)
            if modified is None:
                zoneless, modified = True, 0.0
                with suppress(OverflowError, ValueError):
                    modified = time.mktime((*info.date_time, 0, 0, -1))
            with archive.open(info) as source:
                folder.write(name, info.file_size, source, modified)
    return zoneless


def _unix_time(extra: bytes) -> float | None:
    """Return the file time in seconds since the Unix epoch, which Info-ZIP adds to the local time of all zips.

    Source: the `UT` field of APPNOTE.TXT, 4.5.7 and 4.6.1.
    """
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<2H", extra)
        if kind == 0x5455 and size >= 5 and len(extra) >= 9 and extra[4] & 1:
            return float(struct.unpack_from("<i", extra, 5)[0])
        extra = extra[4 + size :]
    return None


def _unpack_tar(path: Path, folder: _Folder) -> bool:
    with tarfile.open(path, "r:*") as archive:
        for member in archive:
            folder.admit(member.size if member.isreg() else 0)
            if member.isdir():
                continue
            source = archive.extractfile(member) if member.isreg() else None
            if source is None:
                folder.leave_out(member.name, LINK if member.issym() or member.islnk() else NO_FILE)
                continue
            folder.require_room(member.size)
            folder.write(member.name, member.size, source, member.mtime)
    return False
