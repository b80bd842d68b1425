"""Many runs in the hands of workers: each has an outcome, also where a worker dies, a store fails or a signal comes."""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import NamedTuple

from importer.batch.summary import RunSummary
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
    """When a batch ends early: `asked` for by a signal, or with `fail_fast` at the first fault."""

    def __init__(self, *, fail_fast: bool = False) -> None:
        self.asked, self.fail_fast = False, fail_fast


class Task(NamedTuple):
    """What is done with each run, and in which store."""

    job: Job
    uri: str
    options: ImportOptions
    context: ImportContext


class Scheduler:
    """One task with many runs: what waits, what another import is writing, and why it ended early, if it did."""

    def __init__(self, task: Task, engine: Engine, jobs: int, stop: Stop) -> None:
        self.task, self.engine, self.jobs, self.stop = task, engine, jobs, stop
        self.waiting: deque[RunSummary] = deque()
        self.busy: list[RunSummary] = []  # another import was writing them
        self.suspects: deque[RunSummary] = deque()  # a worker that died had them in hand
        self.looks_left = PATIENCE
        self.failed_in_a_row = 0
        self.ended: str | None = None

    def outcomes(self, summaries: Iterable[RunSummary]) -> Iterator[Outcome]:
        """Yield every outcome as it comes; what remains when the batch ends early is `not tried`.

        Errors: UsageError when there are no workers to begin with.
        """
        self.waiting.extend(summaries)
        has_lost = False
        while (self.suspects or self.waiting or self.busy) and not self._is_ending():
            try:
                with self.engine() as executor:
                    if self.suspects:  # by itself: if it is what kills workers, no other run dies of it
                        summary = self.suspects.popleft()
                        yield from self._conclude(self._submit(executor, summary), summary, is_alone=True)
                    else:
                        yield from self._drain(executor)
            except UsageError as error:
                if not has_lost:
                    raise
                self.ended = error.message  # a cluster that was there and is gone
            has_lost = has_lost or bool(self.suspects)
        yield from not_tried((*self.suspects, *self.waiting, *self.busy), self.ended or "interrupted")

    def _drain(self, executor: Executor) -> Iterator[Outcome]:
        """Keep the workers busy until nothing waits, or until nothing new may begin and the last run is done."""
        running: dict[Future[Outcome], RunSummary] = {}
        while True:
            jobs = getattr(executor, "jobs", self.jobs)  # a cluster grows and shrinks
            while len(running) < 2 * jobs and (summary := self._next(running.values())) is not None:
                running[self._submit(executor, summary)] = summary
            if self._is_ending():
                self.waiting.extendleft(running.pop(future) for future in list(running) if future.cancel())
            if running:
                for future in wait(running, timeout=0.2, return_when=FIRST_COMPLETED).done:
                    yield from self._conclude(future, running.pop(future))
            elif self.busy and not (self.suspects or self._is_ending()):
                self._look_again()
            else:
                return

    def _next(self, running: Iterable[RunSummary]) -> RunSummary | None:
        """Return what to begin next: trainings of one key go one at a time, for each looks at what is stored."""
        running_keys = {summary.key for summary in running if summary.child is None}
        for _ in range(0 if self.suspects or self._is_ending() else len(self.waiting)):
            summary = self.waiting.popleft()
            if summary.child is not None or summary.key not in running_keys:
                return summary
            self.waiting.append(summary)
        return None

    def _submit(self, executor: Executor, summary: RunSummary) -> Future[Outcome]:
        try:
            return executor.submit(self.task.job, summary, self.task.uri, self.task.options, self.task.context)
        except BrokenProcessPool as error:
            broken: Future[Outcome] = Future()
            broken.set_exception(error)
            return broken

    def _conclude(self, future: Future[Outcome], summary: RunSummary, *, is_alone: bool = False) -> Iterator[Outcome]:
        """Yield the outcome of a run, unless its worker died with others in hand or another import is writing it."""
        try:
            outcome = future.result()
        except BrokenProcessPool:
            if not is_alone:
                self.suspects.append(summary)
                return
            outcome = _outcome(Kind.FAILED, summary, "its worker died twice", "is there enough memory?")
        except MemoryError:
            outcome = _outcome(Kind.FAILED, summary, "not enough memory", "fewer workers need less: -j 1")
        except Exception as error:
            log.exception("%s: unexpected error", summary.save_dir)
            bug = f"a bug in ymlf: {type(error).__name__}: {error}"
            outcome = _outcome(Kind.FAILED, summary, bug, "please report it")
        if outcome.kind is Kind.BUSY:
            if not self.busy:
                random.shuffle(self.waiting)  # to part ways with the other import
            self.busy.append(summary)
            return
        yield outcome
        self._judge(outcome.kind)
        if summary.runs > 1 and outcome.run_id is not None:
            experiment = outcome.experiment_name or summary.experiment
            below = replace(summary, parent_run_id=outcome.run_id, experiment=experiment, runs=1, children=())
            self.waiting.extendleft(replace(below, child=index) for index in reversed(range(summary.runs - 1)))

    def _look_again(self) -> None:
        """Look again at what another import was writing; when patience ends, finish it ourselves, which is safe."""
        self.looks_left -= 1
        is_patient = self.looks_left > 0
        time.sleep(BUSY_SECONDS if is_patient else 0)
        self.task = self.task._replace(context=replace(self.task.context, wait_for_others=is_patient))
        self.waiting.extend(self.busy)
        self.busy.clear()

    def _judge(self, kind: Kind) -> None:
        """End the batch after a fault with --fail-fast, or when the store does not answer after failures in a row."""
        self.failed_in_a_row = self.failed_in_a_row + 1 if kind is Kind.FAILED else 0
        if self.failed_in_a_row >= STORE_FAILURES:
            self.failed_in_a_row = 0
            try:
                open_store(self.task.uri, probe=True)
            except StoreError:
                self.ended = "the store does not answer"
        if self.stop.fail_fast and kind in SOURCE_FAULTS | {Kind.FAILED}:
            self.ended = "--fail-fast"

    def _is_ending(self) -> bool:
        return self.stop.asked or self.ended is not None


def not_tried(summaries: Iterable[RunSummary], reason: str) -> Iterator[Outcome]:
    """Yield the outcomes of what a batch that ended early leaves."""
    return (_outcome(Kind.NOT_TRIED, summary, reason, "run the same command again") for summary in summaries)


def _outcome(kind: Kind, summary: RunSummary, reason: str, hint: str) -> Outcome:
    return Outcome(kind, summary.save_dir, reason, hint, key=summary.key)
