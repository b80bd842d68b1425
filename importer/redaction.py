"""Redact what no screen, log, report, tag or exception may hold: logins, secrets of the environment, control signs."""

from __future__ import annotations

import logging
import os
import re
import sys
from types import TracebackType

SECRET_VARIABLES = (
    "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_CONNECTION_STRING", "DATABRICKS_TOKEN", "PGPASSWORD",
)  # fmt: skip
SHORTEST = 4  # signs of a secret; a shorter one would take words apart
_ANY_SLASH = r"[^/\s:@'\"<>]*:(?!\d*(?:[/?#\s'\"<>)]|$))[^\s'\"<>]*@"  # a password with a slash, which no URL may have
_USER_INFO = re.compile(rf"(?<=://)(?:[^/\s'\"<>]*@|{_ANY_SLASH})")
_SECRET_QUERY = re.compile(  # orderByKey is a parameter of MLflow's UI
    r"([?&](?!orderByKey=)[\w.-]*(?:password|passwd|pwd|token|secret|signature|key)=)[^&\s'\"<>)]+", re.I
)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # with an escape, a name could write to the terminal as it likes
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")  # and bidirectional marks

_logins: set[str] = set()


def remember_login(uri: str) -> None:
    """Redact the login of a URI from now on, even when an error quotes only part of the URI."""
    _, scheme, rest = uri.partition("://")
    login, at, _ = (rest if scheme else uri).rpartition("@")
    if at:
        parts = {login, *(login.partition(sign)[0] for sign in "/?#@")}
        _logins.update(part for part in parts if ":" in part)  # a user alone may be any word


def redact(text: str) -> str:
    """Return the text without secrets and control signs."""
    text = _SECRET_QUERY.sub(r"\1***", _USER_INFO.sub("***@", _CONTROL.sub("\ufffd", text)))
    for login in sorted(_logins, key=len, reverse=True):
        text = text.replace(login, "***")
    for name in SECRET_VARIABLES:
        secret = os.environ.get(name)
        if secret and len(secret) >= SHORTEST:
            text = text.replace(secret, "***")
    return text


def one_line(text: str) -> str:
    """Return the text as a line for a terminal: redacted, with escapes such as `\\n` and `\\u202e` for unseen signs."""
    return redact(_UNSEEN.sub(lambda sign: sign[0].encode("unicode_escape").decode(), text))


def json_escaped(line: str) -> str:
    """Return a line of JSON with its own escapes for the unseen signs that it may hold as they are."""
    return _UNSEEN.sub(lambda sign: f"\\u{ord(sign[0]):04x}", line)


def redact_exception(error: BaseException) -> None:
    """Redact an exception and those that led to it, for any code that prints them."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        cause = waiting.pop()
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        waiting += [cause.__cause__, cause.__context__, *(arg for arg in cause.args if isinstance(arg, BaseException))]
        cause.args = tuple(redact(arg) if isinstance(arg, str) else arg for arg in cause.args)
        if isinstance(message := getattr(cause, "message", None), str):  # MLflow's exceptions
            setattr(cause, "message", redact(message))  # noqa: B010  BaseException has no such attribute


class RedactingFormatter(logging.Formatter):
    """Format log lines and tracebacks of any library without secrets, and a message as one line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the name is that of logging
        return one_line(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def tell_a_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback on stderr, as Python does, without secrets."""
    redact_exception(error)
    sys.__excepthook__(kind, error, trace)
