"""Servers and databases that fail, and networks that lose and cut: what was begun is finished, once."""

from __future__ import annotations

import contextlib
import gc
import re
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command import ymlf
from support.services.bad_network import FAULTS, by_chance, restart_at
from support.services.fault_proxy import FaultProxy, fault_proxy
from support.services.mlflow_server import MlflowServer, mlflow_server
from support.services.postgres import PostgresServer
from support.services.process import answers_ok, free_port, wait_until
from support.stores import points_of
from support.trees import active, assert_whole, outcomes, small_tree, summary, training

RUNS = 40
API = "/api/2.0/mlflow/"


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of runs with four files each, for a file is a request."""
    tree = small_tree(tmp_path_factory.mktemp("faults") / "tree", RUNS)
    for plot in [*tree.rglob("*.png"), *tree.rglob("*.jpg")]:
        plot.unlink()
    return tree


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow tries again twice, and neither MLflow nor ymlf waits in between."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    monkeypatch.setattr("importer.store.failures.PAUSE_SECONDS", (0.0, 0.05))


@pytest.fixture
def proxy(http_server: MlflowServer) -> Iterator[FaultProxy]:
    with fault_proxy(http_server.url, delay_seconds=0.3) as running:
        yield running


@pytest.fixture
def save_dir(tmp_path: Path) -> Path:
    """A directory whose name and experiment are used in no other test."""
    return training(1, args={"name": tmp_path.name, "project": tmp_path.name}).write(tmp_path / tmp_path.name)


def assert_one_whole_run(save_dir: Path, uri: str) -> None:
    """There is one run of this directory, complete, with no point twice."""
    [run] = [run for run in active(uri) if run.info.run_name == save_dir.name]
    assert (run.data.tags["ymlf.state"], run.info.status) == ("complete", "FINISHED")
    assert [step for step, _ in points_of(uri, run, "train/box_loss")] == [0, 1, 2]
    verified = ymlf("verify", save_dir, "--tracking-uri", uri, "--deep")
    assert verified.status == 0, verified.out + verified.err


# A store that is gone


@pytest.mark.parametrize(
    "scheme",
    ["http", pytest.param("postgresql+psycopg", marks=pytest.mark.postgres)],
    ids=["a server that is gone", "a database that is gone"],
)
def test_a_store_that_is_gone_is_an_error_with_a_hint(scheme: str, save_dir: Path) -> None:
    answer = ymlf("import", save_dir, "--tracking-uri", f"{scheme}://127.0.0.1:{free_port()}/runs")
    assert answer.status == 3
    assert "error: opening the tracking store: " in answer.err and "hint: is the server up?" in answer.err


def test_a_server_that_hangs_up_is_asked_no_more_than_twice(
    save_dir: Path, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES")  # MLflow's own default is seven retries, for minutes
    proxy.script = lambda method, path, index: "drop"
    answer = ymlf("import", save_dir, "--tracking-uri", proxy.url)
    assert answer.status == 3 and "hint: is the server up?" in answer.err
    assert proxy.counts.total() == 2


@pytest.mark.stress
def test_a_server_that_takes_calls_and_says_nothing_is_called_no_more_than_twice(
    save_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        answer = ymlf("import", save_dir, "--tracking-uri", f"http://127.0.0.1:{silent.getsockname()[1]}")
        silent.setblocking(False)
        calls = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                silent.accept()[0].close()
                calls += 1
    assert (answer.status, calls) == (3, 2)
    assert "hint: " in answer.err


# One request that goes wrong


@pytest.mark.parametrize(
    ("retries", "created"),
    [("0", 1), ("2", 2)],
    ids=["MLflow gives up", "MLflow creates a second run"],
)
def test_one_run_remains_where_the_answer_to_create_run_was_lost(
    retries: str, created: int, save_dir: Path, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", retries)
    proxy.script = lambda method, path, index: "lose_answer" if path == f"{API}runs/create" and index == 0 else None
    answer = ymlf("import", save_dir, "--tracking-uri", proxy.url)
    assert answer.status == 0, answer.err
    assert proxy.faulted == {"lose_answer": 1} and proxy.counts["POST", f"{API}runs/create"] == created
    assert_one_whole_run(save_dir, proxy.url)


@pytest.mark.stress
@pytest.mark.parametrize("fault", ["drop", "delay", "lose_answer", "cut_request", "429", "500", "503", "504"])
def test_an_import_gets_through_where_each_request_goes_wrong_at_first(
    fault: str, save_dir: Path, proxy: FaultProxy
) -> None:
    proxy.script = lambda method, path, index: fault if index == 0 else None
    answer = ymlf("import", save_dir, "--tracking-uri", proxy.url)
    assert answer.status == 0, answer.err
    assert proxy.faulted[fault] >= 12  # eight kinds of requests, five artifacts
    proxy.script = None
    assert_one_whole_run(save_dir, proxy.url)


@pytest.mark.stress
@pytest.mark.parametrize(
    "request_of",
    ["experiments/get-by-name", "runs/search", "runs/create", "runs/log-batch", "runs/update", "/results.csv"],
)
def test_an_answer_that_is_cut_is_asked_for_again_by_ourselves(
    request_of: str, save_dir: Path, proxy: FaultProxy
) -> None:
    """MLflow does not ask again for an answer of which a part has come."""
    cut = iter(["cut_answer"])
    proxy.script = lambda method, path, index: next(cut, None) if path.endswith(request_of) else None
    answer = ymlf("import", save_dir, "--tracking-uri", proxy.url)
    assert answer.status == 0, answer.err
    assert proxy.faulted == {"cut_answer": 1}
    assert_one_whole_run(save_dir, proxy.url)


# An artifact store that refuses


@pytest.mark.parametrize(
    ("status", "words", "hint"),
    [
        ("403", "artifact args.yaml: 403 Client Error: Forbidden for url: ", "this login may not do that"),
        pytest.param(
            "500", "artifact args.yaml: API request to ", "the server's log says why", marks=pytest.mark.stress
        ),
    ],
)
def test_a_run_whose_artifacts_are_refused_stays_as_writing_and_the_next_start_completes_it(
    status: str, words: str, hint: str, save_dir: Path, proxy: FaultProxy
) -> None:
    proxy.script = lambda method, path, index: status if method == "PUT" and "/mlflow-artifacts/" in path else None
    answer = ymlf("import", save_dir, "--tracking-uri", proxy.url)
    assert (answer.status, answer.out) == (3, ""), answer
    error, hinted = answer.err.splitlines()
    assert error.startswith(f"error: failed: {save_dir}: {words}") and status in error
    assert hinted.startswith(f"  hint: {hint}")
    [run] = [run for run in active(proxy.url) if run.info.run_name == save_dir.name]
    assert (run.data.tags["ymlf.state"], run.info.status) == ("writing", "RUNNING")
    proxy.script = None
    again = ymlf("import", save_dir, "--tracking-uri", proxy.url)
    assert (again.status, again.out.split(":")[0]) == (0, "resumed"), again
    assert_one_whole_run(save_dir, proxy.url)


# Many that go wrong


@pytest.mark.stress
def test_a_batch_gets_through_a_bad_network_and_a_server_that_is_killed_three_times(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "4")  # pauses of 2 s on average, 16 s in all
    with (
        mlflow_server(f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "artifacts")) as server,
        fault_proxy(server.url, delay_seconds=0.05) as proxy,
    ):
        proxy.script = by_chance
        restarts = threading.Thread(target=restart_at, args=(server, proxy, (10, 20, 30)))
        restarts.start()
        statuses: list[int] = []
        while len(statuses) < 6 and 0 not in statuses:
            wait_until(lambda: answers_ok(f"{server.url}/health"), "the server is back", 60)
            statuses.append(ymlf("import", tree, "--tracking-uri", proxy.url, "-j", "8").status)
        restarts.join()
        assert statuses[-1] == 0 and set(statuses[:-1]) <= {3}, statuses
        assert min(proxy.faulted[fault] for fault in FAULTS) >= 5, proxy.faulted
        assert_whole(server.url, tree, RUNS)


@pytest.mark.stress
@pytest.mark.postgres
def test_a_database_that_is_lost_ends_the_batch_soon_and_the_rest_is_listed(
    tree: Path, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    uri = postgres_server.create_database("lost")
    words = ["import", tree, "--tracking-uri", uri, "--artifact-location", tmp_path / "artifacts", "--json", "-j", "1"]
    command = [sys.executable, "-m", "importer", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            told = [process.stdout.readline() for _ in range(3)]  # type: ignore[union-attr]
            postgres_server.kill()
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
            postgres_server.restart()
    lines = "".join([*told, out])
    assert process.returncode == 3, lines
    counted = Counter(re.findall(r'^\{"outcome": "([^"]+)"', lines, re.MULTILINE))
    assert set(counted) == {"imported", "failed", "not tried"} and counted.total() == RUNS
    assert counted["failed"] <= 7  # three in a row, and those that were in hand
    assert '"reason": "the store does not answer"' in lines and "Traceback" not in err
    answer = ymlf(*words)
    assert answer.status == 0 and set(summary(answer)) <= {"imported", "resumed", "already there"}  # type: ignore[call-overload]
    assert_whole(uri, tree, RUNS)


# A long run


def open_files() -> int:
    """How many file descriptors this process has open, less those of objects that nothing uses."""
    gc.collect()
    return sum(1 for _ in Path("/dev/fd").iterdir())


@pytest.mark.stress
@pytest.mark.parametrize("store", ["a server", "a database"])
def test_no_file_stays_open_over_many_runs(
    store: str, tree: Path, tmp_path: Path, http_server: MlflowServer, empty_store: str
) -> None:
    uri = {"a server": http_server.url, "a database": empty_store}[store]
    small_tree(tmp_path / "first", 8, epochs=2)
    place = ("--tracking-uri", uri, "--experiment", "open files", "--json", "-j", "4" if store == "a server" else "1")
    assert ymlf("import", tmp_path / "first", *place).status == 0  # connections that are kept are open by now
    before = open_files()
    assert summary(ymlf("import", tree, *place)) == {"imported": RUNS}
    after_imports = open_files()
    for _ in range(5):
        assert set(outcomes(ymlf("import", tree, *place)).values()) == {"already there"}
    assert after_imports <= before + 4
    assert open_files() <= after_imports + 4
