"""Where an imported run differs from a live one on purpose: rows of docs/differences.md that no other test shows."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
from support.command import ymlf
from support.directories import STARTED_MS, Training, copy_fixture
from support.stores import runs_in

from importer.model import ImportPlan
from importer.read.registry import read_run
from importer.replay.plan import plan_import


def plan_of(save_dir: Path) -> ImportPlan:
    return plan_import(read_run(save_dir))


def steps_of(plan: ImportPlan, key: str) -> list[int]:
    return [point.step for point in plan.points if point.key == key]


def test_a_final_validation_is_one_step_after_the_last_epoch_whatever_the_release(tmp_path: Path) -> None:
    plan = plan_of(copy_fixture("event-file", tmp_path))  # 8.3.0, whose callback logs it at step 4 a second time
    assert steps_of(plan, "metrics/mAP50B") == [0, 1, 2, 3, 4, 5]
    assert steps_of(plan, "val/box_loss") == [0, 1, 2, 3, 4]


def test_a_final_validation_that_no_file_recorded_is_not_logged(tmp_path: Path) -> None:
    plan = plan_of(copy_fixture("train-2", tmp_path))
    assert steps_of(plan, "metrics/mAP50B") == list(range(50))


def test_learning_rates_and_train_losses_are_logged_for_releases_whose_callback_did_not(tmp_path: Path) -> None:
    old = Training(base=0, padded=True, has_time=False, last={"version": "8.0.100"})
    plan = plan_of(old.write(tmp_path / "train"))
    assert steps_of(plan, "train/box_loss") == steps_of(plan, "lr/pg0") == [0, 1, 2]


def test_the_layout_of_artifacts_is_that_of_8_0_198_and_later(tmp_path: Path) -> None:
    old = Training(base=0, padded=True, has_time=False, last={"version": "8.0.100"})
    plan = plan_of(old.write(tmp_path / "train"))
    assert {artifact.artifact_path for artifact in plan.artifacts} >= {"weights/last.pt", "results.csv", "args.yaml"}


def test_the_default_experiment_is_that_of_8_3_9_and_later(tmp_path: Path) -> None:
    plan = plan_of(Training(has_time=False, padded=True, last={"version": "8.2.50"}).write(tmp_path / "train"))
    assert plan.experiment_name == "/Shared/Ultralytics"


def test_a_run_is_called_what_its_directory_is_called_now(tmp_path: Path) -> None:
    plan = plan_of(Training(args={"name": "train7"}).write(tmp_path / "champion"))
    assert (plan.run_name, plan.params["name"]) == ("champion", "train7")


def test_a_training_that_crashed_is_failed_and_keeps_its_files(tmp_path: Path) -> None:
    plan = plan_of(copy_fixture("crashed", tmp_path))
    assert plan.status == "FAILED"
    assert "weights/last.pt" in {artifact.artifact_path for artifact in plan.artifacts}


def test_a_training_that_was_resumed_is_one_run_whose_time_never_runs_backwards(tmp_path: Path) -> None:
    plan = plan_of(Training(epochs=6, sessions=(3,)).write(tmp_path / "train"))
    times = [point.timestamp for point in plan.points if point.key == "metrics/mAP50B"]
    assert steps_of(plan, "metrics/mAP50B") == [0, 1, 2, 3, 4, 5]
    assert times == sorted(set(times))
    assert "resumed" in {note.code for note in plan.notes}


def test_an_epoch_that_was_trained_twice_is_one_point(tmp_path: Path) -> None:
    training = Training()
    save_dir = training.write(tmp_path / "train")
    header, first, second, third = training.csv().splitlines()
    (save_dir / "results.csv").write_text("\n".join([header, first, second, second, third, ""]))
    plan = plan_of(save_dir)
    assert steps_of(plan, "train/box_loss") == [0, 1, 2]
    assert "repeated-epochs" in {note.code for note in plan.notes}


def test_a_key_that_mlflow_refuses_is_logged_with_underscores(tmp_path: Path) -> None:
    plan = plan_of(Training(columns=("train/loss", "f{test}/acc")).write(tmp_path / "train"))
    assert {point.key for point in plan.points} == {"train/loss", "f_test_/acc"}


def test_values_are_those_that_results_csv_has(tmp_path: Path) -> None:
    rows = ({"lr/pg0": 0.000123456789, "train/box_loss": 1.23456},)
    plan = plan_of(Training(epochs=1, rows=rows).write(tmp_path / "train"))
    values = {point.key: point.value for point in plan.points}
    assert values["lr/pg0"] == 0.000123457  # of six digits
    assert values["train/box_loss"] == 1.23456  # as the trainer rounds it itself
    assert math.isclose(values["lr/pg0"], 0.000123456789, rel_tol=5e-6)


def test_times_are_those_of_the_training_not_of_the_import(tmp_path: Path) -> None:
    training = Training()
    plan = plan_of(training.write(tmp_path / "train"))
    first = next(point for point in plan.points if point.key == "metrics/mAP50B")
    assert STARTED_MS <= plan.timeline.started_ms < first.timestamp < plan.timeline.ended_ms < STARTED_MS + 60_000
    assert abs(first.timestamp - training.fit_ms(0)) <= 10


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_URI", None], ids=["named", "default"])
def test_without_a_tracking_uri_the_run_goes_to_mlflows_own_default_store(
    variable: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_database: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ("elsewhere.db" if variable else "mlflow.db")
    shutil.copyfile(empty_database, path)
    if variable:
        monkeypatch.setenv(variable, f"sqlite:///{path}")
    assert ymlf("import", Training().write(tmp_path / "train")).status == 0
    assert [run.info.run_name for run in runs_in(f"sqlite:///{path}")] == ["train"]


def test_a_run_says_who_imported_it_from_what_and_which_dataset_it_trained_on(tmp_path: Path, empty_store: str) -> None:
    assert ymlf("import", Training().write(tmp_path / "train"), "--tracking-uri", empty_store).status == 0
    [run] = runs_in(empty_store)
    assert run.data.tags["mlflow.source.name"] == "ymlf"
    assert run.data.tags["mlflow.note.content"].startswith("Imported by ymlf")
    assert {"ymlf.state", "ymlf.record", "ymlf.source", "ymlf.import_id"} <= set(run.data.tags)
    assert [found.dataset.name for found in run.inputs.dataset_inputs] == ["coco8"]
