"""Calls to a server that are made again where MLflow does not: when a part of the answer had come."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

TIMES = 4
PAUSE_SECONDS = (0.1, 0.5)
NOT_AGAIN = "create_run"  # it would make a second run; a new look-up finds the first


class Patient:
    """A client or repository of MLflow whose calls are made again when their answer is cut off.

    Source: mlflow/utils/request_utils.py; urllib3's Retry ends where the body of the answer begins.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._inner, name)
        return partial(_call, member) if callable(member) and name != NOT_AGAIN else member


def _call(call: Callable[..., Any], *args: Any, **named: Any) -> Any:
    for left in reversed(range(TIMES)):
        try:
            return call(*args, **named)
        except Exception as error:
            if not left or not was_cut(error):
                raise
        time.sleep(random.uniform(*PAUSE_SECONDS))  # noqa: S311  a pause, no secret
    raise AssertionError("the last call returns or raises")


def was_cut(error: BaseException | None) -> bool:
    """Whether an answer that ended too early is among the causes of an error."""
    from requests.exceptions import ChunkedEncodingError

    while error is not None:
        if isinstance(error, ChunkedEncodingError):
            return True
        error = error.__cause__ or error.__context__
    return False
