"""The library: what the command line does, as functions that print nothing and return what they found."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from importer.batch import (
    Batch,
    Engine,
    Stop,
    import_one,
    not_tried,
    prepare_experiments,
    set_aside,
    survey_all,
    verify_one,
)
from importer.callbacks import keep_run_active
from importer.dask_cluster import check_address, dask_executor
from importer.discover import FoundRun, find_runs
from importer.engines import absolute_uri, default_jobs, local_executor
from importer.errors import RunDirError, StoreError, UsageError
from importer.ledger import Undo, check_import_id, new_import_id, plan_undo, record_import
from importer.model import ImportOptions, TrainingRun
from importer.outcome import SOURCE_FAULTS, WROTE, Kind, Outcome
from importer.readers import read_run
from importer.redaction import redact
from importer.selection import Selection, by_content, by_path
from importer.single import import_read_run, verify_read_run
from importer.sources.archives import UnpackedPath
from importer.sources.opening import identity_of, open_source
from importer.store import Store, open_store
from importer.survey import Survey, anywhere
from importer.templates import check_template, is_template
from importer.write import delete_run

log = logging.getLogger(__name__)

PathLike = str | os.PathLike[str]  # a local path, a URL such as s3://bucket/runs, or an archive


@dataclass(frozen=True)
class Work:
    """What a batch is about: the directories to go on with, and the outcomes that are settled before it begins."""

    surveys: tuple[Survey, ...]
    settled: tuple[Outcome, ...]
    options: ImportOptions

    @property
    def total(self) -> int:
        """How many outcomes to expect, not counting a tune's iterations."""
        return len(self.surveys) + len(self.settled)


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
) -> Work:
    """Every run directory at or below the paths that is selected, surveyed.

    A path that does not exist, is a file or has no run below it is settled as refused.

    Errors: UsageError for a template with an unknown field.
    """
    options = options or ImportOptions()
    selection = selection or Selection()
    check_template(options.experiment)
    check_template(options.run_name)
    settled = []
    found = []
    for path in paths:
        try:
            root = open_source(path)
            runs = list(find_runs([root], follow_symlinks=options.follow_symlinks))
        except RunDirError as error:  # a path that is wrong or an archive that is damaged stops no other
            settled.append(Outcome(Kind.REFUSED, redact(str(path)), error.message, error.hint))
            continue
        if not runs:
            settled.append(_nothing_there(root))
        found += runs
    first: dict[object, FoundRun] = {}
    for run in found:
        first.setdefault(identity_of(run.save_dir), run)
    chosen = by_path(first.values(), selection)
    with local_executor(jobs if len(chosen) > 64 else 1, threads=False) as executor:
        surveys = by_content(survey_all(chosen, options, executor), selection)
    kept, aside = set_aside(surveys)
    return Work(tuple(kept), (*settled, *aside), options)


def _nothing_there(root: Path) -> Outcome:
    hint = "a run directory holds args.yaml or results.csv"
    return Outcome(Kind.REFUSED, str(root), f"{root}: no run directory here or below", hint)


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
    prepare_experiments(work.surveys, store, options)
    if not alone:
        _begin_ledger(work.surveys, store, options)
    written: dict[str, dict[str, int]] = {}
    for outcome in _run(import_one, work.surveys, store, options, workers, stop, fail_fast):
        if outcome.experiment_id and outcome.kind in WROTE:
            counts = written.setdefault(outcome.experiment_id, {})
            counts[outcome.kind.value] = counts.get(outcome.kind.value, 0) + 1
        yield outcome
    if not alone:
        _end_ledger(written, store, options)


def _begin_ledger(surveys: Iterable[Survey], store: Store, options: ImportOptions) -> None:
    names = {told.experiment for told in surveys}
    ids = {store.experiment_id(name, create=False) for name in names}
    record_import(store, {experiment_id for experiment_id in ids if experiment_id}, options.import_id or "", {})


def _end_ledger(written: Mapping[str, Mapping[str, int]], store: Store, options: ImportOptions) -> None:
    """Add what was written to the ledger; a store that fails here costs the counts, for the runs tell the rest."""
    for experiment_id, counts in written.items():
        try:
            record_import(store, {experiment_id}, options.import_id or "", counts)
        except StoreError as error:
            log.warning("%s: `ymlf imports` will not count the runs of this import", error.message)


def verify_work(
    work: Work, store: Store, *, deep: bool | None = None, workers: Workers | None = None, stop: Stop | None = None
) -> Iterator[Outcome]:
    """Compare what was gathered with the store, each outcome as it comes."""
    yield from work.settled
    yield from _run(verify_one, work.surveys, store, replace(work.options, deep=deep), workers, stop, False)


def _run(
    job: Callable[[Survey, str, ImportOptions], list[Outcome]],
    surveys: Sequence[Survey],
    store: Store,
    options: ImportOptions,
    workers: Workers | None,
    stop: Stop | None,
    fail_fast: bool,
) -> Iterator[Outcome]:
    workers = workers or Workers()
    jobs = workers.jobs or default_jobs(is_server=store.is_server, is_sqlite=store.is_sqlite, runs=len(surveys))

    def engine() -> AbstractContextManager:  # type: ignore[type-arg]
        if workers.dask is not None:
            return dask_executor(workers.dask)
        return local_executor(jobs, threads=store.is_server)

    typed: Engine = engine
    uri = store.uri
    if workers.dask is not None:
        surveys, uri = [anywhere(told) for told in surveys], absolute_uri(uri)
    batch = Batch(surveys, job, uri, options, stop or Stop())
    yield from batch.outcomes(typed, jobs, fail_fast=fail_fast)


def import_run(save_dir: PathLike, *, tracking_uri: str | None = None, options: ImportOptions | None = None) -> Outcome:
    """The outcome of importing one run directory; of a tune's, that of the parent run.

    Errors: RunDirError and PlanError when nothing was written; StoreError when a retry goes on where it stopped;
        UsageError.
    """
    options = replace(options or ImportOptions(), alone=True, patient=False)
    check_template(options.experiment)
    check_template(options.run_name)
    options = replace(options, keep_active=options.keep_active or keep_run_active())
    run = _read(save_dir, options)
    store = open_store(tracking_uri)
    return import_read_run(run, store, options, options.import_id or new_import_id())[0]


def _read(save_dir: PathLike, options: ImportOptions) -> TrainingRun:
    place = open_source(save_dir)
    if isinstance(place, UnpackedPath):  # an archive of one run mostly holds the directory, not its files
        place = require_run(place, follow_symlinks=options.follow_symlinks)
    return read_run(place, follow_symlinks=options.follow_symlinks)


def import_many(
    paths: Iterable[PathLike],
    *,
    tracking_uri: str | None = None,
    options: ImportOptions | None = None,
    selection: Selection | None = None,
    workers: Workers | None = None,
    import_id: str | None = None,
    fail_fast: bool = False,
) -> Iterator[Outcome]:
    """Import every run at or below the paths, each outcome as it comes; one bad run stops no other.

    Errors: RunDirError when a path does not exist; StoreError when the store cannot be opened; UsageError.
    """
    work = gather(paths, options, selection)
    store = open_store(tracking_uri, probe=True)
    yield from import_work(work, store, import_id=import_id, workers=workers, fail_fast=fail_fast)


def verify_run(
    save_dir: PathLike | TrainingRun,
    *,
    tracking_uri: str | None = None,
    options: ImportOptions | None = None,
    deep: bool | None = None,
) -> list[str]:
    """Every difference between a run directory and what the store holds of it; empty when there is none.

    Errors: RunDirError and PlanError for the directory, StoreError for the store.
    """
    options = options or ImportOptions()
    run = save_dir if isinstance(save_dir, TrainingRun) else _read(save_dir, options)
    outcomes = verify_read_run(run, open_store(tracking_uri), options, deep)
    missing = [f"run: {told.reason}" for told in outcomes if told.kind is Kind.MISSING]
    return [*missing, *(mismatch for told in outcomes for mismatch in told.mismatches)]


def undo_import(import_id: str, *, tracking_uri: str | None = None) -> Undo:
    """Soft-delete the runs that an import created, and say which; what it only updated is kept.

    Errors: StoreError; UsageError when the id cannot be one, or no import of the store has it.
    """
    store = open_store(tracking_uri)
    undo = plan_undo(store, import_id)
    for run_id, _ in undo.created:
        delete_run(store, run_id)
    return undo


def require_run(path: PathLike, *, follow_symlinks: bool = False) -> Path:
    """The place, when it is a run directory or an archive of one. Errors: RunDirError that counts those below."""
    place = open_source(path)
    below = list(find_runs([place], follow_symlinks=follow_symlinks))
    if any(run.save_dir == place for run in below):
        return place
    if len(below) == 1 and isinstance(place, UnpackedPath):
        return below[0].save_dir
    hint = "a run directory holds args.yaml or results.csv"
    if below:
        hint += f"; {len(below)} {'lies' if len(below) == 1 else 'lie'} below, such as {below[0].save_dir}"
    raise RunDirError(f"{path}: no run directory here", hint=hint)
