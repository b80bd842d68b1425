"""The closing line of a command that ends before its end: a job reads the same last line however it ended."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from importer.cli.main import Interrupted, status_of
from importer.errors import UsageError, YmlfError

if TYPE_CHECKING:
    from importer.cli.reporter import Terminal

Command = Callable[..., None]


def always_closed(command: Command) -> Command:
    """The command; where an error or a signal ends it early, `--json` and `--report` get their closing line, too."""

    @wraps(command)
    def closed(*args: Any, as_json: bool, report: str | None, **given: Any) -> None:
        try:
            command(*args, as_json=as_json, report=report, **given)
        except (YmlfError, Interrupted) as error:
            terminal = click.get_current_context().obj
            if terminal is not None and not given.get("dry_run"):
                _close(terminal, error, report)
            raise

    return closed


def _close(terminal: Terminal, error: YmlfError | Interrupted, report: str | None) -> None:
    from importer.cli.reporter import json_line, open_report
    from importer.cli.totals import Tally

    reason = {"reason": "interrupted"}
    if isinstance(error, YmlfError):
        reason = {"reason": error.message, **({"hint": error.hint} if error.hint else {})}
    tally = terminal.tally or Tally(0)
    line = json_line(tally.as_json(exit_status=status_of(error), **reason))
    if terminal.as_json:
        terminal.echo_json(line)
    if report is not None:
        try:
            with open_report(report, "w" if terminal.tally is None else "a") as target:
                target.write(line + "\n")
        except UsageError as refused:
            if str(refused) not in str(error):  # which is told anyway
                terminal.warn(refused.message)
