"""The library: what the command line does, as functions that print nothing and return what they found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from importer.batch.executors import Workers
from importer.batch.gather import check_start_time, gather
from importer.batch.run import import_work
from importer.batch.selection import Selection
from importer.discover import find_runs
from importer.errors import RunDirError
from importer.model import ImportContext, ImportOptions, TrainingRun
from importer.read import registry
from importer.replay.callbacks import keep_run_active
from importer.replay.names import check_templates
from importer.replay.plan import iteration_runs
from importer.report import WROTE, Kind, Outcome
from importer.sources.opening import PathLike, open_source
from importer.store.opening import open_store
from importer.undo import Undo, carry_out_undo, plan_undo
from importer.verify import verify_with_iterations
from importer.write.import_run import Job, import_with_iterations
from importer.write.ledger import Ledger, check_import_id, new_import_id


def read_run(place: PathLike, *, follow_symlinks: bool = False, segment: int | None = None) -> TrainingRun:
    """The training of a run directory, or of a folder or an archive that holds one and no other.

    Of a results.csv that holds several trainings, the last, or that `segment`, from 0.

    Errors: RunDirError when there is no run directory, which names those below, or it cannot be read as one.
    """
    root = open_source(place)
    found = find_runs([root], follow_symlinks=follow_symlinks)
    first = next(found, None)
    others = list(found) if first is not None and first.save_dir != root else []
    if first is not None and not others:
        return registry.read_run(first.save_dir, follow_symlinks=follow_symlinks, segment=segment)
    hint = registry.why_not(root)
    if first is not None:
        hint += f"; {1 + len(others)} lie below, such as {first.save_dir}"
    raise RunDirError(f"{place}: no run directory here", hint=hint)


def import_run(save_dir: PathLike, *, tracking_uri: str | None = None, options: ImportOptions | None = None) -> Outcome:
    """Import one run directory and return its outcome; of a tune, that of the parent run.

    Errors: RunDirError and PlanError when nothing was written; StoreError when a retry goes on where it stopped;
        UsageError.
    """
    options = options or ImportOptions()
    check_templates(options)
    import_id = check_import_id(options.import_id) if options.import_id else ""
    options = replace(options, keep_active=options.keep_active or keep_run_active())
    run = read_run(save_dir, follow_symlinks=options.follow_symlinks)
    iterations = len(iteration_runs(run, options))
    check_start_time(1 + iterations, options)
    store = open_store(tracking_uri)
    single = not import_id and not iterations
    import_id = import_id or new_import_id(single=single)
    ledger = None if single else Ledger(store, import_id)
    context = ImportContext(import_id, ledger.tag if ledger is not None else None, wait_for_others=False)
    outcomes = import_with_iterations(Job(run, store, options, context))
    if ledger is not None:
        for outcome in outcomes:
            if outcome.kind in WROTE and outcome.experiment_id:
                ledger.count(outcome.experiment_id, outcome.kind.value)
        ledger.end()
    return outcomes[0]


def import_many(
    paths: PathLike | Iterable[PathLike],
    *,
    tracking_uri: str | None = None,
    options: ImportOptions | None = None,
    selection: Selection | None = None,
    workers: Workers | None = None,
    import_id: str | None = None,
    fail_fast: bool = False,
) -> Iterator[Outcome]:
    """Import every run at or below one path or several, each outcome as it comes; one bad run stops no other.

    Errors: StoreError when the store cannot be opened; UsageError. A path that does not exist is an outcome.
    """
    options = options or ImportOptions()
    batch = gather(paths, replace(options, import_id=import_id or options.import_id), selection, workers=workers)
    store = open_store(tracking_uri, probe=True)
    yield from import_work(batch, store, workers=workers, fail_fast=fail_fast)


def verify_run(
    save_dir: PathLike | TrainingRun,
    *,
    tracking_uri: str | None = None,
    options: ImportOptions | None = None,
    deep: bool | None = None,
) -> list[str]:
    """Return every difference between a run directory and what the store holds of it; empty when there is none.

    Errors: RunDirError and PlanError for the directory, StoreError for the store.
    """
    options = options or ImportOptions()
    run = save_dir
    if not isinstance(run, TrainingRun):
        run = read_run(run, follow_symlinks=options.follow_symlinks)
    outcomes = verify_with_iterations(run, open_store(tracking_uri), options, deep=deep)
    missing = [f"run: {outcome.reason}" for outcome in outcomes if outcome.kind in (Kind.MISSING, Kind.PARTLY_TRACKED)]
    return [*missing, *(mismatch for outcome in outcomes for mismatch in outcome.mismatches)]


def undo_import(import_id: str, *, tracking_uri: str | None = None, selection: Selection | None = None) -> Undo:
    """Soft-delete the runs that an import created, or those that the globs of `selection` name, and say which.

    What the import only updated is kept.

    Errors: StoreError; UsageError when the id cannot be one, or no import of the store has it.
    """
    store = open_store(tracking_uri)
    undo = plan_undo(store, import_id, selection)
    carry_out_undo(store, undo)
    return undo
