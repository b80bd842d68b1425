"""What is to be done with a training, decided from what was read and what is stored. Pure: no I/O happens here.

Import, dry run, scan, preview and verify call these functions and differ only in what they do with the answer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from importer.model import ImportOptions, ImportPlan, MetricPoint
from importer.read.fitness import BEST
from importer.record import Evidence
from importer.replay.identity import Comparison, Match, compare_trainings
from importer.replay.record import not_applied
from importer.report import Kind
from importer.write import live_runs
from importer.write.live_runs import LiveCoverage, judge_live_runs
from importer.write.lookup import COMPLETE, RUNNING, WRITING, LiveRun, Stored, StoredRun, values_by_step

LIVE_HINT = "--live import imports it too"
REPLACE_HINT = "--on-change replace imports it again, --on-change skip leaves it"
ONE_TRAINING = (Match.EQUAL, Match.LONGER, Match.SHORTER)
CHANGED_IN_PLACE = (Match.EDITED, Match.PARTED)


@dataclass(frozen=True)
class Facts:
    """What is known of a directory without its plan: enough to find its run and to see that nothing has changed."""

    place: str
    fingerprint: str
    evidence: Evidence | None = None  # None where only the fingerprint is known, from a summary
    parents: tuple[str, ...] = ()  # of a row of a tune's table: the run of the tune, and those that it replaces
    is_iteration: bool = False

    @classmethod
    def of(cls, plan: ImportPlan, *, parents: tuple[str, ...] = ()) -> Facts:
        """Return the facts of a plan."""
        return cls(plan.place, plan.fingerprint, plan.record.evidence, parents, plan.run.iteration is not None)


@dataclass(frozen=True)
class Matched:
    """The run of a training, how it is related to the directory, and the runs that are to go."""

    run: StoredRun
    comparison: Comparison
    surplus: tuple[str, ...] = ()  # run ids: replaced, or left by a writer that died
    twins: tuple[str, ...] = ()  # ids of all other runs of this training


@dataclass(frozen=True)
class Decision:
    """What is to be done, and why."""

    kind: Kind
    run: StoredRun | None = None  # that it is about
    reason: str | None = None
    hint: str | None = None
    surplus: tuple[str, ...] = ()  # run ids that are soft-deleted once the run is complete
    live: LiveCoverage | None = None
    twins: tuple[str, ...] = ()  # ids of other runs of this training
    is_elsewhere: bool = False  # in the default experiment of older releases, which decides


def match_run(facts: Facts, runs: Collection[StoredRun]) -> Matched | None:
    """Return the run of a training among those that carry its key, or None.

    Canonical is, of the runs that no other replaces, a complete one before one that is being written, then the one
    that is nearest to the directory, then the smallest id.
    """
    related = [(run, compared) for run in runs if (compared := _compare(facts, run)) is not None]
    if not related:
        return None
    replaced = {run.replaces for run, _ in related}
    order = list(Match)

    def rank(pair: tuple[StoredRun, Comparison]) -> tuple[bool, bool, bool, int, str]:
        run, compared = pair
        is_other = run.fingerprint != facts.fingerprint
        return run.run_id in replaced, run.state != COMPLETE, is_other, order.index(compared.match), run.run_id

    run, comparison = min(related, key=rank)
    others = [(other, compared.match) for other, compared in related if other is not run]
    surplus = (
        other.run_id
        for other, match in others
        if other.run_id in replaced or (_is_left(other) and match not in CHANGED_IN_PLACE)
    )
    twins = (other.run_id for other, match in others if match in ONE_TRAINING)
    return Matched(run, comparison, tuple(surplus), tuple(twins))


def decide_unchanged(facts: Facts, runs: Collection[StoredRun], options: ImportOptions) -> Decision | None:
    """Return `already there` where the fingerprint alone shows it; None where the directory has to be read."""
    matched = match_run(facts, runs)
    if matched is None or matched.run.fingerprint != facts.fingerprint or any(run.state == WRITING for run in runs):
        return None
    # Its training may have ended since, which the fingerprint does not show; or what it replaces is to be deleted.
    if matched.run.goes_on or matched.run.replaces in {run.run_id for run in runs}:
        return None
    decision = _there_already(matched.run, options)
    return decision if decision.kind is Kind.ALREADY_THERE else None


def _compare(facts: Facts, run: StoredRun) -> Comparison | None:
    """Return how a stored run is related to the directory; None where it is of another training."""
    if facts.is_iteration and run.parent_run_id not in facts.parents:
        return None
    in_place = facts.place == run.source
    if run.record is None:  # a person wrote into the tag; what it holds is compared point by point
        return Comparison(Match.LONGER) if in_place else None
    if run.fingerprint == facts.fingerprint:
        return Comparison(Match.EQUAL)
    if facts.evidence is None:
        return None
    compared = compare_trainings(facts.evidence, run.record.evidence, in_place=in_place)
    return compared if compared.match in ONE_TRAINING or (in_place and compared.match in CHANGED_IN_PLACE) else None


def _is_left(run: StoredRun) -> bool:
    return run.state == WRITING and not run.being_written and not run.live_status


def decide(
    plan: ImportPlan, matched: Matched | None, stored: Stored, options: ImportOptions, *, wait_for_others: bool = True
) -> Decision:
    """Decide what an import does with a training that has been planned."""
    if matched is None:
        return _decide_new(plan, stored, options)
    if matched.run.state == WRITING:
        decision = _decide_writing(matched, options, wait_for_others=wait_for_others)
    else:
        decision = _decide_complete(plan, matched, stored, options)
    left = (Kind.BUSY, Kind.CHANGED, Kind.SKIPPED)
    return replace(decision, surplus=() if decision.kind in left else matched.surplus, twins=matched.twins)


def _decide_writing(matched: Matched, options: ImportOptions, *, wait_for_others: bool) -> Decision:
    run = matched.run
    has_changed = matched.comparison.match in CHANGED_IN_PLACE  # since the import that was stopped
    if run.being_written and wait_for_others:
        return Decision(Kind.BUSY, run, "another import is writing it")
    if not has_changed:
        return Decision(Kind.COMPLETED if run.live_status else Kind.RESUMED, run)
    if run.live_status:
        return _changed(run, options)
    if options.on_change == "skip":
        return Decision(Kind.SKIPPED, run, "its content has changed since its import was stopped")
    return Decision(Kind.REPLACED, run)


def _decide_complete(plan: ImportPlan, matched: Matched, stored: Stored, options: ImportOptions) -> Decision:
    run, match = matched.run, matched.comparison.match
    evidence = run.record.evidence if run.record is not None else Evidence(files=-1)  # no directory has fewer files
    if match in CHANGED_IN_PLACE:
        row, written = matched.comparison.row or 0, plan.run.epochs.written
        epoch = written[row].epoch if row < len(written) else row + 1
        edited = f"the values of epoch {epoch} were edited since it was imported"
        retrained = f"epoch {epoch} was trained again since it was imported, or edited"
        return _changed(run, options, edited if match is Match.EDITED else retrained)
    is_elsewhere = run.source != plan.place
    if run.goes_on and plan.status != RUNNING and match is Match.EQUAL and not is_elsewhere:
        return Decision(Kind.UPDATED, run, "its training has ended")
    if match is Match.SHORTER:
        return _there_already(run, options, f"the run has more of it, {evidence.rows} rows")
    is_lesser_copy = match is Match.EQUAL and is_elsewhere and plan.record.evidence.files <= evidence.files
    if run.fingerprint == plan.fingerprint or is_lesser_copy:
        return _there_already(run, options)
    if options.on_change != "update":
        return _changed(run, options)
    if not run.live_status:
        why = first_difference(stored.points, plan)
    elif options.live == "complete" and (coverage := judge_live_runs(stored.live, plan)):
        return Decision(Kind.COMPLETED, run, live=coverage)
    else:
        why = live_runs.first_disagreement(values_by_step(stored.points, plan), plan)
    return _changed(run, options, why) if why is not None else Decision(Kind.UPDATED, run)


def _decide_new(plan: ImportPlan, stored: Stored, options: ImportOptions) -> Decision:
    if match_run(Facts.of(plan), stored.former) is not None:
        return Decision(Kind.ALREADY_THERE, is_elsewhere=True)
    if options.live != "import" and (decision := _decide_live(plan, stored, options)) is not None:
        return decision
    note = None
    others = [  # that share the start of this training and differ later, from another directory
        run.run_id
        for run in stored.runs
        if run.record is not None
        and compare_trainings(plan.record.evidence, run.record.evidence, in_place=False).match in CHANGED_IN_PLACE
    ]
    if others:
        runs = f"run {others[0]} begins" if len(others) == 1 else f"runs {', '.join(others)} begin"
        note = f"{runs} as this training does and differs later; both are kept"
    return Decision(Kind.IMPORTED, None, note, surplus=tuple(run.run_id for run in stored.empty))


def _decide_live(plan: ImportPlan, stored: Stored, options: ImportOptions) -> Decision | None:
    """Decide what becomes of the live runs of a training; None where it has no live run."""
    completes = options.live == "complete" and plan.run.iteration is None
    coverage = judge_live_runs(stored.live, plan, in_full=completes)
    if coverage is None:
        for run in stored.live if completes else ():  # that begin as the training does and have other values later
            if why := live_runs.why_edited(run, plan):
                return _changed_live(run, why, LiveCoverage((run,)), options)
        return None
    run = coverage.runs[-1]
    missing = list(coverage.missing)
    if completes and run.status == RUNNING and not plan.keep_active:
        missing.append("its end")
    names = ", ".join(run.run_id for run in coverage.runs)
    logged = f"the live callback logged {'run' if len(coverage.runs) == 1 else 'runs'} {names}"
    if not missing:
        return Decision(Kind.TRACKED_LIVE, None, logged, LIVE_HINT, live=coverage)
    lacks = "lacks" if len(coverage.runs) == 1 else "together lack"
    reason = f"{logged}, which {lacks} {'; '.join(missing)}"
    if not completes:
        hint = "--live complete adds what is missing, --live import imports it too"
        return Decision(Kind.PARTLY_TRACKED, None, reason, hint, live=coverage)
    if run.is_elsewhere:
        return Decision(Kind.COMPLETED, is_elsewhere=True)
    if why := live_runs.why_not_completed(run, plan):
        return _changed_live(run, why, coverage, options)
    return Decision(
        Kind.COMPLETED, _stored(run), reason, live=coverage, surplus=tuple(run.run_id for run in stored.empty)
    )


def _changed_live(run: LiveRun, why: str, coverage: LiveCoverage, options: ImportOptions) -> Decision:
    kind = Kind.SKIPPED if options.on_change == "skip" else Kind.CHANGED
    return Decision(kind, _stored(run), why, LIVE_HINT, live=coverage)


def _stored(run: LiveRun) -> StoredRun:
    return StoredRun(run.run_id, run.experiment_id, run.run_name, live_status=run.status)


def _there_already(run: StoredRun, options: ImportOptions, reason: str | None = None) -> Decision:
    missed = not_applied(options, run.record)
    if missed is None:
        return Decision(Kind.ALREADY_THERE, run, reason)
    if options.on_change == "replace" and reason is None:
        return Decision(Kind.REPLACED, run)
    hint = "--on-change replace imports it again, with the options that are given"
    return Decision(Kind.ALREADY_THERE, run, reason or f"imported without {missed}", hint)


def _changed(run: StoredRun, options: ImportOptions, why: str | None = None) -> Decision:
    if options.on_change == "skip":
        return Decision(Kind.SKIPPED, run, "its content has changed since it was imported")
    if options.on_change == "replace":
        return Decision(Kind.REPLACED, run)
    return Decision(Kind.CHANGED, run, why, REPLACE_HINT)


def first_difference(stored: Mapping[str, Sequence[MetricPoint]], plan: ImportPlan) -> str | None:
    """Return the first stored point that is not the plan's, in words; None where every stored point still holds."""
    planned = planned_points(plan)
    for point in (point for series in stored.values() for point in series):
        ours = planned.get(point_id(point))
        if ours is None:
            return f"{point.key} at step {point.step} is in the store and no longer in the directory"
        if not live_runs.same_value(ours.value, point.value):
            return f"{point.key} at step {point.step}: directory has {ours.value}, store has {point.value}"
    return None


def point_id(point: MetricPoint) -> tuple[str, int, int]:
    """Return what no two points of a run share: key and step; of `best/` the time, for all of these are at step 0."""
    return point.key, point.step, point.timestamp if point.key.startswith(BEST) else 0


def planned_points(plan: ImportPlan) -> dict[tuple[str, int, int], MetricPoint]:
    """Return the points that a run of a plan may hold."""
    return {point_id(point): point for point in (*plan.former_best, *plan.points)}


def canonical(ours: StoredRun, others: Collection[StoredRun]) -> StoredRun:
    """Return the run that stays, of ours and those of other importers of one training."""
    replaced = {run.replaces for run in (ours, *others)}

    def rank(run: StoredRun) -> tuple[bool, bool, bool, str]:
        return run.run_id in replaced, run.state != COMPLETE, not run.live_status, run.run_id

    return min((ours, *others), key=rank)
