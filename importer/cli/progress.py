"""Count what has come of a batch, and show how far it is: redrawn on a terminal, a line every few seconds in a log."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table

from importer.batch.gather import Batch
from importer.batch.scheduler import Stop
from importer.batch.summary import Progress
from importer.report import WROTE, Kind, Outcome, duration, size

LINE_SECONDS = 5.0
SHORT_SECONDS = 1.0  # a search that takes no longer is not worth a word


class Totals:
    """Count the outcomes of a batch.

    `settled` of them come before the batch begins. `below` holds the number of iterations of each tune, by its key.
    """

    def __init__(
        self, total: int, settled: int = 0, below: Mapping[str, int] | None = None, stop: Stop | None = None
    ) -> None:
        self.total, self.settled, self.below, self.stop = total, settled, dict(below or {}), stop
        self.began = time.monotonic()
        self.counts: Counter[Kind] = Counter()
        self.points = self.bytes = 0
        self.undated = 0  # runs that were written without a clock
        self.named: list[tuple[Kind, str, str, str]] = []  # experiment, run name and directory of each run
        self.experiments: dict[str, str] = {}  # that hold runs of the batch: id by name
        self.notable: list[Outcome] = []  # for a person to look at
        self.import_id: str | None = None  # of an import that has created a run

    def add(self, outcome: Outcome) -> None:
        """Count an outcome. A tune without a run has no iterations to wait for."""
        below = self.below.pop(outcome.key or "", 0)
        if outcome.run_id is None:
            self.total -= below
        self.counts[outcome.kind] += 1
        if outcome.experiment_name and outcome.run_name:
            names = sys.intern(outcome.experiment_name), sys.intern(outcome.run_name)  # thousands share them
            self.named.append((outcome.kind, *names, outcome.source))
        if outcome.run_id and outcome.experiment_name and outcome.experiment_id:
            self.experiments[outcome.experiment_name] = outcome.experiment_id
        self.import_id = self.import_id or outcome.import_id
        if outcome.kind in WROTE:
            self.points += outcome.points
            self.bytes += outcome.artifact_bytes
            self.undated += any(note.code == "time-unknown" for note in outcome.notes)
        elif outcome.kind not in (Kind.ALREADY_THERE, Kind.VERIFIED) or outcome.reason:
            self.notable.append(outcome)

    @property
    def done(self) -> int:
        """How many runs have an outcome."""
        return self.counts.total() - self.counts[Kind.NOT_TRIED]

    @property
    def known(self) -> int:
        """How many runs are known by now."""
        return max(self.total, self.done)

    def progress(self) -> str:
        """Return one line: runs done, of those known by now; rates; time left."""
        passed = max(1e-9, time.monotonic() - self.began)
        done, left = self.done - self.settled, self.known - self.done
        parts = [f"{self.done}/{self.known} runs"]
        if self.points or self.bytes:
            parts += [f"{self.points / passed:,.0f} points/s", f"{size(self.bytes / passed)}/s"]
        elif done > 0:
            parts.append(f"{done / passed:,.1f} runs/s")
        is_ending = self.counts[Kind.NOT_TRIED] or (self.stop is not None and self.stop.asked)
        if done > 0 and left and not is_ending:
            parts.append(f"{duration(left * passed / done)} left")
        return ", ".join(parts)

    def as_json(self, **more: object) -> dict[str, object]:
        """Return the closing line of a report."""
        return {
            "summary": {kind.value: count for kind, count in sorted(self.counts.items())},
            "runs": self.counts.total(),
            "points": self.points,
            "artifact_bytes": self.bytes,
            "seconds": round(time.monotonic() - self.began, 3),
            **more,
        }


def directories_in_words(batch: Batch) -> str:
    """Return a count of directories by kind, such as `41 directories: 39 trainings (7 without epochs), 2 tunes`."""
    trainings = [summary for summary in batch.summaries if summary.family != "tune"]
    tunes = [summary for summary in batch.summaries if summary.family == "tune"]
    empty, iterations = sum(not summary.epochs for summary in trainings), sum(tune.runs - 1 for tune in tunes)
    settled = Counter(outcome.kind for outcome in batch.settled)
    parts = [
        how_many(len(trainings), "training") + (f" ({empty} without epochs)" if empty else ""),
        how_many(len(tunes), "tune") + (f" ({how_many(iterations, 'iteration')})" if iterations else ""),
        how_many(settled[Kind.DUPLICATE], "duplicate"),
        f"{settled[Kind.REFUSED]} refused",
    ]
    places = {summary.save_dir for summary in batch.summaries} | {outcome.source for outcome in batch.settled}
    words = ", ".join(part for part in parts if not part.startswith("0 "))
    return how_many(len(places), "directory") + (f": {words}" if words else "")


def how_many(count: int, noun: str) -> str:
    """Return `1 run`, `2,000 runs`, `2 directories`."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


@contextmanager
def show_progress(
    console: Console, words: Callable[[], str], *, totals: Totals | None = None, as_lines: bool = False
) -> Iterator[None]:
    """Show words that change, on a terminal with a bar of the totals; `as_lines` where JSON shares the terminal."""
    if as_lines or not console.is_terminal:
        with _lines(console, words):
            yield
        return
    began, spinner = time.monotonic(), Spinner("dots")

    def render() -> RenderableType:
        if totals is None:
            spinner.update(text=words())
            return spinner if time.monotonic() - began >= SHORT_SECONDS else ""
        line = Table.grid(padding=(0, 1))
        line.add_row(ProgressBar(totals.known, totals.done, width=40), words())
        return line

    with Live(get_renderable=render, console=console, transient=True, redirect_stdout=False):
        yield


def looked(progress: Progress) -> str:
    """Return how many run directories are found and read."""
    if progress.is_searching:
        return f"searching: {progress.found:,} run directories found"
    return f"reading: {progress.surveyed:,} of {progress.found:,} run directories"


@contextmanager
def _lines(console: Console, words: Callable[[], str]) -> Iterator[None]:
    """Print a line every few seconds, also while one run takes long."""
    ended = threading.Event()

    def print_lines() -> None:
        while not ended.wait(LINE_SECONDS):
            console.print(words())

    printer = threading.Thread(target=print_lines, name="ymlf-progress", daemon=True)
    printer.start()
    try:
        yield
    finally:
        ended.set()
        printer.join()
