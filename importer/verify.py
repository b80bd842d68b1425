"""Compare an ImportPlan with what the store holds, point by point."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from importer.errors import PlanError
from importer.model import ImportContext, ImportOptions, ImportPlan, MetricPoint, TrainingRun
from importer.naming import MAX_TAG_VALUE
from importer.record import ImportRecord, ModelRecord
from importer.replay.plan import plan_import
from importer.replay.status import NO_EPOCHS
from importer.report import Kind, Mismatch, Outcome, of_plan
from importer.store.failures import store_errors
from importer.store.store import Store
from importer.write import lookup
from importer.write.artifacts import BEST, fetched, is_local, list_artifacts, sha256_of, spooled
from importer.write.decision import Decision, planned_points, point_id
from importer.write.images import IMAGES_TAG, images_in, in_words, is_logged
from importer.write.import_run import Job, decide_in_store, iteration_jobs
from importer.write.live_runs import differences, same_value
from importer.write.lookup import RECORD, RUNNING, key_tag, stored_points, stored_run

if TYPE_CHECKING:
    from mlflow.entities import Run

NOTE = "mlflow.note.content"
IMPORT_FIRST = "import it first, or name its --experiment"


def compare(
    store: Store, plan: ImportPlan, run: Run, *, deep: bool | None = None, parent_run_id: str | None = None
) -> list[Mismatch]:
    """Return every difference between a plan and the run that it was written to; `deep` hashes each artifact.

    Errors: StoreError when the store cannot be read.
    """
    deep = is_local(run.info.artifact_uri) if deep is None else deep
    return [
        *_compare_facts(plan, run, parent_run_id),
        *_compare_metrics(store, plan, run),
        *_compare_artifacts(store, plan, run, deep),
    ]


def _compare_facts(plan: ImportPlan, run: Run, parent_run_id: str | None) -> Iterator[Mismatch]:
    record = ImportRecord.from_tag(run.data.tags.get(RECORD))
    live_status = stored_run(run).live_status
    status = live_status if live_status not in ("", RUNNING) else RUNNING if plan.keep_active else plan.status
    facts: list[tuple[str, str, object, object]] = [
        ("status", "", status, run.info.status),
        ("run_name", "", plan.run_name, run.info.run_name),
    ]
    if not live_status:
        facts.append(("start_time", "", plan.timeline.started_ms, run.info.start_time))
    if not plan.keep_active and status != live_status:
        facts.append(("end_time", "", plan.timeline.ended_ms, run.info.end_time))
    if record is not None:
        facts.append(("record", "fingerprint", plan.fingerprint, record.fingerprint))
    tags = {
        **({} if live_status else lookup.OURS),
        **plan.tags,
        key_tag(plan.key, has_epochs=bool(plan.epochs)): plan.key,
        lookup.STATE: lookup.COMPLETE,
    }
    del tags[NOTE]  # the UI lets people write on in it
    if parent_run_id is not None and not live_status:
        tags[lookup.PARENT] = parent_run_id
    if plan.images:
        tags[IMAGES_TAG] = "True"
    facts += [("tag", key, value[:MAX_TAG_VALUE], run.data.tags.get(key)) for key, value in tags.items()]
    kept = record.params_kept if record is not None else ()
    facts += [("param", key, value, run.data.params.get(key)) for key, value in plan.params.items() if key not in kept]
    for what, name, expected, stored in facts:
        if expected != stored:
            yield Mismatch(what, name, _short(expected), _short(stored))
    for name in (lookup.IMPORT_ID, lookup.SOURCE):
        if not run.data.tags.get(name):
            yield Mismatch("tag", name, "what an import writes", "nothing")
    if record is None:
        yield Mismatch("tag", RECORD, "what an import writes", _short(run.data.tags.get(RECORD)))


def _compare_metrics(store: Store, plan: ImportPlan, run: Run) -> Iterator[Mismatch]:
    planned = planned_points(plan)
    history = stored_points(store, run, sorted({point.key for point in plan.points}))
    if stored_run(run).live_status:  # the callback's own digits and times stay
        for point, live in differences(lookup.values_by_step(history, plan), plan):
            yield _point_mismatch(point, str(point.value), str(live[0]) if live else "no point")
        return
    counts = Counter(point_id(point) for series in history.values() for point in series)
    for point in (point for series in history.values() for point in series):
        expected = planned.get(point_id(point))
        if expected is None:
            yield _point_mismatch(point, "no point", str(point.value))
        elif not same_value(expected.value, point.value):
            yield _point_mismatch(point, str(expected.value), str(point.value))
        elif expected.timestamp != point.timestamp:
            yield _point_mismatch(point, f"timestamp {expected.timestamp}", f"timestamp {point.timestamp}")
    for point in plan.points:
        found = counts[point_id(point)]
        if not found:
            yield _point_mismatch(point, str(point.value), "no point")
        elif found > 1:
            yield _point_mismatch(point, "one point", f"{found} points")


def _point_mismatch(point: MetricPoint, directory: str, store: str) -> Mismatch:
    return Mismatch("metric", f"{point.key} step {point.step}", directory, store)


def _compare_artifacts(store: Store, plan: ImportPlan, run: Run, deep: bool) -> Iterator[Mismatch]:
    model = ModelRecord.from_tag(run.data.tags.get(lookup.MODEL_FILES))
    if not plan.artifacts and not plan.images and model is None:
        return
    with store_errors("opening the artifact store"):
        repository = store.artifact_repository(run.info.artifact_uri)
    there = list_artifacts(repository)
    model_files = {**model.files, BEST: model.weights} if model is not None else {}
    for path, digest in model_files.items():
        if path not in there:
            yield Mismatch("model", path, "a file", "no file")
        elif deep:
            yield from _compare_digests("model", path, digest, repository)
    images = images_in(there)
    for image in plan.images:
        if not is_logged(plan, images.get(image.key, [])):
            expected = f"one of timestamp {plan.timeline.ended_ms}"
            yield Mismatch("image", image.key, expected, in_words(images.get(image.key, [])))
    for artifact in plan.artifacts:
        size = there.get(artifact.artifact_path)
        if size != artifact.size:
            stored = "no file" if size is None else f"{size} bytes"
            yield Mismatch("artifact", artifact.artifact_path, f"{artifact.size} bytes", stored)
        elif deep:
            with spooled(artifact) as local:
                digest = sha256_of(local)
            yield from _compare_digests("artifact", artifact.artifact_path, digest, repository)


def _compare_digests(what: str, path: str, digest: str, repository: Any) -> Iterator[Mismatch]:
    with fetched(repository, path) as local:
        stored = sha256_of(local)
    if stored != digest:
        yield Mismatch(what, path, f"SHA-256 {digest[:16]}", f"SHA-256 {stored[:16]}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def verify_with_iterations(
    run: TrainingRun, store: Store, options: ImportOptions, *, deep: bool | None = None
) -> list[Outcome]:
    """Compare a run and the iterations of a tune with what the store holds. Errors: StoreError, PlanError."""
    job = Job(run, store, options, ImportContext(wait_for_others=False))
    outcome = verify_training(job, deep=deep)
    below = iteration_jobs(job, outcome) if outcome.run_id is not None else []
    return [outcome, *(verify_training(child, deep=deep) for child in below)]


def verify_training(job: Job, *, deep: bool | None = None) -> Outcome:
    """Return how one training compares with what the store holds, without the iterations of a tune.

    Errors: StoreError, PlanError.
    """
    began = time.monotonic()
    options = replace(job.options, empty=True, unfinished=True, on_change="update")
    job = replace(job, options=options, context=replace(job.context, wait_for_others=False))
    plan, decision = decide_in_store(job)
    stored = decision.run
    if stored is None:
        return _without_run(job, plan, decision)
    if stored.record is not None:
        plan = plan_import(job.run, options, recorded=stored.record)
    ids: dict[str, Any] = {"run_id": stored.run_id, "experiment_id": stored.experiment_id}
    from_other_copy = decision.kind is Kind.ALREADY_THERE and stored.fingerprint != plan.fingerprint
    if decision.reason is not None and from_other_copy:  # which has as much of the training or more
        return of_plan(Kind.VERIFIED, plan, reason=decision.reason, seconds=time.monotonic() - began, **ids)
    parent_run_id = job.parent.run_id if job.parent is not None else None
    with store_errors("reading the run"):
        run = job.store.client.get_run(stored.run_id)
    twins = sorted({*decision.surplus, *decision.twins})
    faults = [Mismatch("run", run_id, "one training", "a second run of it") for run_id in twins]
    faults += compare(job.store, plan, run, deep=deep, parent_run_id=parent_run_id)
    mismatches = tuple(fault._replace(source=plan.source) for fault in faults)
    kind = Kind.MISMATCH if faults else Kind.VERIFIED
    reason = f"{len(faults)} {'mismatch' if len(faults) == 1 else 'mismatches'}" if faults else None
    seconds = time.monotonic() - began
    return of_plan(kind, plan, wrote=True, mismatches=mismatches, reason=reason, seconds=seconds, **ids)


def run_of(job: Job) -> str:
    """Return the id of the run of a directory, imported or tracked live.

    Errors: PlanError when the store has no run, or it lacks what the directory has by now; StoreError.
    """
    options = replace(job.options, empty=True, unfinished=True)
    plan, decision = decide_in_store(replace(job, options=options, context=ImportContext(wait_for_others=False)))
    live = [run.run_id for run in decision.live.runs if BEST in run.artifacts] if decision.live is not None else []
    if decision.kind is Kind.ALREADY_THERE and decision.run is not None:
        return decision.run.run_id
    if live:
        return live[-1]
    if decision.run is not None:
        raise PlanError(f"{plan.source}: has changed since run {decision.run.run_id}", hint="import it again first")
    raise PlanError(f"{plan.source}: {_has_none(job, plan)}", hint=IMPORT_FIRST)


def _without_run(job: Job, plan: ImportPlan, decision: Decision) -> Outcome:
    if not plan.epochs:
        return of_plan(Kind.NO_EPOCHS, plan, reason=NO_EPOCHS)
    if decision.kind in (Kind.TRACKED_LIVE, Kind.PARTLY_TRACKED):
        return of_plan(decision.kind, plan, reason=decision.reason, hint=decision.hint)
    return of_plan(Kind.MISSING, plan, reason=_has_none(job, plan), hint=IMPORT_FIRST)


def _has_none(job: Job, plan: ImportPlan) -> str:
    return f"experiment {plan.experiment_name!r} of {job.store.shown_uri} has no run of it"
