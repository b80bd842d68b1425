"""Keep a command going whose output cannot be written, and say so at its end."""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO, cast


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
    """Guard stdout and stderr. A stream that the caller has closed fails at the first write, and is no file of ours."""
    sys.stdin, sys.stdout, sys.stderr = (
        sys.stdin or _closed_stream("r"),
        _guarded(sys.stdout or _closed_stream("w")),
        _guarded(sys.stderr or _closed_stream("w")),
    )


def _closed_stream(mode: str) -> TextIO:
    """Return a stream that cannot be written. It takes the number of the closed one, which a database could get."""
    return cast(TextIO, open(os.open(os.devnull, os.O_RDONLY), mode))  # noqa: PTH123  a number is no path


def _guarded(stream: TextIO) -> TextIO:
    return GuardedStream(stream) if isinstance(stream, io.TextIOWrapper) else stream


def lost_output() -> str | None:
    """Return why stdout could not be written, or None."""
    sys.stdout.flush()
    failure = getattr(sys.stdout, "failure", None)
    return f"stdout: {failure.strerror or failure}" if failure is not None else None
