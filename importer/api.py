"""The library: what the command line does, as functions that print nothing and return what they found."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from importer.callbacks import keep_run_active
from importer.discover import find_runs
from importer.errors import RunDirError
from importer.ledger import Undo, new_import_id, plan_undo
from importer.model import ImportOptions, TrainingRun
from importer.outcome import Kind, Outcome
from importer.readers import read_run
from importer.selection import Selection
from importer.single import import_read_run, verify_read_run
from importer.sources.archives import UnpackedPath
from importer.sources.opening import PathLike, open_source
from importer.store.opening import open_store
from importer.templates import check_template
from importer.work import Workers, gather, import_work
from importer.write import delete_run

log = logging.getLogger(__name__)


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
