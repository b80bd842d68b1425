"""An fsspec filesystem's answers in the terms of a local one: what a listing tells, bytes as asked for, failures."""

from __future__ import annotations

import io
import logging
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any, NamedTuple

from importer.errors import StoreError
from importer.redaction import redact

logging.getLogger("gcsfs").setLevel(logging.ERROR)  # warns of each bucket whose layout these credentials may not see
MODIFIED = ("LastModified", "last_modified", "mtime", "updated", "modified", "created")  # as filesystems call it


class RemoteStat(NamedTuple):
    """What os.stat_result has of use here; a time that the filesystem does not tell is 0."""

    st_mode: int
    st_size: int
    st_mtime: float


FOLDER = RemoteStat(stat.S_IFDIR, 0, 0.0)


class RemoteFile(io.RawIOBase):
    """A file of an object store; each read is one request for just these bytes."""

    def __init__(self, fs: Any, path: str, shown: str, size: int) -> None:
        super().__init__()
        self.fs, self.path, self.shown = fs, path, shown
        self.size, self.at = size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = offset + (0, self.at, self.size)[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def readinto(self, buffer: Any) -> int:
        end = min(self.at + len(buffer), self.size)
        if end <= self.at:
            return 0
        with telling(self.shown):
            content = self.fs.cat_file(self.path, start=self.at, end=end)
        buffer[: len(content)] = content
        self.at += len(content)
        return len(content)


def stat_of(details: Mapping[str, Any]) -> RemoteStat:
    if details["type"] == "directory":
        return FOLDER
    modified = next((details[name] for name in MODIFIED if details.get(name)), 0.0)
    return RemoteStat(stat.S_IFREG, int(details.get("size") or 0), _seconds(modified))


def _seconds(modified: object) -> float:
    """A time as the filesystems tell it, in seconds since the Unix epoch; 0 where it cannot be read."""
    if isinstance(modified, str):
        try:
            modified = datetime.fromisoformat(modified.replace("Z", "+00:00"))
        except ValueError:
            return 0.0
    if isinstance(modified, datetime):
        aware = modified if modified.tzinfo is not None else modified.replace(tzinfo=timezone.utc)
        return aware.timestamp()
    return float(modified) if isinstance(modified, (int, float)) else 0.0


@contextmanager
def telling(shown: str) -> Iterator[None]:
    """Turn what filesystems raise, which has no common class, into a StoreError that says what was being read."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise
    except PermissionError as error:
        raise StoreError(f"{shown}: {_words(error)}", hint="may these credentials list and read it?") from error
    except Exception as error:
        hint = "are the credentials set, and does the endpoint answer? then run the same command again"
        raise StoreError(f"{shown}: {_words(error)}", hint=hint, passing=True) from error


def _words(error: Exception) -> str:
    text = " ".join(redact(str(error) or type(error).__name__).split())
    return text if len(text) <= 300 else text[:300] + " ..."
