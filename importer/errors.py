"""One class per stage, so that the class says whether anything was written."""

from __future__ import annotations


class YmlfError(Exception):
    """A failure that the user sees: where, what is wrong, and in `hint` what to do next."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(YmlfError):
    """The arguments make no sense: nothing was read and nothing written."""


class RunDirError(YmlfError):
    """A run directory cannot be read as one: nothing was written."""


class CheckpointError(RunDirError):
    """A .pt file gives no facts; `code` is the note it becomes, for the run is imported without it."""

    def __init__(self, message: str, *, code: str = "checkpoint-unreadable", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class PlanError(YmlfError):
    """A run cannot be logged to MLflow as it is: nothing was written."""


class WorkerError(YmlfError):
    """A worker process died before the first run: nothing was written, and a retry can help."""


class StoreError(YmlfError):
    """The tracking or artifact store refused or failed: what was written stays, and a retry finishes it.

    `passing` marks a broken connection or a busy server; a retry does not change a refusal.
    """

    def __init__(self, message: str, *, hint: str | None = None, passing: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.passing = passing
