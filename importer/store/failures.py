"""What MLflow and its transports raise, in plain words; and which of it may pass."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from importer.errors import StoreError, YmlfError
from importer.redaction import redact, redact_exception

Result = TypeVar("Result")

REFUSALS = (400, 401, 403, 404, 413)  # statuses of an artifact that come again
SQL = re.compile(r"\((?:\w+\.)+\w+\) | ?\[SQL: .*| ?\(Background on this error at: .*")  # what SQLAlchemy adds
GIVEN_UP = re.compile(r"(API request to \S+) failed with exception .*too many (\d{3}) error responses.*")
UNREACHED = re.compile(  # what requests and urllib3 say of an address that takes no connection, before 2.0 and since
    r"HTTPS?ConnectionPool\(host='([^']*)', port=(\d+)\): Max retries exceeded with url: \S+ "
    r"\(Caused by \w+\(.*[)>]: (?:Failed to establish a new connection: )?(?:\[Errno -?\d+\] )?(.*)[\"']\)\)"
)
NO_LOGIN = "no login is set: give MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
WRONG_LOGIN = "the server does not know this login: are MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD right?"
NOT_KNOWN = "the server does not know this token: is MLFLOW_TRACKING_TOKEN right?"
LONGEST = 400  # signs of what MLflow said
PAUSE_SECONDS = (0.5, 2.0)  # before a call is made once more: at random, so that not all come back at once
COLLISIONS = ("IntegrityError", "UniqueViolation")  # what the drivers of SQLite and MySQL say, and that of PostgreSQL
_NO_ADDRESS = r"(?<![\w=/:.-])"  # before a status, which is then not a port, nor an id in an address
_HINTS = (
    ("unable to open database file", "does the folder exist, and may you write to it?"),
    ("database is locked", "another program writes to it; run the same command again when that has ended"),
    ("readonly database", "the database file may not be written to; check its permissions"),
    ("no space left|disk (is )?full", "free some space, then run the same command again: it goes on where it stopped"),
    (rf"{_NO_ADDRESS}401\b|unauthenticated|unauthorized", NO_LOGIN),
    (rf"{_NO_ADDRESS}403\b|permission_denied|accessdenied|forbidden",
     "this login may not do that; ask for the permission"),
    ("certificate", "set MLFLOW_TRACKING_SERVER_CERT_PATH to the CA's certificate"),
    (r"too many 5.. error|\b5.. server error",
     "the server's log says why; run the same command again when it is mended"),
    ("max retries exceeded|connection refused|connection aborted|read timed out",
     "is the server up? run the same command again when it is"),
    ("no module named 'psycopg", "pip install 'psycopg[binary]'"),
    ("no module named 'mysqldb", "write mysql+pymysql:// and pip install pymysql"),
    ("no module named", "install what is missing, in the environment of ymlf"),
    ("file is not a database", "that file is no SQLite database; give another with --tracking-uri"),
    ("unsupported uri", "give such as sqlite:///mlflow.db or http://host:5000 with --tracking-uri"),
    ("could not find a registered artifact repository", "choose a store of artifacts that MLflow knows"),
)  # fmt: skip


@contextmanager
def store_errors(what: str, *, any_class: bool = False) -> Iterator[None]:
    """Turn what MLflow and its transports raise into a StoreError that says what was being done.

    With `any_class`, turn every exception: the clients of object stores have no class in common.
    """
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except Exception as error:
        known = isinstance(error, (MlflowException, RequestException, SQLAlchemyError, OSError, ImportError))
        if isinstance(error, YmlfError) or not (known or any_class):
            raise
        redact_exception(error)
        what = what if known else f"{what}: {type(error).__name__}"
        raise StoreError(f"{what}: {_first_words(error)}", hint=_hint(str(error)), passing=_passes(error)) from error


@contextmanager
def accepted(code: str) -> Iterator[None]:
    """Pass over a refusal of MLflow that has this error code: another process was first."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != code:
            raise


def retry(call: Callable[[], Result], times: int = 1) -> Result:
    """Return the result of a call, made again up to so many times where the store failed in a way that may pass."""
    while True:
        try:
            return call()
        except StoreError as error:
            if not error.passing or not times:
                raise
        times -= 1
        time.sleep(random.uniform(*PAUSE_SECONDS))  # noqa: S311  a pause, no secret


def _passes(error: Exception) -> bool:
    """Return whether the same call may well succeed in a moment."""
    from requests.exceptions import HTTPError, InvalidSchema, InvalidURL, RequestException
    from sqlalchemy.exc import IntegrityError, OperationalError

    if isinstance(error, HTTPError) and error.response is not None and error.response.status_code in REFUSALS:
        return False
    if isinstance(error, (InvalidURL, InvalidSchema)):
        return False
    if isinstance(error, (RequestException, OperationalError, IntegrityError, ConnectionError)) or collided(error):
        return True
    return getattr(error, "error_code", None) in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")


def collided(error: Exception) -> bool:
    """Return whether another importer wrote the same row at the same moment: of a server, a bad request."""
    return getattr(error, "error_code", None) == "BAD_REQUEST" and any(sign in str(error) for sign in COLLISIONS)


def _first_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return redact(f"{error.strerror}: {error.filename}" if error.filename else error.strerror)
    text = redact(" ".join(str(getattr(error, "message", None) or error).split()))  # before a cut halves a secret
    text = SQL.sub("", text)
    text = UNREACHED.sub(r"\1:\2: \3", text)
    text = GIVEN_UP.sub(r"\1: answered \2 each time", text)
    return text if len(text) <= LONGEST else text[:LONGEST] + " ..."


def _hint(text: str) -> str | None:
    hint = next((hint for sign, hint in _HINTS if re.search(sign, text.lower())), None)
    if hint != NO_LOGIN:
        return hint
    if os.environ.get("MLFLOW_TRACKING_USERNAME") or os.environ.get("MLFLOW_TRACKING_PASSWORD"):
        return WRONG_LOGIN
    return NOT_KNOWN if os.environ.get("MLFLOW_TRACKING_TOKEN") else NO_LOGIN
