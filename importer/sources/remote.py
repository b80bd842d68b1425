"""A folder or a file of an object store, over any fsspec filesystem, with few requests.

One `find` fills the filesystem's own cache of listings, and a listing gives the size and the time of every entry.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from typing import Any, BinaryIO, NamedTuple, cast
from urllib.parse import urlsplit

from importer.errors import StoreError, UsageError
from importer.redaction import redact

CHECKPOINT_BLOCK = 64 * 1024  # bytes; a checkpoint is read at its two ends, by a few kB each
BLOCK = 4 * 1024 * 1024  # bytes; all else is read from the first byte to the last, and mostly is smaller
MODIFIED = ("LastModified", "last_modified", "mtime", "updated", "modified", "created")  # as filesystems call it


@dataclass(order=True, unsafe_hash=True)
class ShownPath:
    """A place that is named by the text that it is shown as."""

    shown: str  # as typed, without credentials: s3://bucket/runs/train, runs.zip!train

    def __str__(self) -> str:
        return self.shown

    def as_posix(self) -> str:
        return self.shown

    def is_symlink(self) -> bool:
        return False  # no link is unpacked, and object stores have no links


class RemoteStat(NamedTuple):
    """The part of os.stat_result that is of use here; a time that the filesystem does not give is 0."""

    st_mode: int
    st_size: int
    st_mtime: float


FOLDER = RemoteStat(stat.S_IFDIR, 0, 0.0)


class RemotePath(ShownPath):
    """A place in an object store.

    Errors: FileNotFoundError, NotADirectoryError and IsADirectoryError as a `Path` raises them. Every other failure is
        a StoreError, and no OSError: a run that lost a file to the network must not be taken for one without it.
    """

    def __init__(self, fs: Any, path: str, shown: str, above: RemotePath | None = None) -> None:
        super().__init__(shown)
        self.fs = fs
        self.path = path  # as the filesystem has it: bucket/runs/train
        self.above = above  # the folder that this was reached from, whose listing has its size and time
        self.is_fresh: bool = above is not None and above.is_fresh  # and does not ask the cache of listings
        self.name = path.rpartition("/")[2]

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "listing"}  # it may be of a large tree

    def __truediv__(self, name: str) -> RemotePath:
        first, _, rest = name.partition("/")
        child = RemotePath(self.fs, f"{self.path}/{first}", f"{self.shown}/{first}", self)
        return child / rest if rest else child

    @property
    def parent(self) -> RemotePath:
        if self.above is not None:
            return self.above
        above = self.path.rpartition("/")[0]
        return RemotePath(self.fs, above, self.shown.rpartition("/")[0]) if above else self  # a bucket is its own

    def resolve(self) -> RemotePath:
        return self

    def fresh(self) -> RemotePath:
        """Return the same place, to be asked for again."""
        place = RemotePath(self.fs, self.path, self.shown)
        place.is_fresh = True
        return place

    @cached_property
    def listing(self) -> dict[str, RemoteStat]:
        """Return the entries of a folder by name: a request for each thousand, or none after a `find` of the tree."""
        with reading(self.shown):
            if self.is_fresh:
                self.fs.invalidate_cache(self.path)
            entries = {entry["name"].rstrip("/"): entry for entry in self.fs.ls(self.path, detail=True)}
        if list(entries) == [self.path] and entries[self.path]["type"] == "file":
            raise NotADirectoryError(20, "is a file", self.shown)
        names = {path: path.removeprefix(self.path).strip("/") for path in entries}  # an empty one is the folder's mark
        return {names[path]: _stat_of(entry) for path, entry in entries.items() if names[path]}

    def find(self) -> None:
        """List all that lies below, at one request for a thousand files; the filesystem keeps the listings.

        Errors: FileNotFoundError when there is nothing.
        """
        with reading(self.shown):
            self.fs.invalidate_cache()  # it may have changed since another command of this process
            files = self.fs.find(self.path, detail=True)
        if not files:
            raise FileNotFoundError(2, "no such file or directory", self.shown)
        if list(files) == [self.path]:
            return
        self.listing = {}  # which s3fs does not keep of a bucket
        for path, details in files.items():
            name, slash, below = path.removeprefix(self.path).removeprefix("/").partition("/")
            if name and (below or not slash) and not below.startswith("/"):  # `a/` is a folder's mark
                self.listing.setdefault(name, FOLDER if slash else _stat_of(details))

    def stat(self) -> RemoteStat:
        if self.above is not None:
            if self.name not in self.above.listing:
                raise FileNotFoundError(2, "no such file or directory", self.shown)
            return self.above.listing[self.name]
        with reading(self.shown):
            return _stat_of(self.fs.info(self.path))

    def exists(self) -> bool:
        try:
            return self.stat() is not None
        except (FileNotFoundError, NotADirectoryError):
            return False

    def is_dir(self) -> bool:
        return self.exists() and stat.S_ISDIR(self.stat().st_mode)

    def is_file(self) -> bool:
        return self.exists() and stat.S_ISREG(self.stat().st_mode)

    def iterdir(self) -> Iterator[RemotePath]:
        return (self / name for name in self.listing)

    def open(self, mode: str = "rb") -> BinaryIO:
        """Return its bytes in a buffered file of fsspec, each of whose requests may end in a StoreError."""
        from fsspec.spec import AbstractBufferedFile

        details = self.stat()
        if stat.S_ISDIR(details.st_mode):
            raise IsADirectoryError(21, "is a folder", self.shown)

        def fetch_range(file: Any, start: int, end: int) -> Any:
            with reading(self.shown):
                return self.fs.cat_file(self.path, start=start, end=end)

        kind: Any = type("RemoteFile", (AbstractBufferedFile,), {"_fetch_range": fetch_range})
        block = CHECKPOINT_BLOCK if self.name.endswith(".pt") else BLOCK
        return cast(BinaryIO, kind(self.fs, self.path, block_size=block, size=details.st_size))

    def read_bytes(self) -> bytes:
        with self.open() as handle:
            return handle.read()


def _stat_of(details: Mapping[str, Any]) -> RemoteStat:
    if details["type"] == "directory":
        return FOLDER
    modified = next((details[name] for name in MODIFIED if details.get(name)), 0.0)
    return RemoteStat(stat.S_IFREG, int(details.get("size") or 0), _seconds(modified))


def _seconds(modified: object) -> float:
    """Return a filesystem's time in seconds since the Unix epoch; 0 where it cannot be read."""
    if isinstance(modified, str):
        try:
            modified = datetime.fromisoformat(modified.replace("Z", "+00:00"))
        except ValueError:
            return 0.0
    if isinstance(modified, datetime):
        return (modified if modified.tzinfo is not None else modified.replace(tzinfo=timezone.utc)).timestamp()
    return float(modified) if isinstance(modified, (int, float)) else 0.0


@contextmanager
def reading(shown: str) -> Iterator[None]:
    """Turn the errors of filesystems, which have no common class, into a StoreError that says what was being read."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise
    except Exception as error:
        words = " ".join(redact(str(error) or type(error).__name__).split())
        message = f"{shown}: {words}" if len(words) <= 300 else f"{shown}: {words[:300]} ..."
        if isinstance(error, PermissionError):
            raise StoreError(message, hint="may these credentials list and read it?") from error
        hint = "are the credentials set, and does the endpoint answer? then run the same command again"
        raise StoreError(message, hint=hint, passing=True) from error


def open_remote(url: str) -> RemotePath:
    """Return the place of a URL, without a request.

    Errors: UsageError when the package for its scheme is not installed, or there is no such scheme.
    """
    scheme, shown = url.partition("://")[0], redact(url)
    if scheme in ("s3", "s3a", "gs", "gcs") and "@" in urlsplit(url).netloc:
        raise UsageError(f"{shown}: a bucket's URL takes no login", hint="set AWS_ACCESS_KEY_ID or its like")
    try:
        from fsspec.core import url_to_fs

        fs, path = url_to_fs(url)
    except ImportError as error:
        hint = "pip install fsspec s3fs gcsfs, or what the scheme asks for"
        raise UsageError(f"{shown}: {scheme}:// needs a package", hint=hint) from error
    except ValueError as error:
        hint = "write a path, or a URL such as s3://bucket/runs"
        raise UsageError(f"{shown}: {redact(str(error))}", hint=hint) from error
    if not path.rstrip("/"):
        raise UsageError(f"{shown}: names no bucket", hint="write s3://bucket/runs")
    return RemotePath(fs, path.rstrip("/"), shown.rstrip("/"))
