"""Opens a store: by one importer at a time, and without a long wait for a server that does not answer."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from importlib.metadata import entry_points
from pathlib import Path

from importer.errors import StoreError, UsageError
from importer.redaction import redact, remember_login
from importer.store.database import alone_at_opening, has_tables
from importer.store.failures import retry, store_errors
from importer.store.store import EmptyStore, Store
from importer.store.undocumented import import_database_store
from importer.store.uri import check_uri, database_file, how_to_migrate, is_database, local_file_store

log = logging.getLogger(__name__)

PROBE_SECONDS = 5  # unless MLFLOW_HTTP_REQUEST_TIMEOUT is set
WANTED = {int: "a whole number", float: "a number", bool: "true or false"}
LOGGING_LEVEL = "MLFLOW_LOGGING_LEVEL"
OURS = {
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_HTTP_POOL_MAXSIZE": "64",  # connections kept open; MLflow's 10 are fewer than an import's threads use
    LOGGING_LEVEL: "ERROR",
}
DATABASE_LOGGER = "mlflow.store.db.utils"  # logs a traceback of each error, and raises it too


def open_store(tracking_uri: str | None = None, *, probe: bool = False) -> Store:
    """Open the store at a URI, else at MLFLOW_TRACKING_URI, else at MLflow's own default.

    With `probe`, a server that does not answer is found out at once, not after all of MLflow's retries.

    Errors: StoreError when it cannot be opened; UsageError for a URI that cannot be meant, a variable that MLflow
        cannot read, or a database that MLflow would upgrade.
    """
    return _open(_resolve(tracking_uri), probe=probe, is_checked=False)


def _open(uri: str, *, probe: bool, is_checked: bool) -> Store:
    from mlflow import MlflowClient

    file = database_file(uri)
    is_new = file is not None and not file.exists()
    with _misuse(uri):
        answers = probe and uri.startswith(("http://", "https://")) and retry(partial(_answers, uri))
        with store_errors("opening the tracking store"), alone_at_opening(uri):
            if is_database(uri) and not is_new and not is_checked:
                has_tables(uri)
            store = Store(MlflowClient(uri), uri)
            if not answers:
                store.client.search_experiments(max_results=1)
    store.is_new = is_new
    return store


def open_existing_store(tracking_uri: str | None = None, *, required: bool = False) -> Store:
    """Open a store to look at it: neither a SQLite file that does not exist nor tables in an empty database are made.

    Errors: StoreError when it cannot be opened; UsageError as open_store, or when it is `required` and missing.
    """
    uri = _resolve(tracking_uri)
    file = database_file(uri)
    exists = file is None or file.exists()
    with _misuse(uri), store_errors("opening the tracking store"):
        if exists and (not is_database(uri) or has_tables(uri)):
            return _open(uri, probe=True, is_checked=True)
    if required:
        lack = "holds no tables yet" if exists else "no such file"
        raise UsageError(f"{redact(uri)}: {lack}", hint="check --tracking-uri, or import something first")
    return EmptyStore(uri)


def _resolve(tracking_uri: str | None) -> str:
    """Import MLflow, which takes seconds, and return the URI of the store that is meant."""
    check_variables()
    import mlflow

    with store_errors("opening the tracking store"):
        uri = tracking_uri or str(mlflow.get_tracking_uri())
    remember_login(uri)
    check_uri(uri)
    if not uri.startswith(("http://", "https://")):
        try:
            import_database_store()
        except ImportError as error:  # of MLflow 3.7 to 3.14 with SQLAlchemy 2.1
            raise UsageError(
                f"MLflow {mlflow.__version__} cannot be imported with the SQLAlchemy that is installed: {error}",
                hint="pip install 'sqlalchemy<2.1', or a newer MLflow: 3.15 and later take SQLAlchemy 2.1",
            ) from error
    return uri


def _answers(uri: str) -> bool:
    """Ask a server once; return True if it answers as MLflow's does, False where MLflow has to ask itself.

    Errors: StoreError when it does not answer in time, is busy, or does not know the login; UsageError when it is
        another web server.
    Source: mlflow/utils/credentials.py, get_default_host_creds; rest_utils.py, http_request.
    """
    import requests
    from mlflow import environment_variables as known

    name, password = known.MLFLOW_TRACKING_USERNAME.get(), known.MLFLOW_TRACKING_PASSWORD.get()
    token = known.MLFLOW_TRACKING_TOKEN.get()
    is_patient = known.MLFLOW_HTTP_REQUEST_TIMEOUT.is_set()
    is_unchecked = known.MLFLOW_TRACKING_INSECURE_TLS.get()
    with store_errors("opening the tracking store"):
        answer = requests.post(
            f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/search",
            json={"max_results": 1},
            auth=(name.encode(), password.encode()) if name and password else None,
            headers={"Authorization": f"Bearer {token}"} if token and not (name and password) else None,
            verify=False if is_unchecked else known.MLFLOW_TRACKING_SERVER_CERT_PATH.get() or True,
            cert=known.MLFLOW_TRACKING_CLIENT_CERT_PATH.get(),
            timeout=known.MLFLOW_HTTP_REQUEST_TIMEOUT.get() if is_patient else PROBE_SECONDS,
        )
        if answer.status_code in (401, 429) or (answer.status_code >= 500 and answer.status_code != 501):
            if answer.status_code == 401 and _has_other_login():
                return False
            answer.raise_for_status()
    kind = answer.headers.get("Content-Type", "nothing")
    if "json" not in kind and answer.status_code != 403 and not _has_other_login():
        message = f"{redact(uri)}: is no MLflow server: it answers {answer.status_code} with {kind.partition(';')[0]}"
        raise UsageError(message, hint="check the host, the port and the path of --tracking-uri")
    return answer.ok and "json" in kind


def _has_other_login() -> bool:
    """Return whether MLflow may log in by a file, a signature or a plugin, which the probe does not know."""
    return bool(
        os.environ.get("MLFLOW_TRACKING_AUTH")
        or os.environ.get("MLFLOW_TRACKING_AWS_SIGV4")
        or Path("~/.mlflow/credentials").expanduser().exists()
        or entry_points(group="mlflow.request_header_provider")
    )


@contextmanager
def _misuse(uri: str) -> Iterator[None]:
    """Raise a UsageError where a driver is missing, a URL wrong or a file no database: a retry cannot help.

    Of a store of files, which MLflow no longer opens, name its own way out in few words.
    """
    try:
        yield
    except StoreError as error:
        from mlflow.exceptions import InvalidUrlException
        from requests.exceptions import InvalidURL
        from sqlalchemy.exc import ArgumentError, DatabaseError

        cause, folder = error.__cause__, local_file_store(uri)
        if folder is not None and "MLFLOW_ALLOW_FILE_STORE" in str(cause):
            command, target = how_to_migrate(folder)
            hint = f"copy it to a database with `{command}`, then give --tracking-uri {target}"
            raise UsageError(f"{folder}: an old file store, which MLflow no longer opens", hint=hint) from error
        is_no_database = type(cause) is DatabaseError  # its subclasses are what a database says
        if not (is_no_database or isinstance(cause, (ImportError, ArgumentError, InvalidURL, InvalidUrlException))):
            raise
        problem = error.message.removeprefix("opening the tracking store: ")
        hint = error.hint or "check the host and the port"
        raise UsageError(f"--tracking-uri {redact(uri)}: {problem}", hint=hint) from error


def check_variables() -> None:
    """Check that MLflow can read each of its variables that is set; it would raise a bare ValueError amid the work.

    Errors: UsageError that names the first one that it cannot read.
    Source: mlflow/environment_variables.py, _EnvironmentVariable.get.
    """
    level = os.environ.get(LOGGING_LEVEL, "ERROR")
    if not isinstance(logging.getLevelName(level.upper()), int):  # at which `import mlflow` would fail
        raise _wrong(LOGGING_LEVEL, level, "DEBUG, INFO, WARNING, ERROR or CRITICAL")
    try:
        from mlflow import environment_variables as known
    except ValueError as error:
        raise UsageError(str(error), hint="set that variable right, or unset it") from error
    for variable in vars(known).values():
        if str(getattr(variable, "name", "")) not in os.environ:
            continue
        try:
            variable.get()
        except ValueError as error:
            wanted = WANTED.get(variable.type, "what MLflow's documentation asks for")
            raise _wrong(variable.name, os.environ[variable.name], wanted) from error
    if known.MLFLOW_TRACKING_INSECURE_TLS.get():
        _warn_of_unchecked_tls()


def _wrong(name: str, value: str, wanted: str) -> UsageError:
    return UsageError(f"{name}={value}: MLflow cannot read that", hint=f"give {wanted}, or unset the variable")


@cache
def _warn_of_unchecked_tls() -> None:
    log.warning("MLFLOW_TRACKING_INSECURE_TLS: the server's certificate is not checked")


def quiet_mlflow() -> None:
    """Keep MLflow's words, bars and beacons out of a process of ymlf's own, before MLflow is imported there."""
    for name, value in OURS.items():
        os.environ.setdefault(name, value)
    level = os.environ[LOGGING_LEVEL].upper()
    if isinstance(logging.getLevelName(level), int):
        for name in ("gcsfs", "psycopg", "urllib3"):
            logging.getLogger(name).setLevel(level)
    for name in ("alembic.runtime.migration", "alembic.runtime.plugins", DATABASE_LOGGER):
        logging.getLogger(name).addFilter(_is_wanted)  # a level would be lost when MLflow 3.7 sets its own
    warnings.filterwarnings("ignore", "Unverified HTTPS request")  # comes with each request, and was said once


def _is_wanted(record: logging.LogRecord) -> bool:
    level = os.environ.get(LOGGING_LEVEL, "ERROR").upper()
    return record.levelno >= logging.getLevelName(level) and not (record.name == DATABASE_LOGGER and level == "ERROR")
