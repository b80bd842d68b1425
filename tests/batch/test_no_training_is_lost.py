"""Trainings that look alike, in one command, one by one, in any order, twice and by two importers: each has its run."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path, PosixPath
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric
from support.command import ymlf
from support.directories import Training
from support.stores import points_of, runs_in, untouched
from support.trees import active, imported, listed, outcomes, summary, training

from importer import ImportOptions, Kind, Outcome, UsageError, import_many, import_run, plan_import, read_run
from importer.batch.executors import Workers
from importer.errors import RunDirError, StoreError
from importer.model import Artifact
from importer.read.discover import find_runs
from importer.store.opening import open_store
from importer.write.artifacts import UPLOAD_THREADS, log_artifacts

KAGGLE = {"save_dir": "/kaggle/working/runs/detect/train", "seed": 0}


def alike(here: Path) -> list[Path]:
    """Three trainings of one recorded path and seed whose first epochs are equal but for their time."""
    versions = []
    for number, lrf in enumerate((0.01, 0.1, 0.5), start=1):
        rows = tuple({"train/box_loss": 5 - row * lrf} if row else {} for row in range(4))
        one = Training(epochs=4, rows=rows, epoch_ms=10_000 + 77 * number, args={**KAGGLE, "lrf": lrf}, last=None)
        versions.append(one.write(here / f"v{number}" / "train"))
    return versions


def tune(save_dir: Path, trials: Iterable[tuple[float, float]]) -> Path:
    """A tune of trials of (lr0, fitness), at the recorded path of all Kaggle tunes."""
    save_dir.mkdir(parents=True)
    records = [
        {"iteration": number, "fitness": fitness, "hyperparameters": {"lr0": lr0, "lrf": 0.1}}
        for number, (lr0, fitness) in enumerate(trials, start=1)
    ]
    (save_dir / "tune_results.ndjson").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    (save_dir / "best_hyperparameters.yaml").write_text(
        "# Results saved to /kaggle/working/runs/detect/tune\nlr0: 0.1\n"
    )
    return save_dir


def tunes_alike(here: Path) -> list[Path]:
    first = (0.01, 0.3)
    return [
        tune(here / "v1" / "tune", [first, (0.02, 0.5)]),
        tune(here / "v2" / "tune", [first, (0.03, 0.4), (0.1, 0.2)]),
    ]


@pytest.mark.parametrize("make", [alike, tunes_alike], ids=["trainings", "tunes"])
@pytest.mark.parametrize("order", ["one command", "one by one", "in reverse"])
def test_what_begins_alike_is_imported_each_by_itself(
    make: Callable[[Path], list[Path]], order: str, tmp_path: Path, empty_store: str
) -> None:
    places = make(tmp_path / "kaggle")
    if order == "one command":
        assert imported(tmp_path / "kaggle", uri=empty_store).status == 0
    else:
        for place in places if order == "one by one" else reversed(places):
            answer = imported(place, uri=empty_store)
            assert (answer.status, summary(answer)) == (0, {"imported": 1}), answer.out
    again = imported(tmp_path / "kaggle", uri=empty_store)
    assert (again.status, summary(again)) == (0, {"already there": len(places)})
    assert len(runs_in(empty_store)) == len(places)
    verified = ymlf("verify", tmp_path / "kaggle", "--tracking-uri", empty_store, "--json")
    assert (verified.status, summary(verified)) == (0, {"verified": len(places)})


def test_two_importers_at_once_keep_trainings_apart_that_begin_alike(tmp_path: Path, empty_store: str) -> None:
    alike(tmp_path / "kaggle")
    barrier = threading.Barrier(2)
    found: list[list[Kind]] = []

    def run() -> None:
        barrier.wait()
        found.append(
            [each.kind for each in import_many(tmp_path / "kaggle", tracking_uri=empty_store, workers=Workers(1))]
        )

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert len(active(empty_store)) == 3
    verified = ymlf("verify", tmp_path / "kaggle", "--tracking-uri", empty_store, "--json")
    assert (verified.status, summary(verified)) == (0, {"verified": 3})


def test_the_iterations_of_two_tunes_stay_below_their_own(tmp_path: Path, empty_store: str) -> None:
    tunes_alike(tmp_path / "kaggle")
    for version in ("v1", "v2"):
        assert imported(tmp_path / "kaggle" / version, "--iterations", "all", uri=empty_store).status == 0
    runs = active(empty_store)
    below = Counter(run.data.tags.get("mlflow.parentRunId", "") for run in runs)
    assert sorted(below.values()) == [2, 2, 3] and below[""] == 2


def test_a_tune_that_is_a_copy_gives_up_its_iterations(tmp_path: Path, empty_store: str) -> None:
    first = tune(tmp_path / "runs" / "a" / "tune", [(0.01, 0.3), (0.02, 0.5)])
    shutil.copytree(first, tmp_path / "runs" / "b" / "tune")
    args = {"lr0": 0.02, "lrf": 0.1}
    rows = ({"metrics/mAP50-95(B)": 0.5, "metrics/mAP50(B)": 0.5},) * 2
    Training(epochs=2, rows=rows, args=args).write(tmp_path / "runs" / "b" / "train")
    answer = imported(tmp_path / "runs", uri=empty_store)
    assert answer.status == 0
    assert Counter(str(each["outcome"]) for each in answer.told[:-1]) == {"imported": 2, "duplicate": 1}
    assert {run.info.run_name for run in active(empty_store)} == {"tune", "train"}


def test_trials_that_share_an_iteration_number_are_different_trials(tmp_path: Path, empty_store: str) -> None:
    save_dir = tmp_path / "tune"
    save_dir.mkdir()
    trials = [(1, 0.01, 0.3), (1, 0.004, 0.1), (2, 0.02, 0.9), (2, 0.05, 0.4)]
    records = [
        {
            "iteration": number,
            "fitness": fitness,
            "hyperparameters": {"lr0": lr0},
            "datasets": {"a": {"fitness": fitness}},
        }
        for number, lr0, fitness in trials
    ]
    (save_dir / "tune_results.ndjson").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    assert imported(save_dir, "--iterations", "all", uri=empty_store).status == 0
    [parent] = [run for run in active(empty_store) if "mlflow.parentRunId" not in run.data.tags]
    assert points_of(empty_store, parent, "fitness") == [(0, 0.3), (1, 0.1), (2, 0.9), (3, 0.4)]
    assert len(active(empty_store)) == 5


def test_by_default_a_tune_has_runs_only_for_iterations_with_a_directory(tmp_path: Path, empty_store: str) -> None:
    tune(tmp_path / "runs" / "tune", [(0.01, 0.3), (0.02, 0.5), (0.03, 0.1)])
    rows = ({"metrics/mAP50-95(B)": 0.5, "metrics/mAP50(B)": 0.5},) * 2
    child = Training(epochs=2, rows=rows, args={"lr0": 0.02, "lrf": 0.1})
    child.write(tmp_path / "runs" / "train")
    assert imported(tmp_path / "runs", uri=empty_store).status == 0
    by_name = {run.info.run_name: run for run in active(empty_store)}
    assert by_name.keys() == {"tune", "train"}
    parent, below = by_name["tune"], by_name["train"]
    assert below.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert [step for step, _ in points_of(empty_store, parent, "fitness")] == [0, 1, 2]
    length = below.info.end_time - below.info.start_time
    assert parent.info.start_time == below.info.start_time - length  # the iteration before it
    assert parent.info.end_time == below.info.end_time + length  # and the one after
    assert ymlf("verify", tmp_path / "runs", "--tracking-uri", empty_store).status == 0


def test_iterations_without_a_directory_are_dated_between_their_neighbours(tmp_path: Path, empty_store: str) -> None:
    tune(tmp_path / "runs" / "tune", [(0.01, 0.3), (0.02, 0.5), (0.03, 0.1)])
    rows = ({"metrics/mAP50-95(B)": 0.5, "metrics/mAP50(B)": 0.5},) * 2
    Training(epochs=2, rows=rows, args={"lr0": 0.02, "lrf": 0.1}).write(tmp_path / "runs" / "train")
    assert imported(tmp_path / "runs", "--iterations", "all", uri=empty_store).status == 0
    by_name = {run.info.run_name: run for run in active(empty_store)}
    before, between, after = (by_name[name].info for name in ("tune iteration 1", "train", "tune iteration 3"))
    assert before.end_time == between.start_time and after.start_time == between.end_time
    assert "iterations that have a directory" in by_name["tune iteration 1"].data.tags["mlflow.note.content"]
    assert ymlf("verify", tmp_path / "runs", "--iterations", "all", "--tracking-uri", empty_store).status == 0


def test_a_tune_without_directories_is_dated_by_its_table_and_not_at_the_import(
    tmp_path: Path, empty_store: str
) -> None:
    save_dir = tune(tmp_path / "tune", [(0.01, 0.3), (0.02, 0.5)])
    (save_dir / "best_hyperparameters.yaml").write_text("# 2/2 iterations complete (50.00s)\nlr0: 0.02\nlrf: 0.1\n")
    os.utime(save_dir / "tune_results.ndjson", (1_700_000_100, 1_700_000_100))
    assert imported(save_dir, "--iterations", "all", uri=empty_store).status == 0
    by_name = {run.info.run_name: run.info for run in active(empty_store)}
    ends = [by_name[name].end_time for name in ("tune iteration 1", "tune iteration 2", "tune")]
    assert ends == [1_700_000_075_000, 1_700_000_100_000, 1_700_000_100_000]
    assert by_name["tune"].start_time == 1_700_000_050_000


def test_a_second_call_in_one_process_sees_what_came_into_the_store_meanwhile(tmp_path: Path, empty_store: str) -> None:
    first, second = (training(seed).write(tmp_path / str(seed) / "train") for seed in (1, 2))
    assert import_run(first, tracking_uri=empty_store).kind is Kind.IMPORTED
    client = MlflowClient(empty_store)
    experiment = client.get_experiment_by_name("/Shared/Ultralytics")
    run = client.create_run(experiment.experiment_id, run_name="train")
    plan = plan_import(read_run(second))
    client.log_batch(run.info.run_id, metrics=[Metric(*point) for point in plan.points])
    client.log_artifacts(run.info.run_id, str(second))
    for name, value in plan.params.items():
        client.log_param(run.info.run_id, name, value)
    [outcome] = import_many(second, tracking_uri=empty_store)
    assert outcome.kind is Kind.TRACKED_LIVE

    client.delete_experiment(experiment.experiment_id)
    [outcome] = import_many(first, tracking_uri=empty_store)
    assert outcome.kind is Kind.FAILED and "was deleted" in str(outcome.reason)


def test_one_start_for_several_trainings_is_a_misuse_that_names_the_way_out(tree: Path, empty_store: str) -> None:
    answer = imported(tree, "--start-time", "2024-03-01", uri=empty_store)
    assert answer.status == 2
    assert "--start-time is the start of one training, and here are 4" in answer.err
    assert "by itself" in answer.err and untouched(empty_store)
    options = ImportOptions(start_time_ms=1_700_000_000_000)
    [one] = import_many(tree / "train", tracking_uri=empty_store, options=options)
    assert one.kind is Kind.IMPORTED
    with pytest.raises(UsageError, match="is the start of one training"):
        import_many([tree], tracking_uri=empty_store, options=options)


def test_one_path_may_be_given_where_several_may(tree: Path, empty_store: str) -> None:
    assert len(list(find_runs(str(tree)))) == len(list(find_runs([tree]))) == 4
    assert len(import_many(str(tree), tracking_uri=empty_store)) == 4
    assert len(import_many(tree, tracking_uri=empty_store)) == 4


def test_an_import_that_writes_nothing_leaves_nothing(tree: Path, empty_store: str) -> None:
    for name in ("train", "train2", "train3", "train10"):
        (tree / name / "results.csv").unlink()
        shutil.rmtree(tree / name / "weights")
    assert summary(imported(tree, uri=empty_store)) == {"no epochs": 4}
    assert untouched(empty_store)


def test_a_second_import_leaves_no_entry_in_the_ledger(tree: Path, empty_store: str) -> None:
    imported(tree, "--import-id", "first", uri=empty_store)
    imported(tree, "--import-id", "second", uri=empty_store)
    experiment = MlflowClient(empty_store).get_experiment_by_name("/Shared/Ultralytics")
    assert [name.split(".")[2] for name in experiment.tags if name.startswith("ymlf.import.")] == ["first"]
    assert list(listed(empty_store)) == ["first"]


def test_shards_that_share_an_import_id_lose_no_counts(tree: Path, empty_store: str) -> None:
    for shard in ("1/3", "2/3", "3/3"):
        imported(tree, "--import-id", "night", "--shard", shard, uri=empty_store)
    assert listed(empty_store)["night"][2] == "4 imported"


def test_an_import_that_was_killed_and_started_again_counts_all_its_runs(tree: Path, empty_store: str) -> None:
    def kill(outcome: Outcome) -> None:
        raise InterruptedError(outcome.source)  # its entry stays without an end

    with pytest.raises(InterruptedError):
        import_many(tree, tracking_uri=empty_store, options=ImportOptions(import_id="night"), on_outcome=kill)
    imported(tree, "--import-id", "night", uri=empty_store)
    assert listed(empty_store)["night"][2] == "4 imported"


def test_what_a_person_wrote_into_the_ledger_and_the_record_stops_no_command(tree: Path, empty_store: str) -> None:
    imported(tree, uri=empty_store)
    client = MlflowClient(empty_store)
    experiment = client.get_experiment_by_name("/Shared/Ultralytics")
    [tag] = [name for name in experiment.tags if name.startswith("ymlf.import.")]
    client.set_experiment_tag(experiment.experiment_id, tag, '{"counts": {"imported": "many"}, "ended": [1]}')
    client.set_experiment_tag(experiment.experiment_id, "ymlf.import.", "[]")
    client.set_tag(active(empty_store)[0].info.run_id, "ymlf.record", '{"format": 1, "times": "soon"}')
    assert ymlf("history", "--tracking-uri", empty_store).status == 0
    answer = imported(tree, uri=empty_store)
    assert (answer.status, summary(answer)) == (0, {"already there": 3, "updated": 1})
    assert ymlf("verify", tree, "--tracking-uri", empty_store).status == 0


def test_a_directory_without_epochs_gives_way_to_its_training(tmp_path: Path, empty_store: str) -> None:
    save_dir = training(1, planned=5, plots=False, last=None).write(tmp_path / "train")
    table = (save_dir / "results.csv").read_text()
    (save_dir / "results.csv").unlink()
    assert summary(imported(save_dir, "--also", "empty", uri=empty_store)) == {"imported": 1}
    [empty] = active(empty_store)
    assert summary(imported(save_dir, "--also", "empty", uri=empty_store)) == {"already there": 1}
    (save_dir / "results.csv").write_text(table)
    assert summary(imported(save_dir, "--also", "unfinished", uri=empty_store)) == {"imported": 1}
    [run] = active(empty_store)
    assert run.info.run_id != empty.info.run_id and run.data.metrics
    assert outcomes(imported(save_dir, "--also", "unfinished", uri=empty_store)) == {"train": "already there"}


class SlowFile(PosixPath):
    """A file that takes a while to open."""

    def open(self, *args: Any, **options: Any) -> Any:
        time.sleep(0.3)
        return super().open(*args, **options)


def test_a_failed_upload_stops_those_of_its_run_that_have_not_begun(tmp_path: Path, empty_store: str) -> None:
    plan = plan_import(read_run(training(1).write(tmp_path / "train")))
    store = open_store(empty_store)
    run = store.client.create_run(store.client.create_experiment("uploads"))
    (tmp_path / "a.png").write_text("plot")
    gone = Artifact("gone.png", 5, tmp_path / "gone.png")
    plots = (Artifact(f"{number}.png", 4, SlowFile(tmp_path / "a.png")) for number in range(20))
    plan = replace(plan, artifacts=(gone, *plots))
    with pytest.raises((StoreError, RunDirError)):
        log_artifacts(store, plan, run, is_new=True)
    assert len(store.client.list_artifacts(run.info.run_id)) <= UPLOAD_THREADS


@pytest.mark.parametrize("segments", ["last", "all"])
def test_a_training_that_was_appended_to_the_file_of_another_is_imported_too(
    segments: str, tmp_path: Path, empty_store: str
) -> None:
    first = Training(epochs=4, has_time=False, padded=True, last=None, plots=False)
    save_dir = first.write(tmp_path / "train")
    assert summary(imported(save_dir, uri=empty_store)) == {"imported": 1}
    rows = tuple({"train/box_loss": 5.0 + row} if row else {} for row in range(3))
    lines = first.with_(epochs=3, rows=rows).csv().splitlines(keepends=True)[1:]
    (save_dir / "results.csv").write_text(first.csv() + "".join(lines))
    words = (save_dir, "--segments", segments, "--also", "unfinished")
    answer = imported(*words, uri=empty_store)
    assert answer.status == 0
    assert summary(answer) == ({"imported": 1, "already there": 1} if segments == "all" else {"imported": 1})
    assert len(active(empty_store)) == 2
    assert ymlf("verify", *words[:3], "--tracking-uri", empty_store).status == 0


def test_two_iterations_that_are_equal_but_for_their_number_are_two_runs(tmp_path: Path, empty_store: str) -> None:
    record = '{{"iteration": {}, "fitness": 0.5, "hyperparameters": {{"lr0": 0.01}}}}\n'
    tune = tmp_path / "tune"
    tune.mkdir()
    (tune / "tune_results.ndjson").write_text(record.format(1) + record.format(2))
    words = (tune, "--iterations", "all")
    assert summary(imported(*words, uri=empty_store)) == {"imported": 3}
    assert summary(imported(*words, uri=empty_store)) == {"already there": 3}
    assert ymlf("verify", *words, "--tracking-uri", empty_store).status == 0
