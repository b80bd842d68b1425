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
from importer.store.sqlite_file import PREFIX, database_file

LOCK_NUMBER = 0x796D6C66  # "ymlf", of PostgreSQL's advisory lock
_in_process = threading.Lock()


@contextmanager
def alone_at_opening(uri: str) -> Iterator[None]:
    """Nobody else who asks for this opens the database meanwhile: on this host for SQLite, anywhere for PostgreSQL.

    Source: mlflow/store/db/utils.py, _initialize_tables; four processes on an empty database, three fail.
    """
    if uri.startswith("sqlite"):
        file = database_file(uri)
        if file is not None:
            _check_file(file)
        with _file_lock(uri):
            if file is not None and not file.exists():
                _make_whole(file, uri.partition("?")[2])
            yield
    elif uri.startswith("postgres"):
        with _advisory_lock(uri):
            yield
    else:
        yield


def _check_file(path: Path) -> None:
    """Errors: StoreError for a database that cannot be opened, which MLflow would try for 100 s."""
    try:
        if path.exists():
            path.open("rb").close()
            return
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise StoreError(
            f"opening the tracking store: {path}: {error.strerror or error}",
            hint="does the folder exist, and may you read and write there?",
        ) from error


def _make_whole(file: Path, query: str) -> None:
    """A SQLite file that is not there yet is made under another name, so that what was killed leaves no half of one.

    Source: mlflow/store/db/utils.py, _initialize_tables; MLflow opens a file that lacks its last migrations no more,
    and `mlflow db upgrade` fails on one that ended amid a migration.
    """
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine_with_retry

    making = file.with_name(f"{file.name}.making")
    _remove(making)  # of an import that was killed; nobody else is here
    try:
        engine = create_sqlalchemy_engine_with_retry(f"{PREFIX}{making}{f'?{query}' if query else ''}")
        try:
            _initialize_tables(engine)
        finally:
            engine.dispose()
        if not file.exists():  # or `mlflow ui` was faster
            making.rename(file)
    finally:
        _remove(making)


def _remove(database: Path) -> None:
    database.with_name(f"{database.name}-journal").unlink(missing_ok=True)
    database.unlink(missing_ok=True)


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
