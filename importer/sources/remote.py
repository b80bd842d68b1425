"""A folder or a file of an object store, read as a `Path` is: over any fsspec filesystem, with as few requests as do.

A listing tells the size and the time of every entry, so that no entry is asked for again. What a listing told is kept
by the path that it was told to and by the paths taken from there; `fresh` forgets it.
"""

from __future__ import annotations

import io
import stat
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from importer.errors import UsageError
from importer.redaction import redact
from importer.sources.filesystem import FOLDER, RemoteFile, RemoteStat, stat_of, telling

CHECKPOINT_BLOCK = 64 * 1024  # bytes; a checkpoint is read at its two ends, by a few kB each
BLOCK = 4 * 1024 * 1024  # bytes; all else is read from the first byte to the last, and mostly is smaller


class RemotePath:
    """What ymlf asks of a `Path`, of an object store.

    Errors: FileNotFoundError, NotADirectoryError and IsADirectoryError as a `Path` raises them. Whatever else fails is
        a StoreError, and no OSError: a run that lost a file to the network must not be taken for one without it.
    """

    def __init__(self, fs: Any, path: str, shown: str, found: RemoteStat | None = None) -> None:
        self.fs = fs
        self.path = path  # as the filesystem has it: bucket/runs/train
        self.shown = shown  # as typed, without credentials: s3://bucket/runs/train
        self._found = found
        self._entries: dict[str, RemotePath] | None = None
        self._above: RemotePath | None = None  # where a listing has told of both
        self._is_missing = False

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_above": None}  # a process that is sent a directory is not sent the tree

    def __str__(self) -> str:
        return self.shown

    def __repr__(self) -> str:
        return f"RemotePath({self.shown!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and self.shown == other.shown

    def __lt__(self, other: RemotePath) -> bool:
        return self.shown < other.shown

    def __hash__(self) -> int:
        return hash(self.shown)

    def __truediv__(self, name: str) -> RemotePath:
        first, _, rest = name.partition("/")
        child = (self._entries or {}).get(first)
        if child is None:
            child = RemotePath(self.fs, f"{self.path}/{first}", f"{self.shown.rstrip('/')}/{first}")
            child._is_missing = self._is_missing or self._entries is not None
        return child / rest if rest else child

    def joinpath(self, *names: str) -> RemotePath:
        """The place below."""
        return self / "/".join(names) if names else self

    @property
    def name(self) -> str:
        """The last part."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def suffix(self) -> str:
        """The last part's, with its dot."""
        stem, dot, last = self.name.rpartition(".")
        return dot + last if stem else ""

    @property
    def parent(self) -> RemotePath:
        """The folder that it is in; a bucket is its own."""
        if self._above is not None:
            return self._above
        above, slash, _ = self.path.rpartition("/")
        return RemotePath(self.fs, above, self.shown.rpartition("/")[0]) if slash and above else self

    def as_posix(self) -> str:
        """As shown."""
        return self.shown

    def resolve(self) -> RemotePath:
        """Itself: object stores have no links."""
        return self

    def is_symlink(self) -> bool:
        """False: object stores have no links."""
        return False

    def fresh(self) -> RemotePath:
        """The same place, to be asked for anew."""
        return RemotePath(self.fs, self.path, self.shown)

    def stat(self) -> RemoteStat:
        """Its kind, size and time."""
        if self._is_missing:
            raise FileNotFoundError(2, "no such file or directory", self.shown)
        if self._found is None:
            with telling(self.shown):
                self._found = stat_of(self.fs.info(self.path))
        return self._found

    def exists(self) -> bool:
        """Whether there is a file of that name, or a folder with something in it."""
        try:
            return self.stat() is not None
        except FileNotFoundError:
            return False

    def is_dir(self) -> bool:
        """Whether there is a folder of that name."""
        return self.exists() and stat.S_ISDIR(self.stat().st_mode)

    def is_file(self) -> bool:
        """Whether there is a file of that name."""
        return self.exists() and stat.S_ISREG(self.stat().st_mode)

    def iterdir(self) -> Iterator[RemotePath]:
        """What the folder holds; one request for a thousand entries, and none where they are known."""
        if self._is_missing:
            raise FileNotFoundError(2, "no such file or directory", self.shown)
        if self._entries is None:
            with telling(self.shown):
                listed = self.fs.ls(self.path, detail=True)
            if [entry["name"].rstrip("/") for entry in listed] == [self.path] and listed[0]["type"] == "file":
                raise NotADirectoryError(20, "is a file", self.shown)
            self._entries = {}
            for entry in listed:
                self._add(entry["name"].rstrip("/").removeprefix(self.path).lstrip("/"), stat_of(entry))
        return iter(list(self._entries.values()))

    def with_tree(self) -> RemotePath:
        """The folder with all that lies below it, at one request for a thousand files.

        Errors: FileNotFoundError when there is nothing.
        """
        with telling(self.shown):
            found = self.fs.find(self.path, detail=True)
        if not found:
            raise FileNotFoundError(2, "no such file or directory", self.shown)
        top = self.fresh()
        if list(found) == [self.path]:
            top._found = stat_of(found[self.path])
            return top
        top._found, top._entries = FOLDER, {}
        for path, details in found.items():
            below = path.removeprefix(self.path).lstrip("/")
            if below and not below.endswith("/"):
                top._add(below, stat_of(details))
        return top

    def _add(self, below: str, found: RemoteStat) -> None:
        """Keep an entry that a listing told, and the folders that lead to it."""
        folder = self
        *above, name = below.split("/")
        if "" in above or not name:
            return  # `a//b` is an object of its own that no folder leads to, and `a/` a folder's mark
        for part in above:
            folder = folder._child(part, FOLDER)
        folder._child(name, found)

    def _child(self, name: str, found: RemoteStat) -> RemotePath:
        if self._entries is None:
            self._entries = {}
        if name not in self._entries:
            child = RemotePath(self.fs, f"{self.path}/{name}", f"{self.shown.rstrip('/')}/{name}", found)
            child._above = self
            self._entries[name] = child
        return self._entries[name]

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """Its bytes, fetched as they are asked for. Only `rb`."""
        found = self.stat()
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(21, "is a folder", self.shown)
        block = CHECKPOINT_BLOCK if self.suffix == ".pt" else BLOCK
        raw = RemoteFile(self.fs, self.path, self.shown, found.st_size)
        return io.BufferedReader(raw, min(block, max(1, found.st_size)))

    def read_bytes(self) -> bytes:
        """All its bytes."""
        with self.open() as handle:
            return handle.read()


def open_remote(url: str) -> RemotePath:
    """The place of a URL. Nothing is asked yet.

    Errors: UsageError when the package for its scheme is not installed, or there is none.
    """
    scheme = url.partition("://")[0]
    shown = redact(url)
    if scheme in ("s3", "s3a", "gs", "gcs") and "@" in urlsplit(url).netloc:
        raise UsageError(f"{shown}: a bucket's URL takes no login", hint="set AWS_ACCESS_KEY_ID or its like")
    try:
        from fsspec.core import url_to_fs

        fs, path = url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        raise UsageError(
            f"{shown}: {scheme}:// needs a package", hint="pip install fsspec s3fs gcsfs, or what the scheme asks for"
        ) from error
    except ValueError as error:
        hint = "write a path, or a URL such as s3://bucket/runs"
        raise UsageError(f"{shown}: {redact(str(error))}", hint=hint) from error
    path = path.rstrip("/")
    if not path:
        raise UsageError(f"{shown}: names no bucket", hint="write s3://bucket/runs")
    return RemotePath(fs, path, shown.rstrip("/"))
