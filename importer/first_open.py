"""One importer at a time makes a database's tables: MLflow's migrations fail when two run at once."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from importer.errors import StoreError

LOCK_NUMBER = 0x796D6C66  # "ymlf", of PostgreSQL's advisory lock
_in_process = threading.Lock()


@contextmanager
def alone_at_opening(uri: str) -> Iterator[None]:
    """Nobody else who asks for this opens the database meanwhile: on this host for SQLite, anywhere for PostgreSQL.

    Source: mlflow/store/db/utils.py, _initialize_tables; four processes on an empty database, three fail.
    """
    if uri.startswith("sqlite"):
        _check_file(uri.partition("?")[0].removeprefix("sqlite:///"))
        with _file_lock(uri):
            yield
    elif uri.startswith("postgres"):
        with _advisory_lock(uri):
            yield
    else:
        yield


def _check_file(name: str) -> None:
    """Errors: StoreError for a database that cannot be opened, which MLflow would try for 100 s."""
    if not name or name.startswith((":", "file:", "sqlite:")):
        return
    path = Path(name)
    try:
        if path.exists():
            path.open("rb").close()
            return
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise StoreError(
            f"opening the tracking store: {name}: {error.strerror or error}",
            hint="does the folder exist, and may you read and write there?",
        ) from error


@contextmanager
def _file_lock(uri: str) -> Iterator[None]:
    """One byte of this user's one lock file, which stays; the byte is the database's own."""
    try:
        import fcntl
    except ImportError:  # Windows: SQLite's own lock has to do
        yield
        return
    path = os.path.realpath(uri.partition("///")[2])
    byte = int.from_bytes(hashlib.sha256(path.encode()).digest()[:7], "big")
    lock = Path(tempfile.gettempdir()) / f"ymlf-{os.getuid()}.lock"
    with _in_process:  # a process does not lock itself out, and loses its locks when it closes the file anywhere
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX, 1, byte)
            yield
        finally:
            os.close(handle)


@contextmanager
def _advisory_lock(uri: str) -> Iterator[None]:
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    engine = create_engine(uri, poolclass=NullPool)
    with engine.connect() as connection:  # the lock ends with the connection
        connection.execute(text("SELECT pg_advisory_lock(:number)"), {"number": LOCK_NUMBER})
        yield
