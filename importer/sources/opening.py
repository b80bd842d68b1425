"""What the user typed -> the places to read: local paths, URLs of object stores, and archives."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit
from urllib.request import url2pathname

from importer.errors import RunDirError
from importer.model import RunPath
from importer.redaction import redact
from importer.sources.archive import UnpackedPath, is_archive, open_archive
from importer.sources.remote import RemotePath, open_remote
from importer.sources.scratch import temporary_folder

PathLike = str | os.PathLike[str] | RunPath  # a local path, a URL such as s3://bucket/runs, or an archive
COPY_BLOCK = 8 * 1024 * 1024  # bytes of a remote file that one request fetches


def as_paths(paths: PathLike | Iterable[PathLike]) -> list[PathLike]:
    """Return one path or several as a list of paths."""
    if isinstance(paths, (str, os.PathLike)) or hasattr(paths, "fs"):
        return [cast(PathLike, paths)]
    return list(cast("Iterable[PathLike]", paths))


def open_source(source: PathLike) -> RunPath:
    """Return the place that a path or URL names; an archive is unpacked, for as long as a path into it is kept.

    Errors: RunDirError for an archive that cannot be unpacked; UsageError for a URL that cannot be read from here;
        StoreError when a remote archive cannot be fetched.
    """
    if isinstance(source, (RemotePath, UnpackedPath)):
        return source
    if hasattr(source, "fs") and hasattr(source, "path"):  # a UPath, with the login that it was made with
        return _remote(RemotePath(source.fs, source.path.rstrip("/"), redact(str(source)).rstrip("/")))
    text = str(source)
    if isinstance(source, str) and "://" in text:
        parts = urlsplit(text)
        if parts.scheme != "file":
            return _remote(open_remote(text))
        text = url2pathname(parts.path)
    path = Path(text)
    return open_archive(path, text) if is_archive(path.name) and path.is_file() else path


def _remote(place: RemotePath) -> RunPath:
    if not is_archive(place.name) or not place.is_file():
        return place
    with temporary_folder() as folder:
        local = folder / place.name
        fetch(place, local)
        return open_archive(local, place.shown)


def local_file(place: RunPath) -> Path | None:
    """Return the file on a disk of this host, or None where it has to be fetched."""
    if isinstance(place, UnpackedPath):
        return place.local
    return place if isinstance(place, Path) else None


def fetch(place: RunPath, local: Path) -> None:
    """Copy a file to a local one, a block at a time. Errors: OSError, StoreError."""
    with place.open("rb") as source, local.open("wb") as target:
        shutil.copyfileobj(source, target, COPY_BLOCK)


def identity_of(place: RunPath) -> str:
    """Return a text that two paths to one directory share: the real path, or the URL."""
    local = local_file(place)
    return str(place) if local is None else os.path.realpath(local)


def place_of(save_dir: str) -> str:
    """Return where a directory lies, the same however it was given: `host:/absolute/path`, or its URL."""
    return save_dir if "://" in save_dir else f"{socket.gethostname()}:{os.path.realpath(save_dir)}"


def is_within(place: RunPath, folder: RunPath) -> bool:
    """Return whether a place below a folder is really there, and no link has led out of it."""
    if local_file(place) is None:
        return True
    return identity_of(place).startswith(identity_of(folder) + os.sep)


def fresh(place: RunPath) -> RunPath:
    """Return the place without what was listed of it: it may have changed since.

    Errors: RunDirError when it was unpacked from an archive on another host.
    """
    if isinstance(place, UnpackedPath) and not place.archive.top.exists():
        raise RunDirError(
            f"{place}: was unpacked on another host",
            hint="unpack it where every worker can read it, or leave --dask out",
        )
    return place.fresh() if isinstance(place, RemotePath) else place


def absolute(place: RunPath) -> RunPath:
    """Return the place as a process with another working directory finds it."""
    return place.absolute() if isinstance(place, Path) else place


def below(save_dir: str, root: str) -> str | None:
    """Return the part of a shown path after its root: `.` for the root itself, None where it is not below."""
    if save_dir.startswith(f"{root}!"):
        return save_dir[len(root) + 1 :]
    try:
        return Path(save_dir).relative_to(root).as_posix()
    except ValueError:
        return None
