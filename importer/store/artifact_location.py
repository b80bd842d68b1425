"""Where the artifacts of an experiment lie, and whether they can be written from here."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from importer.errors import UsageError
from importer.redaction import redact
from importer.store.undocumented import artifact_repository

log = logging.getLogger(__name__)


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
