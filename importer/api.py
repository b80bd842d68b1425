"""The library: the steps of the command line as functions that print nothing and return their results.

A source is a path, a URL or an archive, what `read_run` returned, or what `scan` did. A call uses threads, never
processes, so that it works in a notebook and in a script without `if __name__ == "__main__"`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace

from importer.batch.executors import Workers
from importer.batch.gather import check_start_time, gather
from importer.batch.run import Preview, import_work, preview_work, rank_batch, recorded
from importer.batch.selection import Selection
from importer.batch.summary import RunSummary, read_summarized
from importer.errors import PlanError, RunDirError, StoreError, UsageError, WorkerError, YmlfError
from importer.model import ImportContext, ImportOptions, ImportPlan, MetricPoint, Note, TrainingRun
from importer.models.register import Registered, Target, get_runs, register_run
from importer.models.weights import with_model
from importer.read import registry
from importer.read.discover import find_runs
from importer.read.ranking import BestEpoch, Ranked, Ranking, Table, Wanted, rank
from importer.replay import plan as replay
from importer.replay.callbacks import keep_run_active
from importer.replay.names import check_templates
from importer.report import Kind, Mismatch, Outcome
from importer.sources.archive import UnpackedPath
from importer.sources.opening import PathLike, open_source
from importer.sources.remote import RemotePath
from importer.store.opening import open_existing_store, open_store
from importer.undo import Undo, carry_out_undo, plan_undo
from importer.verify import run_of, verify_with_iterations
from importer.write.import_run import Job, import_with_iterations
from importer.write.ledger import Ledger, check_import_id, new_import_id
from importer.write.stored_best import stored_best

__all__ = [
    "BestEpoch", "ImportOptions", "ImportPlan", "Kind", "MetricPoint", "Mismatch", "Note", "Outcome", "PlanError",
    "Preview", "Ranked", "Ranking", "Registered", "RunDirError", "RunSummary", "Selection", "StoreError", "Table",
    "Target", "TrainingRun", "Undo", "UsageError", "WorkerError", "Workers", "YmlfError", "best", "import_many",
    "import_run", "plan_import", "preview", "read_run", "register_model", "scan", "undo_import", "verify_run",
]  # fmt: skip

Source = PathLike | TrainingRun | RunSummary
SOURCES = (str, os.PathLike, TrainingRun, RunSummary, RemotePath, UnpackedPath)


def read_run(place: PathLike, *, follow_symlinks: bool = False, segment: int | None = None) -> TrainingRun:
    """Return the training of a run directory, or of a folder or an archive that holds one and no other.

    Of a results.csv that holds several trainings, return the last, or that `segment`, from 0.

    Errors: RunDirError when there is no run directory, which names those below, or it cannot be read as one;
        UsageError for what is no path.
    """
    _check(place)
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


def plan_import(source: Source, options: ImportOptions | None = None) -> ImportPlan:
    """Return what an import of one training would log; it takes no store.

    Errors: RunDirError; PlanError when MLflow could not hold it; UsageError.
    """
    return replay.plan_import(*_read(source, options))


def import_run(source: Source, *, tracking_uri: str | None = None, options: ImportOptions | None = None) -> Outcome:
    """Import one training and return its outcome; of a tune, that of the parent run.

    Errors: RunDirError and PlanError when nothing was written; StoreError when a retry goes on where it stopped;
        UsageError.
    """
    run, options = _read(source, options)
    options = replace(options, keep_active=options.keep_active or keep_run_active())
    iterations = len(replay.iteration_runs(run, options))
    check_start_time(1 + iterations, options)
    store = open_store(tracking_uri)
    store.allows_bulk = options.bulk
    single = not options.import_id and not iterations
    import_id = options.import_id or new_import_id(single=single)
    ledger = None if single else Ledger(store, import_id)
    context = ImportContext(import_id, ledger.tag if ledger is not None else None, wait_for_others=False)
    outcomes = import_with_iterations(Job(run, store, options, context))
    if options.model:
        outcomes = [with_model(store, outcome, None) for outcome in outcomes]
    first, *_ = recorded(outcomes, store, import_id, ledger)
    return first


def import_many(
    sources: Source | Iterable[Source],
    *,
    tracking_uri: str | None = None,
    options: ImportOptions | None = None,
    selection: Selection | None = None,
    workers: Workers | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Import every run at or below the sources and return the outcomes; one bad run stops no other.

    `on_outcome` is called with each outcome as it comes; an exception that it raises ends the import.

    Errors: StoreError when the store cannot be opened; UsageError. A path that does not exist is an outcome.
    """
    workers = workers or Workers()
    batch = gather(_paths(sources, options), options, selection, workers=workers)
    store = open_store(tracking_uri, probe=True)
    outcomes = []
    for outcome in import_work(batch, store, workers=workers):
        outcomes.append(outcome)
        if on_outcome is not None:
            on_outcome(outcome)
    return outcomes


def scan(
    sources: Source | Iterable[Source], *, options: ImportOptions | None = None, selection: Selection | None = None
) -> list[RunSummary]:
    """Return a summary of every run at or below the sources; `refused` says why an import would leave one out.

    Errors: UsageError.
    """
    batch = gather(_paths(sources, options), options, selection)
    summaries = [*batch.summaries]
    for outcome in batch.settled:
        refused = f"a copy of {outcome.reason}" if outcome.kind is Kind.DUPLICATE else outcome.reason
        source, key = outcome.source, outcome.key or ""
        summaries.append(RunSummary(source, source, key=key, refused=refused, hint=outcome.hint))
    return summaries


def best(
    sources: Source | Iterable[Source],
    *,
    task: str | None = None,
    dataset: str | None = None,
    by: str | None = None,
    top: int | None = None,
) -> Ranking:
    """Return the runs at or below the sources ranked by a metric of their best epochs; it takes no store.

    Boxes, masks and keypoints are ranked apart, and so is each task and each dataset. `by` is a metric such as
    `mAP50-95M`; without it, segmentations are ranked by masks and poses by keypoints. `top` limits each table.

    Errors: UsageError for a task, a dataset or a metric that no run has. A path that cannot be read is in `left_out`.
    """
    return rank_batch(
        gather(_paths(sources), ImportOptions(best_metrics=True)), Wanted(task, dataset, by, top), Workers()
    )


def preview(
    sources: Source | Iterable[Source],
    *,
    tracking_uri: str | None = None,
    options: ImportOptions | None = None,
    selection: Selection | None = None,
) -> list[Preview]:
    """Return what an import would do with every run at or below the sources, and its plan; it writes nothing.

    Errors: StoreError when the store cannot be read; UsageError.
    """
    batch = gather(_paths(sources, options), options, selection)
    return list(preview_work(batch, open_existing_store(tracking_uri), with_plans=True))


def verify_run(
    sources: Source | Iterable[Source],
    *,
    tracking_uri: str | None = None,
    options: ImportOptions | None = None,
    deep: bool | None = None,
) -> list[Mismatch]:
    """Return every difference between the sources and what the store holds of them; empty when they agree.

    Errors: RunDirError and PlanError for a source, StoreError for the store; UsageError for a store that is not there.
    """
    jobs = [_read(source, options) for source in _listed(sources)]
    store = open_existing_store(tracking_uri, required=True)
    outcomes = [each for run, chosen in jobs for each in verify_with_iterations(run, store, chosen, deep=deep)]
    mismatches: list[Mismatch] = []
    for outcome in outcomes:
        if outcome.kind in (Kind.MISSING, Kind.PARTLY_TRACKED):
            stored = f"{'no run' if outcome.kind is Kind.MISSING else 'a part'} of it in {outcome.experiment_name}"
            mismatches.append(Mismatch("run", outcome.run_name or "", "a training", stored, outcome.source))
        mismatches += outcome.mismatches
    return mismatches


def register_model(
    model: str | Target,
    sources: Source | Iterable[Source] = (),
    *,
    run_ids: Iterable[str] = (),
    tracking_uri: str | None = None,
    options: ImportOptions | None = None,
) -> Registered:
    """Register best.pt of a run as a version of a model; of several runs, that of the best.

    `model` is a name, or `Target("plates", alias="champion")`. The runs are those that hold the run directories at or
    below the sources, or those of `run_ids`. Nothing is done where the run is registered already.

    Errors: PlanError for a run that is not in the store or cannot be a model; UsageError; StoreError.
    """
    target = Target(model) if isinstance(model, str) else model
    places, ids = _paths(sources), [*dict.fromkeys(run_ids)]
    if places and ids:
        raise UsageError("both run directories and run ids are given", hint="give the ids, or the directories")
    options = options or ImportOptions()
    batch = gather(places, replace(options, best_metrics=True))
    store = open_existing_store(tracking_uri, required=True)
    if batch.summaries:
        if len(batch.summaries) == 1:
            run = read_summarized(batch.summaries[0], options)
        else:
            best = _best_of(rank_batch(batch, Wanted(top=1), Workers()))
            run = registry.read_run(best.location or best.source, follow_symlinks=options.follow_symlinks)
        ids = [run_of(Job(run, store, options, ImportContext()))]
    if not ids:
        message, hint = next(((outcome.reason, outcome.hint) for outcome in batch.settled), (None, None))
        raise RunDirError(message or "no run is named", hint=hint or "give a run directory, or a run id")
    runs = {str(run.info.run_id): run for run in get_runs(store, ids)}
    if len(runs) > 1:
        ids = [_best_of(rank((stored_best(store, run) for run in runs.values()), Wanted())).source]
    return replace(register_run(store, runs[ids[0]], target), candidates=len(batch.summaries) or len(runs))


def _best_of(ranking: Ranking) -> BestEpoch:
    """Return the best of a ranking. Errors: UsageError for several tasks or datasets, and where nothing is ranked."""
    if len(ranking.tables) > 1:
        groups = ", ".join(f"{table.task} on {table.dataset}" for table in ranking.tables)
        raise UsageError(f"these runs are not compared: {groups}", hint="give those of one task and dataset")
    if not ranking.tables:
        reasons = "; ".join(f"{source}: {reason}" for source, reason in ranking.left_out)
        raise UsageError(f"no run has a metric that ranks it: {reasons}", hint="give one run")
    return ranking.tables[0].rows[0].best


def undo_import(import_id: str, *, tracking_uri: str | None = None, selection: Selection | None = None) -> Undo:
    """Soft-delete the runs that an import created, or those that the globs of `selection` name, and return them.

    Runs that the import only updated are kept.

    Errors: StoreError; UsageError when the id cannot be one, or no import of the store has it.
    """
    store = open_existing_store(tracking_uri, required=True)
    undo = plan_undo(store, import_id, selection)
    carry_out_undo(store, undo)
    return undo


def _listed(sources: Source | Iterable[Source]) -> list[Source]:
    return list(sources) if isinstance(sources, Iterable) and not isinstance(sources, SOURCES) else [sources]


def _paths(sources: Source | Iterable[Source], options: ImportOptions | None = None) -> list[PathLike]:
    """Return where each source lies; a summary knows the folder that its archive was unpacked to."""
    places: list[PathLike] = []
    for source in _listed(sources):
        _check(source, options)
        place = source.location or source.save_dir if isinstance(source, RunSummary) else source
        places.append(place.save_dir if isinstance(place, TrainingRun) else place)
    return places


def _check(source: object, options: object = None) -> None:
    """Check the arguments of a call, whose types no checker may have seen. Errors: UsageError."""
    if not isinstance(source, SOURCES) and not hasattr(source, "fs"):  # a UPath has one
        hint = "give a path, or what `read_run` or `scan` returned"
        raise UsageError(f"{type(source).__name__} is not a source", hint=hint)
    if options is not None and not isinstance(options, ImportOptions):
        raise UsageError(f"options of type {type(options).__name__}", hint="give ImportOptions(experiment=...)")


def _read(source: Source, options: ImportOptions | None) -> tuple[TrainingRun, ImportOptions]:
    """Return the training of a source, and the options for it, which were checked before."""
    _check(source, options)
    options = options or ImportOptions()
    check_templates(options)
    if options.import_id:
        check_import_id(options.import_id)
    if isinstance(source, RunSummary):
        return read_summarized(source, options), replace(options, root=options.root or source.root)
    if isinstance(source, TrainingRun):
        return source, options
    return read_run(source, follow_symlinks=options.follow_symlinks), options
