"""A batch from its summaries to outcomes: import it by workers, with a ledger; verify it; preview it; rank it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from importer.batch.dask_executor import absolute_uri, check_address, dask_executor
from importer.batch.executors import Workers
from importer.batch.gather import Batch
from importer.batch.scheduler import Engine, Scheduler, Stop, Task, not_tried
from importer.batch.summary import RunSummary, find_unchanged, read_summarized, with_absolute_paths
from importer.batch.worker import import_one, share_store, verify_one
from importer.errors import StoreError, UsageError, YmlfError
from importer.model import ImportContext, ImportOptions, ImportPlan
from importer.read.ranking import BestEpoch, Ranking, Wanted, best_epochs, rank
from importer.read.registry import read_run
from importer.replay.callbacks import keep_run_active
from importer.report import SOURCE_FAULTS, WROTE, Kind, Outcome, of_plan, outcome_text
from importer.store.failures import retry, store_errors
from importer.store.store import EmptyStore, Store
from importer.store.uri import check_scheme, run_page
from importer.write.decision import Decision, match_run
from importer.write.import_run import Job, decide_in_store, iteration_jobs
from importer.write.ledger import Ledger, all_experiments, check_import_id, new_import_id
from importer.write.lookup import search_runs, stored_run, with_key

log = logging.getLogger(__name__)


def import_work(
    batch: Batch, store: Store, *, workers: Workers | None = None, stop: Stop | None = None
) -> Iterator[Outcome]:
    """Import a batch and yield each outcome as it comes; refusals and copies first. Errors: as check_import."""
    check_import(batch, workers)
    options, summaries = batch.options, batch.summaries
    single = len(summaries) == 1 and summaries[0].runs == 1 and not options.import_id
    import_id = options.import_id or new_import_id(single=single)
    is_alone = len(summaries) == 1 and summaries[0].family != "tune"
    options = replace(options, keep_active=options.keep_active or (is_alone and keep_run_active()))
    stop = stop or Stop()
    yield from batch.settled
    bad = next((outcome for outcome in batch.settled if outcome.kind in SOURCE_FAULTS), None)
    if stop.fail_fast and bad is not None:
        yield from not_tried(summaries, f"--fail-fast, and {bad.source} was {bad.kind.value}")
        return
    batch, refused = _without_refused_experiments(batch, store)
    yield from refused
    ledger = None if single else Ledger(store, import_id)
    context = ImportContext(import_id, ledger.tag if ledger is not None else None)
    task = Task(import_one, store.uri, options, context)
    yield from recorded(_outcomes(task, batch, store, workers or Workers(), stop), store, import_id, ledger)


def recorded(outcomes: Iterable[Outcome], store: Store, import_id: str, ledger: Ledger | None) -> Iterator[Outcome]:
    """Yield the outcomes of an import with the pages of their runs; count in the ledger, if any, what was written."""
    for outcome in outcomes:
        if ledger is not None and outcome.experiment_id and outcome.kind in WROTE:
            ledger.count(outcome.experiment_id, outcome.kind.value)
        yield _with_page(outcome, store, import_id)
    if ledger is not None:
        try:
            ledger.end()
        except StoreError as error:  # the runs themselves hold the rest
            log.warning("%s: `ymlf history` counts the runs themselves", error.message)


def _with_page(outcome: Outcome, store: Store, import_id: str | None = None) -> Outcome:
    """Return the outcome with the page of its run, and with the id of the import if it has created the run."""
    url = None
    if store.is_server and outcome.run_id is not None and outcome.experiment_id is not None:
        url = run_page(store.shown_uri, outcome.experiment_id, outcome.run_id)
    is_created = outcome.kind in (Kind.IMPORTED, Kind.REPLACED)
    return replace(outcome, url=url, import_id=import_id if is_created else None)


def _without_refused_experiments(batch: Batch, store: Store) -> tuple[Batch, list[Outcome]]:
    """Return the batch less the runs of experiments whose artifacts cannot be written, and one refusal for each."""
    refused: dict[str, Outcome] = {}
    if (batch.options.artifacts != "none" or batch.options.images) and not isinstance(store, EmptyStore):
        for name in dict.fromkeys(summary.experiment for summary in batch.summaries):
            try:
                retry(partial(store.check_artifacts, name))
            except UsageError as error:
                refused[name] = Outcome(Kind.REFUSED, f"experiment {name}", error.message, error.hint)
            except StoreError as error:  # the runs of the experiment will say it
                log.debug("experiment %s: %s", name, error)
    kept = tuple(summary for summary in batch.summaries if summary.experiment not in refused)
    return replace(batch, summaries=kept), list(refused.values())


def check_import(batch: Batch, workers: Workers | None = None) -> None:
    """Check the id, a name for several runs, where artifacts go, and the address of a cluster. Errors: UsageError."""
    if batch.options.import_id:
        check_import_id(batch.options.import_id)
    fixed = batch.options.run_name or os.environ.get("MLFLOW_RUN")
    if len(batch.summaries) > 1 and fixed and "{" not in fixed:  # no template
        hint = "leave --run-name and MLFLOW_RUN out, or use a template such as {name}"
        raise UsageError(f"one run name, {fixed!r}, for {len(batch.summaries)} runs", hint=hint)
    if batch.options.artifact_location is not None:
        check_scheme(batch.options.artifact_location)
    if workers is not None and workers.dask is not None:
        check_address(workers.dask)


def verify_work(
    batch: Batch, store: Store, *, deep: bool | None = None, workers: Workers | None = None, stop: Stop | None = None
) -> Iterator[Outcome]:
    """Compare a batch with the store and yield each outcome as it comes."""
    yield from batch.settled
    task = Task(verify_one, store.uri, batch.options, ImportContext(new_import_id(), deep=deep))
    outcomes = _outcomes(task, batch, store, workers or Workers(), stop or Stop())
    yield from (_with_page(outcome, store) for outcome in outcomes)


def _outcomes(task: Task, batch: Batch, store: Store, workers: Workers, stop: Stop) -> Iterator[Outcome]:
    share_store(store, task.context.import_id)
    jobs = workers.jobs_for(sum(summary.runs for summary in batch.summaries), is_server=store.is_server)
    engine: Engine = partial(workers.executor, jobs, threads=store.is_server)
    summaries = batch.summaries
    if workers.dask is not None:
        workers.close()
        engine = partial(dask_executor, workers.dask, quiet=workers.processes)
        task = task._replace(uri=absolute_uri(store.uri))
        summaries = tuple(map(with_absolute_paths, summaries))
    return Scheduler(task, engine, jobs, stop).outcomes(summaries)


@dataclass(frozen=True)
class Preview:
    """What would become of one training, and its plan where it was made."""

    outcome: Outcome
    plan: ImportPlan | None = None
    is_iteration: bool = False  # of a tune, whose preview comes before


def preview_work(batch: Batch, store: Store, *, with_plans: bool) -> Iterator[Preview]:
    """Yield what an import would do with each training of a batch, and each iteration of its tunes. Errors: StoreError.

    Without `with_plans`, a training that is there already is not read again.
    """
    batch, refused = _without_refused_experiments(batch, store)
    yield from (Preview(outcome) for outcome in (*batch.settled, *refused))
    for summary in batch.summaries:
        yield from _preview(summary, store, batch.options, with_plans=with_plans)


def _preview(
    summary: RunSummary, store: Store, options: ImportOptions, *, with_plans: bool = False
) -> Iterator[Preview]:
    """Yield what an import would do with one directory, and with the iterations of a tune. Errors: StoreError."""
    options = replace(options, root=summary.root)
    try:
        if not with_plans and summary.runs == 1:
            unchanged, _ = find_unchanged(summary, store, options)
            if unchanged is not None:
                yield Preview(unchanged)
                return
        job = Job(read_summarized(summary, options), store, options, ImportContext(wait_for_others=True))
        plan, decision = decide_in_store(job)
        outcome = _outcome(plan, decision)
        yield Preview(outcome, plan)
        if decision.kind in WROTE or decision.run is not None:
            for below in iteration_jobs(job, outcome):
                child_plan, child_decision = decide_in_store(below)
                yield Preview(_outcome(child_plan, child_decision), child_plan, is_iteration=True)
    except StoreError:
        raise
    except YmlfError as error:
        yield Preview(Outcome(Kind.REFUSED, summary.save_dir, error.message, error.hint, key=summary.key))


@dataclass(frozen=True)
class Scanned:
    """What would become of one directory, and what of it the store has."""

    outcome: Outcome
    iterations: int = 0  # of a tune, that would be runs of their own
    missing: int = 0  # of these iterations, that an import would write
    elsewhere: str | None = None  # another experiment, which has the training that would be imported


def scan_work(batch: Batch, store: Store | None) -> Iterator[tuple[RunSummary, Scanned | None]]:
    """Yield each directory of a batch, where there is a store with what an import would do. Errors: StoreError."""
    experiments: dict[str, str] = {}
    if store is not None and not isinstance(store, EmptyStore):
        with store_errors("looking for experiments"):
            experiments = {str(found.experiment_id): str(found.name) for found in all_experiments(store)}
    for summary in batch.summaries:
        if store is None:
            yield summary, None
            continue
        preview, *below = _preview(summary, store, batch.options)
        missing = sum(iteration.outcome.kind in WROTE for iteration in below)
        matched = None
        if preview.outcome.kind is Kind.IMPORTED and experiments:
            with store_errors("looking the run up"):
                runs = [stored_run(run) for run in search_runs(store, list(experiments), with_key(summary.key))]
            matched = match_run(summary.facts, runs)
        elsewhere = experiments[matched.run.experiment_id] if matched is not None else None
        yield summary, Scanned(preview.outcome, len(below), missing, elsewhere)


def _outcome(plan: ImportPlan, decision: Decision) -> Outcome:
    run, kind, live = decision.run, decision.kind, decision.live.runs if decision.live is not None else ()
    ids = {"run_id": run.run_id, "experiment_id": run.experiment_id} if run is not None else {}
    return of_plan(
        kind, plan, wrote=kind in WROTE, reason=decision.reason, hint=decision.hint,
        live_run_ids=tuple(each.run_id for each in live), **ids,
    )  # fmt: skip


def rank_batch(batch: Batch, wanted: Wanted, workers: Workers) -> Ranking:
    """Return the tables of a batch that was gathered with `best_metrics`.

    Results files alone tell which runs the tables show. The checkpoints of these then tell the best epoch, or the
    release and so the fitness, as in an import.

    Errors: UsageError for a task, a dataset or a metric that no run has.
    """
    first = rank((best for summary in batch.summaries for best in summary.best), wanted)
    shown = [row.best for table in first.tables for row in table.rows]
    with workers.executor(workers.jobs_for(len(shown), is_server=False), threads=False) as executor:
        read = list(executor.map(_read_again, shown))
    exact = rank(read, wanted)
    runs = {(table.task, table.dataset): table.runs for table in first.tables}
    tables = tuple(replace(table, runs=runs.get((table.task, table.dataset), table.runs)) for table in exact.tables)
    aside = tuple((outcome.source, outcome_text(outcome)) for outcome in batch.settled)
    return Ranking(tables, (*first.left_out, *aside))


def _read_again(best: BestEpoch) -> BestEpoch:
    """Return the best epoch as the whole directory tells it, or as before where it cannot be read any more."""
    if best.location is None:
        return best
    try:
        [found] = best_epochs(read_run(best.location))
    except YmlfError:
        return best
    return replace(found, source=best.source, location=best.location)
