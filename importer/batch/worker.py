"""What one worker does with one summarized directory, in a store that it opens once for each batch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from importer.batch.own_process import is_own, settle_in
from importer.batch.summary import RunSummary, outcome_if_unchanged, read_summarized
from importer.errors import RunDirError, StoreError, YmlfError
from importer.model import ImportContext, ImportOptions
from importer.replay.names import needs_date
from importer.report import Kind, Outcome
from importer.store.failures import retry_once
from importer.store.opening import open_store
from importer.store.store import Store
from importer.verify import verify_training
from importer.write.import_run import Job, import_training, iteration_jobs
from importer.write.lookup import find_runs_of

_stores: dict[tuple[str, str], Store] = {}

_stores_lock = threading.Lock()

_tune: dict[str, list[Job]] = {}  # the iterations of the one in hand, by the name of its reading

_tune_lock = threading.Lock()


def import_one(summary: RunSummary, uri: str, options: ImportOptions, context: ImportContext) -> Outcome:
    """Import one summarized directory, or one iteration of a tune. Nothing is raised but bugs."""
    options = replace(options, root=summary.root)
    return _settled(summary, lambda: _import(summary, uri, options, context))


def _import(summary: RunSummary, uri: str, options: ImportOptions, context: ImportContext) -> Outcome:
    began = time.monotonic()
    store = worker_store(uri, context.import_id)
    if summary.child is not None:
        return import_training(_iteration(summary, store, options, context))
    looked_up = None
    if not needs_date(options.experiment):  # else the summary could not tell the experiment
        experiment_id = store.experiment_id(summary.experiment, create=False)
        runs = find_runs_of(store, experiment_id, summary.key, has_epochs=bool(summary.epochs))
        looked_up = summary.key, runs
        there = outcome_if_unchanged(summary, runs, options)
        if there is not None:
            return replace(there, seconds=time.monotonic() - began)
    return import_training(Job(read_summarized(summary, options), store, options, context, looked_up=looked_up))


def verify_one(summary: RunSummary, uri: str, options: ImportOptions, context: ImportContext) -> Outcome:
    """Compare one summarized directory, or iteration of a tune, with the store. Nothing is raised but bugs."""
    options = replace(options, root=summary.root)
    return _settled(summary, lambda: _verify(summary, uri, options, context))


def _verify(summary: RunSummary, uri: str, options: ImportOptions, context: ImportContext) -> Outcome:
    store = worker_store(uri, context.import_id)
    if summary.child is not None:
        return verify_training(_iteration(summary, store, options, context), deep=context.deep)
    return verify_training(Job(read_summarized(summary, options), store, options, context), deep=context.deep)


def _settled(summary: RunSummary, work: Callable[[], Outcome]) -> Outcome:
    try:
        return retry_once(work)  # identity finds what the first try left
    except StoreError as error:
        return Outcome(Kind.FAILED, summary.save_dir, error.message, error.hint, key=summary.key)
    except YmlfError as error:
        return Outcome(Kind.REFUSED, summary.save_dir, error.message, error.hint, key=summary.key)


def _iteration(summary: RunSummary, store: Store, options: ImportOptions, context: ImportContext) -> Job:
    """Return the job of an iteration of a tune, which is read once for all of them."""
    assert summary.child is not None  # noqa: S101  for mypy
    with _tune_lock:
        if summary.reading not in _tune:
            _tune.clear()
            tune = Job(read_summarized(summary, options), store, options, context)
            imported = Outcome(
                Kind.IMPORTED, summary.save_dir, run_id=summary.parent_run_id, experiment_name=summary.experiment
            )
            _tune[summary.reading] = iteration_jobs(tune, imported)
        jobs = _tune[summary.reading]
    if summary.child >= len(jobs):
        raise RunDirError(
            f"{summary.save_dir}: has fewer iterations than when it was looked at", hint="import it again"
        )
    return replace(jobs[summary.child], context=context)


def share_store(store: Store, batch_id: str) -> None:
    """Let the workers of a batch that are threads of this process use its store."""
    with _stores_lock:
        _stores.clear()
        _stores[store.uri, batch_id] = store


def worker_store(uri: str, batch_id: str) -> Store:
    """Return the store at a URI, opened once per process and batch: what it remembers is of this batch."""
    with _stores_lock:
        if (uri, batch_id) not in _stores:
            _stores.clear()
            _stores[uri, batch_id] = open_store(uri)
            if is_own():
                settle_in()
        return _stores[uri, batch_id]
