"""Imported once by the process that workers of a database are made from: what each of them needs, in silence."""

from __future__ import annotations

from contextlib import suppress

from importer.store.opening import quiet_loggers
from importer.store.variables import set_variables

set_variables()
with suppress(ImportError, ValueError):  # a variable that MLflow cannot read: whoever opens the store tells of it
    import mlflow

    quiet_loggers()  # before Alembic is loaded, and after MLflow, which sets its level
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
