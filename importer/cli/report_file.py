"""Write the lines of JSON that a job reads: on stdout, and to the file of `--report`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from importer.cli.main import describe, status_of
from importer.cli.totals import Totals
from importer.errors import UsageError
from importer.redaction import redact
from importer.report import dumps

if TYPE_CHECKING:
    from importer.cli.reporter import Terminal


class Report:
    """Write the lines of a batch for a job, on stdout with `--json` and to the file of `--report`.

    The last line counts the outcomes and says how the command ended, whatever ended it.
    """

    def __init__(self, terminal: Terminal, path: str | None) -> None:
        self.terminal, self.path = terminal, path
        self.totals, self._status = Totals(0), 0
        self._file: IO[str] | None = None
        self._is_whole = True

    @property
    def status(self) -> int:
        """The exit status of the command: 1 at least where the report could not be written."""
        return self._status if self._is_whole else self._status or 1

    @status.setter
    def status(self, status: int) -> None:
        self._status = status

    def __enter__(self) -> Report:
        try:
            if self.path is not None:
                self._file = Path(self.path).open("w", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            hint = "choose a file that may be written"
            refusal = UsageError(f"--report {self.path}: {error.strerror}", hint=hint)
            self.__exit__(None, refusal, None)
            raise refusal from error
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        facts = self.totals.as_json(exit_status=self.status)
        if error is not None:
            reason, hint = describe(error)
            facts |= {"exit_status": status_of(error), "reason": reason} | ({"hint": hint} if hint else {})
        self.write_file(facts)
        if self._file is not None:
            self._attempt(self._file.close)
        if self.terminal.as_json:
            self.terminal.write_json(facts if error is not None else {**facts, "exit_status": self.status})

    def write(self, facts: Mapping[str, object]) -> None:
        """Write a line to the file and, with `--json`, to stdout."""
        self.write_file(facts)
        if self.terminal.as_json:
            self.terminal.write_json(facts)

    def write_file(self, facts: Mapping[str, object]) -> None:
        """Write a line to the file alone."""
        if self._file is not None:
            self._attempt(partial(print, json_line(facts), file=self._file, flush=True))

    def _attempt(self, write: Callable[[], None]) -> None:
        """Write to the file; go on without it where that fails."""
        try:
            write()
        except OSError as error:
            self._file, self._is_whole = None, False
            words = f"error: --report {self.path}: {error.strerror or error}; the report ends here"
            self.terminal.warn(words, "red")


def json_line(facts: Mapping[str, object]) -> str:
    """Return a line of JSON without secrets. Only texts are redacted: a secret of digits breaks no number."""
    return dumps({redact(name): _redacted(value) for name, value in facts.items()})


def _redacted(value: object) -> object:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redact(str(name)): _redacted(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_redacted(part) for part in value]
    return value
