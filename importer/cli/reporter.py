"""Report to a person and to a job: results on stdout, progress and errors on stderr, lines of JSON, an exit status."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from types import FrameType
from typing import IO, Any

from rich.table import Table

from importer.batch.gather import Batch
from importer.batch.scheduler import Stop
from importer.cli.console import LineConsole, is_one_terminal, print_table
from importer.cli.main import end_at_once, end_by, on_signals
from importer.cli.progress import Totals, directories_in_words, show_progress
from importer.cli.show import print_notes
from importer.errors import UsageError
from importer.read.registry import why_not
from importer.redaction import RedactingFormatter, one_line, redact
from importer.report import SOURCE_FAULTS, WROTE, Kind, Outcome, dumps, exit_status, kind_words, outcome_line, size
from importer.store.store import Store

PIPE_WIDTH = 1000  # a table that goes to a file or a pipe is not cut to a screen
FEW = 3  # up to this many outcomes are shown in full
MANY_OF_A_KIND = 5  # directories that are named of those that were passed over for one reason
BAD = SOURCE_FAULTS | {Kind.FAILED}


class Terminal:
    """Write to stdout and stderr what `--json`, `-v` and `-q` ask for."""

    def __init__(self, *, as_json: bool = False, verbose: int = 0, quiet: bool = False) -> None:
        self.as_json, self.verbose, self.quiet = as_json, verbose, quiet
        width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
        self.out = LineConsole(width=width)
        self.err = self.out if is_one_terminal() else LineConsole(stderr=True)  # a bar and words then share it
        self.signal: int | None = None
        self.stop: Stop | None = None
        level = logging.ERROR if quiet else (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(RedactingFormatter("%(levelname)s: %(message)s"))
        logging.basicConfig(handlers=[handler])
        logging.getLogger("importer").setLevel(level)

    def write_json(self, facts: Mapping[str, object]) -> None:
        """Write a line of JSON to stdout, without secrets, in ASCII where not every character can be written."""
        line = dumps(_redacted(facts))
        takes_unicode = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
        sys.stdout.write(f"{line if takes_unicode else json.dumps(json.loads(line))}\n")
        sys.stdout.flush()

    def say(self, text: str) -> None:
        """Write a line to stdout, unless quiet or JSON is asked for."""
        if not self.quiet and not self.as_json:
            self.out.print(one_line(text))

    def warn(
        self, text: str, style: str | None = "yellow", *, below: Iterable[str] = (), hint: str | None = None
    ) -> None:
        """Write a line to stderr, and more lines and a hint below it."""
        self.err.print("\n".join(map(one_line, (text, *below))), style=style)
        if hint:
            self.err.print(one_line(f"  hint: {hint}"))

    def progress(self, words: Callable[[], str], totals: Totals | None = None) -> AbstractContextManager[None]:
        """Show words that change, until the context ends."""
        if self.quiet:
            return nullcontext()
        return show_progress(self.err, words, totals=totals, as_lines=self.as_json and self.err is self.out)

    def catch_signals(self, *, fail_fast: bool = False) -> Stop:
        """Let the first Ctrl-C or SIGTERM wait for the run in hand; the second ends the process."""
        stop = self.stop = Stop(fail_fast=fail_fast)

        def handle(number: int, frame: FrameType | None) -> None:
            if stop.asked:
                end_at_once(number, frame)
            stop.asked, self.signal = True, number
            self.warn("stopping: finishing the run in hand; once more stops at once")

        on_signals(handle)
        return stop

    def conclude(self, outcomes: Iterable[Outcome], batch: Batch, store: Store | None, report: Report) -> None:
        """Report each outcome as it comes and the totals at the end."""
        below = {summary.key: summary.runs - 1 for summary in batch.summaries if summary.runs > 1}
        totals = report.totals = Totals(batch.total, len(batch.settled), below, self.stop)
        total = totals.total
        with self.progress(totals.progress, totals) if total > 1 else nullcontext():
            for outcome in outcomes:
                totals.add(outcome)
                report.write(outcome.as_json())
                self.say_outcome(outcome, total, store)
        report.status = 128 + self.signal if self.signal is not None else exit_status(totals.counts)
        self.say_totals(batch, totals, few=total <= FEW)
        self.say_left_out(batch)

    def say_outcome(self, outcome: Outcome, total: int, store: Store | None, *, would: bool = False) -> None:
        """Write one outcome of `total`: whole for a few, of many only what went wrong or was asked for."""
        if outcome.kind in BAD:
            message = outcome.reason if outcome.kind is Kind.REFUSED else outcome_line(outcome)
            mismatches = (f"mismatch: {mismatch}" for mismatch in outcome.mismatches)
            self.warn(f"error: {message}", "red", below=mismatches, hint=outcome.hint)
            return
        if self.quiet or self.as_json or (total > FEW and not self.verbose):
            return
        self.say(outcome_line(outcome, would=would))
        if outcome.kind in WROTE | {Kind.VERIFIED}:  # of a run that is left alone, a note would say what was not done
            print_notes(self.err, outcome.notes, outcome.source if total > 1 else None)
        if outcome.run_id and store is not None:
            self.say(f"  run {outcome.run_id} ({outcome.run_name}) in experiment {outcome.experiment_name}")
            if total == 1 and outcome.url is not None:
                self.say(f"  {outcome.url}")
        if outcome.hint:
            self.say(f"  hint: {outcome.hint}")

    def say_totals(self, batch: Batch, totals: Totals, *, few: bool, would: bool = False) -> None:
        """Write what was passed over, and counts of directories and outcomes; a `few` outcomes were shown already."""
        if self.quiet or self.as_json:
            return
        if not few and not self.verbose:
            for kind in dict.fromkeys(outcome.kind for outcome in totals.notable if outcome.kind not in BAD):
                self._say_passed_over([outcome for outcome in totals.notable if outcome.kind is kind])
        if totals.counts.total() > 1:
            self.say(directories_in_words(batch))
            table = Table.grid(padding=(0, 2))
            for kind, count in sorted(totals.counts.items()):
                table.add_row(f"{count:>6}", kind_words(kind, would=would))
            print_table(self.out, table)
            if totals.points or totals.bytes:
                written = "would be written" if would else "written"
                self.say(f"{totals.points:,} points and {size(totals.bytes)} of artifacts {written}")
            if totals.undated:
                dated, command = ("would be", "-v") if would else ("are", "`ymlf verify -v`")
                words = f"{totals.undated} of these runs {dated} dated at the import; {command} tells which"
                self.warn(f"note: time-unknown: {words}")

    def _say_passed_over(self, outcomes: Sequence[Outcome]) -> None:
        """Write a few outcomes of one kind, how many more there are, and each hint once."""
        if outcomes[0].kind is Kind.NOT_TRIED:  # the rest of a batch
            for reason, count in Counter(outcome.reason for outcome in outcomes).items():
                self.say(f"not tried: {count} run {'directory' if count == 1 else 'directories'}: {reason}")
        else:
            for outcome in outcomes[:MANY_OF_A_KIND]:
                self.say(outcome_line(outcome))
            if len(outcomes) > MANY_OF_A_KIND:
                self.say(f"... and {len(outcomes) - MANY_OF_A_KIND} more (-v names them)")
        for hint in dict.fromkeys(outcome.hint for outcome in outcomes if outcome.hint):
            self.say(f"  hint: {hint}")

    def say_left_out(self, batch: Batch) -> None:
        """Write which folders only look like a run directory, and why a selection leaves nothing."""
        if self.quiet:
            return
        # A root is refused, with the reason; the log of -v names every folder.
        alike = [] if self.verbose else [folder for folder in batch.passed_by if folder not in batch.roots]
        for folder in alike[:MANY_OF_A_KIND]:
            self.warn(f"note: {folder}: only looks like a run directory: {why_not(folder)}", None)
        if len(alike) > MANY_OF_A_KIND:
            self.warn(f"note: ... and {len(alike) - MANY_OF_A_KIND:,} more such folders (-v names them)", None)
        if batch.none_selected is not None:
            reason, hint = batch.none_selected
            self.warn(f"nothing to do: {reason}", hint=hint)


class Report:
    """Write the lines of a batch for a job, on stdout with `--json` and to the file of `--report`.

    The last line counts the outcomes and says how the command ended, whatever ended it.
    """

    def __init__(self, terminal: Terminal, path: str | None) -> None:
        self.terminal, self.path = terminal, path
        self.totals, self.status = Totals(0), 0
        self._file: IO[str] | None = None
        self._status_of_file = 0  # 1 once it could not be written

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
        facts = self.totals.as_json(exit_status=self.status or self._status_of_file)
        if error is not None:
            status, reason, hint = end_by(error)
            facts |= {"exit_status": status, "reason": reason} | ({"hint": hint} if hint else {})
        self.write_file(facts)
        if self._file is not None:
            self._attempt(self._file.close)
        self.status = self.status or self._status_of_file
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
            self._attempt(partial(print, dumps(_redacted(facts)), file=self._file, flush=True))

    def _attempt(self, write: Callable[[], None]) -> None:
        """Write to the file; go on without it where that fails."""
        try:
            write()
        except OSError as error:
            self._file, self._status_of_file = None, 1
            words = f"error: --report {self.path}: {error.strerror or error}; the report ends here"
            self.terminal.warn(words, "red")


def _redacted(value: Any) -> Any:
    """Return values for JSON without secrets. Only texts are redacted: a secret of digits breaks no number."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redact(str(name)): _redacted(part) for name, part in value.items()}
    return [_redacted(part) for part in value] if isinstance(value, (list, tuple)) else value
