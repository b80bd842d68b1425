"""Trials of Ray Tune and folds of a k-fold: what the folders show of them, and what their runs have of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.trees import active, imported, training

from importer import ImportOptions, plan_import, read_run
from importer.model import ImportPlan

TUNE = "tune/_tune_2024-09-17_10-35-28"
TRIAL = "_tune_cadf0_00003_3_box=0.0950,lr0=0.0100_2024-09-17_10-35-28"
OF_RAY = ("params.json", "result.json")


def plan_of(save_dir: Path, root: Path, seed: int = 1) -> ImportPlan:
    return plan_import(read_run(training(seed).write(save_dir)), ImportOptions(root=str(root)))


def trial(folder: Path, *files: str) -> Path:
    """The folder of a trial, with files as Ray's logger writes them."""
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).write_text("{}\n")
    return folder


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        pytest.param(TRIAL, "_tune_cadf0_00003", id="as Ultralytics tunes"),
        pytest.param("train_fn_1a2b3c4d_7_lr0=0.1_2025-01-01_00-00-00", "train_fn_1a2b3c4d", id="a searcher's id"),
        pytest.param("fit_20240917_cadf0_00003_3_lr0=0.1", "fit_20240917_cadf0_00003", id="a date that is no id"),
        pytest.param("trial_cadf0_00012", "trial_cadf0_00012", id="a name of one's own with the id"),
    ],
)
@pytest.mark.parametrize("below", ["train", "mycoco/train", "runs/detect/train2", "."])
def test_a_trial_of_ray_tune_is_named_after_the_trial(folder: str, name: str, below: str, tmp_path: Path) -> None:
    plan = plan_of(trial(tmp_path / TUNE / folder, *OF_RAY) / below, tmp_path)
    assert (plan.run_name, plan.tags["ymlf.group"]) == (name, TUNE)


@pytest.mark.parametrize(
    ("folder", "files"),
    [
        pytest.param(TRIAL, (), id="no file of Ray's"),
        pytest.param(TRIAL, ("params.json",), id="one file of Ray's"),
        pytest.param("experiment-3", OF_RAY, id="no id of a trial"),
        pytest.param("deadbeef0_1", OF_RAY, id="no name before the id"),
    ],
)
def test_without_the_files_and_the_id_of_a_trial_the_directory_names_the_run(
    folder: str, files: tuple[str, ...], tmp_path: Path
) -> None:
    plan = plan_of(trial(tmp_path / "tune" / folder, *files) / "train", tmp_path)
    assert (plan.run_name, plan.tags["ymlf.group"]) == ("train", f"tune/{folder}")


def test_a_run_name_that_is_asked_for_names_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = read_run(training(1).write(trial(tmp_path / TRIAL, *OF_RAY) / "train"))
    assert plan_import(run, ImportOptions(run_name="{parent}/{name}")).run_name == f"{TRIAL}/train"
    monkeypatch.setenv("MLFLOW_RUN", "mine")
    assert plan_import(run).run_name == "mine"


@pytest.mark.parametrize("fold", ["fold_0", "fold1", "Fold-2", "yolo11n_fold_3", "kfold4"])
@pytest.mark.parametrize("below", [".", "train", "detect/train"])
@pytest.mark.parametrize("given", ["archive", "archive/cv", "the fold"])
def test_the_folds_of_a_k_fold_share_a_group(fold: str, below: str, given: str, tmp_path: Path) -> None:
    folder = tmp_path / "archive" / "cv" / fold
    save_dir = folder / below
    plan = plan_of(save_dir, folder if given == "the fold" else tmp_path / given)
    assert (plan.run_name, plan.tags["ymlf.group"]) == (save_dir.name, "cv")


@pytest.mark.parametrize("folder", ["scaffold_1", "fold", "fold_a", "fold_1_old"])
def test_a_folder_that_is_no_fold_is_part_of_the_group(folder: str, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    assert plan_of(archive / "cv" / folder / "train", archive).tags["ymlf.group"] == f"cv/{folder}"


def test_a_folder_above_the_path_that_was_given_is_no_fold(tmp_path: Path) -> None:
    assert "ymlf.group" not in plan_of(tmp_path / "no_fold_1" / "runs" / "train", tmp_path / "no_fold_1" / "runs").tags


def test_a_fold_is_known_from_within_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training(1).write(tmp_path / "cv" / "fold_1")
    monkeypatch.chdir(tmp_path / "cv" / "fold_1")
    assert plan_import(read_run("."), ImportOptions(root=".")).tags["ymlf.group"] == "cv"


@pytest.mark.parametrize("top", ["", "tune/"])
def test_the_trials_in_an_archive_share_a_group(top: str, tmp_path: Path, empty_store: str) -> None:
    for seed in range(2):
        folder = trial(tmp_path / "all" / top / f"_tune_cadf0_0000{seed}_{seed}_lr0=0.{seed}", *OF_RAY)
        training(seed).write(folder / "train")
    archive = shutil.make_archive(str(tmp_path / "sweep"), "zip", tmp_path / "all")
    assert imported(archive, uri=empty_store).status == 0
    runs = active(empty_store)
    assert {run.info.run_name for run in runs} == {"_tune_cadf0_00000", "_tune_cadf0_00001"}
    assert {run.data.tags["ymlf.group"] for run in runs} == {"tune" if top else "sweep.zip"}


def test_the_trials_of_a_sweep_are_imported_once_whatever_path_is_given(tmp_path: Path, empty_store: str) -> None:
    for seed in range(3):
        folder = trial(tmp_path / "tune" / f"_tune_cadf0_0000{seed}_{seed}_lr0=0.{seed}", *OF_RAY)
        training(seed).write(folder / "mycoco" / "train")
    assert imported(tmp_path / "tune", uri=empty_store).status == 0
    again = imported(*(tmp_path / "tune").iterdir(), uri=empty_store)
    assert again.told[-1]["summary"] == {"already there": 3}
    runs = active(empty_store)
    assert {run.info.run_name for run in runs} == {f"_tune_cadf0_0000{seed}" for seed in range(3)}
    assert {run.data.tags["ymlf.group"] for run in runs} == {"tune"}
