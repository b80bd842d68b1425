"""What the user typed -> the places to read: local paths, URLs of object stores, and archives.

A local path is a `pathlib.Path`. The others, `RemotePath` and `UnpackedPath`, are read in the same way and so stand
where a `Path` is asked for.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit
from urllib.request import url2pathname

from importer.errors import RunDirError
from importer.redaction import redact
from importer.sources.archive import UnpackedPath, is_archive, open_archive
from importer.sources.remote import RemotePath, open_remote

PathLike = str | os.PathLike[str]  # a local path, a URL such as s3://bucket/runs, or an archive
COPY_BLOCK = 8 * 1024 * 1024  # bytes of a remote file that one request fetches


def as_paths(paths: PathLike | Iterable[PathLike]) -> list[PathLike]:
    """Return one path or several as a list of paths."""
    if isinstance(paths, (str, os.PathLike)) or hasattr(paths, "fs"):
        return [cast(PathLike, paths)]
    return list(paths)


def open_source(given: str | os.PathLike[str]) -> Path:
    """The place that a path or URL names; an archive is unpacked, for as long as a path into it is kept.

    Errors: RunDirError for an archive that cannot be unpacked; UsageError for a URL that cannot be read from here;
        StoreError when a remote archive cannot be fetched.
    """
    if isinstance(given, (RemotePath, UnpackedPath)):
        return cast(Path, given)
    if hasattr(given, "fs") and hasattr(given, "path"):  # a UPath, with the login that it was made with
        return _remote(RemotePath(given.fs, given.path.rstrip("/"), redact(str(given)).rstrip("/")))
    text = str(given)
    if isinstance(given, str) and "://" in text:
        parts = urlsplit(text)
        if parts.scheme != "file":
            return _remote(open_remote(text))
        text = url2pathname(parts.path)
    path = Path(text)
    return cast(Path, open_archive(path, text)) if is_archive(path.name) and path.is_file() else path


def _remote(place: RemotePath) -> Path:
    if not is_archive(place.name) or not place.is_file():
        return cast(Path, place)
    with tempfile.TemporaryDirectory(prefix="ymlf-") as folder:
        local = Path(folder) / place.name
        fetch(cast(Path, place), local)
        return cast(Path, open_archive(local, place.shown))


def local_file(place: Path) -> Path | None:
    """The file on a disk of this host, or None where it has to be fetched."""
    if isinstance(place, UnpackedPath):
        return place.local
    return place if isinstance(place, Path) else None


def fetch(place: Path, local: Path) -> None:
    """Copy a file to a local one, in memory for few bytes at a time. Errors: OSError, StoreError."""
    with place.open("rb") as source, local.open("wb") as target:
        while block := source.read(COPY_BLOCK):
            target.write(block)


def identity_of(place: Path) -> str:
    """A text that two paths to one directory share: the real path, or the URL."""
    return os.path.realpath(place) if hasattr(place, "__fspath__") else str(place)


def place_of(save_dir: str) -> str:
    """Return where a directory lies, the same however it was given: `host:/absolute/path`, or its URL."""
    return save_dir if "://" in save_dir else f"{socket.gethostname()}:{os.path.realpath(save_dir)}"


def is_within(place: Path, folder: Path) -> bool:
    """Whether a place below a folder is there in truth, too, and no link has led out of it."""
    return not hasattr(place, "__fspath__") or os.path.realpath(place).startswith(os.path.realpath(folder) + os.sep)


def fresh(place: Path) -> Path:
    """The place without what was listed of it: it may have changed since.

    Errors: RunDirError when it was unpacked from an archive on another host.
    """
    if isinstance(place, UnpackedPath) and not place.archive.top.exists():
        raise RunDirError(
            f"{place}: was unpacked on another host",
            hint="unpack it where every worker can read it, or leave --dask out",
        )
    return cast(Path, place.fresh()) if isinstance(place, RemotePath) else place


def absolute(place: Path) -> Path:
    """The place as a process with another working directory finds it."""
    return place.absolute() if isinstance(place, Path) else place


def below(save_dir: str, root: str) -> str | None:
    """The part of a shown path that comes after its root, `.` for the root itself, None where it is not below."""
    if save_dir.startswith(f"{root}!"):
        return save_dir[len(root) + 1 :]
    try:
        return Path(save_dir).relative_to(root).as_posix()
    except ValueError:
        return None
