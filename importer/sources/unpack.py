"""The plain files of an archive, written below one folder and nowhere else.

An archive is data from strangers: links and devices stay in it, no member may leave the folder, and neither the number
of the members nor their size may be more than is meant by anyone.
"""

from __future__ import annotations

import errno
import lzma
import os
import shutil
import stat
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from importer.errors import RunDirError

MAX_MEMBERS = 500_000  # a tree of 20,000 runs
MAX_RATIO = 100  # of what it unpacks to: weights and plots hardly shrink, tables to a fifth
SMALL = 64_000_000  # bytes, up to which the ratio does not matter
TOLD = 1_000  # members that were left out and are remembered
BLOCK = 1 << 20
DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, ValueError,
    OverflowError, NotImplementedError, RuntimeError,
)  # fmt: skip


class Unpacked(NamedTuple):
    """What became of an archive's members."""

    left_out: tuple[tuple[str, str], ...]  # (member, why)
    zoneless: bool  # whether some file time was told without a time zone


def unpack(path: Path, shown: str, top: Path) -> Unpacked:
    """Write the plain files of an archive below `top`, with their times.

    Errors: RunDirError when it is damaged or encrypted, announces or holds more than can be meant, or finds no room.
    """
    with _damage(shown):
        if zipfile.is_zipfile(path):
            return _unpack_zip(path, shown, top)
        return _unpack_tar(path, shown, top)


class _Folder:
    """Where members are written, and what of them was not."""

    def __init__(self, top: Path, shown: str, archive_bytes: int) -> None:
        self.top, self.shown = top, shown
        self.limit = SMALL + MAX_RATIO * archive_bytes
        self.left_out: list[tuple[str, str]] = []
        self.members = self.announced = 0

    def admit(self, size: int) -> None:
        """Count a member. Errors: RunDirError when that is one too many, or too large."""
        self.members += 1
        self.announced += size
        if self.members > MAX_MEMBERS:
            raise RunDirError(f"{self.shown}: has more than {MAX_MEMBERS:,} members", hint="unpack it yourself")
        if self.announced > self.limit:
            raise RunDirError(
                f"{self.shown}: unpacks to {self.announced:,} bytes or more, over {MAX_RATIO} times its size",
                hint="unpack it yourself if you trust it",
            )

    def leave_out(self, name: str, why: str) -> None:
        """Remember a member that stays in the archive."""
        if len(self.left_out) < TOLD:
            self.left_out.append((name, why))

    def write(self, name: str, size: int, source: IO[bytes], modified: float) -> None:
        """One member, if its name stays below the folder. Errors: RunDirError when it holds more than it announced."""
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or "\0" in name or ":" in parts[0]:
            self.leave_out(name, "its name leads out of the archive")
            return
        target = self.top.joinpath(*(part for part in parts if part not in ("", ".")))
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            handle = target.open("wb")
        except (NotADirectoryError, FileExistsError, IsADirectoryError):
            self.leave_out(name, "another member has its name")
            return
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            self.leave_out(name, "its name is too long")
            return
        with handle:
            left = size
            while block := source.read(min(BLOCK, left + 1)):
                left -= len(block)
                if left < 0:
                    raise RunDirError(f"{self.shown}: {name} holds more than the {size:,} bytes that it announces")
                handle.write(block)
        if left:
            raise RunDirError(f"{self.shown}: {name} is cut short", hint="copy the archive again")
        with suppress(OverflowError, OSError, ValueError):  # a time that this file system cannot hold
            os.utime(target, (modified, modified))

    def require_room(self, size: int) -> None:
        """Errors: RunDirError when the disk has no room for so many bytes."""
        if size > shutil.disk_usage(self.top).free:
            raise RunDirError(
                f"{self.shown}: unpacks to {size:,} bytes, for which {self.top.parent.parent} has no room",
                hint="set TMPDIR to a larger disk, or unpack it yourself",
            )


def _unpack_zip(path: Path, shown: str, top: Path) -> Unpacked:
    folder = _Folder(top, shown, path.stat().st_size)
    zoneless = False
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        for info in infos:
            folder.admit(info.file_size)
        folder.require_room(folder.announced)
        for info in infos:
            name = info.filename.replace("\\", "/")
            mode = info.external_attr >> 16
            if info.is_dir() or name.endswith("/"):
                continue
            if info.flag_bits & 1:
                raise RunDirError(f"{shown}: {name} is encrypted", hint="unpack it yourself and import the folder")
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                folder.leave_out(name, "it is a link" if stat.S_ISLNK(mode) else "it is no plain file")
                continue
            told = _unix_time(info.extra)
            zoneless |= told is None
            with archive.open(info) as source:
                folder.write(name, info.file_size, source, _local_time(info) if told is None else told)
    return Unpacked(tuple(folder.left_out), zoneless)


def _unix_time(extra: bytes) -> float | None:
    """The file time in seconds since the Unix epoch, which Info-ZIP adds to the even local seconds that all zips have.

    Source: the `UT` field of APPNOTE.TXT, 4.5.7 and 4.6.1.
    """
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<2H", extra)
        if kind == 0x5455 and size >= 5 and len(extra) >= 9 and extra[4] & 1:
            return float(struct.unpack_from("<i", extra, 5)[0])
        extra = extra[4 + size :]
    return None


def _local_time(info: zipfile.ZipInfo) -> float:
    try:
        return time.mktime((*info.date_time, 0, 0, -1))
    except (OverflowError, ValueError):
        return 0.0


def _unpack_tar(path: Path, shown: str, top: Path) -> Unpacked:
    folder = _Folder(top, shown, path.stat().st_size)
    with tarfile.open(path, "r:*") as archive:
        for member in archive:
            folder.admit(member.size if member.isreg() else 0)
            if member.isdir():
                continue
            if not member.isreg():
                is_link = member.issym() or member.islnk()
                folder.leave_out(member.name, "it is a link" if is_link else "it is no plain file")
                continue
            folder.require_room(member.size)
            source = archive.extractfile(member)
            if source is not None:
                folder.write(member.name, member.size, source, member.mtime)
    return Unpacked(tuple(folder.left_out), False)


@contextmanager
def _damage(shown: str) -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise RunDirError(f"{shown}: cannot be unpacked: {words}", hint="is it whole? copy it again") from error
