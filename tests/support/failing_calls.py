"""The calls that ymlf makes to a real database by MLflow's client, of which a test lets some fail."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError

OF_FILES = ("log_artifact", "log_artifacts", "list_artifacts", "delete_artifacts", "download_artifacts")
Script = Sequence["str | None"] | Callable[[str, str, int], "str | None"]


class FailingCalls:
    """What befalls each outermost call: with a list, in order of arrival; with a callable, by its class and name.

    drop         nothing is done, and an error raised
    lose_answer  it is done, and an error raised
    twice        it is done twice
    """

    def __init__(self) -> None:
        self.script: Script | None = None
        self._count = 0
        self._inside = threading.local()

    def reset(self) -> None:
        """No call was made yet."""
        self._count = 0

    def wrap(self, owner: type, name: str) -> Callable[..., Any]:
        method = getattr(owner, name)

        @wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            if getattr(self._inside, "is_so", False):
                return method(*args, **kwargs)
            self._inside.is_so = True
            try:
                fault = self._fault(owner.__name__, name)
                if fault == "drop":
                    raise _unavailable()
                result = method(*args, **kwargs)
                if fault == "lose_answer":
                    raise _unavailable()
                return method(*args, **kwargs) if fault == "twice" else result
            finally:
                self._inside.is_so = False

        return call

    def commit(self, connection: Any) -> None:
        """Before a commit: one that MLflow's client does not make is a call, too."""
        if getattr(self._inside, "is_so", False) or self.script is None:
            return
        fault = self._fault("database", "commit")
        if fault == "lose_answer":
            connection.connection.dbapi_connection.commit()
        if fault is not None:
            raise OperationalError("COMMIT", {}, Exception("disk I/O error"))

    def _fault(self, owner: str, name: str) -> str | None:
        index, self._count = self._count, self._count + 1
        if callable(self.script):
            return self.script(owner, name, index)
        return self.script[index] if self.script is not None and index < len(self.script) else None


def _unavailable() -> MlflowException:
    return MlflowException("(sqlite3.OperationalError) disk I/O error", error_code=TEMPORARILY_UNAVAILABLE)


@contextmanager
def failing_calls() -> Iterator[FailingCalls]:
    """Calls of which some fail, in this process and for a while."""
    calls = FailingCalls()
    methods = [(MlflowClient, name) for name in vars(MlflowClient) if not name.startswith("_")]
    methods += [(LocalArtifactRepository, name) for name in OF_FILES]
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in methods:
            if callable(getattr(owner, name)) and not isinstance(vars(owner).get(name), (staticmethod, classmethod)):
                patch.setattr(owner, name, calls.wrap(owner, name))
        event.listen(Engine, "commit", calls.commit)
        try:
            yield calls
        finally:
            event.remove(Engine, "commit", calls.commit)
