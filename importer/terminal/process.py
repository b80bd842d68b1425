"""The process around a command: errors in plain words, and the exit status of each class."""

from __future__ import annotations

import sys

import click

from importer.errors import StoreError, UsageError, YmlfError
from importer.redaction import tell_a_bug


def run(cli: click.Group) -> None:
    """Run the commands; a YmlfError becomes two lines and its exit status, a bug keeps its traceback."""
    from importer.terminal.screen import write_any_character

    write_any_character()
    sys.excepthook = tell_a_bug
    try:
        cli(prog_name="ymlf", standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except YmlfError as error:
        from importer.redaction import redact

        click.echo(redact(f"error: {error.message}"), err=True)
        if error.hint:
            click.echo(redact(f"  hint: {error.hint}"), err=True)
        sys.exit(3 if isinstance(error, StoreError) else 2 if isinstance(error, UsageError) else 1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
