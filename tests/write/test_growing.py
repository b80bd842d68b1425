"""A tree that grows: `ymlf import --also unfinished` again and again, until every training has come to its end."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from support.directories import STARTED_MS
from support.stores import points_of, record_of, runs_in
from support.trees import active, imported, outcomes, seen, training

from importer import import_run
from importer.model import ImportOptions


def look(tree: Path, uri: str) -> dict[str, object]:
    answer = imported(tree, "--also", "unfinished", uri=uri)
    assert answer.status == 0, answer.err
    return outcomes(answer)


def the_run(uri: str) -> Run:
    [run] = active(uri)
    assert run.data.tags["ymlf.state"] == "complete"
    return run


def test_a_training_is_running_grows_crashes_is_resumed_and_ends(tmp_path: Path, empty_store: str) -> None:
    save_dir = tmp_path / "train"
    seen(save_dir, 1, last=None)
    assert look(save_dir, empty_store) == {"train": "imported"}
    run = the_run(empty_store)
    assert (run.info.status, run.info.end_time, run.data.params) == ("RUNNING", None, {})
    assert record_of(run).state == "training"
    seen(save_dir, 2)
    assert look(save_dir, empty_store) == {"train": "updated"}
    assert the_run(empty_store).data.params["optimizer"] == "auto"
    before = the_run(empty_store).to_dictionary()
    assert look(save_dir, empty_store) == {"train": "already there"}
    assert the_run(empty_store).to_dictionary() == before
    assert MlflowClient(empty_store).list_artifacts(run.info.run_id) == []

    seen(save_dir, 2, ago_s=3_600)  # it crashed
    assert look(save_dir, empty_store) == {"train": "updated"}
    assert (the_run(empty_store).info.status, record_of(the_run(empty_store)).state) == ("FAILED", "")
    assert look(save_dir, empty_store) == {"train": "already there"}

    seen(save_dir, 4)  # and was resumed
    assert look(save_dir, empty_store) == {"train": "updated"}
    assert the_run(empty_store).info.status == "RUNNING"
    training(1, epochs=9).write(save_dir)
    assert look(save_dir, empty_store) == {"train": "updated"}
    run = the_run(empty_store)
    assert (run.info.run_id, run.info.status, len(runs_in(empty_store))) == (run.info.run_id, "FINISHED", 1)
    assert [step for step, _ in points_of(empty_store, run, "val/box_loss")] == list(range(9))
    assert_as_a_plain_import(save_dir, run, empty_store)


def assert_as_a_plain_import(save_dir: Path, run: Run, uri: str) -> None:
    """What the looks have made of a training is what one import makes of it, but for the times of the first look."""
    from importer import verify_run

    assert verify_run(save_dir, tracking_uri=uri) == []
    outcome = import_run(save_dir, tracking_uri=uri, options=ImportOptions(experiment="plain"))
    plain = MlflowClient(uri).get_run(str(outcome.run_id))
    assert (plain.data.params, plain.data.metrics) == (run.data.params, run.data.metrics)
    assert plain.info.status == run.info.status
    for key in plain.data.metrics:
        assert points_of(uri, plain, key) == points_of(uri, run, key)


def test_a_training_that_ended_between_two_looks_is_ended_also_without_the_option(
    tmp_path: Path, empty_store: str
) -> None:
    save_dir = tmp_path / "train"
    seen(save_dir, 3)
    look(save_dir, empty_store)
    assert outcomes(imported(save_dir, uri=empty_store)) == {"train": "still training"}
    seen(save_dir, 3, ago_s=3_600)
    assert outcomes(imported(save_dir, uri=empty_store)) == {"train": "updated"}
    assert the_run(empty_store).info.status == "FAILED"
    assert the_run(empty_store).info.end_time is not None


def test_a_path_that_vanishes_and_returns_goes_on_in_its_run(tmp_path: Path, empty_store: str) -> None:
    save_dir = tmp_path / "runs" / "train"
    seen(save_dir, 2)
    other = training(2).write(tmp_path / "runs" / "other")
    assert look(other.parent, empty_store) == {"train": "imported", "other": "imported"}
    shutil.move(save_dir, tmp_path / "away")
    assert look(other.parent, empty_store) == {"other": "already there"}
    shutil.move(tmp_path / "away", save_dir)
    seen(save_dir, 3)
    assert look(other.parent, empty_store) == {"train": "updated", "other": "already there"}
    assert len(runs_in(empty_store)) == 2


def test_a_new_training_in_the_same_directory_gets_a_run_of_its_own(tmp_path: Path, empty_store: str) -> None:
    save_dir = tmp_path / "train"
    seen(save_dir, 3)
    look(save_dir, empty_store)
    first = the_run(empty_store)
    seen(save_dir, 2, seed=7, epoch_ms=11_000)
    assert look(save_dir, empty_store) == {"train": "imported"}
    runs = {run.info.run_id: run for run in active(empty_store)}
    assert len(runs) == 2
    assert [step for step, _ in points_of(empty_store, runs[first.info.run_id], "val/box_loss")] == [0, 1, 2]


@pytest.mark.parametrize("ahead_s", [60, 4_000])
def test_a_clock_that_goes_backwards_loses_and_doubles_nothing(ahead_s: int, tmp_path: Path, empty_store: str) -> None:
    save_dir = tmp_path / "train"
    seen(save_dir, 2)
    look(save_dir, empty_store)
    seen(save_dir, 3, ago_s=-ahead_s)  # our clock was set back
    assert look(save_dir, empty_store) == {"train": "updated"}
    assert the_run(empty_store).info.status == ("RUNNING" if ahead_s < 300 else "FAILED")
    seen(save_dir, 4)
    assert look(save_dir, empty_store) == {"train": "updated"}
    run = the_run(empty_store)
    assert run.info.status == "RUNNING"
    assert [step for step, _ in points_of(empty_store, run, "val/box_loss")] == [0, 1, 2, 3]
    assert run.info.start_time > STARTED_MS


def test_a_look_that_finds_nothing_new_is_silent_when_asked_to_be(tmp_path: Path, empty_store: str) -> None:
    from support.command import ymlf

    seen(tmp_path / "train", 2)
    look(tmp_path, empty_store)
    answer = ymlf("import", tmp_path / "train", "--also", "unfinished", "-q", "--tracking-uri", empty_store)
    assert answer == (0, "", "")


@pytest.mark.stress
def test_two_importers_of_one_growing_tree_write_each_point_once(tmp_path: Path, empty_store: str) -> None:
    trees = [tmp_path / "runs" / f"train{number}" for number in range(3)]
    command = [sys.executable, "-m", "importer", "import", str(tmp_path / "runs"), "--also", "unfinished", "-j", "1"]
    for epochs in (1, 4, 9):
        for seed, save_dir in enumerate(trees):
            if epochs == 9:
                training(seed, epochs=9).write(save_dir)
            else:
                seen(save_dir, epochs, seed=seed)
        both = [subprocess.Popen([*command, "--tracking-uri", empty_store]) for _ in range(2)]
        assert [importer.wait(120) for importer in both] == [0, 0]
        runs = active(empty_store)
        assert len(runs) == 3
        for run in runs:
            for key in ("train/box_loss", "val/box_loss", "lr/pg0"):
                assert [step for step, _ in points_of(empty_store, run, key)] == list(range(epochs))
    assert {run.info.status for run in active(empty_store)} == {"FINISHED"}
