"""The schema of a database: MLflow would change an older one as it opens it, so ymlf looks first."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from importer.errors import UsageError
from importer.redaction import redact
from importer.store.undocumented import revisions

if TYPE_CHECKING:
    from sqlalchemy import Connection

BOOKKEEPING = "alembic_version"


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
        raise UsageError(
            f"{shown_uri}: a database of other tables, to which MLflow would add its own",
            hint=f"give another with --tracking-uri; `mlflow db upgrade {shown_uri}` makes MLflow's tables there",
        )
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
