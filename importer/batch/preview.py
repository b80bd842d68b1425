"""Preview an import, directory by directory, by the import's own decision; nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from importer.batch.gather import Batch
from importer.batch.summary import RunSummary, find_unchanged, read_summarized
from importer.errors import StoreError, YmlfError
from importer.model import ImportContext, ImportOptions, ImportPlan
from importer.report import WROTE, Kind, Outcome, of_plan
from importer.store.store import Store
from importer.write.decision import Decision
from importer.write.import_run import Job, decide_in_store, iteration_jobs


@dataclass(frozen=True)
class Preview:
    """What would become of one training, and its plan where it was made."""

    outcome: Outcome
    plan: ImportPlan | None = None
    is_iteration: bool = False  # of a tune, whose preview comes before


def preview_work(batch: Batch, store: Store, *, with_plans: bool) -> Iterator[Preview]:
    """Yield what an import would do with each training of a batch, and with each iteration of its tunes.

    Without `with_plans`, what is there already is not read again. Errors: StoreError.
    """
    yield from (Preview(outcome) for outcome in batch.settled)
    for summary in batch.summaries:
        yield from preview_summary(summary, store, batch.options, with_plans=with_plans)


def preview_summary(
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


def _outcome(plan: ImportPlan, decision: Decision) -> Outcome:
    run = decision.run
    return of_plan(
        decision.kind,
        plan,
        wrote=decision.kind in WROTE,
        reason=decision.reason,
        hint=decision.hint,
        run_id=run.run_id if run is not None else None,
        experiment_id=run.experiment_id if run is not None else None,
        live_run_ids=tuple(live.run_id for live in decision.live.runs) if decision.live is not None else (),
    )
