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
GIVEN_UP = re.compile(r"(API request to \S+) failed with exception .*too many (\d{3}) error responses.*")
STATUS = r"(?<![\w=/:.-]){}\b"  # not a port, nor an id in an address
NO_LOGIN = "no login is set: give MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
WRONG_LOGIN = "the server does not know this login: are MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD right?"
NOT_KNOWN = "the server does not know this token: is MLFLOW_TRACKING_TOKEN right?"
FREE_SPACE = "free some space, then run the same command again: it goes on where it stopped"
LONGEST = 400  # signs of what MLflow said

PAUSE_SECONDS = (0.5, 2.0)  # before a call is made once more: at random, so that not all come back at once

COLLISIONS = ("IntegrityError", "UniqueViolation")  # what the drivers of SQLite and MySQL say, and that of PostgreSQL


@contextmanager
def store_errors(what: str, *, any_class: bool = False) -> Iterator[None]:
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


def retry_once(call: Callable[[], Result]) -> Result:
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
    from requests.exceptions import HTTPError, RequestException
    from sqlalchemy.exc import IntegrityError, OperationalError

    if isinstance(error, HTTPError) and error.response is not None and error.response.status_code in REFUSALS:
        return False
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
    text = GIVEN_UP.sub(r"\1: answered \2 each time", text)
    return text if len(text) <= LONGEST else text[:LONGEST] + " ..."


def _login_hint() -> str:
    if os.environ.get("MLFLOW_TRACKING_USERNAME") or os.environ.get("MLFLOW_TRACKING_PASSWORD"):
        return WRONG_LOGIN
    return NOT_KNOWN if os.environ.get("MLFLOW_TRACKING_TOKEN") else NO_LOGIN


def _hint(text: str) -> str | None:
    lowered = text.lower()
    for sign, hint in (
        ("unable to open database file", "does the folder exist, and may you write to it?"),
        ("readonly database", "the database file may not be written to; check its permissions"),
        ("no space left|disk (is )?full", FREE_SPACE),
        (STATUS.format(401) + "|unauthenticated|unauthorized", _login_hint()),
        (STATUS.format(403) + "|permission_denied|accessdenied|forbidden",
         "this login may not do that; ask for the permission"),
        ("certificate", "set MLFLOW_TRACKING_SERVER_CERT_PATH to the CA's certificate"),
        ("too many 5.. error", "the server's log says why; run the same command again when it is mended"),
        ("max retries exceeded", "is the server up? run the same command again when it is"),
        ("connection refused", "is the server up? run the same command again when it is"),
        ("no module named 'psycopg", "pip install 'psycopg[binary]'"),
        ("no module named 'mysqldb", "write mysql+pymysql:// and pip install pymysql"),
        ("no module named", "install what is missing, in the environment of ymlf"),
        ("file is not a database", "that file is no SQLite database; give another with --tracking-uri"),
        ("unsupported uri", "give such as sqlite:///mlflow.db or http://host:5000 with --tracking-uri"),
        ("could not find a registered artifact repository", "choose a store of artifacts that MLflow knows"),
    ):  # fmt: skip
        if re.search(sign, lowered):
            return hint
    return None
