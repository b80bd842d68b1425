"""An opened MLflow store: its client, its experiments, and its failures in plain words."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from importer.callbacks import FORMER_EXPERIMENT
from importer.errors import StoreError, YmlfError
from importer.first_open import alone_at_opening
from importer.patience import Patient
from importer.redaction import redact, redact_exception, remember_login

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

RETRIES, TIMEOUT = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"
PROBE_SECONDS = "5"
PAUSE_SECONDS = (0.5, 2.0)  # before a call is made once more: at random, so that not all come back at once
LONGEST = 400  # signs of what MLflow said
HTTP_CONNECTIONS = 64  # kept open; MLflow's 10 are fewer than an import's threads use
COLLISIONS = ("IntegrityError", "UniqueViolation")  # what the drivers of SQLite and MySQL say, and that of PostgreSQL

Result = TypeVar("Result")


class Store:
    """A tracking store that answers. Errors of every call made under `failures` are StoreErrors."""

    def __init__(self, client: MlflowClient, uri: str) -> None:
        self.uri = uri
        self.is_server = uri.startswith(("http://", "https://"))
        self.client: MlflowClient = cast("MlflowClient", Patient(client)) if self.is_server else client
        self.is_sqlite = uri.startswith("sqlite")
        self.is_database = not self.is_server and "://" in uri and not uri.startswith("file:")
        self.is_new = False  # a SQLite file that was made just now
        self._experiments: dict[str, str] = {}
        self._foreign: dict[str, bool] = {}
        self._former: dict[str, str | None] = {}
        self._knows_null = True
        self._lock = threading.Lock()

    @property
    def shown_uri(self) -> str:
        """The URI without credentials, for people to read."""
        return redact(self.uri)

    def experiment_id(self, name: str, artifact_location: str | None = None, *, create: bool = True) -> str | None:
        """The id of an experiment, made if there is none; None where there is none and `create` is False.

        Errors: StoreError when an experiment of that name was deleted, or needs an artifact location.
        """
        from mlflow.exceptions import MlflowException

        with self._lock:
            if name in self._experiments:
                return self._experiments[name]
            with failures(f"experiment {name!r}"):
                found = self.client.get_experiment_by_name(name)
                if found is None and create:
                    self._require_location(name, artifact_location)
                    try:
                        self._experiments[name] = self.client.create_experiment(name, artifact_location)
                        return self._experiments[name]
                    except MlflowException as error:
                        if error.error_code != "RESOURCE_ALREADY_EXISTS":
                            raise
                        found = self.client.get_experiment_by_name(name)  # another importer was first
            if found is None:
                return None
            if found.lifecycle_stage != "active":
                raise StoreError(
                    f"{self.shown_uri}: experiment {name!r} was deleted",
                    hint=f"`mlflow experiments restore --experiment-id {found.experiment_id}`, or choose another "
                    "with --experiment",
                )
            self._experiments[name] = str(found.experiment_id)
            return self._experiments[name]

    def _require_location(self, name: str, artifact_location: str | None) -> None:
        if self.is_database and not self.is_sqlite and artifact_location is None:
            raise StoreError(
                f"{self.shown_uri}: experiment {name!r} is new, and a database does not say where artifacts belong",
                hint="give --artifact-location, such as s3://bucket/path; MLflow's default is ./mlruns of this host",
            )

    def former_experiment_id(self) -> str | None:
        """The id of the experiment that live logged to by default in older releases, if there is one; asked once."""
        with self._lock:
            if FORMER_EXPERIMENT not in self._former:
                found = self.client.get_experiment_by_name(FORMER_EXPERIMENT)
                here = found is not None and found.lifecycle_stage == "active"
                self._former[FORMER_EXPERIMENT] = str(found.experiment_id) if here else None
            return self._former[FORMER_EXPERIMENT]

    def may_hold_live_runs(self, experiment_id: str) -> bool:
        """Whether an experiment had runs that ymlf did not write when this was first asked."""
        with self._lock:
            if experiment_id not in self._foreign:
                self._foreign[experiment_id] = bool(self.search_foreign(experiment_id, max_results=1))
            return self._foreign[experiment_id]

    def search_foreign(self, experiment_id: str, condition: str | None = None, *, max_results: int) -> list[Run]:
        """The runs that ymlf did not write, by their lack of its key; of an older server, by their source.

        Source: MLflow 2.22.4 and 3.7.0 refuse IS NULL on tags, 3.17.2 takes it.
        """
        from mlflow.exceptions import MlflowException

        also = f"{condition} and " if condition else ""
        if self._knows_null:
            try:
                by_key = f"{also}tags.`ymlf.key` IS NULL"
                return list(self.client.search_runs([experiment_id], by_key, max_results=max_results))
            except MlflowException as error:
                if error.error_code not in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST"):
                    raise
            self._knows_null = False
        by_source = f"{also}tags.`mlflow.source.name` != 'ymlf'"  # which the fluent API sets on every run
        return list(self.client.search_runs([experiment_id], by_source, max_results=max_results))

    def artifact_repository(self, artifact_uri: str) -> Any:
        """MLflow's repository for a run's artifacts."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
        from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository

        repository = get_artifact_repository(artifact_uri, tracking_uri=self.uri)
        return Patient(repository) if isinstance(repository, HttpArtifactRepository) else repository


def open_store(tracking_uri: str | None = None, *, probe: bool = False) -> Store:
    """The store at a URI, else at MLFLOW_TRACKING_URI, else MLflow's own default, opened and ready for workers.

    With `probe`, a server that does not answer is found out at once, not after all of MLflow's retries.

    Errors: StoreError when it cannot be opened.
    """
    _quieten()
    import mlflow
    from mlflow import MlflowClient

    uri = tracking_uri or mlflow.get_tracking_uri()
    remember_login(uri)
    file = database_file(uri)
    is_new = file is not None and not file.exists()
    patience = _impatient() if probe else nullcontext()
    with _refusal_of_a_file_store(uri), failures("opening the tracking store"), patience, alone_at_opening(uri):
        store = Store(MlflowClient(uri), uri)
        store.client.search_experiments(max_results=1)
    store.is_new = is_new
    return store


@contextmanager
def _refusal_of_a_file_store(uri: str) -> Iterator[None]:
    """MLflow's many words about a store of files are told in a few, with its own way out of it."""
    from importer.guidance import how_to_migrate, local_file_store

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


def database_file(uri: str) -> Path | None:
    """The file of a SQLite store; None for another store."""
    path = uri.partition("?")[0].removeprefix("sqlite:///")
    return Path(path) if path and uri.startswith("sqlite:///") else None


class EmptyStore(Store):
    """A SQLite store whose file is not there yet: nothing is in it, and a look makes no file."""

    def __init__(self, uri: str) -> None:
        super().__init__(None, uri)

    def experiment_id(self, name: str, artifact_location: str | None = None, *, create: bool = True) -> str | None:
        """None: there is no experiment."""
        return None

    def former_experiment_id(self) -> str | None:
        """None: there is no experiment."""
        return None


def open_existing_store(tracking_uri: str | None = None, *, required: bool = False) -> Store:
    """The store, to be looked at only: a SQLite file that is not there is not made.

    Errors: StoreError when it cannot be opened, or is `required` and not there.
    """
    _quieten()
    import mlflow

    with failures("opening the tracking store"):
        uri = tracking_uri or mlflow.get_tracking_uri()
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


def _quieten() -> None:
    """MLflow's own words, bars and beacons stay out of our output."""
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_HTTP_POOL_MAXSIZE", str(HTTP_CONNECTIONS))
    level = os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    for name in ("mlflow", "alembic", "psycopg", "urllib3"):
        logging.getLogger(name).setLevel(level)
    if level == "ERROR":
        logging.getLogger("mlflow.store.db.utils").setLevel("CRITICAL")  # a traceback for each error, and raises it too


@contextmanager
def failures(what: str, *, any_class: bool = False) -> Iterator[None]:
    """Turn what MLflow and its transports raise into a StoreError that says what was being done.

    With `any_class`, whatever is raised: the clients of object stores have no class in common.
    """
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError, OSError, ImportError) as error:
        raise _told(what, error) from error
    except Exception as error:
        if not any_class or isinstance(error, YmlfError):
            raise
        raise _told(f"{what}: {type(error).__name__}", error) from error


def _told(what: str, error: Exception) -> StoreError:
    redact_exception(error)
    return StoreError(f"{what}: {_first_words(error)}", hint=_hint(str(error)), passing=_passes(error))


def twice(call: Callable[[], Result]) -> Result:
    """What a call comes to; it is made once more where the store failed in a way that may pass."""
    try:
        return call()
    except StoreError as error:
        if not error.passing:
            raise
        time.sleep(random.uniform(*PAUSE_SECONDS))  # noqa: S311  a pause, no secret
        return call()


def _passes(error: Exception) -> bool:
    """Whether the same call may well succeed in a moment."""
    from requests.exceptions import RequestException
    from sqlalchemy.exc import IntegrityError, OperationalError

    if isinstance(error, (RequestException, OperationalError, IntegrityError, ConnectionError)) or collided(error):
        return True
    return getattr(error, "error_code", None) in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")


def collided(error: Exception) -> bool:
    """Whether another importer wrote the same row at the same moment, which a server tells as a bad request."""
    return getattr(error, "error_code", None) == "BAD_REQUEST" and any(sign in str(error) for sign in COLLISIONS)


def _first_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return redact(f"{error.strerror}: {error.filename}" if error.filename else error.strerror)
    text = redact(" ".join(str(getattr(error, "message", None) or error).split()))  # before a cut halves a secret
    return text if len(text) <= LONGEST else text[:LONGEST] + " ..."


def _hint(text: str) -> str | None:
    lowered = text.lower()
    for sign, hint in (
        ("unable to open database file", "does the folder exist, and may you write to it?"),
        ("readonly database", "the database file may not be written to; check its permissions"),
        ("no space left", "free some space, then run the same command again: it goes on where it stopped"),
        ("disk full", "free some space, then run the same command again: it goes on where it stopped"),
        ("disk is full", "free some space, then run the same command again: it goes on where it stopped"),
        ("401", "are MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, set and right?"),
        ("403", "this login may not do that; ask for the permission"),
        ("certificate", "set MLFLOW_TRACKING_SERVER_CERT_PATH to the CA's certificate"),
        ("max retries exceeded", "is the server up? run the same command again when it is"),
        ("connection refused", "is the server up? run the same command again when it is"),
        ("no module named 'psycopg", "pip install 'psycopg[binary]'"),
        ("no module named 'mysqldb", "write mysql+pymysql:// and pip install pymysql"),
        ("no module named", "install what is missing, in the environment of ymlf"),
        ("file is not a database", "that file is no SQLite database; give another with --tracking-uri"),
        ("unsupported uri", "give such as sqlite:///mlflow.db or http://host:5000 with --tracking-uri"),
        ("could not find a registered artifact repository", "choose a store of artifacts that MLflow knows"),
    ):  # fmt: skip
        if sign in lowered:
            return hint
    return None
