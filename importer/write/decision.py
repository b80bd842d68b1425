"""One run directory: read, plan, look up, write, or verify."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from importer.model import Conduct, ImportOptions, ImportPlan, TrainingRun
from importer.outcome import WROTE, Kind, Outcome, of_plan
from importer.replay.plan import plan_import
from importer.replay.record import load_record, not_applied
from importer.replay.status import still_training
from importer.store.failures import failures
from importer.store.store import Store
from importer.verify import compare
from importer.write.import_run import create_run, delete_run, fill_run, put_below
from importer.write.lookup import (
    RECORD,
    Found,
    Presence,
    is_being_written,
    look_up,
    search_key,
    still_holds,
    stored_points,
)

if TYPE_CHECKING:
    from mlflow.entities import Run


OURS_BY_NOW = WROTE | {Kind.ALREADY_THERE, Kind.CHANGED, Kind.SKIPPED}
NO_EPOCHS = "it ended before its first epoch was over"
NOTHING_TOLD = "its args.yaml is empty and there are no results"


@dataclass(frozen=True)
class Decision:
    """What is to be done with a plan, decided by looking only."""

    kind: Kind
    plan: ImportPlan
    found: Found
    reason: str | None = None
    hint: str | None = None


def _no_epochs(run: TrainingRun) -> str:
    if not run.args and run.results_file is None and any(note.code == "empty-args" for note in run.notes):
        return NOTHING_TOLD
    return next((note.text for note in run.notes if note.code == "results-ignored"), NO_EPOCHS)


def decide(
    run: TrainingRun, store: Store, options: ImportOptions, runs: list[Run] | None = None, *, patient: bool = True
) -> Decision:
    """What an import would do with a run, without doing it; `runs` is what a search for its key just found.

    One that is not patient would finish what another import seems to be writing.

    Errors: PlanError, RunDirError and UsageError of the plan; StoreError.
    """
    plan = plan_import(run, options)
    absent = Found(Presence.ABSENT)
    if not len(run.epochs) and not options.empty and not run.children:
        return Decision(Kind.NO_EPOCHS, plan, absent, _no_epochs(run), "import it with --empty")
    if not options.unfinished and still_training(run, int(time.time() * 1000)):
        return Decision(
            Kind.STILL_TRAINING, plan, absent, "results.csv was written just now", "--unfinished takes it as it is"
        )
    experiment_id = store.experiment_id(plan.experiment_name, create=False)
    found = look_up(store, plan, experiment_id, with_live=options.with_live, runs=runs)
    return _judge(run, store, options, plan, found, patient)


def _judge(
    run: TrainingRun, store: Store, options: ImportOptions, plan: ImportPlan, found: Found, patient: bool
) -> Decision:
    if found.presence is Presence.ABSENT:
        return Decision(Kind.IMPORTED, plan, found)
    if found.presence is Presence.LIVE:
        return Decision(
            Kind.TRACKED_LIVE, plan, found, "a run that the live callback logged", "--with-live imports it too"
        )
    if found.presence is Presence.SAME:
        return _same(options, plan, found)
    if found.presence is Presence.BUSY and patient:
        return Decision(Kind.BUSY, plan, found, "another import is writing it")
    plan = plan_import(run, options, recorded=found.record)
    if found.presence in (Presence.WRITING, Presence.BUSY):
        return Decision(Kind.FINISHED, plan, found)
    if options.on_change == "skip":
        return Decision(Kind.SKIPPED, plan, found, "its content has changed since it was imported")
    if options.on_change == "replace":
        return Decision(Kind.REPLACED, plan_import(run, options), found)
    assert found.run is not None  # noqa: S101  presence OTHER has a run
    if still_holds(stored_points(store, found.run, {point.key for point in plan.points}), plan):
        return Decision(Kind.UPDATED, plan, found)
    return Decision(
        Kind.CHANGED,
        plan,
        found,
        "values that were imported are no longer what the directory says",
        "--on-change replace imports it anew, --on-change skip leaves it",
    )


def _same(options: ImportOptions, plan: ImportPlan, found: Found) -> Decision:
    missed = not_applied(options, found.record)
    if missed is None:
        return Decision(Kind.ALREADY_THERE, plan, found)
    if options.on_change == "replace":
        return Decision(Kind.REPLACED, plan, found)
    return Decision(Kind.ALREADY_THERE, plan, found, *imported_without(missed))


def imported_without(missed: str) -> tuple[str, str]:
    """Reason and hint for a run that is there, but was imported without options that are given now."""
    return f"imported without {missed}", "--on-change replace imports it anew, with the options that are given"


def carry_out(
    run: TrainingRun,
    decision: Decision,
    store: Store,
    options: ImportOptions,
    conduct: Conduct,
    *,
    parent_run_id: str | None = None,
) -> Outcome:
    """The outcome of doing what was decided. Errors: StoreError, RunDirError; nothing is lost, a retry goes on."""
    plan, kind, reason = decision.plan, decision.kind, decision.reason
    began = time.monotonic()
    target, done = _write(decision, store, options, conduct, parent_run_id)
    if not done and target is not None and conduct.patient and is_being_written(target):
        return of_plan(Kind.BUSY, plan, reason="another import is writing it")
    if not done and target is not None:  # another importer's run stands for it: go on with that, and with its anchors
        kind, reason = Kind.FINISHED, "another import had begun it"
        plan = plan_import(run, options, recorded=load_record(target.data.tags.get(RECORD)))
        target, _ = fill_run(store, plan, target, new=False)
    if parent_run_id is not None and target is not None and kind in OURS_BY_NOW:
        moved = put_below(store, target, parent_run_id)
        reason = reason or ("put below the run of its tune" if moved and kind not in WROTE else None)
    for left in decision.found.surplus if kind is not Kind.BUSY else ():
        delete_run(store, left)
    return of_plan(
        kind,
        plan,
        wrote=kind in WROTE,
        run_id=target.info.run_id if target is not None else None,
        experiment_id=target.info.experiment_id if target is not None else None,
        reason=reason,
        hint=decision.hint,
        seconds=time.monotonic() - began,
    )


def _write(
    decision: Decision, store: Store, options: ImportOptions, conduct: Conduct, parent_run_id: str | None
) -> tuple[Run | None, bool]:
    """The run of the training, and whether it is ours and whole by now, where something was to be written."""
    plan, there = decision.plan, decision.found.run
    if decision.kind in (Kind.IMPORTED, Kind.REPLACED):
        experiment_id = store.experiment_id(plan.experiment_name, options.artifact_location)
        assert experiment_id is not None  # noqa: S101  it was created
        replaces = there.info.run_id if there is not None else None
        run, done = create_run(
            store,
            plan,
            experiment_id,
            import_id=conduct.import_id,
            alone=conduct.alone,
            parent_run_id=parent_run_id,
            replaces=replaces,
        )
        if done:
            run, done = fill_run(store, plan, run, new=True, replaces=replaces)
        if done and replaces is not None:
            delete_run(store, replaces)
        return run, done
    if decision.kind in (Kind.FINISHED, Kind.UPDATED) and there is not None:
        update_id = conduct.import_id if decision.kind is Kind.UPDATED else None
        return fill_run(store, plan, there, new=False, update_id=update_id)
    return there, True


def import_read_run(
    run: TrainingRun,
    store: Store,
    options: ImportOptions,
    conduct: Conduct,
    runs: list[Run] | None = None,
    *,
    parent_run_id: str | None = None,
) -> Outcome:
    """The outcome of importing one run, without the iterations of a tune; `runs` as in decide. Errors: StoreError."""
    decision = decide(run, store, options, runs, patient=conduct.patient)
    return carry_out(run, decision, store, options, conduct, parent_run_id=parent_run_id)


def import_with_children(run: TrainingRun, store: Store, options: ImportOptions, conduct: Conduct) -> list[Outcome]:
    """The outcomes of a run and of its children, a tune's iterations, which become nested runs of one experiment."""

    def one(run: TrainingRun, options: ImportOptions, parent_run_id: str | None) -> Outcome:
        return import_read_run(run, store, options, conduct, parent_run_id=parent_run_id)

    return _with_children(run, options, one)


def _with_children(
    run: TrainingRun, options: ImportOptions, one: Callable[[TrainingRun, ImportOptions, str | None], Outcome]
) -> list[Outcome]:
    """The outcome of a run and, where it has a run in the store, of each of its children below that."""
    parent = one(run, options, None)
    if parent.run_id is None:
        return [parent]
    below = options.of_children(parent.experiment_name)
    return [parent, *(one(child, below, parent.run_id) for child in run.children)]


def decide_all(run: TrainingRun, store: Store, options: ImportOptions) -> list[Decision]:
    """What an import would do with a run and each of its children, without doing it. Errors: as decide."""
    decision = decide(run, store, options)
    if decision.kind not in WROTE and decision.found.run is None:
        return [decision]
    below = options.of_children(decision.plan.experiment_name)
    return [decision, *(decide(child, store, below) for child in run.children)]


def verify_with_children(run: TrainingRun, store: Store, options: ImportOptions, deep: bool | None) -> list[Outcome]:
    """How a run and its children compare with what the store holds. Errors: StoreError, PlanError."""

    def one(run: TrainingRun, options: ImportOptions, parent_run_id: str | None) -> Outcome:
        return verify_read_run(run, store, options, deep, parent_run_id=parent_run_id)

    return _with_children(run, options, one)


def verify_read_run(
    run: TrainingRun, store: Store, options: ImportOptions, deep: bool | None, *, parent_run_id: str | None = None
) -> Outcome:
    """How one run compares with what the store holds. Errors: StoreError, PlanError."""
    began = time.monotonic()
    plan = plan_import(run, options)
    experiment_id = store.experiment_id(plan.experiment_name, create=False)
    with failures("looking the run up"):
        runs = search_key(store, experiment_id, plan.key) if experiment_id else []
    if not len(run.epochs) and not runs:
        return of_plan(Kind.NO_EPOCHS, plan, reason=_no_epochs(run))
    if not runs:
        where = f"experiment {plan.experiment_name!r} of {store.shown_uri} has no run of it"
        return of_plan(Kind.MISSING, plan, reason=where, hint="import it first, or name its --experiment")
    found = look_up(store, plan, experiment_id, with_live=True, runs=runs)
    assert found.run is not None  # noqa: S101  the search above had one
    others = [other.info.run_id for other in runs if other.info.run_id != found.run.info.run_id]
    faults = [f"run {run_id}: a second run of this training" for run_id in others]
    plan = plan_import(run, options, recorded=found.record)
    mismatches = compare(store, plan, found.run, deep=deep, parent_run_id=parent_run_id)
    faults += [str(mismatch) for mismatch in mismatches]
    return of_plan(
        Kind.MISMATCH if faults else Kind.VERIFIED,
        plan,
        wrote=True,
        run_id=found.run.info.run_id,
        experiment_id=experiment_id,
        mismatches=tuple(faults),
        reason=f"{len(faults)} {'mismatch' if len(faults) == 1 else 'mismatches'}" if faults else None,
        seconds=time.monotonic() - began,
    )
