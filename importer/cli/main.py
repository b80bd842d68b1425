"""Run a command as a process: errors in two lines, exit statuses, signals, output that cannot be written."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TextIO

import click

from importer.errors import StoreError, UsageError, WorkerError, YmlfError
from importer.redaction import one_line, tell_a_bug

CLOSED_PIPE = 128 + 13  # as a shell reports SIGPIPE


class Interrupted(KeyboardInterrupt):
    """Report Ctrl-C or SIGTERM while no run is in hand."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def main() -> None:
    """Run the command line and end with the exit status of its error. A bug keeps its traceback."""
    _guard_streams()
    sys.excepthook = tell_a_bug
    on_signals(_end_in_order)
    try:
        status = _run()
        sys.stdout.flush()
        if (failure := getattr(sys.stdout, "failure", None)) is not None:
            problem = f"error: stdout: {failure.strerror or failure}"
            click.echo(f"{problem}\n  hint: the output is cut short; what was imported is whole", err=True)
            status = status or 1
        sys.exit(status)
    except BrokenPipeError:  # the reader has gone, as after `| head -1`
        for stream in (sys.stdout, sys.stderr):
            _silence(stream)
        sys.exit(CLOSED_PIPE)


def _run() -> int:
    """Do what `cli()` does, but for what click makes of a closed pipe and of an interrupt."""
    from click.shell_completion import shell_complete

    from importer.cli.commands import cli
    from importer.store.own_process import begin_own_process

    begin_own_process()

    if instruction := os.environ.get("_YMLF_COMPLETE"):
        return shell_complete(cli, {}, "ymlf", "_YMLF_COMPLETE", instruction)
    try:
        _check_working_directory()
        with cli.make_context("ymlf", sys.argv[1:]) as context:
            cli.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except SystemExit as end:
        return int(end.code or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except (Interrupted, MemoryError, click.ClickException, YmlfError) as error:
        status, message, hint = end_by(error)
        is_error = not isinstance(error, Interrupted)
        click.echo(one_line(f"error: {message}" if is_error else message), err=True)
        if hint:
            click.echo(one_line(f"  hint: {hint}"), err=True)
        return status
    return 0


def _check_working_directory() -> None:
    try:
        Path.cwd()
    except OSError as error:
        raise UsageError(f"the working directory: {error.strerror}", hint="cd to a folder that exists") from error


def end_by(error: BaseException) -> tuple[int, str, str | None]:
    """Return the exit status, the message and the hint of what ended a command; of an error of click's in our words."""
    if isinstance(error, Interrupted):
        return 128 + error.number, "interrupted", None
    if isinstance(error, MemoryError):
        return 3, "not enough memory", "fewer workers need less: -j 1"
    if isinstance(error, YmlfError):
        can_retry, is_misuse = isinstance(error, (StoreError, WorkerError)), isinstance(error, UsageError)
        return 3 if can_retry else 2 if is_misuse else 1, error.message, error.hint
    if not isinstance(error, click.ClickException):
        status = CLOSED_PIPE if isinstance(error, BrokenPipeError) else 1
        return status, f"{type(error).__name__}: {error}", None
    message = " ".join(error.format_message().split()).removesuffix(".")
    message = message[:1].lower() + message[1:]
    if isinstance(error, click.NoSuchOption):
        message = f"no such option: {error.option_name}"
        if error.possibilities:
            return 2, message, f"did you mean {' or '.join(sorted(error.possibilities))}?"
    context = getattr(error, "ctx", None)
    return 2, message, context and f"`{context.command_path} --help` shows what it takes"


def on_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    """Let a function handle Ctrl-C and SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def _end_in_order(number: int, frame: FrameType | None) -> None:
    on_signals(end_at_once)
    raise Interrupted(number)


def end_at_once(number: int, frame: FrameType | None) -> None:
    """End this process where it is, and remove what it unpacked."""
    with suppress(ImportError):  # the signal came amid this import
        from importer.sources.scratch import remove_folders

        remove_folders()
    os._exit(128 + number)


class _GuardedStream(io.TextIOWrapper):
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
        _silence(self)


def _silence(stream: TextIO) -> None:
    """Let a stream lead to nowhere: Python flushes it as it ends, and would fail again."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def _guard_streams() -> None:
    """Guard stdout and stderr, and put a stream that fails at the first use in the place of one that is closed.

    It takes the number of the closed one, which a database could get.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDONLY)
            setattr(sys, name, open(null, mode))  # noqa: PTH123, SIM115  a number is no path; it is open to the end
        if name != "stdin" and isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            setattr(sys, name, _GuardedStream(stream))
