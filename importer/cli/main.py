"""The process around a command: errors in plain words, signals, and the exit status of each class."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType

import click

from importer.errors import StoreError, UsageError, YmlfError
from importer.redaction import tell_a_bug


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM while there is no run in hand."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def main() -> None:
    """Run the command line: a YmlfError becomes two lines and its exit status, a bug keeps its traceback."""
    from importer.cli.commands import cli
    from importer.cli.console import write_any_character
    from importer.store.opening import quiet_mlflow

    write_any_character()
    quiet_mlflow()
    sys.excepthook = tell_a_bug
    _end_on_signals()
    try:
        cli(prog_name="ymlf", standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.Abort as error:
        click.echo("interrupted", err=True)
        sys.exit(128 + getattr(error.__context__, "number", signal.SIGINT))
    except click.ClickException as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # which click before 8.2 does not have
            error.show()
        else:
            _tell(*_in_our_words(error))
        sys.exit(2)
    except YmlfError as error:
        _tell(error.message, error.hint)
        sys.exit(status_of(error))
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)


def _tell(message: str, hint: str | None) -> None:
    from importer.redaction import redact

    click.echo(redact(f"error: {message}"), err=True)
    if hint:
        click.echo(redact(f"  hint: {hint}"), err=True)


def _in_our_words(error: click.ClickException) -> tuple[str, str | None]:
    """The message and the hint for what click found wrong with the words of a command."""
    if isinstance(error, click.NoSuchOption):
        close = " or ".join(sorted(error.possibilities or ()))
        message, hint = f"no such option: {error.option_name}", f"did you mean {close}?" if close else None
    else:
        told = error.format_message()
        message, hint = told[:1].lower() + told[1:].removesuffix("."), None
    context = getattr(error, "ctx", None)
    if hint is None and context is not None:
        hint = f"`{context.command_path} --help` shows what it takes"
    return message, hint


def status_of(error: YmlfError | Interrupted) -> int:
    """The exit status of a command that an error or a signal ended."""
    if isinstance(error, Interrupted):
        return 128 + error.number
    return 3 if isinstance(error, StoreError) else 2 if isinstance(error, UsageError) else 1


def _end_on_signals() -> None:
    """The first Ctrl-C or SIGTERM ends the command in order, the second at once, until a batch knows better."""

    def end(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, end_at_once)
        raise Interrupted(number)

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, end)


def end_at_once(number: int, frame: FrameType | None) -> None:
    """End this process where it stands; what was unpacked goes with it."""
    with suppress(ImportError):  # it was amid importing this
        from importer.sources.archive import remove_unpacked

        remove_unpacked()
    os._exit(128 + number)
