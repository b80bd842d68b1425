"""One class per stage, so that the class tells whether anything was written."""

from __future__ import annotations


class YmlfError(Exception):
    """A failure that is told to the user: where, what is wrong, and in `hint` what to do next."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions come back from worker processes pickled; the keyword would be lost.
        return _rebuild, (type(self), self.message, self.hint)

    def __str__(self) -> str:
        return self.message


class UsageError(YmlfError):
    """What was asked for cannot be meant: nothing was read and nothing written."""


class RunDirError(YmlfError):
    """A run directory cannot be read as one: nothing was written."""


class CheckpointError(RunDirError):
    """A .pt file gives no facts; `code` is the note it becomes, for the run is imported without it."""

    def __init__(self, message: str, *, code: str = "checkpoint-unreadable", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_checkpoint, (self.message, self.code, self.hint)


class PlanError(YmlfError):
    """What was read cannot be logged to MLflow as it is: nothing was written."""


class StoreError(YmlfError):
    """The tracking or artifact store refused or failed: what was written stays, and a retry finishes it.

    `passing` tells a connection that broke or a server that was busy from a refusal, which a retry will not change.
    """

    def __init__(self, message: str, *, hint: str | None = None, passing: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.passing = passing

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_store, (self.message, self.hint, self.passing)


def _rebuild(kind: type[YmlfError], message: str, hint: str | None) -> YmlfError:
    return kind(message, hint=hint)


def _rebuild_store(message: str, hint: str | None, passing: bool) -> StoreError:
    return StoreError(message, hint=hint, passing=passing)


def _rebuild_checkpoint(message: str, code: str, hint: str | None) -> CheckpointError:
    return CheckpointError(message, code=code, hint=hint)
