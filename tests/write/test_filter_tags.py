"""The tags that runs are filtered by, and the group, which is that of the first import."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from support.command import ymlf
from support.directories import Training
from support.stores import runs_in
from support.trees import imported, outcomes, training

from importer import ImportOptions, plan_import, read_run

CRASHED = Training(planned=6, last={"epoch": 2}, plots=False)
RESUMED = "runs/detect/train/weights/last.pt"


def tags(uri: str) -> dict[str, str]:
    """The tags of the only run of a store that are not of the importer's own book-keeping."""
    [run] = runs_in(uri)
    names = ("task", "generator", "dataset", "model", "group", "has_best")
    return {name: run.data.tags[f"ymlf.{name}"] for name in names if f"ymlf.{name}" in run.data.tags}


def test_a_run_can_be_found_by_what_was_trained_on_what_and_where(tmp_path: Path, empty_store: str) -> None:
    args = {"data": "/data/corn.yaml", "model": "models/yolo11n.pt"}
    training(1, args=args, best={}).write(tmp_path / "archive" / "farm" / "detect" / "train")
    training(2).write(tmp_path / "archive" / "other")
    imported(tmp_path / "archive", uri=empty_store)
    client = MlflowClient(empty_store)
    expression = (
        "tags.`ymlf.task` = 'detect' and tags.`ymlf.generator` = 'Ultralytics' and tags.`ymlf.dataset` = 'corn' and "
        "tags.`ymlf.model` = 'yolo11n' and tags.`ymlf.group` = 'farm/detect' and tags.`ymlf.has_best` = 'true'"
    )
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    assert [run.info.run_name for run in client.search_runs(experiments, expression)] == ["train"]
    assert ymlf("verify", tmp_path / "archive", "--tracking-uri", empty_store).status == 0


def test_a_resume_from_another_path_keeps_the_group_and_the_model(tmp_path: Path, empty_store: str) -> None:
    first = tmp_path / "archive" / "farm" / "train"
    CRASHED.write(first)
    imported(tmp_path / "archive", uri=empty_store)
    before = tags(empty_store)
    assert (before["group"], before["model"], before["has_best"]) == ("farm", "yolo11n", "false")
    moved = tmp_path / "elsewhere" / "train"
    shutil.move(first, moved)
    CRASHED.with_(epochs=6, last={}, best={}, args={"model": RESUMED, "resume": RESUMED}, plots=True).write(moved)
    assert outcomes(imported(moved, uri=empty_store)) == {"train": "updated"}
    assert tags(empty_store) == {**before, "has_best": "true"}
    assert ymlf("verify", tmp_path / "elsewhere", "--tracking-uri", empty_store).status == 0
    assert outcomes(imported(tmp_path, uri=empty_store)) == {"train": "already there"}
    assert tags(empty_store)["group"] == "farm"


@pytest.mark.parametrize(("name", "value"), [("model", "yolo11n"), ("group", "farm")])
def test_a_tag_that_somebody_changed_is_a_mismatch(name: str, value: str, tmp_path: Path, empty_store: str) -> None:
    training(1).write(tmp_path / "farm" / "train")
    imported(tmp_path, uri=empty_store)
    [run] = runs_in(empty_store)
    MlflowClient(empty_store).set_tag(run.info.run_id, f"ymlf.{name}", "another")
    answer = ymlf("verify", tmp_path, "--tracking-uri", empty_store)
    assert answer.status == 1
    assert f"mismatch: tag ymlf.{name}: directory has {value!r}, store has 'another'\n" in answer.err


def test_a_directory_that_is_given_itself_has_no_group(tmp_path: Path, empty_store: str) -> None:
    save_dir = CRASHED.write(tmp_path / "farm" / "train")
    imported(save_dir, uri=empty_store)
    assert "group" not in tags(empty_store)
    CRASHED.with_(epochs=6, last={}).write(save_dir)
    assert outcomes(imported(tmp_path, uri=empty_store)) == {"train": "updated"}
    assert "group" not in tags(empty_store)


@pytest.mark.parametrize(
    ("args", "model"),
    [
        ({"model": "models\\yolo11s-seg.pt"}, "yolo11s-seg"),
        ({"model": RESUMED, "pretrained": "yolo11m.pt"}, "yolo11m"),
        ({"model": RESUMED, "pretrained": True}, None),
        ({"model": None, "weights": "", "cfg": "cfg/training/yolov7.yaml"}, "yolov7"),
        ({"model": None, "weights": "yolov5s.pt", "cfg": ""}, "yolov5s"),
    ],
)
def test_the_model_is_the_one_that_the_training_began_with(
    args: dict[str, object], model: str | None, tmp_path: Path
) -> None:
    plan = plan_import(read_run(training(1, args=args).write(tmp_path / "train")), ImportOptions())
    assert plan.tags.get("ymlf.model") == model
