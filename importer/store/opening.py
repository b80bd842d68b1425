"""A store is opened: by one importer at a time, without MLflow's own words, not waiting for one that is away."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache

from importer.errors import StoreError
from importer.redaction import redact, remember_login
from importer.store.creation import alone_at_opening
from importer.store.failures import store_errors
from importer.store.file_store import how_to_migrate, local_file_store
from importer.store.sqlite_file import database_file
from importer.store.store import EmptyStore, Store
from importer.store.uri import check_uri
from importer.store.variables import LOGGING_LEVEL, check_variables, set_variables

log = logging.getLogger(__name__)

RETRIES, TIMEOUT = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"

PROBE_SECONDS = "5"


def open_store(tracking_uri: str | None = None, *, probe: bool = False) -> Store:
    """The store at a URI, else at MLFLOW_TRACKING_URI, else MLflow's own default, opened and ready for workers.

    With `probe`, a server that does not answer is found out at once, not after all of MLflow's retries.

    Errors: StoreError when it cannot be opened; UsageError for a URI that cannot be meant, or a variable that MLflow
    cannot read.
    """
    load_mlflow()
    import mlflow
    from mlflow import MlflowClient

    uri = tracking_uri or mlflow.get_tracking_uri()
    remember_login(uri)
    check_uri(uri)
    file = database_file(uri)
    is_new = file is not None and not file.exists()
    patience = _impatient() if probe else nullcontext()
    with _refusal_of_a_file_store(uri), store_errors("opening the tracking store"), patience, alone_at_opening(uri):
        store = Store(MlflowClient(uri), uri)
        store.client.search_experiments(max_results=1)
    store.is_new = is_new
    return store


def load_mlflow() -> None:
    """Import MLflow, which takes seconds; its own words, bars and beacons stay out of our output.

    Errors: UsageError for a variable that it cannot read.
    """
    set_variables()
    check_variables()
    from mlflow.environment_variables import MLFLOW_TRACKING_INSECURE_TLS

    if MLFLOW_TRACKING_INSECURE_TLS.get():
        _tell_of_unchecked_tls()
    quiet_loggers()


def quiet_loggers() -> None:
    """What MLflow and its libraries log is told as loud as MLFLOW_LOGGING_LEVEL says, errors only by default."""
    level = os.environ[LOGGING_LEVEL].upper()
    for name in ("mlflow", "alembic", "psycopg", "urllib3"):
        logging.getLogger(name).setLevel(level)
    if level == "ERROR":
        logging.getLogger("mlflow.store.db.utils").setLevel("CRITICAL")  # a traceback for each error, and raises it too


@contextmanager
def _refusal_of_a_file_store(uri: str) -> Iterator[None]:
    """MLflow's many words about a store of files are told in a few, with its own way out of it."""
    try:
        yield
    except StoreError as error:
        folder = local_file_store(uri)
        if folder is None or "MLFLOW_ALLOW_FILE_STORE" not in str(error.__cause__):
            raise
        command, target = how_to_migrate(folder)
        raise StoreError(
            f"{folder}: an old file store, which MLflow no longer opens",
            hint=f"copy it to a database with `{command}`, then give --tracking-uri {target}",
        ) from error


def open_existing_store(tracking_uri: str | None = None, *, required: bool = False) -> Store:
    """The store, to be looked at only: a SQLite file that is not there is not made.

    Errors: StoreError when it cannot be opened, or is `required` and not there; UsageError as open_store.
    """
    load_mlflow()
    import mlflow

    with store_errors("opening the tracking store"):
        uri = tracking_uri or mlflow.get_tracking_uri()
    remember_login(uri)
    check_uri(uri)
    file = database_file(uri)
    if file is not None and not file.exists():
        if required:
            raise StoreError(f"{redact(uri)}: no such file", hint="check --tracking-uri, or import something first")
        return EmptyStore(uri)
    return open_store(uri, probe=True)


@contextmanager
def _impatient() -> Iterator[None]:
    """A server is asked twice at most, and has a few seconds to answer, where the environment gives it no more."""
    kept = {name: os.environ.get(name) for name in (RETRIES, TIMEOUT)}
    os.environ.update({RETRIES: "1", TIMEOUT: kept[TIMEOUT] or PROBE_SECONDS})
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@cache
def _tell_of_unchecked_tls() -> None:
    """Once, in place of urllib3, which tells of it with every request."""
    from urllib3.exceptions import InsecureRequestWarning

    warnings.simplefilter("ignore", InsecureRequestWarning)
    log.warning("MLFLOW_TRACKING_INSECURE_TLS: the server's certificate is not checked, whoever it is")
