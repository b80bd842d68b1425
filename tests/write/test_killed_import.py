"""An import that is killed at any moment is finished by the next one: one run, complete, no point twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from queue import Queue

import pytest
from mlflow import MlflowClient
from support.command import ymlf
from support.directories import Training, copy_fixture
from support.fork_server import ForkServer
from support.services.fault_proxy import fault_proxy
from support.services.mlflow_server import MlflowServer
from support.stores import runs_in

from importer.store.opening import open_store

MOMENTS = range(19)
LONG = Training(epochs=80, plots=False)  # its points take two requests; it has three artifacts


@pytest.fixture(scope="session")
def steps(forks: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many steps an import of the fixture into a database has, in an experiment of its own."""
    here = tmp_path_factory.mktemp("undisturbed")
    open_store(uri := f"sqlite:///{here}/mlflow.db")
    ended = forks.run("import", copy_fixture("event-file", here), "--tracking-uri", uri, cwd=here)
    assert ended.status == 0, (here / "words").read_text()
    return ended.steps


def is_finished_by_the_next_import(save_dir: Path, uri: str, *more: str) -> None:
    """One more import leaves one run that is whole."""
    words = (save_dir, "--tracking-uri", uri, *more)
    told = ymlf("import", *words)
    assert told.status == 0, told.err
    [run] = [run for run in runs_in(uri) if run.data.tags.get("ymlf.source", "").endswith(f":{save_dir}")]
    assert run.data.tags["ymlf.state"] == "complete"
    for key in run.data.metrics:
        steps = Counter(point.step for point in MlflowClient(uri).get_metric_history(run.info.run_id, key))
        assert set(steps.values()) == {1}, key
    verified = ymlf("verify", *words, "--deep")
    assert (verified.status, verified.out.split(":")[0]) == (0, "verified"), verified.err


@pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGINT, id="Ctrl-C", marks=pytest.mark.stress), pytest.param(signal.SIGKILL, id="kill")],
)
def test_an_import_killed_while_the_database_is_made_leaves_no_half_of_one(
    number: signal.Signals, tmp_path: Path
) -> None:
    copy_fixture("train-2", tmp_path)
    command = [sys.executable, "-m", "importer", "import", "train-2"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    making = tmp_path / "mlflow.db.making"
    until = time.monotonic() + 60
    while not making.exists() and time.monotonic() < until:
        time.sleep(0.002)
    process.send_signal(number)
    assert process.wait(60) == (130 if number is signal.SIGINT else -signal.SIGKILL)
    assert not (tmp_path / "mlflow.db").exists()
    is_finished_by_the_next_import(tmp_path / "train-2", f"sqlite:///{tmp_path}/mlflow.db")
    assert [left.name for left in tmp_path.glob("mlflow.db*")] == ["mlflow.db"]


@pytest.mark.parametrize(
    "moment", [pytest.param(moment, marks=[pytest.mark.stress] if moment % 3 else []) for moment in MOMENTS]
)
def test_an_import_killed_at_any_moment_is_finished_by_the_next(
    moment: int, steps: int, forks: ForkServer, tmp_path: Path, empty_store: str
) -> None:
    save_dir = copy_fixture("event-file", tmp_path)
    kill_at = 1 + round(moment * (steps - 1) / MOMENTS[-1])  # from the first step to the last
    ended = forks.run("import", save_dir, "--tracking-uri", empty_store, cwd=tmp_path, kill_at=kill_at)
    assert ended.signal == signal.SIGKILL, (tmp_path / "words").read_text()
    is_finished_by_the_next_import(save_dir, empty_store)


@pytest.mark.parametrize(
    ("request_of", "index"),
    [
        pytest.param("mlflow/experiments/create", 0, id="the experiment is created", marks=pytest.mark.stress),
        pytest.param("mlflow/runs/create", 0, id="the run is created"),
        pytest.param("/args.yaml", 0, id="the first artifact is logged", marks=pytest.mark.stress),
        pytest.param("/weights/last.pt", 0, id="the last artifact is logged"),
        pytest.param("mlflow/runs/log-inputs", 0, id="the dataset is logged", marks=pytest.mark.stress),
        pytest.param("mlflow/runs/update", 0, id="the run is ended"),
        pytest.param("mlflow/runs/log-batch", 0, id="params and points are logged, and the run is complete"),
    ],
)
def test_an_import_killed_before_a_request_is_finished_by_the_next(
    request_of: str, index: int, forks: ForkServer, tmp_path: Path, http_server: MlflowServer
) -> None:
    save_dir = LONG.write(tmp_path / "train")
    experiment = ("--experiment", f"killed before {request_of} {index}")
    began: Queue[int] = Queue()

    def kill(method: str, path: str, earlier: int) -> str | None:
        if method == "GET" or not path.endswith(request_of) or earlier != index:
            return None
        os.kill(began.get(timeout=10), signal.SIGKILL)
        return "drop"

    with fault_proxy(http_server.url) as proxy:
        proxy.script = kill
        began.put(forks.begin("import", save_dir, "--tracking-uri", proxy.url, *experiment, cwd=tmp_path))
        assert forks.wait().signal == signal.SIGKILL, (tmp_path / "words").read_text()
    is_finished_by_the_next_import(save_dir, http_server.url, *experiment)
