"""A training that crashed, was imported half-way, finished from another host and resumed stays one run.

Not one point is doubled or moved, whatever the file times, the time zone and the place of the directory are by then.
"""

from __future__ import annotations

import shutil
import signal
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from mlflow import MlflowClient
from support.command import ymlf
from support.directories import Training, copy_fixture, move_times, touch_all
from support.fork_server import ForkServer
from support.stores import runs_in

DAY_MS = 86_400_000
CRASHED = Training(epochs=80, planned=100, plots=False, last={"epoch": 79})  # its points take two requests
BERLIN = timezone(timedelta(hours=1))
History = dict[tuple[str, int, float, int], int]  # how often the store has a point (key, step, value, timestamp)


def saved(training: Training, later_ms: int, zone: timezone | None) -> str:
    """The date in a checkpoint that was saved after the last epoch; without a zone it is Berlin's."""
    moment = datetime.fromtimestamp((training.fit_ms(training.epochs - 1) + later_ms) / 1000, zone or BERLIN)
    return moment.isoformat() if zone else moment.replace(tzinfo=None).isoformat()


def kill_import(forks: ForkServer, save_dir: Path, uri: str, kill_at: int) -> None:
    """An import that is killed after it has created its run and before it is complete."""
    ended = forks.run("import", save_dir, "--tracking-uri", uri, "--no-bulk", cwd=save_dir.parent, kill_at=kill_at)
    assert ended.signal == signal.SIGKILL
    [run] = runs_in(uri)
    assert run.data.tags["ymlf.state"] == "writing"


def history(uri: str) -> History:
    """Every point of the only run of a store."""
    [run] = runs_in(uri)
    points = [point for key in run.data.metrics for point in MlflowClient(uri).get_metric_history(run.info.run_id, key)]
    told = [(point.key, point.step, point.value, point.timestamp) for point in points]
    assert len({(key, step) for key, step, _, _ in told}) == len(told), "a point is there twice"
    return {point: told.count(point) for point in told}


def imported(save_dir: Path, uri: str, zone: str) -> str:
    """The outcome of an import on a host of that zone, after which verify finds no mismatch."""
    told = ymlf("import", save_dir, "--tracking-uri", uri, zone=zone)
    assert told.status == 0, told.err
    verified = ymlf("verify", save_dir, "--tracking-uri", uri, zone="Pacific/Auckland")
    assert verified.status == 0, verified.err
    return told.out.split(":")[0]


NO_POINT, MOST_POINTS = (22, 0), (33, 985)  # the step at which the import is killed, and how many points are there then
VARIANTS = [
    pytest.param({}, timezone.utc, *MOST_POINTS, id="the date has a zone"),
    pytest.param({}, None, *MOST_POINTS, id="the date has no zone"),
    pytest.param({"last": None}, None, *MOST_POINTS, id="no checkpoint"),
    pytest.param({"has_time": False}, timezone.utc, *MOST_POINTS, id="no `time`, the date has a zone"),
    pytest.param({"has_time": False}, None, *MOST_POINTS, id="no `time`, the date has no zone"),
    pytest.param({"has_time": False, "last": None, "padded": True}, None, *MOST_POINTS, id="no `time`, no checkpoint"),
    pytest.param({}, timezone.utc, *NO_POINT, id="the date has a zone, no point is there"),
    pytest.param({"has_time": False, "last": None}, None, *NO_POINT, id="no `time`, no checkpoint, no point is there"),
]


@pytest.mark.parametrize(("changes", "zone", "kill_at", "kept"), VARIANTS)
def test_a_crashed_training_is_imported_finished_and_resumed_from_host_to_host(
    changes: dict[str, object],
    zone: timezone | None,
    kill_at: int,
    kept: int,
    forks: ForkServer,
    tmp_path: Path,
    empty_store: str,
) -> None:
    crashed = CRASHED.with_(**changes)
    if crashed.last is not None:
        crashed = crashed.with_(last={"epoch": 79, "date": saved(crashed, 100, zone)})
    first = crashed.write(tmp_path / "first")
    kill_import(forks, first, empty_store, kill_at)
    half = history(empty_store)
    assert len(half) == kept

    second = Path(shutil.copytree(first, tmp_path / "other host" / "second"))
    touch_all(second, crashed.started_ms + 40 * DAY_MS)
    assert imported(second, empty_store, "Asia/Kolkata") == "resumed"
    whole = history(empty_store)
    assert half.items() <= whole.items()
    assert len(whole) == crashed.epochs * len(crashed.columns)

    resumed = crashed.with_(epochs=100, sessions=(80,))
    if crashed.last is not None:
        resumed = resumed.with_(last={"epoch": -1, "date": saved(resumed, DAY_MS, zone)})
    third = resumed.write(tmp_path / "third")
    move_times(third, 50 * DAY_MS)
    assert imported(third, empty_store, "America/St_Johns") == "updated"
    after = history(empty_store)
    assert whole.items() <= after.items()
    assert len(after) == resumed.epochs * len(resumed.columns)
    assert imported(third, empty_store, "UTC") == "already there"
    assert history(empty_store) == after


def test_the_epochs_of_a_resume_are_dated_by_its_own_checkpoint(tmp_path: Path, empty_store: str) -> None:
    crashed = CRASHED.with_(last={"epoch": 79, "date": saved(CRASHED, 0, timezone.utc)})
    assert imported(crashed.write(tmp_path / "train"), empty_store, "UTC") == "imported"
    resumed = crashed.with_(epochs=100, sessions=(80,))
    resumed = resumed.with_(last={"epoch": -1, "date": saved(resumed, DAY_MS, timezone.utc)})
    assert imported(resumed.write(tmp_path / "train"), empty_store, "Asia/Tokyo") == "updated"
    times = sorted({(step, timestamp) for _, step, _, timestamp in history(empty_store)})
    late = [DAY_MS if row >= 80 else 0 for row in range(100)]
    assert times == [(row, resumed.fit_ms(row) + late[row]) for row in range(100)]


def test_an_event_file_tells_the_same_times_from_host_to_host(
    forks: ForkServer, tmp_path: Path, empty_store: str
) -> None:
    first = copy_fixture("event-file", tmp_path)
    kill_import(forks, first, empty_store, 36)
    half = history(empty_store)
    touch_all(first, CRASHED.started_ms)
    assert imported(first, empty_store, "Asia/Kolkata") == "resumed"
    assert half.items() <= history(empty_store).items()
