"""A run that the live callback tracked is known by its points, so that importing its directory adds nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from support.command import Answer, ymlf
from support.directories import FIXTURES, copy_fixture, fixture_names
from support.stores import runs_in
from support.trees import training

from importer import plan_import, read_run
from importer.model import ImportOptions, ImportPlan

LATER_MS = 777  # live's clock is not the one that was read from the files


def track_live(uri: str, plan: ImportPlan, *, epochs: int | None = None) -> str:
    """The id of a run as the callback logs it: params at first, a batch an epoch, artifacts at the end."""
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(plan.experiment_name)
    experiment_id = found.experiment_id if found else client.create_experiment(plan.experiment_name)
    source = {"mlflow.source.name": "train.py"}  # the fluent API, which the callback uses, sets it on every run
    run_id = str(client.create_run(experiment_id, tags=source, run_name=plan.run_name).info.run_id)
    client.log_batch(run_id, params=[Param(key, value) for key, value in plan.params.items()])
    points = sorted(plan.points, key=lambda point: point.step)
    for step, batch in groupby(points, key=lambda point: point.step):
        if epochs is None or step < epochs:
            metrics = [Metric(p.key, p.value, p.timestamp + LATER_MS, p.step) for p in batch]
            client.log_batch(run_id, metrics=metrics)
    if epochs is None:
        last = points[-1].step
        final = [p for p in points if p.step == last and not p.key.startswith(("train/", "lr/"))]
        client.log_batch(run_id, metrics=[Metric(p.key, p.value, p.timestamp + 5_000, last) for p in final])
        if plan.status == "FINISHED":
            log_files(client, run_id, Path(plan.source))
        client.set_terminated(run_id)
    return run_id


def log_files(client: MlflowClient, run_id: str, save_dir: Path) -> None:
    """Log weights/ and the files beside it, as on_train_end does."""
    client.log_artifacts(run_id, str(save_dir))


def log_as_live_did(uri: str, live: Mapping[str, object], save_dir: Path) -> str:
    """The id of a run with all that the callback logged of a training, in its order."""
    client = MlflowClient(uri)
    name = str(live["experiment"])
    found = client.get_experiment_by_name(name)
    experiment_id = found.experiment_id if found else client.create_experiment(name)
    run = client.create_run(experiment_id, live["start_time"], live["tags"], live["run_name"])
    run_id = str(run.info.run_id)
    client.log_batch(run_id, params=[Param(key, value) for key, value in live["params"].items()])  # type: ignore[attr-defined]
    series = live["metrics"].items()  # type: ignore[attr-defined]
    points = sorted((at, step, key, value) for key, told in series for step, value, at in told)
    for _, batch in groupby(points, key=lambda point: point[:2]):
        client.log_batch(run_id, metrics=[Metric(key, value, at, step) for at, step, key, value in batch])
    if live["status"] == "FINISHED":
        log_files(client, run_id, save_dir)
    client.set_terminated(run_id, live["status"], live["end_time"])
    return run_id


@pytest.mark.parametrize("more", [(), ("-j", "2")], ids=["one by one", "in parallel"])
def test_what_the_callback_logged_itself_is_left_alone(more: tuple[str, ...], tmp_path: Path, empty_store: str) -> None:
    live = json.loads((FIXTURES / "tracked-live.json").read_text())
    assert sorted(live) == fixture_names()
    places = {name: copy_fixture(name, tmp_path / "runs") for name in live}
    tracked = sorted(log_as_live_did(empty_store, live[name], places[name]) for name in live)
    answer = imported(tmp_path / "runs", empty_store, *more)
    assert (answer.status, answer.told[-1]["summary"]) == (0, {"tracked live": len(live)}), answer.out
    assert sorted(run_id for each in answer.told[:-1] for run_id in each["live_run_ids"]) == tracked  # type: ignore[attr-defined]
    assert sorted(run.info.run_id for run in runs_in(empty_store)) == tracked
    beside = imported(tmp_path / "runs", empty_store, "--live", "import", *more)
    assert (beside.status, beside.told[-1]["summary"]) == (0, {"imported": len(live)})
    assert imported(tmp_path / "runs", empty_store).told[-1]["summary"] == {"already there": len(live)}


def imported(save_dir: Path, uri: str, *more: str) -> Answer:
    return ymlf("import", save_dir, "--tracking-uri", uri, "--json", *more)


@pytest.mark.parametrize("fixture", ["train-2", "crashed", "classify"])
def test_a_run_that_live_tracked_is_left_alone(fixture: str, tmp_path: Path, empty_store: str) -> None:
    save_dir = copy_fixture(fixture, tmp_path)
    run_id = track_live(empty_store, plan_import(read_run(save_dir), ImportOptions()))
    answer = imported(save_dir, empty_store)
    assert (answer.status, answer.told[0]["outcome"]) == (0, "tracked live")
    assert [run.info.run_id for run in runs_in(empty_store)] == [run_id]


def test_live_import_imports_it_beside(tmp_path: Path, empty_store: str) -> None:
    save_dir = copy_fixture("train-2", tmp_path)
    track_live(empty_store, plan_import(read_run(save_dir), ImportOptions()))
    answer = imported(save_dir, empty_store, "--live", "import")
    assert (answer.status, answer.told[0]["outcome"]) == (0, "imported")
    assert len(runs_in(empty_store)) == 2


def test_a_run_that_live_tracked_by_half_is_known_too(tmp_path: Path, empty_store: str) -> None:
    save_dir = training(1, epochs=6).write(tmp_path / "train")
    track_live(empty_store, plan_import(read_run(save_dir), ImportOptions()), epochs=3)
    answer = imported(save_dir, empty_store)
    assert (answer.status, answer.told[0]["outcome"]) == (1, "partly tracked")
    assert "lacks steps 3 to 5" in str(answer.told[0]["reason"])
    assert len(runs_in(empty_store)) == 1


def test_another_training_of_the_same_name_is_no_twin(tmp_path: Path, empty_store: str) -> None:
    losses = [f"{split}/{loss}_loss" for split in ("train", "val") for loss in ("box", "cls", "dfl")]
    rows = tuple({loss: 9.5 - row - at / 10 for at, loss in enumerate(losses)} for row in range(3))
    other = training(2).with_(rows=rows).write(tmp_path / "other" / "train")
    track_live(empty_store, plan_import(read_run(other), ImportOptions()))
    save_dir = training(1).write(tmp_path / "mine" / "train")
    assert imported(save_dir, empty_store).told[0]["outcome"] == "imported"
    assert len(runs_in(empty_store)) == 2
