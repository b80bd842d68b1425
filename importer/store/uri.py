"""Tell what URIs name: stores and the mistakes in them, the places of artifacts, the pages of MLflow's UI."""

from __future__ import annotations

import itertools
import logging
import os
import re
import shlex
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from importer.errors import UsageError
from importer.redaction import redact
from importer.store.undocumented import artifact_repository

log = logging.getLogger(__name__)

PREFIX = "sqlite:///"
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")  # mlflow/store/db/db_types.py
LOGIN = "better http://HOST, and the login in MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
EXAMPLES = "write such as sqlite:///mlflow.db or http://host:5000"
SCHEMES = (*DATABASES, "http", "https", "file", "databricks", "databricks-uc", "uc")
PLUGINS = "mlflow.tracking_store"  # entry points of packages that bring a store of their own
LOCAL_UI = "http://127.0.0.1:5000"  # where `mlflow ui` listens
TRAINING = "workflowType=machine_learning"  # without it MLflow 3.17 opens pages for GenAI, which show no trainings
_HOST_AND_PORT = re.compile(r"[\w.-]+:[0-9]{1,5}(/.*)?")


def check_uri(uri: str) -> None:
    """Refuse a URI that MLflow cannot mean. Errors: UsageError with the URI that was probably meant."""
    if uri.startswith("sqlite://") and not uri.startswith(PREFIX):
        file = uri.removeprefix("sqlite://").rpartition("@")[2]
        raise _misuse(uri, "names a host, which SQLite has not", f"write sqlite:///{file}, if that is the file")
    if uri.startswith("postgres://"):
        raise _misuse(uri, "is called postgresql by now", f"write postgresql://{uri.removeprefix('postgres://')}")
    database = database_file(uri)
    if database is not None and not database.absolute().parent.is_dir():
        raise _misuse(uri, "no such folder", f"make the folder {database.parent}, or choose another")
    scheme, is_url, _ = uri.partition("://")
    if is_url and scheme.lower().partition("+")[0] not in (*SCHEMES, *entry_points(group=PLUGINS).names):
        close = get_close_matches(scheme.lower(), SCHEMES, n=1)
        meant = f"write {close[0]}://{uri[len(scheme) + 3 :]}, if that is meant" if close else EXAMPLES
        raise _misuse(uri, f"MLflow knows no store of the scheme {scheme}", meant)
    if scheme.startswith(DATABASES):
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            make_url(uri)
        except (ArgumentError, ValueError) as error:
            raise _misuse(uri, "is no URL of a database", "write DATABASE://USER@HOST:PORT/NAME") from error
    if is_url or uri.startswith(("databricks", "uc:", "file:")) or uri == "uc":
        return
    login, at, host = uri.rpartition("@")
    if at and ":" in login:
        raise UsageError(f"--tracking-uri ***@{host}: has no scheme", hint=f"write http://***@{host}, or {LOGIN}")
    if _HOST_AND_PORT.fullmatch(uri):
        raise _misuse(uri, "has no scheme", f"write http://{uri}")
    if Path(uri).is_file():
        raise _misuse(uri, "is a file, not the URI of a store", f"write sqlite:///{uri}, if it is a database")
    if not Path(uri).exists() and os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() not in ("1", "true"):
        raise _misuse(uri, "no such store", EXAMPLES)


def _misuse(uri: str, what: str, hint: str) -> UsageError:
    return UsageError(f"--tracking-uri {redact(uri)}: {what}", hint=redact(hint))


def is_database(uri: str) -> bool:
    """Return whether a URI names a database, not a server or a file store."""
    return uri.startswith(DATABASES)


def database_file(uri: str) -> Path | None:
    """Return the file of a SQLite store; None for another store, one in memory, or a URI of SQLite's own."""
    name = uri.partition("?")[0].removeprefix(PREFIX)
    return Path(name) if uri.startswith(PREFIX) and name and not name.startswith((":", "file:")) else None


def local_file_store(uri: str) -> str | None:
    """Return the folder of an old file store, relative where it is below this one; None for another store."""
    if "://" in uri and not uri.startswith("file:"):
        return None
    path = Path(unquote(urlsplit(uri).path) if uri.startswith("file:") else uri)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def how_to_migrate(file_store: str | Path) -> tuple[str, str]:
    """Return MLflow's command that copies a file store to a database that does not exist yet, and that database.

    Source: mlflow/store/fs2db/cli.py, of MLflow 3.17.
    """
    names = itertools.chain(["mlflow.db", "all.db"], (f"all{number}.db" for number in itertools.count(2)))
    target = next(f"{PREFIX}{name}" for name in names if not Path(name).exists())
    return f"mlflow migrate-filestore --source {shlex.quote(str(file_store))} --target {target}", target


def why_not_writable(location: str, *, is_server: bool) -> tuple[str, str] | None:
    """Return what keeps this host from writing there, and the way out; None where a look finds nothing."""
    parts = urlsplit(location)
    folder = Path(unquote(parts.path))
    if parts.scheme == "mlflow-artifacts" and not parts.netloc and not is_server:
        return (
            "are behind an MLflow server, and this store is the database itself",
            "give the address of that server as --tracking-uri",
        )
    if os.name == "posix" and re.match(r"(file:///?)?[A-Za-z]:[\\/]", location):
        return "are on a drive of Windows", "import on that host"
    if parts.scheme not in ("", "file") or not location:
        return None
    if re.match("/(home|Users)/", str(folder)) and not Path(*folder.parts[:3]).exists():
        return "are in the home of a user whom this host does not have", "import on the host that has it"
    if not _may_write(folder):
        return "are in a folder that may not be written to", "import as the user whose folder it is"
    return None


def _may_write(folder: Path) -> bool:
    """Return whether a folder, or the nearest one above it that exists, may be written to."""
    try:
        nearest = next(place for place in (folder, *folder.parents) if place.exists())
    except (OSError, StopIteration):
        return False
    return os.access(nearest, os.W_OK | os.X_OK)


def check_scheme(location: str) -> None:
    """Check that MLflow has a kind of artifact store for a location. Errors: UsageError."""
    from mlflow.exceptions import MlflowException

    try:
        artifact_repository(location)
    except MlflowException as error:
        problem = redact(str(error).partition(". ")[0])
        raise UsageError(
            f"--artifact-location: {problem}", hint="give a folder, or such as s3://bucket/path"
        ) from error
    except Exception as error:  # noqa: BLE001  a package or a login is missing: it is named when a file is written
        log.debug("--artifact-location: %s", redact(str(error)))


def run_page(ui: str, experiment_id: str, run_id: str) -> str:
    """Return the address of a run."""
    return f"{ui.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}?{TRAINING}"


def runs_page(ui: str, experiment_id: str, *, task: str | None = None, ranked_by: str | None = None) -> str:
    """Return the address of the runs of an experiment: all, or those of a task with the highest of a metric first."""
    query = [TRAINING]
    if task is not None:
        query.append("searchFilter=" + quote(f"tags.`ymlf.task` = '{task}'", safe=""))
    if ranked_by is not None:
        query += ["orderByKey=" + quote(f"metrics.`{ranked_by}`", safe=""), "orderByAsc=false"]
    return f"{ui.rstrip('/')}/#/experiments/{experiment_id}/runs?{'&'.join(query)}"
