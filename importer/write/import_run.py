"""One training into one run: decide, create or complete the run, settle with other importers, end it."""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial

from importer.model import ImportContext, ImportOptions, ImportPlan, TrainingRun
from importer.naming import MAX_TAG_VALUE, storable
from importer.record import ImportRecord
from importer.redaction import redact
from importer.replay.callbacks import FORMER_EXPERIMENT
from importer.replay.plan import iteration_runs, plan_import
from importer.replay.status import quiet_ms, still_training, why_left_alone
from importer.report import WROTE, Kind, Outcome, of_plan
from importer.store.failures import store_errors
from importer.store.store import Store
from importer.write import lookup
from importer.write.artifacts import log_artifacts
from importer.write.bulk import Find, bulk_access
from importer.write.completion import adopt, discard_run, give_back, tags_to_add
from importer.write.content import Content, find_missing, log_by_api
from importer.write.decision import ONE_TRAINING, Decision, Facts, canonical, decide, match_run
from importer.write.images import log_images
from importer.write.ledger import begin_entry
from importer.write.live_runs import is_being_logged
from importer.write.lookup import WRITING, StoredRun, find_runs_of, key_tag, stored_run

TRIES = 5  # of a training whose run other importers take over again and again


class LostRaceError(Exception):
    """Another importer's run is the canonical one; ours is deleted by now."""


@dataclass(frozen=True)
class Job:
    """One training on its way into a store: what is read, what is chosen, and where it goes."""

    run: TrainingRun
    store: Store
    options: ImportOptions
    context: ImportContext
    parent: StoredRun | None = None  # the run of the tune that it is an iteration of
    former_parents: tuple[str, ...] = ()  # of the same tune, deleted by now
    looked_up: tuple[str, tuple[StoredRun, ...]] | None = None  # a key and the runs that carry it, just now

    @property
    def parents(self) -> tuple[str, ...]:
        """The ids of the runs of the tune: the one that stands, and those in whose place it stands."""
        return (self.parent.run_id, self.parent.replaces, *self.former_parents) if self.parent is not None else ()


def import_with_iterations(job: Job) -> list[Outcome]:
    """Return the outcomes of a run and of the iterations of a tune, nested runs. Errors: as import_training."""
    outcome = import_training(job)
    return [outcome, *map(import_training, iteration_jobs(job, outcome) if outcome.run_id is not None else ())]


def iteration_jobs(job: Job, outcome: Outcome) -> list[Job]:
    """Return the jobs of the iterations of a tune whose own outcome is known."""
    if not job.run.children:
        return []
    parent = StoredRun("")  # a preview has none yet
    former: tuple[str, ...] = ()
    if outcome.run_id is not None:
        with store_errors("reading the run of the tune"):
            parent = stored_run(job.store.client.get_run(outcome.run_id))
            condition = lookup.with_key(parent.key)
            deleted = lookup.search_runs(job.store, [parent.experiment_id], condition, lookup.DELETED)
            same_place = (run for run in deleted if run.data.tags.get(lookup.SOURCE) == parent.source)
            former = tuple(str(run.info.run_id) for run in same_place)
    options = job.options.of_children(outcome.experiment_name)
    below = replace(job, options=options, parent=parent, former_parents=former, looked_up=None)
    return [replace(below, run=child) for child in iteration_runs(job.run, job.options)]


def import_training(job: Job) -> Outcome:
    """Import one training, without the iterations of a tune, and return what was done.

    Errors: PlanError, RunDirError and UsageError of the plan, before anything is written; StoreError, after which a
        retry goes on where this stopped.
    """
    began = time.monotonic()
    adopted: Decision | None = None
    for _ in range(TRIES):
        plan, decision = decide_in_store(job)
        try:
            if decision.kind is not Kind.COMPLETED or decision.live is None:
                if decision.kind is Kind.COMPLETED and adopted is not None:
                    decision = replace(decision, reason=adopted.reason, live=adopted.live)
                return replace(_carry_out(job, plan, decision), seconds=time.monotonic() - began)
            adopted = decision if _adopt(job, plan, decision) else None
        except LostRaceError:
            pass
        job = replace(job, looked_up=None)
    return of_plan(Kind.BUSY, plan, reason="another import is writing it")


def decide_in_store(job: Job) -> tuple[ImportPlan, Decision]:
    """Return the plan of a training and what an import would do with it, without doing it. Errors: as import_training.

    The plan of a run that is completed or updated has the times and options that were recorded with it. A live run of
    an older release is completed in the default experiment of then.
    """
    run, store, options = job.run, job.store, job.options
    now_ms = int(time.time() * 1000)
    plan = plan_import(run, options, now_ms=now_ms)
    if (left_alone := why_left_alone(run, options, now_ms)) is not None:
        kind, reason, hint = left_alone
        return plan, Decision(Kind(kind), None, reason, hint)
    experiment_id = store.experiment_id(plan.experiment_name, create=False)
    key, runs = job.looked_up or ("", ())
    if key != plan.key:
        runs = find_runs_of(store, experiment_id, plan.key, has_epochs=bool(plan.epochs))
    matched = match_run(Facts.of(plan, parents=job.parents), runs)
    before = matched.run if matched is not None else None
    record = before.record if before is not None else None
    recorded = plan_import(run, options, recorded=record, now_ms=now_ms) if record is not None else plan
    stored = lookup.look_up(store, recorded, runs, experiment_id, before)
    decision = decide(recorded, matched, stored, options, wait_for_others=job.context.wait_for_others)
    if decision.is_elsewhere:
        return decide_in_store(replace(job, options=replace(options, experiment=FORMER_EXPERIMENT), looked_up=None))
    live = decision.live if decision.kind is Kind.COMPLETED else None
    if live is not None and (still_training(run, now_ms) or is_being_logged(live.runs, now_ms, quiet_ms(run))):
        reason = "its live run is not completed before the training ends"
        return plan, Decision(Kind.STILL_TRAINING, decision.run, reason, live=live)
    has_times = decision.kind in (Kind.RESUMED, Kind.UPDATED, Kind.COMPLETED)
    return recorded if has_times else plan, decision


def _adopt(job: Job, plan: ImportPlan, decision: Decision) -> bool:
    """Return whether a run of the live callback is ours to complete by now; it is found by its key then.

    One that was completed before its training was resumed is given back: the two live runs are judged together.
    """
    live, run = decision.live, decision.run
    assert live is not None and run is not None  # noqa: S101  such a decision has both
    if run.run_id not in {candidate.run_id for candidate in live.runs}:
        give_back(job.store, run.run_id)
        return False
    begin_entry(job.store, run.experiment_id, job.context.ledger_tag)
    if plan.artifacts:
        job.store.check_artifacts(plan.experiment_name)
    record = replace(_signed(plan, ""), run_name=run.run_name)
    return adopt(job.store, live, first_tags(job, replace(plan, record=record)))


def _carry_out(job: Job, plan: ImportPlan, decision: Decision) -> Outcome:
    """Do what was decided. Errors: LostRaceError, StoreError, RunDirError."""
    run_id: str | None = None
    experiment_id: str | None = None
    if decision.kind in (Kind.IMPORTED, Kind.REPLACED):
        run_id, experiment_id = _create(job, plan, decision)
    elif decision.kind in (Kind.RESUMED, Kind.UPDATED, Kind.COMPLETED):
        run_id, experiment_id = _complete(job, plan, decision)
    elif decision.run is not None:
        run_id, experiment_id = decision.run.run_id, decision.run.experiment_id
    for surplus_id in decision.surplus:
        discard_run(job.store, surplus_id)
    reason, wrote, before, parent = decision.reason, decision.kind in WROTE, decision.run, job.parent
    is_ours = before is not None and before.run_id == run_id and not before.live_status
    if before and is_ours and parent is not None and before.parent_run_id != parent.run_id:  # the tune came later
        with store_errors("putting the run below that of its tune"):
            job.store.client.set_tag(before.run_id, lookup.PARENT, parent.run_id)
        reason = reason if wrote else reason or "put below the run of its tune"
    live_run_ids = tuple(live.run_id for live in decision.live.runs) if decision.live is not None else ()
    return of_plan(
        decision.kind, plan, wrote=wrote, run_id=run_id, experiment_id=experiment_id, reason=reason,
        hint=decision.hint, live_run_ids=live_run_ids,
    )  # fmt: skip


def _create(job: Job, plan: ImportPlan, decision: Decision) -> tuple[str, str]:
    """Write a new run; one that it replaces is soft-deleted only once the new one is complete."""
    store = job.store
    if plan.artifacts:
        store.check_uploads(plan.experiment_name, job.options.artifact_location)
    experiment_id = store.experiment_id(plan.experiment_name, job.options.artifact_location)
    assert experiment_id is not None  # noqa: S101  it was created
    if plan.artifacts or plan.images:
        store.check_artifacts(plan.experiment_name)
    begin_entry(job.store, experiment_id, job.context.ledger_tag)
    replaced = decision.run.run_id if decision.run is not None else ""
    ignored = {replaced, *decision.surplus}
    plan = replace(plan, record=_signed(plan, replaced))
    with store_errors("creating the run"):
        run = store.client.create_run(experiment_id, plan.timeline.started_ms, first_tags(job, plan), plan.run_name)
    ours = stored_run(run)
    settle = partial(_settle, job, plan, ours, ignored)
    settle()
    log_artifacts(store, plan, run, is_new=True)
    log_images(store, plan, run, is_new=True)

    def stands(find: Find) -> bool:
        tags = find(key_tag(plan.key, has_epochs=bool(plan.epochs)), plan.key)
        runs = [lookup.run_of_tags(run_id, experiment_id, found) for run_id, found in tags.items()]
        return canonical(ours, _rivals(job, plan, ours, runs, ignored)) is ours

    bulk = bulk_access(store)
    if bulk is None or not bulk.write(ours, plan, {lookup.STATE: lookup.COMPLETE}, stands):
        if bulk is not None:
            settle()
        log_by_api(store, plan, run, Content(plan.points, plan.params), settle)
    if replaced:
        discard_run(store, replaced)
    return ours.run_id, experiment_id


def _complete(job: Job, plan: ImportPlan, decision: Decision) -> tuple[str, str]:
    """Add to a run what it lacks: after an import that was stopped, or of a directory that has grown."""
    store, before = job.store, decision.run
    assert before is not None  # noqa: S101  such a decision has a run
    begin_entry(job.store, before.experiment_id, job.context.ledger_tag)
    with store_errors("reading the run"):
        run = store.client.get_run(before.run_id)
    points, params, kept = find_missing(store, plan, run)
    has_changed = before.fingerprint != plan.fingerprint
    log_artifacts(store, plan, run, is_new=False, has_changed=has_changed)
    log_images(store, plan, run, is_new=False, has_changed=has_changed)
    record = replace(plan.record, params_kept=tuple(sorted(kept)))
    if before.record is not None:
        old = before.record
        record = replace(record, writer=old.writer, imported_at=old.imported_at, replaces=old.replaces)
    tags = {key: value[:MAX_TAG_VALUE] for key, value in plan.tags.items()}
    if before.live_status:
        tags = tags_to_add(tags, run.data.tags)
    tags |= {lookup.RECORD: record.to_tag(), lookup.SOURCE: _source(plan)}
    if decision.kind is Kind.UPDATED:
        tags[lookup.UPDATE_ID] = job.context.import_id
    settle = partial(_settle, job, plan, stored_run(run), {before.replaces, *decision.surplus})
    log_by_api(store, plan, run, Content(points, params, tags), settle)
    if before.replaces and before.state == WRITING:
        discard_run(store, before.replaces)
    return before.run_id, before.experiment_id


def _signed(plan: ImportPlan, replaced: str) -> ImportRecord:
    """Return the record with who writes it, and when."""
    writer = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return replace(plan.record, writer=writer, imported_at=now, replaces=replaced)


def first_tags(job: Job, plan: ImportPlan) -> dict[str, str]:
    """Return the tags that a run is created with: the plan's, ours, and those that MLflow's fluent API sets."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # an account without a name
        user = "unknown"
    tags = {
        "mlflow.user": user,
        **lookup.OURS,
        **plan.tags,
        key_tag(plan.key, has_epochs=bool(plan.epochs)): plan.key,
        lookup.STATE: WRITING,
        lookup.RECORD: plan.record.to_tag(),
        lookup.IMPORT_ID: job.context.import_id,
        lookup.SOURCE: _source(plan),
    }
    if job.parent is not None:
        tags[lookup.PARENT] = job.parent.run_id
    return {key: value[:MAX_TAG_VALUE] for key, value in tags.items()}


def _source(plan: ImportPlan) -> str:
    return storable(redact(plan.place))[:MAX_TAG_VALUE]


def _settle(job: Job, plan: ImportPlan, ours: StoredRun, ignored: set[str]) -> None:
    """Go on only while our run is the canonical one of its training; else delete it.

    A create_run whose answer was lost, and which was sent again, made two runs of ours: one is kept.
    Errors: LostRaceError.
    """
    runs = find_runs_of(job.store, ours.experiment_id, plan.key, has_epochs=bool(plan.epochs))
    others = _rivals(job, plan, ours, runs, ignored)
    kept = canonical(ours, others)
    twins = [run for run in others if run.writer and run.writer == ours.writer]
    for run in (ours, *twins):
        if run is not kept:
            discard_run(job.store, run.run_id)
    if kept is not ours:
        raise LostRaceError(kept.run_id)


def _rivals(
    job: Job, plan: ImportPlan, ours: StoredRun, runs: Iterable[StoredRun], ignored: set[str]
) -> list[StoredRun]:
    facts = Facts.of(plan, parents=job.parents)
    rivals = []
    for run in runs:
        matched = match_run(facts, [run]) if run.run_id not in {ours.run_id, *ignored} else None
        if matched is not None and (matched.comparison.match in ONE_TRAINING or run.state == WRITING):
            rivals.append(run)
    return rivals
