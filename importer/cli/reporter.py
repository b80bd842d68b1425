"""What a person or a job sees: results on stdout, progress and errors on stderr, an exit status."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING

import click

from importer.errors import UsageError
from importer.redaction import RedactingFormatter, redact

if TYPE_CHECKING:
    from importer.batch.gather import Batch
    from importer.batch.scheduler import Stop
    from importer.cli.totals import Tally
    from importer.report import Outcome
    from importer.store.store import Store

PIPE_WIDTH = 1000  # a table that goes to a file or a pipe is not cut to a screen
FEW = 3  # outcomes up to this many are told in full, more in a table


class Terminal:
    """Where words go, and how many."""

    def __init__(self, *, as_json: bool = False, verbose: int = 0, quiet: bool = False) -> None:
        from importer.cli.console import is_one_terminal, open_console

        self.as_json, self.verbose, self.quiet = as_json, verbose, quiet
        width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
        self.out = open_console(width=width)
        self.err = self.out if is_one_terminal() else open_console(stderr=True)  # which a bar and words then share
        self.signal: int | None = None
        self.tally: Tally | None = None  # once outcomes are told
        level = logging.ERROR if quiet else (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(RedactingFormatter("%(levelname)s: %(message)s"))
        logging.basicConfig(handlers=[handler])
        logging.getLogger("importer").setLevel(level)

    @property
    def mixes_json(self) -> bool:
        """Whether lines of JSON go to the same terminal as progress."""
        return self.as_json and self.err is self.out

    def write_json(self, facts: Mapping[str, object]) -> None:
        """Write a line of JSON to stdout, without secrets."""
        self.echo_json(json_line(facts))

    def echo_json(self, line: str) -> None:
        """A line of JSON on stdout, in the characters that it can take."""
        from importer.cli.console import takes_unicode

        click.echo(line if takes_unicode(sys.stdout) else json.dumps(json.loads(line), allow_nan=False))

    def say(self, text: str, style: str | None = None) -> None:
        """A line of words on stdout, unless quiet or JSON is asked for."""
        if not self.quiet and not self.as_json:
            self.out.print(redact(text), style=style, soft_wrap=True, markup=False, highlight=False)

    def warn(self, text: str, style: str | None = "yellow") -> None:
        """A line on stderr."""
        self.err.print(redact(text), style=style, soft_wrap=True, markup=False, highlight=False)

    def explain_new_store(self, store: Store, *, is_default: bool) -> None:
        """Say on stderr where a database is that was made just now, and how to look."""
        from importer.cli.suggestions import new_store_words

        if not self.quiet and not self.as_json:
            for line in new_store_words(store, is_default=is_default):
                self.warn(line, None)

    def catch_signals(self) -> Stop:
        """The first Ctrl-C or SIGTERM lets the run in hand finish; the second stops at once."""
        from importer.batch.scheduler import Stop
        from importer.cli.main import end_at_once

        stop = Stop()

        def handle(number: int, frame: FrameType | None) -> None:
            if stop.asked:
                end_at_once(number, frame)
            stop.asked, self.signal = True, number
            self.warn("stopping: finishing the run in hand; once more stops at once")

        signal.signal(signal.SIGINT, handle)
        signal.signal(signal.SIGTERM, handle)
        return stop

    def conclude(
        self,
        outcomes: Iterable[Outcome],
        work: Batch,
        store: Store | None,
        report: str | None,
        stop: Stop | None = None,
    ) -> int:
        """Tell each outcome as it comes and all of them at the end; the exit status."""
        from importer.cli.closing import close
        from importer.cli.progress import show_progress
        from importer.cli.totals import Tally
        from importer.report import exit_status

        tally = self.tally = Tally.of(work, stop)
        total = tally.total
        with ExitStack() as stack:
            target: IO[str] | None = None
            if report:
                target = stack.enter_context(open_report(report))
            with show_progress(self.err, tally, quiet=self.quiet, beside_json=self.mixes_json) as progress:
                for outcome in outcomes:
                    tally.add(outcome)
                    line = json_line(outcome.as_json())
                    if self.as_json:
                        self.echo_json(line)
                    if target is not None:
                        target.write(line + "\n")
                        target.flush()
                    self.tell(outcome, total, store)
                    progress()
            status = 128 + self.signal if self.signal is not None else exit_status(tally.counts)
            closing = json_line(tally.as_json(exit_status=status))
            if self.as_json:
                self.echo_json(closing)
            if target is not None:
                target.write(closing + "\n")
        close(self, tally, few=total <= FEW)
        self.tell_left_out(work)
        return status

    def tell_left_out(self, work: Batch) -> None:
        """Say how many folders only look like a run, and what was asked for that no run is."""
        if self.quiet:
            return
        alike = len(set(work.passed_by) - set(work.roots))  # a root is refused, with the reason
        if alike and not self.verbose:
            told = (
                "1 folder looks like a run and is none"
                if alike == 1
                else f"{alike:,} folders look like runs, not one is"
            )
            self.warn(f"note: {told}; -v says why", None)
        if work.none_selected is not None:
            why, hint = work.none_selected
            self.warn(f"nothing to do: {why}")
            if hint:
                self.warn(f"  hint: {hint}", None)

    def tell(self, outcome: Outcome, total: int, store: Store | None, *, would: bool = False) -> None:
        """One outcome in words: whole for a few, for many only what went wrong or was asked for."""
        from importer.cli.facts import print_mismatches, print_notes
        from importer.report import SOURCE_FAULTS, WROTE, Kind, outcome_line

        bad = outcome.kind in SOURCE_FAULTS | {Kind.FAILED}
        if bad:
            self.warn(
                f"error: {outcome_line(outcome)}" if outcome.kind is not Kind.REFUSED else f"error: {outcome.reason}",
                "red",
            )
            print_mismatches(self.err, outcome.mismatches)
            if outcome.hint:
                self.warn(f"  hint: {outcome.hint}", None)
        elif total <= FEW or self.verbose:
            self.say(outcome_line(outcome, would=would))
        if self.quiet or self.as_json or (total > FEW and not self.verbose) or bad:
            return
        if outcome.kind in WROTE | {Kind.VERIFIED}:  # of a run that is left alone, nothing was done about an oddity
            print_notes(self.err, outcome.notes, outcome.source if total > 1 else None)
        if outcome.run_id and store is not None:
            self.say(f"  run {outcome.run_id} ({outcome.run_name}) in experiment {outcome.experiment_name}")
            if total == 1 and not store.is_new:  # that of a new store is told below
                self.say(f"  {where_to_look(outcome, store)}")
        if outcome.hint:
            self.say(f"  hint: {outcome.hint}")


def json_line(facts: Mapping[str, object]) -> str:
    """Return a line of JSON without secrets. Only texts are redacted: a secret of digits breaks no number."""
    from importer.report import dumps

    return dumps({redact(name): _redacted(value) for name, value in facts.items()})


def _redacted(value: object) -> object:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redact(str(name)): _redacted(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_redacted(part) for part in value]
    return value


def open_report(path: str, mode: str = "w") -> IO[str]:
    """The file of --report. Errors: UsageError."""
    try:
        return Path(path).open(mode, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(f"--report {path}: {error.strerror}", hint="choose a file that may be written") from error


def where_to_look(outcome: Outcome, store: Store) -> str:
    """The run's page in the UI of a server, else how to start one."""
    if store.is_server:
        return f"{store.shown_uri.rstrip('/')}/#/experiments/{outcome.experiment_id}/runs/{outcome.run_id}"
    return f"look at it with: mlflow ui --backend-store-uri {store.shown_uri}"
