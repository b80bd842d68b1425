"""Many runs in the hands of workers: each outcome as it comes, whoever dies, stops or fails meanwhile."""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace

from importer.batch.summary import RunSummary, iterations_of
from importer.errors import StoreError, UsageError
from importer.model import ImportContext, ImportOptions
from importer.report import SOURCE_FAULTS, Kind, Outcome
from importer.store.opening import open_store

log = logging.getLogger(__name__)

STORE_FAILURES = 3  # in a row, before one probe decides whether the batch goes on
BUSY_SECONDS = 1.0  # before looking again at what another import was writing
PATIENCE = 20  # looks

Job = Callable[[RunSummary, str, ImportOptions, ImportContext], Outcome]
Engine = Callable[[], AbstractContextManager[Executor]]


class Stop:
    """Set by a signal: workers finish the run in hand, nothing new begins."""

    def __init__(self) -> None:
        self.asked = False


class Batch:
    """One job over many summaries: what waits, what runs, and why it stopped before its end, if it did."""

    def __init__(
        self,
        summaries: Iterable[RunSummary],
        job: Job,
        uri: str,
        options: ImportOptions,
        context: ImportContext,
        stop: Stop,
    ) -> None:
        self.waiting = deque(summaries)
        self.lost: list[RunSummary] = []  # in the hands of a worker that died
        self.job, self.uri, self.options, self.context, self.stop = job, uri, options, context, stop
        self.busy: list[RunSummary] = []  # being written by another import when they were looked at
        self.parted = False  # from the order in which another import goes through the same tree
        self.ended: str | None = None
        self.failed_in_a_row = 0

    def outcomes(self, engine: Engine, jobs: int, *, fail_fast: bool = False) -> Iterator[Outcome]:
        """Every outcome as it comes. What a dead worker held is tried once more.

        After three store failures in a row one probe decides whether to go on; what then remains is `not tried`.
        """
        retried = False
        patience = PATIENCE
        while (self.waiting or self.busy) and not self._ending():
            with ExitStack() as stack:
                try:
                    executor = stack.enter_context(engine())
                except UsageError as error:
                    if not retried:
                        raise
                    self.ended = error.message  # a cluster that was there and is gone
                    break
                yield from self._drain(executor, jobs, fail_fast)
                while self.busy and not self.waiting and not self._ending():
                    patience -= 1
                    self._come_back(patience)
                    yield from self._drain(executor, jobs, fail_fast)
            lost, self.lost = self.lost, []
            retried = retried or bool(lost)
            for summary in lost:
                yield from self._once_more(summary, engine, fail_fast)
        yield from not_tried((*self.waiting, *self.busy), self.ended or "interrupted")

    def _once_more(self, summary: RunSummary, engine: Engine, fail_fast: bool) -> Iterator[Outcome]:
        """The outcomes of a run whose worker died, by itself: if the run is what kills workers, no other dies of it."""
        rest, self.waiting = self.waiting, deque([summary])
        if not self._ending():
            try:
                with engine() as executor:
                    yield from self._drain(executor, 1, fail_fast)
            except UsageError as error:
                self.ended = error.message
        if self.lost:
            self.lost.clear()
            yield _outcome(Kind.FAILED, summary, "its worker died twice", "is there enough memory?")
            self._judge(Kind.FAILED, fail_fast)
        self.waiting.extend(rest)

    def _put_off(self, summary: RunSummary) -> None:
        """Another import is at the same tree: keep this run for later, and part ways by taking the rest at random."""
        if not self.parted:
            self.parted = True
            random.shuffle(self.waiting)
        self.busy.append(summary)

    def _come_back(self, patience: int) -> None:
        """Look again at what another import was writing; when patience ends, finish it ourselves, which is safe."""
        if patience > 0:
            time.sleep(BUSY_SECONDS)
        self.context = replace(self.context, wait_for_others=patience > 0)
        self.waiting.extend(self.busy)
        self.busy.clear()

    def _next(self, running_keys: set[str]) -> RunSummary | None:
        """Return what to begin next: trainings that begin alike go one at a time, for each looks at what is stored."""
        for _ in range(len(self.waiting)):
            summary = self.waiting.popleft()
            if summary.child is not None or summary.key not in running_keys:
                return summary
            self.waiting.append(summary)
        return None

    def _ending(self) -> bool:
        return self.stop.asked or self.ended is not None

    def _drain(self, executor: Executor, jobs: int, fail_fast: bool) -> Iterator[Outcome]:
        """Keep the workers busy until nothing waits, or until nothing new may begin and the last run is done."""
        running: dict[Future[Outcome], RunSummary] = {}
        while True:
            jobs = getattr(executor, "jobs", jobs)  # a cluster grows and shrinks
            while len(running) < 2 * jobs and not self._ending() and not self.lost:
                summary = self._next({each.key for each in running.values() if each.child is None})
                if summary is None:
                    break
                try:
                    running[executor.submit(self.job, summary, self.uri, self.options, self.context)] = summary
                except BrokenProcessPool:
                    self.lost.append(summary)
            if self._ending():
                self.waiting.extendleft(running.pop(future) for future in list(running) if future.cancel())
            if not running:
                return
            done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            for future in done:
                summary = running.pop(future)
                outcome = self._result(future, summary)
                if outcome is None:
                    continue
                if outcome.kind is Kind.BUSY:
                    self._put_off(summary)
                    continue
                yield outcome
                self._judge(outcome.kind, fail_fast)
                if summary.runs > 1 and outcome.run_id is not None:
                    below = iterations_of(summary, outcome.run_id, outcome.experiment_name or summary.experiment)
                    self.waiting.extendleft(reversed(below))

    def _result(self, future: Future[Outcome], summary: RunSummary) -> Outcome | None:
        """The outcome; None where the worker died."""
        try:
            return future.result()
        except BrokenProcessPool:
            self.lost.append(summary)
            return None
        except Exception as error:
            log.exception("%s: unexpected error", summary.save_dir)
            return _outcome(Kind.FAILED, summary, f"a bug in ymlf: {type(error).__name__}: {error}", "please report it")

    def _judge(self, kind: Kind, fail_fast: bool) -> None:
        self.failed_in_a_row = self.failed_in_a_row + 1 if kind is Kind.FAILED else 0
        if self.failed_in_a_row >= STORE_FAILURES:
            self.failed_in_a_row = 0
            if not _answers(self.uri):
                self.ended = "the store does not answer"
        if fail_fast and kind in SOURCE_FAULTS | {Kind.FAILED}:
            self.ended = "--fail-fast"


def not_tried(summaries: Iterable[RunSummary], reason: str) -> Iterator[Outcome]:
    """The outcomes of what a batch that was ended early leaves."""
    return (_outcome(Kind.NOT_TRIED, summary, reason, "run the same command again") for summary in summaries)


def _outcome(kind: Kind, summary: RunSummary, reason: str, hint: str) -> Outcome:
    return Outcome(kind, summary.save_dir, reason, hint, key=summary.key)


def _answers(uri: str) -> bool:
    try:
        open_store(uri, probe=True)
    except StoreError:
        return False
    return True
