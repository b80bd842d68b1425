"""Keep a command going whose output cannot be written, and say so at its end."""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO


class GuardedStream(io.TextIOWrapper):
    """Write to stdout or stderr. Where that fails, as on a full disk, remember why and drop what follows.

    A closed pipe is raised all the same: the reader wants no more.
    """

    def __init__(self, stream: io.TextIOWrapper) -> None:
        errors = "backslashreplace"  # a name may be in no encoding at all
        lines, at_once = stream.line_buffering, stream.write_through
        super().__init__(stream.buffer, stream.encoding, errors, line_buffering=lines, write_through=at_once)
        self.failure: OSError | None = None
        self._stream = stream  # it would close the buffer when it is collected

    def write(self, text: str, /) -> int:
        """Write the text, or drop it."""
        try:
            return super().write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        """Write what is buffered, or drop it."""
        try:
            super().flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        if isinstance(error, BrokenPipeError):
            raise error
        self.failure = self.failure or error
        silence(self)


def silence(stream: TextIO) -> None:
    """Let a stream lead to nowhere: Python flushes it as it ends, and would fail again."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def guard_streams() -> None:
    """Guard stdout and stderr, and put a stream that fails at the first use in the place of one that is closed.

    It takes the number of the closed one, which a database could get.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDONLY)
            setattr(sys, name, open(null, mode))  # noqa: PTH123, SIM115  a number is no path; it is open to the end
        if name != "stdin" and isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            setattr(sys, name, GuardedStream(stream))


def lost_output() -> str | None:
    """Return why stdout could not be written, or None."""
    sys.stdout.flush()
    failure = getattr(sys.stdout, "failure", None)
    return f"stdout: {failure.strerror or failure}" if failure is not None else None
