"""A batch from work to outcomes: the experiments and the ledger around it, and who does it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from importer.batch.dask_executor import check_address, dask_executor
from importer.batch.executors import absolute_uri, default_jobs, local_executor
from importer.batch.gather import Work
from importer.batch.scheduler import Batch, Engine, Job, Stop, not_tried
from importer.batch.summary import RunSummary, with_absolute_paths
from importer.batch.worker import import_one, share_store, verify_one
from importer.errors import StoreError, UsageError
from importer.model import ImportContext, ImportOptions
from importer.replay.callbacks import keep_run_active
from importer.replay.names import is_template
from importer.report import SOURCE_FAULTS, WROTE, Outcome
from importer.store.store import Store
from importer.write.ledger import Ledger, check_import_id, new_import_id

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workers:
    """Who does a batch: `jobs` of this host (None: as many as suit the store), or a Dask cluster."""

    jobs: int | None = None
    dask: str | None = None


def import_work(
    work: Work,
    store: Store,
    *,
    import_id: str | None = None,
    workers: Workers | None = None,
    stop: Stop | None = None,
    fail_fast: bool = False,
) -> Iterator[Outcome]:
    """Import what was gathered, each outcome as it comes; refusals and copies first. Errors: as check_import."""
    options = work.options
    import_id = import_id or options.import_id
    check_import(work, import_id=import_id, workers=workers)
    single = len(work.summaries) == 1 and work.summaries[0].runs == 1 and not import_id
    import_id = import_id or new_import_id(single=single)
    alone = len(work.summaries) == 1 and work.summaries[0].family != "tune"
    options = replace(options, keep_active=options.keep_active or (alone and keep_run_active()))
    yield from work.settled
    if fail_fast and (bad := next((outcome for outcome in work.settled if outcome.kind in SOURCE_FAULTS), None)):
        yield from not_tried(work.summaries, f"--fail-fast, and {bad.source} was {bad.kind.value}")
        return
    ledger = None if single else Ledger(store, import_id)
    context = ImportContext(import_id, ledger.tag if ledger is not None else None)
    for outcome in _run(import_one, work.summaries, store, options, context, workers, stop, fail_fast):
        if ledger is not None and outcome.experiment_id and outcome.kind in WROTE:
            ledger.count(outcome.experiment_id, outcome.kind.value)
        yield outcome
    if ledger is not None:
        try:
            ledger.end()
        except StoreError as error:  # the runs themselves tell the rest
            log.warning("%s: `ymlf imports` counts the runs themselves", error.message)


def check_import(work: Work, *, import_id: str | None = None, workers: Workers | None = None) -> None:
    """Errors: UsageError when one fixed run name is given for more than one run, or the import's id, or the address of
    a Dask cluster, cannot be meant.
    """
    if import_id:
        check_import_id(import_id)
    fixed = work.options.run_name or os.environ.get("MLFLOW_RUN")
    if len(work.summaries) > 1 and fixed and not is_template(fixed):
        raise UsageError(
            f"one run name, {fixed!r}, for {len(work.summaries)} runs",
            hint="leave --run-name and MLFLOW_RUN out, or use a template such as {name}",
        )
    if workers is not None and workers.dask is not None:
        check_address(workers.dask)


def verify_work(
    work: Work, store: Store, *, deep: bool | None = None, workers: Workers | None = None, stop: Stop | None = None
) -> Iterator[Outcome]:
    """Compare what was gathered with the store, each outcome as it comes."""
    yield from work.settled
    context = ImportContext(new_import_id(), deep=deep)
    yield from _run(verify_one, work.summaries, store, work.options, context, workers, stop, False)


def _run(
    job: Job,
    summaries: Sequence[RunSummary],
    store: Store,
    options: ImportOptions,
    context: ImportContext,
    workers: Workers | None,
    stop: Stop | None,
    fail_fast: bool,
) -> Iterator[Outcome]:
    workers = workers or Workers()
    share_store(store, context.import_id)
    runs = sum(summary.runs for summary in summaries)
    jobs = workers.jobs or default_jobs(is_server=store.is_server, runs=runs)
    uri = store.uri
    engine: Engine = partial(local_executor, jobs, threads=store.is_server)
    if workers.dask is not None:
        summaries, uri = [with_absolute_paths(summary) for summary in summaries], absolute_uri(uri)
        engine = partial(dask_executor, workers.dask)
    batch = Batch(summaries, job, uri, options, context, stop or Stop())
    yield from batch.outcomes(engine, jobs, fail_fast=fail_fast)
