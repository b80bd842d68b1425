"""What one worker does with one summarized directory, in a store that it opens once for each batch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from importer.batch.summary import RunSummary, find_unchanged, read_summarized
from importer.errors import RunDirError, StoreError, YmlfError
from importer.model import ImportContext, ImportOptions
from importer.models.weights import with_model
from importer.report import Kind, Outcome
from importer.store.failures import retry
from importer.store.opening import open_store
from importer.store.store import Store
from importer.verify import verify_training
from importer.write.import_run import Job, import_training, iteration_jobs

RETRIES = 3  # of a run: on a bad network each of its requests may be cut off

_stores: dict[tuple[str, str], Store] = {}
_stores_lock = threading.Lock()
_tune_lock = threading.Lock()


def import_one(summary: RunSummary, uri: str, options: ImportOptions, context: ImportContext) -> Outcome:
    """Import one summarized directory, or one iteration of a tune. Nothing is raised but bugs."""
    options = replace(options, root=summary.root)

    def attempt() -> Outcome:
        began = time.monotonic()
        store = worker_store(uri, context.import_id)
        store.allows_bulk = options.bulk
        unchanged, looked_up = find_unchanged(summary, store, options)
        if unchanged is not None:
            outcome, run = replace(unchanged, seconds=time.monotonic() - began), None
        else:
            job = replace(_job(summary, store, options, context), looked_up=looked_up)
            outcome, run = import_training(job), job.run
        return with_model(store, outcome, run) if options.model else outcome

    return _settled(summary, attempt)


def verify_one(summary: RunSummary, uri: str, options: ImportOptions, context: ImportContext) -> Outcome:
    """Compare one summarized directory, or iteration of a tune, with the store. Nothing is raised but bugs."""
    options = replace(options, root=summary.root)

    def attempt() -> Outcome:
        job = _job(summary, worker_store(uri, context.import_id), options, context)
        return verify_training(job, deep=context.deep)

    return _settled(summary, attempt)


def _settled(summary: RunSummary, attempt: Callable[[], Outcome]) -> Outcome:
    try:
        return retry(attempt, RETRIES)  # identity finds what the attempt before left
    except YmlfError as error:
        kind = Kind.FAILED if isinstance(error, StoreError) else Kind.REFUSED
        return Outcome(kind, summary.save_dir, error.message, error.hint, key=summary.key)


def _job(summary: RunSummary, store: Store, options: ImportOptions, context: ImportContext) -> Job:
    """Return what to import or verify, read now. Errors: RunDirError; StoreError for an iteration."""
    if summary.child is None:
        return Job(read_summarized(summary, options), store, options, context)
    with _tune_lock:
        jobs = _iterations(replace(summary, child=None), store, options)
    if summary.child >= len(jobs):
        changed = f"{summary.save_dir}: has fewer iterations than when it was looked at"
        raise RunDirError(changed, hint="import it again")
    return replace(jobs[summary.child], context=context)


@lru_cache(maxsize=1)  # the iterations of a tune come one after the other
def _iterations(summary: RunSummary, store: Store, options: ImportOptions) -> list[Job]:
    """Return the jobs of all iterations of a tune whose run is there, so that it is read once for all of them."""
    tune = Job(read_summarized(summary, options), store, options, ImportContext())
    imported = Outcome(
        Kind.IMPORTED, summary.save_dir, run_id=summary.parent_run_id, experiment_name=summary.experiment
    )
    return iteration_jobs(tune, imported)


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
        return _stores[uri, batch_id]
