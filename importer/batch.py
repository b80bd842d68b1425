"""Many runs: surveyed, then imported or verified by workers, each outcome told as it comes."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from importer.discover import FoundRun
from importer.errors import StoreError, UsageError, YmlfError
from importer.identity import COMPLETE, FINGERPRINT, STATE, search_key
from importer.model import ImportOptions
from importer.outcome import SOURCE_FAULTS, Kind, Outcome
from importer.single import import_read_run, verify_read_run
from importer.store import Store, failures, open_store, twice
from importer.survey import Survey, read_surveyed, survey
from importer.templates import needs_date

if TYPE_CHECKING:
    from mlflow.entities import Run

log = logging.getLogger(__name__)

STORE_FAILURES = 3  # in a row, before one probe decides whether the batch goes on
BUSY_SECONDS = 1.0  # before looking again at what another import was writing
PATIENCE = 20  # looks
CHUNK = 16  # directories that one survey job looks at

_stores: dict[str, Store] = {}
_stores_lock = threading.Lock()

Job = Callable[[Survey, str, ImportOptions], list[Outcome]]
Engine = Callable[[], AbstractContextManager[Executor]]


class Stop:
    """Set by a signal: workers finish the run in hand, nothing new begins."""

    def __init__(self) -> None:
        self.asked = False


def survey_all(
    found: Iterable[FoundRun], options: ImportOptions, executor: Executor, stop: Stop | None = None
) -> list[Survey]:
    """The surveys of all directories in their order, less those that a tune imports as its children."""
    found = list(found)
    chunks = [found[at : at + CHUNK] for at in range(0, len(found), CHUNK)]
    surveys = [told for part in executor.map(_survey_chunk, chunks, [options] * len(chunks)) for told in part]
    owned = {str(Path(path).resolve()) for told in surveys for path in told.children}
    return [told for told in surveys if not owned or str(Path(told.save_dir).resolve()) not in owned]


def _survey_chunk(found: Sequence[FoundRun], options: ImportOptions) -> list[Survey]:
    return [told for run in found for told in survey(run.save_dir, run.root, replace(options, root=str(run.root)))]


def set_aside(surveys: Iterable[Survey]) -> tuple[list[Survey], list[Outcome]]:
    """The surveys to go on with, and the outcomes of those that were refused or are a copy of another.

    Of two directories with one key, that with more epochs is the training.
    """
    surveys = list(surveys)
    chosen: dict[str, Survey] = {}
    for told in surveys:
        if told.refused is None and (told.key not in chosen or chosen[told.key].epochs < told.epochs):
            chosen[told.key] = told
    kept, aside = [], []
    for told in surveys:
        if told.refused is not None:
            aside.append(Outcome(Kind.REFUSED, told.save_dir, told.refused, told.hint))
        elif chosen[told.key] is not told:
            aside.append(Outcome(Kind.DUPLICATE, told.save_dir, chosen[told.key].save_dir, key=told.key))
        else:
            kept.append(told)
    return kept, aside


def prepare_experiments(surveys: Iterable[Survey], store: Store, options: ImportOptions) -> None:
    """Create the experiments before any worker starts. One that cannot be is told by the runs that need it."""
    for name in sorted({told.experiment for told in surveys if told.epochs or options.empty}):
        try:
            twice(partial(store.experiment_id, name, options.artifact_location))
        except StoreError as error:
            log.debug("experiment %s: %s", name, error)


def import_one(told: Survey, uri: str, options: ImportOptions) -> list[Outcome]:
    """The outcome of importing one surveyed directory, and its children's. Nothing is raised but bugs."""
    options = replace(options, root=told.root)
    try:
        return twice(lambda: _import_or_pass(told, uri, options))  # identity finds what the first try left
    except StoreError as error:
        return [Outcome(Kind.FAILED, told.save_dir, error.message, error.hint, key=told.key)]
    except YmlfError as error:
        return [Outcome(Kind.REFUSED, told.save_dir, error.message, error.hint, key=told.key)]


def _import_or_pass(told: Survey, uri: str, options: ImportOptions) -> list[Outcome]:
    began = time.monotonic()
    store = worker_store(uri)
    runs = None
    if told.family != "tune":  # whose children are to be looked at, too
        experiment_id = store.experiment_id(told.experiment, create=False)
        with failures("looking the run up"):
            runs = search_key(store, experiment_id, told.key) if experiment_id is not None else []
        if (there := _there_already(told, runs)) is not None:
            return [replace(there, seconds=time.monotonic() - began)]
    run = read_surveyed(told, options)
    if needs_date(options.experiment):
        runs = None  # the survey could not tell the experiment
    return import_read_run(run, store, options, options.import_id or "", runs)


def verify_one(told: Survey, uri: str, options: ImportOptions) -> list[Outcome]:
    """How one surveyed directory compares with the store. Nothing is raised but bugs."""
    options = replace(options, root=told.root)
    try:
        return twice(lambda: verify_read_run(read_surveyed(told, options), worker_store(uri), options, options.deep))
    except StoreError as error:
        return [Outcome(Kind.FAILED, told.save_dir, error.message, error.hint)]
    except YmlfError as error:
        return [Outcome(Kind.REFUSED, told.save_dir, error.message, error.hint)]


def _there_already(told: Survey, runs: list[Run]) -> Outcome | None:
    """The outcome for a training that is there, whole and unchanged: nothing more needs to be read."""
    if len(runs) != 1:
        return None
    run = runs[0]
    if run.data.tags.get(STATE) != COMPLETE or run.data.tags.get(FINGERPRINT) != told.fingerprint:
        return None
    return Outcome(
        Kind.ALREADY_THERE,
        told.save_dir,
        run_id=run.info.run_id,
        run_name=run.info.run_name,
        experiment_id=run.info.experiment_id,
        experiment_name=told.experiment,
        key=told.key,
    )


def worker_store(uri: str) -> Store:
    """The store at a URI, opened once per process."""
    with _stores_lock:
        if uri not in _stores:
            _stores[uri] = open_store(uri)
            if multiprocessing.parent_process() is not None:
                spare_the_collector()
        return _stores[uri]


def spare_the_collector() -> None:
    """Leave what is loaded by now out of garbage collection: SQLAlchemy's many objects set it off at every turn.

    It takes a quarter off the CPU of an import; for processes of ymlf's own only, not for a program that imports it.
    """
    gc.collect()
    gc.freeze()


class Batch:
    """One job over many surveys: what waits, what runs, and why it stopped before its end, if it did."""

    def __init__(self, surveys: Iterable[Survey], job: Job, uri: str, options: ImportOptions, stop: Stop) -> None:
        self.waiting = deque(surveys)
        self.lost: list[Survey] = []  # in the hands of a worker that died
        self.job, self.uri, self.options, self.stop = job, uri, options, stop
        self.busy: list[Survey] = []  # being written by another import when they were looked at
        self.parted = False  # from the order in which another import goes through the same tree
        self.ended: str | None = None
        self.failed_in_a_row = 0

    def outcomes(self, engine: Engine, jobs: int, *, fail_fast: bool = False) -> Iterator[Outcome]:
        """Every outcome as it comes. What a dead worker held is tried once more.

        After three store failures in a row one probe decides whether to go on; what then remains is `not tried`.
        """
        retried = False
        patience = PATIENCE
        while self.waiting and not self._ending():
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
            for told in lost:
                yield from self._once_more(told, engine, fail_fast)
        yield from not_tried((*self.waiting, *self.busy), self.ended or "interrupted")

    def _once_more(self, told: Survey, engine: Engine, fail_fast: bool) -> Iterator[Outcome]:
        """The outcomes of a run whose worker died, by itself: if the run is what kills workers, no other dies of it."""
        rest, self.waiting = self.waiting, deque([told])
        if not self._ending():
            try:
                with engine() as executor:
                    yield from self._drain(executor, 1, fail_fast)
            except UsageError as error:
                self.ended = error.message
        if self.lost:
            self.lost.clear()
            yield _outcome(Kind.FAILED, told, "its worker died twice", "is there enough memory?")
        self.waiting.extend(rest)

    def _put_off(self, told: Survey) -> None:
        """Another import is at the same tree: keep this run for later, and part ways by taking the rest at random."""
        if not self.parted:
            self.parted = True
            random.shuffle(self.waiting)
        self.busy.append(told)

    def _come_back(self, patience: int) -> None:
        """Look again at what another import was writing; when patience ends, finish it ourselves, which is safe."""
        if patience > 0:
            time.sleep(BUSY_SECONDS)
        self.options = replace(self.options, patient=patience > 0)
        self.waiting.extend(self.busy)
        self.busy.clear()

    def _ending(self) -> bool:
        return self.stop.asked or self.ended is not None

    def _drain(self, executor: Executor, jobs: int, fail_fast: bool) -> Iterator[Outcome]:
        """Keep the workers busy until nothing waits, or until nothing new may begin and the last run is done."""
        running: dict[Future[list[Outcome]], Survey] = {}
        while True:
            jobs = getattr(executor, "jobs", jobs)  # a cluster grows and shrinks
            while self.waiting and len(running) < 2 * jobs and not self._ending() and not self.lost:
                told = self.waiting.popleft()
                try:
                    running[executor.submit(self.job, told, self.uri, self.options)] = told
                except BrokenProcessPool:
                    self.lost.append(told)
            if self._ending():
                self.waiting.extendleft(running.pop(future) for future in list(running) if future.cancel())
            if not running:
                return
            done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            for future in done:
                told = running.pop(future)
                outcomes = self._result(future, told)
                if outcomes and outcomes[0].kind is Kind.BUSY:
                    self._put_off(told)
                    continue
                yield from outcomes
                self._judge({outcome.kind for outcome in outcomes}, fail_fast)

    def _result(self, future: Future[list[Outcome]], told: Survey) -> list[Outcome]:
        try:
            return future.result()
        except BrokenProcessPool:
            self.lost.append(told)
            return []
        except Exception as error:
            log.exception("%s: unexpected error", told.save_dir)
            return [_outcome(Kind.FAILED, told, f"a bug in ymlf: {type(error).__name__}: {error}", "please report it")]

    def _judge(self, kinds: set[Kind], fail_fast: bool) -> None:
        self.failed_in_a_row = self.failed_in_a_row + 1 if Kind.FAILED in kinds else 0
        if self.failed_in_a_row >= STORE_FAILURES:
            self.failed_in_a_row = 0
            if not _answers(self.uri):
                self.ended = "the store does not answer"
        if fail_fast and kinds & (SOURCE_FAULTS | {Kind.FAILED}):
            self.ended = "--fail-fast"


def not_tried(surveys: Iterable[Survey], reason: str) -> Iterator[Outcome]:
    """The outcomes of what a batch that was ended early leaves."""
    return (_outcome(Kind.NOT_TRIED, told, reason, "run the same command again") for told in surveys)


def _outcome(kind: Kind, told: Survey, reason: str, hint: str) -> Outcome:
    return Outcome(kind, told.save_dir, reason, hint, key=told.key)


def _answers(uri: str) -> bool:
    try:
        open_store(uri, probe=True)
    except StoreError:
        return False
    return True
