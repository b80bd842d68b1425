"""Run a command as a process: errors in two lines, exit statuses, signals."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import click

from importer.errors import StoreError, UsageError, YmlfError
from importer.redaction import redact, tell_a_bug

CLOSED_PIPE = 128 + 13  # as a shell reports SIGPIPE


class Interrupted(KeyboardInterrupt):
    """Report Ctrl-C or SIGTERM while no run is in hand."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def main() -> None:
    """Run the command line and end with the exit status of its error. A bug keeps its traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name may be in no encoding at all
    sys.excepthook = tell_a_bug
    on_signals(_end_in_order)
    try:
        sys.exit(_run())
    except BrokenPipeError:  # the reader has gone, as after `| head -1`
        null = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):  # Python flushes both as it ends
            os.dup2(null, stream.fileno())
        sys.exit(CLOSED_PIPE)


def _run() -> int:
    """Do what `cli()` does, but for what click makes of a closed pipe and of an interrupt."""
    from click.shell_completion import shell_complete

    from importer.cli.commands import cli
    from importer.store.opening import quiet_mlflow

    quiet_mlflow()

    if instruction := os.environ.get("_YMLF_COMPLETE"):
        return shell_complete(cli, {}, "ymlf", "_YMLF_COMPLETE", instruction)
    try:
        with cli.make_context("ymlf", sys.argv[1:]) as context:
            cli.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except (Interrupted, click.ClickException, YmlfError) as error:
        message, hint = describe(error)
        is_error = not isinstance(error, Interrupted) and type(error).__name__ != "NoArgsIsHelpError"
        click.echo(redact(f"error: {message}" if is_error else message), err=True)
        if hint and is_error:
            click.echo(redact(f"  hint: {hint}"), err=True)
        return status_of(error)
    return 0


def describe(error: BaseException) -> tuple[str, str | None]:
    """Return the message and the hint of an error, in our words for one of click's."""
    if isinstance(error, YmlfError):
        return error.message, error.hint
    if not isinstance(error, click.ClickException):
        return "interrupted" if isinstance(error, Interrupted) else f"{type(error).__name__}: {error}", None
    message = error.format_message().removesuffix(".")
    message = message[:1].lower() + message[1:]
    if isinstance(error, click.NoSuchOption):
        message = f"no such option: {error.option_name}"
        if error.possibilities:
            return message, f"did you mean {' or '.join(sorted(error.possibilities))}?"
    context = getattr(error, "ctx", None)
    return message, context and f"`{context.command_path} --help` shows what it takes"


def status_of(error: BaseException) -> int:
    """Return the exit status of a command that an error or a signal ended."""
    if isinstance(error, Interrupted):
        return 128 + error.number
    if isinstance(error, BrokenPipeError):
        return CLOSED_PIPE
    return 3 if isinstance(error, StoreError) else 2 if isinstance(error, (UsageError, click.ClickException)) else 1


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
        from importer.scratch import remove_folders

        remove_folders()
    os._exit(128 + number)
