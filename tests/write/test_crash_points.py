"""A command that is killed at any step and started again ends as if it had not been killed.

Steps are rows about to be written, commits, and copied files about to get their names. In `stress` every step of every
command is tried, with ids of new runs that are larger and smaller than those there; by default a few.
"""

from __future__ import annotations

import json
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.entities import Run
from support.command import ymlf
from support.directories import Training
from support.fork_server import ForkServer
from support.live import golden_of, live_calls, log_live
from support.pictures import KEYS, draw, whole_images
from support.place import Place
from support.stores import points_of, record_of, runs_in
from support.trees import active

from importer import plan_import, read_run
from importer.store.opening import open_store

TRAINING = Training(epochs=3, planned=5, plots=False, last=None)  # unfinished, so that it may grow
WRITING_WORDS = (  # that verify does not take
    "--on-change", "replace", "--live", "complete", "--images", "--tag", "team=vision",
)  # fmt: skip
Prepared = tuple[list[str], Callable[[str], None]]


def prepare(here: Path, uri: str) -> None:
    """Import a training."""
    TRAINING.write(here / "train")
    imported = ymlf("import", "train", "--tracking-uri", uri, "--import-id", "first", cwd=here)
    assert imported.status == 0, imported.err


def one_run(uri: str) -> Run:
    """The only active run; whatever is not active was replaced or lost a race."""
    [run] = active(uri)
    assert (run.data.tags["ymlf.state"], run.info.status) in (("complete", "FINISHED"), ("complete", "FAILED"))
    return run


def plain_import(here: Path, uri: str) -> Prepared:
    TRAINING.write(here / "train")
    open_store(uri)
    return ["import", "train"], assert_first_values


def import_with_images(here: Path, uri: str) -> Prepared:
    draw(TRAINING.write(here / "train"))
    open_store(uri)

    def check(uri: str) -> None:
        assert_first_values(uri)
        run = one_run(uri)
        assert whole_images(uri, run) == Counter((key, run.info.end_time) for key in KEYS)

    return ["import", "train", "--images"], check


def update(here: Path, uri: str) -> Prepared:
    prepare(here, uri)
    TRAINING.with_(epochs=5).write(here / "train")

    def check(uri: str) -> None:
        assert [step for step, _ in points_of(uri, one_run(uri), "train/box_loss")] == [0, 1, 2, 3, 4]
        assert len(runs_in(uri)) == 1

    return ["import", "train"], check


def replace_values(here: Path, uri: str) -> Prepared:
    prepare(here, uri)
    [old] = active(uri)
    TRAINING.with_(rows=({}, {"val/cls_loss": 9.0})).write(here / "train")

    def check(uri: str) -> None:
        assert dict(points_of(uri, one_run(uri), "val/cls_loss"))[1] == 9.0
        assert old.info.run_id not in {run.info.run_id for run in active(uri)}
        assert old.info.run_id in {run.info.run_id for run in runs_in(uri)}

    return ["import", "train", "--on-change", "replace"], check


def replace_options(here: Path, uri: str) -> Prepared:
    prepare(here, uri)

    def check(uri: str) -> None:
        assert one_run(uri).data.tags["team"] == "vision"

    return ["import", "train", "--on-change", "replace", "--tag", "team=vision"], check


def tune_of(here: Path, fitness: dict[float, float]) -> None:
    records = [
        {"iteration": number, "fitness": value, "hyperparameters": {"lr0": lr0, "lrf": 0.1}}
        for number, (lr0, value) in enumerate(fitness.items(), start=1)
    ]
    (here / "tune").mkdir(exist_ok=True)
    (here / "tune" / "tune_results.ndjson").write_text("".join(f"{json.dumps(record)}\n" for record in records))


def replace_a_tune(here: Path, uri: str) -> Prepared:
    tune_of(here, {0.01: 0.1, 0.02: 0.2, 0.03: 0.3})
    words = ["import", "tune", "--iterations", "all"]
    assert ymlf(*words, "--tracking-uri", uri, cwd=here).status == 0
    tune_of(here, {0.01: 0.1, 0.02: 0.2, 0.03: 0.9})

    def check(uri: str) -> None:
        runs = active(uri)
        [parent] = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
        assert dict(points_of(uri, parent, "fitness")) == {0: 0.1, 1: 0.2, 2: 0.9}
        below = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
        fitness = Counter(run.data.metrics["fitness"] for run in below)
        assert fitness == {0.1: 1, 0.2: 1, 0.9: 1}, fitness

    return [*words, "--on-change", "replace"], check


def undo(here: Path, uri: str) -> Prepared:
    prepare(here, uri)

    def check(uri: str) -> None:
        assert active(uri) == []
        assert ymlf("undo", "first", "--restore", "--yes", "--tracking-uri", uri).status == 0
        assert_first_values(uri)

    return ["undo", "first", "--yes"], check


def assert_first_values(uri: str) -> None:
    """The training is there as it was at first."""
    run = one_run(uri)
    assert [step for step, _ in points_of(uri, run, "train/box_loss")] == [0, 1, 2]
    assert record_of(run).epochs == 3


def half_tracked(here: Path, uri: str) -> str:
    """The id of a run of the live callback that was killed after two of three epochs."""
    save_dir = TRAINING.write(here / "train")
    open_store(uri)
    live = golden_of(plan_import(read_run(save_dir)))
    calls = [call for call in live_calls(live, save_dir) if not call.name.endswith((" 2", "end"))]
    return log_live(uri, live, calls)


def complete_a_live_run(here: Path, uri: str) -> Prepared:
    run_id = half_tracked(here, uri)

    def check(uri: str) -> None:
        assert_first_values(uri)
        assert [(run.info.run_id, run.info.status) for run in runs_in(uri)] == [(run_id, "FAILED")]
        assert one_run(uri).data.tags["ymlf.live_status"] == "RUNNING"

    return ["import", "train", "--live", "complete"], check


def undo_a_completion(here: Path, uri: str) -> Prepared:
    run_id = half_tracked(here, uri)
    done = ymlf("import", "train", "--live", "complete", "--import-id", "first", "--tracking-uri", uri, cwd=here)
    assert done.status == 0, done.err

    def check(uri: str) -> None:
        [run] = active(uri)
        assert (run.info.run_id, run.info.status) == (run_id, "RUNNING")
        left = {name for name in run.data.tags if name.startswith(("ymlf", "mlflow.note"))}
        assert left <= {"ymlf.live_status"}  # which stays where an undo was killed before its very last call
        assert [step for step, _ in points_of(uri, run, "train/box_loss")] == [0, 1, 2]

    return ["undo", "first", "--yes"], check


SCENARIOS = [
    plain_import, import_with_images, update, replace_values, replace_options, replace_a_tune, undo,
    complete_a_live_run, undo_a_completion,
]  # fmt: skip


@pytest.mark.parametrize("ids", ["ascending", pytest.param("descending", marks=pytest.mark.stress)])
@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize(
    "every", [pytest.param(1, marks=pytest.mark.stress, id="every step"), pytest.param(13, id="some steps")]
)
def test_a_command_that_is_killed_and_started_again_ends_as_if_it_had_not_been(
    every: int,
    scenario: Callable[[Path, str], Prepared],
    ids: str,
    forks: ForkServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    empty_database: Path,
) -> None:
    place = Place(tmp_path)
    monkeypatch.chdir(place.here)
    shutil.copyfile(empty_database, place.here / "0.db")
    words, check = scenario(place.here, place.uri)
    place.save()
    steps = forks.run(*words, "--tracking-uri", place.uri, cwd=place.here, ids=ids).steps
    assert steps > 3
    check(place.uri)
    for kill_at in range(1, steps + 1, every):
        place.restore()
        monkeypatch.chdir(place.here)
        command = [*words, "--tracking-uri", place.uri]
        ended = forks.run(*command, cwd=place.here, kill_at=kill_at, ids=ids)
        assert ended.signal == signal.SIGKILL, kill_at
        again = forks.run(*command, cwd=place.here, ids=ids)
        assert again.status == 0, (kill_at, (place.here / "words").read_text())
        if words[0] == "import":
            verified = ymlf("verify", *(word for word in command[1:] if word not in WRITING_WORDS))
            assert verified.status == 0, (kill_at, verified.err)
        check(place.uri)
    print(f"{scenario.__name__}, ids {ids}: {len(range(1, steps + 1, every))} of {steps} steps")
