"""A tracking URI that cannot be meant, told before MLflow tries it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from importer.errors import UsageError
from importer.redaction import redact

LOGIN = "better http://HOST, and the login in MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
EXAMPLES = "write such as sqlite:///mlflow.db or http://host:5000"
_HOST_AND_PORT = re.compile(r"[\w.-]+:[0-9]{1,5}(/.*)?")


def check_uri(uri: str) -> None:
    """Nothing, where MLflow may know the URI.

    Errors: UsageError with the URI that was probably meant.
    """
    if uri.startswith("sqlite://") and not uri.startswith("sqlite:///"):
        file = uri.removeprefix("sqlite://").rpartition("@")[2]
        raise _misuse(uri, "names a host, which SQLite has not", f"write sqlite:///{file}, if that is the file")
    if uri.startswith("postgres://"):
        raise _misuse(uri, "is called postgresql by now", f"write postgresql://{uri.removeprefix('postgres://')}")
    if "://" in uri or _is_known_without_slashes(uri):
        return
    login, at, host = uri.rpartition("@")
    if at and ":" in login:
        raise UsageError(f"--tracking-uri ***@{host}: has no scheme", hint=f"write http://***@{host}, or {LOGIN}")
    if _HOST_AND_PORT.fullmatch(uri):
        raise _misuse(uri, "has no scheme", f"write http://{uri}")
    path = Path(uri)
    if path.is_file():
        raise _misuse(uri, "is a file, not the URI of a store", f"write sqlite:///{uri}, if it is a database")
    if not path.exists() and os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() not in ("1", "true"):
        raise _misuse(uri, "no such store", EXAMPLES)


def _is_known_without_slashes(uri: str) -> bool:
    return uri.startswith(("databricks", "uc:", "file:")) or uri == "uc"


def _misuse(uri: str, what: str, hint: str) -> UsageError:
    return UsageError(f"--tracking-uri {redact(uri)}: {what}", hint=redact(hint))
