"""A batch from work to outcomes: the experiments and the ledger around it, and who does it."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from importer.batch.dask_executor import check_address, dask_executor
from importer.batch.executors import absolute_uri, default_jobs, local_executor
from importer.batch.gather import Work
from importer.batch.scheduler import Batch, Engine, Job, Stop, not_tried
from importer.batch.summary import Survey, anywhere
from importer.batch.worker import import_one, verify_one
from importer.errors import StoreError, UsageError
from importer.model import Conduct, ImportOptions
from importer.outcome import SOURCE_FAULTS, WROTE, Outcome
from importer.replay.callbacks import keep_run_active
from importer.replay.names import is_template, needs_date
from importer.store.failures import twice
from importer.store.store import Store
from importer.write.ledger import check_import_id, new_import_id, record_import

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
    import_id = import_id or new_import_id()
    alone = len(work.surveys) == 1 and work.surveys[0].family != "tune"
    options = replace(options, keep_active=options.keep_active or (alone and keep_run_active()))
    yield from work.settled
    if fail_fast and (bad := next((outcome for outcome in work.settled if outcome.kind in SOURCE_FAULTS), None)):
        yield from not_tried(work.surveys, f"--fail-fast, and {bad.source} was {bad.kind.value}")
        return
    known = {} if needs_date(options.experiment) else _known_experiments(work, options)
    _prepare_experiments(known, store, options)
    is_cluster = workers is not None and workers.dask is not None  # which gives what a dead worker began to another
    conduct = Conduct(import_id, alone=alone, made=frozenset() if is_cluster else store.made)
    begun: set[str] = set() if alone else _begin_ledger(known, store, import_id)
    written: dict[str, Counter[str]] = {}
    for outcome in _run(import_one, work.surveys, store, options, conduct, workers, stop, fail_fast):
        if outcome.experiment_id and outcome.kind in WROTE:
            if not alone and outcome.experiment_id not in begun:
                begun |= _begin_ledger([outcome.experiment_name or ""], store, import_id)
            written.setdefault(outcome.experiment_id, Counter())[outcome.kind.value] += 1
        yield outcome
    if not alone:
        counts = {experiment_id: written.get(experiment_id, Counter()) for experiment_id in begun | written.keys()}
        _end_ledger(counts, store, import_id)


def check_import(work: Work, *, import_id: str | None = None, workers: Workers | None = None) -> None:
    """Errors: UsageError when one fixed run name is given for more than one run, or the import's id, or the address of
    a Dask cluster, cannot be meant.
    """
    if import_id:
        check_import_id(import_id)
    fixed = work.options.run_name or os.environ.get("MLFLOW_RUN")
    if len(work.surveys) > 1 and fixed and not is_template(fixed):
        raise UsageError(
            f"one run name, {fixed!r}, for {len(work.surveys)} runs",
            hint="leave --run-name and MLFLOW_RUN out, or use a template such as {name}",
        )
    if workers is not None and workers.dask is not None:
        check_address(workers.dask)


def _known_experiments(work: Work, options: ImportOptions) -> dict[str, bool]:
    """The experiments that the runs belong to, by name, and whether one of those has an epoch, or needs none."""
    known: dict[str, bool] = {}
    for survey in work.surveys:
        known[survey.experiment] = known.get(survey.experiment, False) or bool(survey.epochs) or options.empty
    return dict(sorted(known.items()))


def _prepare_experiments(known: Mapping[str, bool], store: Store, options: ImportOptions) -> None:
    """Create the experiments before any worker starts. One that cannot be is told by the runs that need it."""
    for name, is_needed in known.items():
        try:
            if is_needed:
                twice(partial(store.experiment_id, name, options.artifact_location))
        except StoreError as error:
            log.debug("experiment %s: %s", name, error)


def _begin_ledger(names: Iterable[str], store: Store, import_id: str) -> set[str]:
    """Tell each experiment of the import, counting nothing yet, and say which have been told.

    One that cannot be is told by the runs that need it.
    """
    begun = set()
    for name in names:
        try:
            experiment_id = store.experiment_id(name, create=False)
            if experiment_id is not None:
                record_import(store, [experiment_id], import_id, {}, ended=False)
                begun.add(experiment_id)
        except StoreError as error:
            log.debug("experiment %s: %s", name, error)
    return begun


def _end_ledger(written: Mapping[str, Mapping[str, int]], store: Store, import_id: str) -> None:
    """Add what was written to the ledger; a store that fails here costs the counts, for the runs tell the rest."""
    for experiment_id, counts in written.items():
        try:
            record_import(store, [experiment_id], import_id, counts)
        except StoreError as error:
            log.warning("%s: `ymlf imports` will not count the runs of this import", error.message)


def verify_work(
    work: Work, store: Store, *, deep: bool | None = None, workers: Workers | None = None, stop: Stop | None = None
) -> Iterator[Outcome]:
    """Compare what was gathered with the store, each outcome as it comes."""
    yield from work.settled
    yield from _run(verify_one, work.surveys, store, work.options, Conduct(deep=deep), workers, stop, False)


def _run(
    job: Job,
    surveys: Sequence[Survey],
    store: Store,
    options: ImportOptions,
    conduct: Conduct,
    workers: Workers | None,
    stop: Stop | None,
    fail_fast: bool,
) -> Iterator[Outcome]:
    workers = workers or Workers()
    runs = sum(survey.runs for survey in surveys)
    jobs = workers.jobs or default_jobs(is_server=store.is_server, runs=runs)
    uri = store.uri
    engine: Engine = partial(local_executor, jobs, threads=store.is_server)
    if workers.dask is not None:
        surveys, uri = [anywhere(survey) for survey in surveys], absolute_uri(uri)
        engine = partial(dask_executor, workers.dask)
    batch = Batch(surveys, job, uri, options, conduct, stop or Stop())
    yield from batch.outcomes(engine, jobs, fail_fast=fail_fast)
