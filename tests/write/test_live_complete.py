"""`--live complete`: a run that the live callback logged in part becomes whole, and nothing in it is changed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from support.command import ymlf
from support.live import LATER_MS, complete, golden_of, live_calls, log_live
from support.services.mlflow_server import MlflowServer
from support.stores import points_of, runs_in
from support.trees import active, grow, training, write_unfinished

from importer import plan_import, read_run
from importer.model import ImportOptions, ImportPlan
from importer.replay.callbacks import DEFAULT_EXPERIMENT, FORMER_EXPERIMENT

CALLS = ["params 0", "train 0", "fit 0", "train 1", "fit 1", "train 2", "fit 2", "final", "artifact args.yaml",
         "artifact labels.jpg", "artifact results.csv", "artifact results.png", "artifact train_batch0.jpg",
         "artifact weights/last.pt", "end"]  # fmt: skip

some_or_every_call = pytest.mark.parametrize(
    "every", [pytest.param(1, marks=pytest.mark.stress, id="every call"), pytest.param(2, id="some calls")]
)


def planned(save_dir: Path) -> ImportPlan:
    return plan_import(read_run(save_dir), ImportOptions())


@pytest.fixture
def save_dir(tmp_path: Path) -> Path:
    return training(1).write(tmp_path / "train")


@some_or_every_call
def test_a_run_that_was_cut_off_after_any_call_becomes_whole(every: int, save_dir: Path, empty_store: str) -> None:
    live = golden_of(planned(save_dir))
    calls = live_calls(live, save_dir)
    assert [call.name for call in calls] == CALLS
    for count in range(1, len(calls), every):
        outcome, faults = complete(empty_store, save_dir, live, calls[:count], f"after {calls[count - 1].name}")
        assert (outcome.kind.value, faults) == ("completed", []), (calls[count - 1].name, outcome.reason)


@some_or_every_call
def test_a_run_that_lost_any_call_becomes_whole(every: int, save_dir: Path, empty_store: str) -> None:
    live = golden_of(planned(save_dir))
    calls = live_calls(live, save_dir)
    for name in CALLS[every - 1 :: every]:
        outcome, faults = complete(empty_store, save_dir, live, calls, f"without {name}", lost={name})
        expected = "tracked live" if name == "final" else "completed"  # no file has the final validation
        assert (outcome.kind.value, faults) == (expected, []), (name, outcome.reason)


def cut_run(uri: str, save_dir: Path, *, epochs: int = 1, **changes: object) -> str:
    """The id of a run of the callback that got no call after some epochs."""
    live = golden_of(planned(save_dir)) | changes
    calls = live_calls(live, save_dir)
    end = next(at for at, call in enumerate(calls) if call.name == f"train {epochs}")
    return log_live(uri, live, calls[:end])


def finish(uri: str, save_dir: Path, *more: str) -> dict[str, object]:
    """The exit status, and what `ymlf import --live complete` says of a directory."""
    answer = ymlf("import", save_dir, "--live", "complete", "--tracking-uri", uri, "--json", *more)
    return {"status": answer.status, **answer.told[0]}


def tags_of(run: Run) -> dict[str, str]:
    return {name: text for name, text in run.data.tags.items() if name.startswith("ymlf")}


def test_a_run_of_the_callback_is_whole_ended_and_known_and_keeps_what_it_had(save_dir: Path, empty_store: str) -> None:
    run_id = cut_run(empty_store, save_dir)
    client = MlflowClient(empty_store)
    client.set_tag(run_id, "mlflow.note.content", "my best run")
    before = client.get_metric_history(run_id, "train/box_loss")
    would = ymlf("import", save_dir, "--live", "complete", "--dry-run", "--tracking-uri", empty_store)
    assert "would be completed" in would.out and not tags_of(client.get_run(run_id)), would.out
    said = finish(empty_store, save_dir, "--import-id", "mend")
    assert (said["status"], said["outcome"], said["run_id"], said["live_run_ids"]) == (0, "completed", run_id, [run_id])
    assert "lacks steps 1 to 2; artifacts args.yaml" in str(said["reason"]) and "its end" in str(said["reason"])
    [run] = runs_in(empty_store)
    plan = planned(save_dir)
    assert (run.info.status, run.info.end_time) == ("FINISHED", plan.timeline.ended_ms)
    assert run.info.start_time == plan.timeline.started_ms + LATER_MS
    assert run.data.tags["mlflow.note.content"] == "my best run"
    assert run.data.tags["mlflow.source.name"] == "train.py"
    assert before[0] in client.get_metric_history(run_id, "train/box_loss")
    verified = ymlf("verify", save_dir, "--tracking-uri", empty_store)
    assert verified.status == 0, verified.err
    assert finish(empty_store, save_dir)["outcome"] == "already there"
    assert "1 completed" in ymlf("history", "--tracking-uri", empty_store).out


def test_undo_gives_a_completed_run_back_and_never_deletes_it(save_dir: Path, empty_store: str) -> None:
    run_id = cut_run(empty_store, save_dir)
    finish(empty_store, save_dir, "--import-id", "mend", "--tag", "team=vision")
    undone = ymlf("undo", "mend", "--yes", "--tracking-uri", empty_store)
    assert undone.status == 0
    [line, *_] = undone.out.splitlines()
    assert line.startswith("release  ") and run_id in line and "MLflow keeps what was added" in line
    [run] = runs_in(empty_store)
    assert (run.info.lifecycle_stage, run.info.status, tags_of(run)) == ("active", "RUNNING", {})
    assert not {"team", "mlflow.note.content"} & run.data.tags.keys()
    assert finish(empty_store, save_dir)["outcome"] == "completed"
    assert len(runs_in(empty_store)) == 1


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_a_status_other_than_running_and_its_end_stay(status: str, save_dir: Path, empty_store: str) -> None:
    run_id = cut_run(empty_store, save_dir)
    MlflowClient(empty_store).set_terminated(run_id, status, 1_700_000_099_000)
    assert finish(empty_store, save_dir)["outcome"] == "completed"
    [run] = runs_in(empty_store)
    assert (run.info.status, run.info.end_time) == (status, 1_700_000_099_000)
    assert ymlf("verify", save_dir, "--tracking-uri", empty_store).status == 0


@pytest.mark.parametrize("spoil", ["a value", "a value of the last epoch", "a file"])
def test_a_run_that_disagrees_is_changed_and_not_touched(spoil: str, save_dir: Path, empty_store: str) -> None:
    run_id = cut_run(empty_store, save_dir, epochs=2)
    client = MlflowClient(empty_store)
    if spoil == "a file":
        client.log_text(run_id, "other", "results.csv")
        client.set_terminated(run_id, "FINISHED", 1_700_000_099_000)
    else:
        training(1, rows=({"train/box_loss": 1.01}, {"val/cls_loss": 7.5})).write(save_dir)
    before = client.get_run(run_id)
    said = finish(empty_store, save_dir)
    assert (said["status"], said["outcome"], said["run_id"]) == (1, "changed", run_id)
    expected = "results.csv: directory has" if spoil == "a file" else "val/cls_loss at step 1: directory has 7.5"
    assert expected in str(said["reason"])
    [run] = runs_in(empty_store)
    assert (run.data.to_dictionary(), dict(run.info)) == (before.data.to_dictionary(), dict(before.info))


@pytest.mark.parametrize("writer", ["the trainer", "the callback"])
def test_a_run_whose_training_is_still_written_is_not_touched(writer: str, tmp_path: Path, empty_store: str) -> None:
    now_ms = int(time.time() * 1000)
    goes_on = {"planned": 9, "plots": False, "last": None, "started_ms": now_ms - 35_000}
    save_dir = training(1, **(goes_on if writer == "the trainer" else {})).write(tmp_path / "train")
    live = golden_of(planned(save_dir))
    if writer == "the callback":  # which uploads the files of a training that has come to its end
        live["metrics"] = {
            key: [[step, value, now_ms - 20_000 + step] for step, value, _ in series]
            for key, series in live["metrics"].items()
        }
    run_id = log_live(empty_store, live, live_calls(live, save_dir)[:3])
    said = finish(empty_store, save_dir, "--also", "unfinished")
    assert (said["status"], said["outcome"]) == (0, "still training"), said
    [run] = runs_in(empty_store)
    assert (run.info.run_id, run.info.status, tags_of(run)) == (run_id, "RUNNING", {})


@pytest.mark.parametrize("experiment", [DEFAULT_EXPERIMENT, FORMER_EXPERIMENT])  # of the crash
def test_of_a_crash_and_a_resume_the_later_run_is_completed_and_the_earlier_one_linked(
    experiment: str, tmp_path: Path, empty_store: str
) -> None:
    save_dir = training(1, epochs=6, sessions=(3,)).write(tmp_path / "train")
    live = golden_of(planned(save_dir))
    calls = live_calls(live, save_dir)
    first = [call for call in calls if call.name in ("params 0", "train 0", "fit 0", "train 1", "fit 1", "train 2")]
    later = [call for call in calls if call.name in ("params 0", "train 3", "fit 3", "train 4")]
    crashed = log_live(empty_store, live, first, experiment=experiment)
    resumed = log_live(empty_store, live | {"start_time": live["start_time"] + 60_000}, later)
    MlflowClient(empty_store).set_terminated(crashed, "FAILED")
    said = finish(empty_store, save_dir, "--import-id", "mend")
    assert (said["outcome"], said["run_id"], said["live_run_ids"]) == ("completed", resumed, [crashed, resumed])
    runs = {run.info.run_id: run for run in runs_in(empty_store)}
    assert runs.keys() == {crashed, resumed}
    assert tags_of(runs[crashed]) == {"ymlf.continued_in": resumed}
    for key in ("train/box_loss", "val/box_loss"):
        assert [step for step, _ in points_of(empty_store, runs[resumed], key)] == list(range(6))
    assert ymlf("verify", save_dir, "--tracking-uri", empty_store).status == 0
    (save_dir / "more.png").write_bytes(b"a curve")
    assert finish(empty_store, save_dir)["outcome"] == "updated"
    ymlf("undo", "mend", "--yes", "--tracking-uri", empty_store)
    assert [tags_of(run) for run in runs_in(empty_store)] == [{}, {}]


@pytest.mark.parametrize(("kept", "outcome"), [("the whole", "tracked live"), ("a part", "completed")])
def test_a_run_that_was_completed_gives_way_to_the_one_of_the_resume(
    kept: str, outcome: str, tmp_path: Path, empty_store: str
) -> None:
    save_dir = tmp_path / "train"
    write_unfinished(save_dir, 1, 6)
    crashed = cut_run(empty_store, save_dir, epochs=2)
    assert finish(empty_store, save_dir)["outcome"] == "completed"
    training(1, epochs=6, sessions=(3,)).write(save_dir)
    live = golden_of(planned(save_dir))
    calls = [call for call in live_calls(live, save_dir) if not call.name.endswith((" 1", " 2"))]
    calls = [call for call in calls if call.name not in ("params 0", "train 0", "fit 0")]
    resumed = log_live(empty_store, live, calls if kept == "the whole" else calls[:3])
    said = finish(empty_store, save_dir)
    assert (said["outcome"], said["live_run_ids"]) == (outcome, [crashed, resumed])
    runs = {run.info.run_id: run for run in runs_in(empty_store)}
    assert tags_of(runs[crashed]) == ({} if kept == "the whole" else {"ymlf.continued_in": resumed})
    assert [step for step, _ in points_of(empty_store, runs[crashed], "train/box_loss")] == [0, 1, 2]


def test_a_completed_run_is_updated_when_its_directory_grows(tmp_path: Path, empty_store: str) -> None:
    save_dir = tmp_path / "train"
    write_unfinished(save_dir, 1, 5)
    run_id = cut_run(empty_store, save_dir)
    assert finish(empty_store, save_dir)["outcome"] == "completed"
    grow(save_dir, 1, 5)
    assert finish(empty_store, save_dir)["outcome"] == "updated"
    [run] = runs_in(empty_store)
    assert (run.info.run_id, run.info.status) == (run_id, "FINISHED")
    assert ymlf("verify", save_dir, "--tracking-uri", empty_store).status == 0


def test_a_run_in_the_experiment_of_releases_before_8_3_9_is_completed_there(tmp_path: Path, empty_store: str) -> None:
    save_dir = tmp_path / "train"
    write_unfinished(save_dir, 1, 5)
    live = golden_of(planned(save_dir)) | {"experiment": FORMER_EXPERIMENT}
    run_id = log_live(empty_store, live, live_calls(live, save_dir)[:3])
    words = (save_dir, "--tracking-uri", empty_store)
    would = ymlf("import", *words, "--live", "complete", "--dry-run")
    assert "would be completed" in would.out and FORMER_EXPERIMENT in would.out, would.out
    said = finish(empty_store, save_dir, "--import-id", "mend")
    assert (said["status"], said["outcome"], said["run_id"]) == (0, "completed", run_id)
    assert (said["experiment_name"], said["live_run_ids"]) == (FORMER_EXPERIMENT, [run_id])
    for live_option in ("complete", "skip", "import"):
        told = ymlf("import", *words, "--live", live_option, "--json").told[0]
        assert (told["outcome"], told["run_id"]) == ("already there", run_id)
        assert told["experiment_name"] == FORMER_EXPERIMENT
    assert ymlf("verify", *words).out.startswith("verified")
    assert "already there" in ymlf("scan", *words).out
    grow(save_dir, 1, 5)
    assert finish(empty_store, save_dir)["outcome"] == "updated"
    assert ymlf("verify", *words).status == 0
    [run] = runs_in(empty_store)
    assert (run.info.run_id, run.info.status) == (run_id, "FINISHED")
    assert ymlf("undo", "mend", "--yes", "--tracking-uri", empty_store).status == 0
    [run] = runs_in(empty_store)
    assert (run.info.lifecycle_stage, tags_of(run)) == ("active", {})


def test_a_replaced_run_of_the_callback_is_given_back_not_deleted(save_dir: Path, empty_store: str) -> None:
    run_id = cut_run(empty_store, save_dir)
    finish(empty_store, save_dir)
    training(1, rows=({"train/box_loss": 1.01}, {"val/cls_loss": 7.5})).write(save_dir)
    assert finish(empty_store, save_dir)["outcome"] == "changed"
    assert finish(empty_store, save_dir, "--on-change", "replace")["outcome"] == "replaced"
    found = {run.info.run_id: run for run in active(empty_store)}
    assert len(found) == 2 and tags_of(found[run_id]) == {} and found[run_id].info.status == "RUNNING"


def test_a_run_of_a_server_is_completed_and_given_back(tmp_path: Path, http_server: MlflowServer) -> None:
    save_dir = training(1977).write(tmp_path / "train-1977")
    run_id = cut_run(http_server.url, save_dir)
    assert finish(http_server.url, save_dir, "--import-id", "mend")["outcome"] == "completed"
    assert ymlf("verify", save_dir, "--tracking-uri", http_server.url).status == 0
    assert finish(http_server.url, save_dir)["outcome"] == "already there"
    assert ymlf("undo", "mend", "--yes", "--tracking-uri", http_server.url).status == 0
    run = MlflowClient(http_server.url).get_run(run_id)
    assert (run.info.lifecycle_stage, run.info.status, tags_of(run)) == ("active", "RUNNING", {})
