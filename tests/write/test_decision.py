"""What is to be done with a training, outcome by outcome: the table of decisions, without a store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from support.directories import Training

from importer.model import ImportOptions, ImportPlan, MetricPoint
from importer.read.registry import read_run
from importer.replay.callbacks import on_train_end
from importer.replay.plan import plan_import
from importer.report import Kind
from importer.write.decision import Decision, Facts, canonical, decide, decide_unchanged, match_run
from importer.write.live_runs import judge_live_runs
from importer.write.lookup import COMPLETE, WRITING, LiveRun, Stored, StoredRun

SHORT = Training(epochs=3, planned=5, plots=False, last=None)  # unfinished
WHOLE = Training(epochs=5)
EDITED = WHOLE.with_(rows=({}, {"val/cls_loss": 9.0}))
OTHER_CLOCK = WHOLE.with_(epoch_ms=11_111)


PlanOf = Callable[..., ImportPlan]
LiveRuns = Callable[[ImportPlan], list[LiveRun]]


@pytest.fixture
def plan_of(tmp_path: Path) -> PlanOf:
    """The plan of a training, once it is written to disk."""

    def plan(training: Training, name: str = "train", **options: object) -> ImportPlan:
        run = read_run(training.write(tmp_path / name))
        return plan_import(run, ImportOptions(**options), now_ms=1)  # type: ignore[arg-type]

    return plan


def stored(plan: ImportPlan, run_id: str = "b", **changes: object) -> StoredRun:
    """The run that a plan was imported to."""
    run = StoredRun(run_id, "1", plan.run_name, plan.key, source=plan.place, record=plan.record)
    return replace(run, **changes)  # type: ignore[arg-type]


def points_of(plan: ImportPlan) -> Mapping[str, tuple[MetricPoint, ...]]:
    """The points that the run of a plan has in the store."""
    keys = {point.key for point in plan.points}
    return {key: tuple(point for point in plan.points if point.key == key) for key in keys}


def decided(plan: ImportPlan, runs: list[StoredRun], before: ImportPlan | None = None, **options: object) -> Decision:
    found = Stored(tuple(runs), points=points_of(before) if before is not None else {})
    chosen = ImportOptions(**options)  # type: ignore[arg-type]
    return decide(plan, match_run(Facts.of(plan), runs), found, chosen)


def live_run(
    plan: ImportPlan, steps: range, *, files: bool = True, status: str = "FINISHED", **changes: str
) -> LiveRun:
    """What the live callback logged of the steps of a plan."""
    points: dict[str, dict[int, tuple[float, ...]]] = {}
    for point in plan.points:
        if point.step in steps:
            points.setdefault(point.key, {})[point.step] = (point.value,)
    params = {**plan.params, **changes}
    return LiveRun(
        f"live{steps.start}",
        plan.run_name,
        status,
        params,
        points,
        dict.fromkeys((file.path for file in on_train_end(plan.run.files)) if files else (), 0),
    )


def test_nothing_there_is_imported(plan_of: PlanOf) -> None:
    assert decided(plan_of(WHOLE), []).kind is Kind.IMPORTED


def test_the_same_content_is_there_already_wherever_it_lies(plan_of: PlanOf) -> None:
    before = stored(plan_of(WHOLE, "first"))
    decision = decided(plan_of(WHOLE, "elsewhere"), [before])
    assert (decision.kind, decision.run) == (Kind.ALREADY_THERE, before)
    facts = Facts.of(plan_of(WHOLE, "elsewhere"))
    unchanged = decide_unchanged(facts, [before], ImportOptions())
    assert unchanged is not None and unchanged.kind is Kind.ALREADY_THERE


def test_an_option_that_it_was_imported_without_is_named_and_with_replace_applied(plan_of: PlanOf) -> None:
    before = stored(plan_of(WHOLE))
    plan = plan_of(WHOLE, best_metrics=True)
    decision = decided(plan, [before], best_metrics=True)
    assert (decision.kind, decision.reason) == (Kind.ALREADY_THERE, "imported without --best-metrics")
    assert decided(plan, [before], best_metrics=True, on_change="replace").kind is Kind.REPLACED
    assert decide_unchanged(Facts.of(plan), [before], ImportOptions(best_metrics=True, on_change="replace")) is None


@pytest.mark.parametrize(
    ("on_change", "kind"), [("update", Kind.UPDATED), ("skip", Kind.SKIPPED), ("replace", Kind.REPLACED)]
)
@pytest.mark.parametrize("place", ["train", "clone"])
def test_a_training_that_has_grown(on_change: str, kind: Kind, place: str, plan_of: PlanOf) -> None:
    before = plan_of(SHORT)
    decision = decided(plan_of(WHOLE, place), [stored(before)], before, on_change=on_change)
    assert decision.kind is kind


@pytest.mark.parametrize(
    ("on_change", "kind"), [("update", Kind.CHANGED), ("skip", Kind.SKIPPED), ("replace", Kind.REPLACED)]
)
def test_a_cell_that_was_edited_in_place(on_change: str, kind: Kind, plan_of: PlanOf) -> None:
    before = plan_of(WHOLE)
    decision = decided(plan_of(EDITED), [stored(before)], before, on_change=on_change)
    assert decision.kind is kind
    if kind is Kind.CHANGED:
        assert decision.reason == "the values of epoch 2 were edited since it was imported"


def test_an_edited_copy_is_imported_too_and_says_of_what(plan_of: PlanOf) -> None:
    before = stored(plan_of(WHOLE))
    decision = decided(plan_of(EDITED, "copy"), [before])
    assert decision.kind is Kind.IMPORTED
    assert decision.reason == "run b begins as this training does and differs later; both are kept"


def test_another_training_with_the_same_first_epoch_is_imported_too_also_in_the_same_directory(plan_of: PlanOf) -> None:
    before = stored(plan_of(WHOLE))
    for place in ("train", "elsewhere"):
        decision = decided(plan_of(OTHER_CLOCK, place), [before])
        assert (decision.kind, decision.reason, decision.surplus) == (Kind.IMPORTED, None, ())


def test_an_older_copy_is_there_already_and_says_that_the_run_has_more(plan_of: PlanOf) -> None:
    decision = decided(plan_of(SHORT, "old"), [stored(plan_of(WHOLE))])
    assert (decision.kind, decision.reason) == (Kind.ALREADY_THERE, "the run has more of it, 5 rows")


def test_a_copy_with_fewer_files_takes_nothing_from_the_run(plan_of: PlanOf) -> None:
    before = plan_of(WHOLE)
    lesser = plan_of(WHOLE.with_(plots=False, last=None), "copy")
    assert decided(lesser, [stored(before)], before).kind is Kind.ALREADY_THERE


def test_a_copy_with_more_files_adds_them(plan_of: PlanOf) -> None:
    before = plan_of(WHOLE.with_(last=None), "copy")
    assert decided(plan_of(WHOLE), [stored(before)], before).kind is Kind.UPDATED


def test_a_point_of_the_store_that_the_directory_does_not_have_is_a_change(plan_of: PlanOf) -> None:
    before = plan_of(SHORT)
    points = {**points_of(before), "lr/pg0": (MetricPoint("lr/pg0", 7.5, 1, 0),)}
    runs = [stored(before)]
    plan = plan_of(WHOLE)
    decision = decide(plan, match_run(Facts.of(plan), runs), Stored(tuple(runs), points=points), ImportOptions())
    assert (decision.kind, decision.reason) == (
        Kind.CHANGED,
        "lr/pg0 at step 0: directory has 0.2, store has 7.5",
    )


def test_what_was_left_half_written_is_resumed_and_what_another_import_writes_is_left_to_it(plan_of: PlanOf) -> None:
    plan = plan_of(WHOLE)
    left = stored(plan, state=WRITING)
    assert decided(plan, [left]).kind is Kind.RESUMED
    busy = replace(left, being_written=True)
    assert decided(plan, [busy]).kind is Kind.BUSY
    matched = match_run(Facts.of(plan), [busy])
    assert decide(plan, matched, Stored((busy,)), ImportOptions(), wait_for_others=False).kind is Kind.RESUMED


def test_what_was_left_half_written_of_other_values_is_replaced(plan_of: PlanOf) -> None:
    left = stored(plan_of(WHOLE), state=WRITING)
    assert decided(plan_of(EDITED), [left]).kind is Kind.REPLACED
    assert decided(plan_of(EDITED), [left], on_change="skip").kind is Kind.SKIPPED


@pytest.mark.parametrize("old_id", ["a", "c"])
@pytest.mark.parametrize("state", [WRITING, COMPLETE])
def test_a_run_that_is_being_replaced_is_never_canonical(old_id: str, state: str, plan_of: PlanOf) -> None:
    old = stored(plan_of(WHOLE), old_id)
    plan = plan_of(EDITED)
    new = stored(plan, "b", state=state, record=replace(plan.record, replaces=old_id))
    decision = decided(plan, [old, new])
    assert decision.run == new and decision.surplus == (old_id,)
    assert decision.kind is (Kind.RESUMED if state == WRITING else Kind.ALREADY_THERE)
    assert decide_unchanged(Facts.of(plan), [old, new], ImportOptions()) is None


def test_a_record_that_a_person_wrote_into_is_found_by_its_directory(plan_of: PlanOf) -> None:
    plan = plan_of(WHOLE)
    broken = stored(plan, record=None)
    assert decided(plan, [broken], plan).kind is Kind.UPDATED
    assert decided(plan_of(WHOLE, "elsewhere"), [broken], plan).kind is Kind.IMPORTED


def test_a_run_that_live_tracked_whole_is_left_alone_unless_it_is_asked_for(plan_of: PlanOf) -> None:
    plan = plan_of(WHOLE)
    found = Stored(live=(live_run(plan, range(5)),))
    assert decide(plan, None, found, ImportOptions()).kind is Kind.TRACKED_LIVE
    assert decide(plan, None, found, ImportOptions(live="import")).kind is Kind.IMPORTED


def test_a_crash_and_a_resume_are_judged_together_and_each_is_named(plan_of: PlanOf) -> None:
    plan = plan_of(WHOLE)
    runs = live_run(plan, range(3), files=False, status="FAILED"), live_run(plan, range(3, 5))
    decision = decide(plan, None, Stored(live=runs), ImportOptions())
    assert decision.kind is Kind.TRACKED_LIVE
    assert "live0, live3" in str(decision.reason)


@pytest.mark.parametrize(
    ("runs", "missing"),
    [
        pytest.param(lambda plan: [live_run(plan, range(2), files=False, status="RUNNING")],
                     ("steps 2 to 4", "artifacts args.yaml, results.csv, results.png, weights/last.pt"), id="the rest"),
        pytest.param(lambda plan: [live_run(plan, range(5), files=False)],
                     ("artifacts args.yaml, results.csv, results.png, weights/last.pt",), id="the artifacts"),
        pytest.param(lambda plan: [replace(live_run(plan, range(5)), params={})], ("params",), id="the params"),
        pytest.param(lambda plan: [without(live_run(plan, range(5)), "val/box_loss", 3)],
                     ("val/box_loss at steps 3",), id="one call in the middle"),
        pytest.param(lambda plan: [live_run(plan, range(2), files=False), live_run(plan, range(3, 5))],
                     ("steps 2",), id="an epoch between two runs"),
    ],
)  # fmt: skip
def test_what_live_runs_lack_is_said(runs: LiveRuns, missing: tuple[str, ...], plan_of: PlanOf) -> None:
    plan = plan_of(WHOLE)
    coverage = judge_live_runs(runs(plan), plan)
    assert coverage is not None and coverage.missing == missing
    decision = decide(plan, None, Stored(live=tuple(runs(plan))), ImportOptions())
    assert decision.kind is Kind.PARTLY_TRACKED and missing[0] in str(decision.reason)


def without(run: LiveRun, key: str, step: int) -> LiveRun:
    points = {name: dict(by_step) for name, by_step in run.points.items()}
    del points[key][step]
    return replace(run, points=points)


def test_of_a_crashed_training_live_lacks_neither_artifacts_nor_the_last_call(plan_of: PlanOf) -> None:
    plan = plan_of(SHORT)
    coverage = judge_live_runs([live_run(plan, range(3), files=False, status="RUNNING")], plan)
    assert coverage is not None and coverage.missing == ()
    coverage = judge_live_runs([live_run(plan, range(2), files=False, status="RUNNING")], plan)
    assert coverage is not None and coverage.missing == ()


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda plan: live_run(plan, range(5), lrf="0.5"), id="another param"),
        pytest.param(lambda plan: constant(live_run(plan, range(5))), id="only constant series agree"),
        pytest.param(lambda plan: shifted(live_run(plan, range(5)), from_step=2), id="later epochs differ"),
        pytest.param(lambda plan: longer(live_run(plan, range(5))), id="a longer training"),
    ],
)
def test_a_live_run_of_another_training_is_no_evidence(other: Callable[[ImportPlan], LiveRun], plan_of: PlanOf) -> None:
    plan = plan_of(WHOLE.with_(args={"lrf": 0.01}))
    assert judge_live_runs([other(plan)], plan) is None


def constant(run: LiveRun) -> LiveRun:
    return replace(run, points={"metrics/mAP50B": dict.fromkeys(range(5), (0.0,))})


def shifted(run: LiveRun, from_step: int) -> LiveRun:
    points = {
        key: {step: values if step < from_step else (values[0] + 1,) for step, values in by_step.items()}
        for key, by_step in run.points.items()
    }
    return replace(run, points=points)


def longer(run: LiveRun) -> LiveRun:
    points = {key: {**by_step, 5: (0.5,), 6: (0.25,)} for key, by_step in run.points.items()}
    return replace(run, points=points)


def test_values_that_live_logged_twice_at_a_step_agree_if_one_does(plan_of: PlanOf) -> None:
    plan = plan_of(WHOLE)
    run = live_run(plan, range(5))
    points = {key: {step: (*values, 0.123) for step, values in by_step.items()} for key, by_step in run.points.items()}
    assert judge_live_runs([replace(run, points=points)], plan) is not None


def test_a_live_run_without_a_point_is_known_by_all_its_args_and_its_start(plan_of: PlanOf) -> None:
    plan = plan_of(WHOLE)
    begun = replace(live_run(plan, range(0), files=False, status="RUNNING"), started_ms=plan.timeline.started_ms + 700)
    for run, kind in (
        (begun, Kind.COMPLETED),
        (replace(begun, params={**plan.params, "save_dir": "elsewhere"}), Kind.IMPORTED),
        (replace(begun, params={}), Kind.IMPORTED),
        (replace(begun, started_ms=plan.timeline.started_ms + 60_000), Kind.IMPORTED),
    ):
        assert decide(plan, None, Stored(live=(run,)), ImportOptions(live="complete")).kind is kind
    assert decide(plan, None, Stored(live=(begun,)), ImportOptions()).kind is Kind.IMPORTED


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        pytest.param(lambda run: run, Kind.COMPLETED, id="lacks epochs"),
        pytest.param(lambda run: shifted(run, from_step=2), Kind.CHANGED, id="later epochs differ"),
        pytest.param(lambda run: replace(run, is_elsewhere=True), Kind.COMPLETED, id="in the former experiment"),
        pytest.param(
            lambda run: replace(run, artifacts={"results.csv": 1}, status="FAILED"), Kind.CHANGED, id="a file"
        ),
        pytest.param(lambda run: replace(run, artifacts={"results.csv": 1}), Kind.COMPLETED, id="a file cut off"),
    ],
)
def test_what_becomes_of_a_live_run_that_is_to_be_completed(
    change: Callable[[LiveRun], LiveRun], kind: Kind, plan_of: PlanOf
) -> None:
    plan = plan_of(WHOLE)
    run = change(live_run(plan, range(4), files=False, status="RUNNING"))
    assert decide(plan, None, Stored(live=(run,)), ImportOptions(live="complete")).kind is kind


def test_a_completed_live_run_is_no_leftover_and_canonical_before_another(plan_of: PlanOf) -> None:
    plan = plan_of(WHOLE)
    live = stored(plan, "z", state=WRITING, live_status="RUNNING")
    assert decided(plan, [live]).kind is Kind.COMPLETED
    assert match_run(Facts.of(plan), [live, stored(plan, "a")]).surplus == ()  # type: ignore[union-attr]
    assert canonical(live, [stored(plan, "a", state=WRITING)]) is live
    assert decided(plan_of(EDITED), [live]).kind is Kind.CHANGED


def test_a_training_that_went_on_is_looked_at_again_until_it_has_ended(plan_of: PlanOf) -> None:
    plan = plan_of(SHORT)
    growing = stored(plan, record=replace(plan.record, state="training"))
    assert decide_unchanged(Facts.of(plan), [growing], ImportOptions()) is None
    assert decided(plan, [growing]).kind is Kind.UPDATED
    assert decided(replace(plan, status="RUNNING"), [growing]).kind is Kind.ALREADY_THERE
    assert decided(plan_of(SHORT, "copy"), [growing]).kind is Kind.ALREADY_THERE
