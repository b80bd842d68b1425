"""A batch from paths to outcomes: what to go on with, the experiments and the ledger around it, and who does it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from importer.batch import Batch, Engine, Job, Stop, not_tried
from importer.callbacks import keep_run_active
from importer.discover import FoundRun, find_runs
from importer.errors import RunDirError, StoreError, UsageError
from importer.ledger import check_import_id, new_import_id, record_import
from importer.model import ImportOptions
from importer.outcome import SOURCE_FAULTS, WROTE, Kind, Outcome
from importer.readers import why_not
from importer.record import check_options
from importer.redaction import redact
from importer.selection import Selection, by_content, by_path, why_none
from importer.sources.opening import PathLike, identity_of, open_source
from importer.store.client import Store
from importer.store.failures import twice
from importer.store.opening import load_mlflow
from importer.survey import Looking, Survey, anywhere, set_aside, survey_all
from importer.templates import check_template, is_template
from importer.workers.dask_cluster import check_address, dask_executor
from importer.workers.jobs import import_one, verify_one
from importer.workers.local import absolute_uri, default_jobs, local_executor

FEW_DIRECTORIES = 64  # up to this many are surveyed before a process has started

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """What a batch is about: the directories to go on with, and the outcomes that are settled before it begins."""

    surveys: tuple[Survey, ...]
    settled: tuple[Outcome, ...]
    options: ImportOptions
    none_selected: tuple[str, str | None] | None = None  # why and a hint, where runs were found and none is meant
    roots: tuple[Path, ...] = ()  # below which they lie; what was unpacked lasts as long as these are kept

    @property
    def total(self) -> int:
        """How many outcomes to expect, a tune's iterations among them."""
        return sum(told.runs for told in self.surveys) + len(self.settled)


@dataclass(frozen=True)
class Workers:
    """Who does a batch: `jobs` of this host (None: as many as suit the store), or a Dask cluster."""

    jobs: int | None = None
    dask: str | None = None


def gather(
    paths: Iterable[PathLike],
    options: ImportOptions | None = None,
    selection: Selection | None = None,
    *,
    jobs: int = 1,
    looking: Looking | None = None,
    store_follows: bool = False,
) -> Work:
    """Every run directory at or below the paths that is selected, surveyed.

    Many are surveyed by `jobs` processes. Meanwhile `looking` is kept up to date and, with `store_follows`, MLflow is
    loaded, which takes seconds.

    A path that does not exist, is a file or has no run below it is settled as refused.

    Errors: UsageError for a template with an unknown field, or more tags than a record holds.
    """
    options = options or ImportOptions()
    selection = selection or Selection()
    check_template(options.experiment)
    check_template(options.run_name)
    check_options(options)
    looking = looking or Looking()
    settled = []
    found: list[FoundRun] = []
    roots = []
    for path in paths:
        try:
            root = open_source(path)
            runs = []
            for run in find_runs([root], follow_symlinks=options.follow_symlinks):
                runs.append(run)
                looking.found += 1
        except RunDirError as error:  # a path that is wrong or an archive that is damaged stops no other
            settled.append(Outcome(Kind.REFUSED, redact(str(path)), error.message, error.hint))
            continue
        if not runs:
            settled.append(_nothing_there(root))
        found += runs
        roots.append(root)
    first: dict[object, FoundRun] = {}
    for run in found:
        first.setdefault(identity_of(run.save_dir), run)
    chosen = by_path(first.values(), selection)
    jobs = jobs if len(chosen) > FEW_DIRECTORIES else 1
    with ThreadPoolExecutor(1) as beside:  # while processes start and read
        loaded = beside.submit(load_mlflow) if jobs > 1 and store_follows else None
        with local_executor(jobs, threads=False, with_mlflow=store_follows) as executor:
            surveyed = survey_all(chosen, options, executor, looking)
    if loaded is not None:
        loaded.result()
    surveys = by_content(surveyed, selection)
    kept, aside = set_aside(surveys)
    is_narrowed = len(chosen) < len(first) or len(surveys) < len(surveyed)
    none_selected = why_none(tuple(first.values()), surveyed, selection) if is_narrowed and not kept else None
    return Work(tuple(kept), (*settled, *aside), options, none_selected, tuple(roots))


def _nothing_there(root: Path) -> Outcome:
    return Outcome(Kind.REFUSED, str(root), f"{root}: no run directory here or below", why_not(root))


def import_work(
    work: Work,
    store: Store,
    *,
    import_id: str | None = None,
    workers: Workers | None = None,
    stop: Stop | None = None,
    fail_fast: bool = False,
) -> Iterator[Outcome]:
    """Import what was gathered, each outcome as it comes; refusals and copies first.

    Errors: UsageError when one fixed run name is given for more than one run.
    """
    options = replace(work.options, import_id=check_import_id(import_id) if import_id else new_import_id())
    fixed = options.run_name or os.environ.get("MLFLOW_RUN")
    if len(work.surveys) > 1 and fixed and not is_template(fixed):
        raise UsageError(
            f"one run name, {fixed!r}, for {len(work.surveys)} runs",
            hint="leave --run-name and MLFLOW_RUN out, or use a template such as {name}",
        )
    if workers is not None and workers.dask is not None:
        check_address(workers.dask)
    alone = len(work.surveys) == 1 and work.surveys[0].family != "tune"
    options = replace(options, alone=alone, keep_active=options.keep_active or (alone and keep_run_active()))
    yield from work.settled
    if fail_fast and (bad := next((told for told in work.settled if told.kind in SOURCE_FAULTS), None)):
        yield from not_tried(work.surveys, f"--fail-fast, and {bad.source} was {bad.kind.value}")
        return
    _prepare_experiments(work.surveys, store, options)
    written: dict[str, dict[str, int]] = {} if alone else _begin_ledger(work.surveys, store, options)
    for outcome in _run(import_one, work.surveys, store, options, workers, stop, fail_fast):
        if outcome.experiment_id and outcome.kind in WROTE:
            counts = written.setdefault(outcome.experiment_id, {})
            counts[outcome.kind.value] = counts.get(outcome.kind.value, 0) + 1
        yield outcome
    if not alone:
        _end_ledger(written, store, options)


def _prepare_experiments(surveys: Iterable[Survey], store: Store, options: ImportOptions) -> None:
    """Create the experiments before any worker starts. One that cannot be is told by the runs that need it."""
    for name in sorted({told.experiment for told in surveys if told.epochs or options.empty}):
        try:
            twice(partial(store.experiment_id, name, options.artifact_location))
        except StoreError as error:
            log.debug("experiment %s: %s", name, error)


def _begin_ledger(surveys: Iterable[Survey], store: Store, options: ImportOptions) -> dict[str, dict[str, int]]:
    """Tell each experiment of the import, counting nothing yet. One that cannot be is told by the runs that need it."""
    begun: dict[str, dict[str, int]] = {}
    for name in sorted({told.experiment for told in surveys}):
        try:
            experiment_id = store.experiment_id(name, create=False)
            if experiment_id is not None:
                record_import(store, [experiment_id], options.import_id or "", {}, ended=False)
                begun[experiment_id] = {}
        except StoreError as error:
            log.debug("experiment %s: %s", name, error)
    return begun


def _end_ledger(written: Mapping[str, Mapping[str, int]], store: Store, options: ImportOptions) -> None:
    """Add what was written to the ledger; a store that fails here costs the counts, for the runs tell the rest."""
    for experiment_id, counts in written.items():
        try:
            record_import(store, [experiment_id], options.import_id or "", counts)
        except StoreError as error:
            log.warning("%s: `ymlf imports` will not count the runs of this import", error.message)


def verify_work(
    work: Work, store: Store, *, deep: bool | None = None, workers: Workers | None = None, stop: Stop | None = None
) -> Iterator[Outcome]:
    """Compare what was gathered with the store, each outcome as it comes."""
    yield from work.settled
    yield from _run(verify_one, work.surveys, store, replace(work.options, deep=deep), workers, stop, False)


def _run(
    job: Job,
    surveys: Sequence[Survey],
    store: Store,
    options: ImportOptions,
    workers: Workers | None,
    stop: Stop | None,
    fail_fast: bool,
) -> Iterator[Outcome]:
    workers = workers or Workers()
    runs = sum(told.runs for told in surveys)
    jobs = workers.jobs or default_jobs(is_server=store.is_server, is_sqlite=store.is_sqlite, runs=runs)
    uri = store.uri
    engine: Engine = partial(local_executor, jobs, threads=store.is_server)
    if workers.dask is not None:
        surveys, uri = [anywhere(told) for told in surveys], absolute_uri(uri)
        engine = partial(dask_executor, workers.dask)
    batch = Batch(surveys, job, uri, options, stop or Stop())
    yield from batch.outcomes(engine, jobs, fail_fast=fail_fast)
