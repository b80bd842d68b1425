"""The tables of a database: one importer at a time has MLflow make them, and none lets it change older ones.

MLflow's migrations fail when two run at once, and it changes an older schema as it opens it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from importer.errors import StoreError, UsageError
from importer.redaction import redact
from importer.store.undocumented import revisions
from importer.store.uri import PREFIX, database_file

if TYPE_CHECKING:
    from sqlalchemy import Connection

LOCK_NUMBER = 0x796D6C66  # "ymlf", of PostgreSQL's advisory lock
BOOKKEEPING = "alembic_version"
_in_process = threading.Lock()


@contextmanager
def alone_at_opening(uri: str) -> Iterator[None]:
    """Keep other importers from opening a database: those of this host for SQLite, of any host for PostgreSQL.

    Errors: StoreError for a SQLite file that cannot be opened, which MLflow would try for 100 s.
    Source: mlflow/store/db/utils.py, _initialize_tables; of four processes on an empty database, three fail.
    """
    file = database_file(uri)
    lock: AbstractContextManager[None] = nullcontext()
    if file is not None:
        _check_file(file)
        lock = _file_lock(file)
    elif uri.startswith("postgres"):
        lock = _advisory_lock(uri)
    with lock:
        if file is not None and not file.exists() and os.name != "nt":  # Windows does not rename an open file
            _make_whole(file, uri.partition("?")[2])
        yield


def _check_file(path: Path) -> None:
    try:
        if path.exists():
            path.open("rb").close()
            return
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        hint = "does the folder exist, and may you read and write there?"
        raise StoreError(f"opening the tracking store: {path}: {error.strerror or error}", hint=hint) from error


def _make_whole(file: Path, query: str) -> None:
    """Make a SQLite store under another name and rename it, so that a kill leaves no half of one.

    MLflow does not open a file that lacks its last migrations, and `mlflow db upgrade` fails on one that ended amid a
    migration.
    """
    from mlflow import MlflowClient

    making = file.absolute().with_name(f"{file.name}.making")
    _remove(making)  # of an import that was killed
    try:
        MlflowClient(f"{PREFIX}{making}{f'?{query}' if query else ''}").search_experiments(max_results=1)
        if making.exists() and not file.exists():  # or `mlflow ui` was faster
            making.rename(file)
    finally:
        _remove(making)


def _remove(database: Path) -> None:
    database.with_name(f"{database.name}-journal").unlink(missing_ok=True)
    database.unlink(missing_ok=True)


@contextmanager
def _file_lock(file: Path) -> Iterator[None]:
    """Lock one byte, which the database's path chooses, of a lock file that a user has for all databases."""
    try:
        import fcntl
    except ImportError:  # Windows: SQLite's own lock has to do
        yield
        return
    byte = int.from_bytes(hashlib.sha256(os.path.realpath(file).encode()).digest()[:7], "big")
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

    with create_engine(uri, poolclass=NullPool).connect() as connection:  # the lock ends with the connection
        connection.execute(text("SELECT pg_advisory_lock(:number)"), {"number": LOCK_NUMBER})
        yield


def has_tables(uri: str) -> bool:
    """Return whether a database has tables, which are then those of this MLflow.

    Errors: UsageError where MLflow would upgrade the schema, or refuse it; SQLAlchemyError of SQLite and PostgreSQL.
    Source: mlflow/store/db/utils.py, 3.17: a missing table makes it upgrade, without one another revision is refused.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    passed_over = () if uri.startswith(("sqlite", "postgresql")) else (SQLAlchemyError,)
    with suppress(*passed_over), create_engine(uri, poolclass=NullPool).connect() as connection:  # MySQL may want TLS
        return _has_tables(connection, redact(uri))
    return True


def _has_tables(connection: Connection, shown_uri: str) -> bool:
    import mlflow
    from alembic.migration import MigrationContext
    from sqlalchemy import inspect

    tables = set(inspect(connection).get_table_names()) - {BOOKKEEPING}
    if not tables:
        return False
    found = MigrationContext.configure(connection).get_current_heads()
    newest, known = revisions()
    if not newest or set(found) == newest:
        return True
    this = f"MLflow {mlflow.__version__}"
    shown = ", ".join(found)
    if not found and "experiments" not in tables:
        hint = f"give another with --tracking-uri; `mlflow db upgrade {shown_uri}` makes MLflow's tables there"
        raise UsageError(f"{shown_uri}: a database of other tables, to which MLflow would add its own", hint=hint)
    if known.issuperset(found):
        raise UsageError(
            f"{shown_uri}: has the schema of an older MLflow ({shown}), which {this} would upgrade to its own"
            f" ({', '.join(newest)}) or refuse",
            hint=f"back it up and run `mlflow db upgrade {shown_uri}`, or use the MLflow that made it",
        )
    raise UsageError(
        f"{shown_uri}: has a schema ({shown}) that {this} does not know; a newer MLflow made it",
        hint="pip install --upgrade mlflow, in the environment of ymlf; or import through a server of that MLflow",
    )
