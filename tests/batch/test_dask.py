"""A batch on a Dask cluster: as on this host, and whole when a worker or the scheduler dies in the middle of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command import ymlf, ymlf_process
from support.services.dask_cluster import DaskCluster, dask_cluster
from support.services.postgres import PostgresServer
from support.services.process import wait_until
from support.trees import active, assert_whole, small_tree, summary

RUNS = 60

pytestmark = pytest.mark.dask


@pytest.fixture
def cluster() -> Iterator[DaskCluster]:
    """A scheduler and two workers with one thread each."""
    with dask_cluster() as running:
        yield running


def errors_of(stderr: str) -> list[str]:
    """The lines on stderr, less those that tell how far it is."""
    return [line for line in stderr.splitlines() if not re.match(r"\d+/\d+ runs", line)]


class Import:
    """`ymlf import TREE --dask ...` in a process group of its own, followed by its report."""

    def __init__(self, tree: Path, uri: str, scheduler: str, *words: str) -> None:
        self.report = tree.parent / "report.jsonl"
        self.stderr = tree.parent / "errors"
        command = [sys.executable, "-m", "importer", "import", str(tree), "--tracking-uri", uri]
        with self.stderr.open("w") as errors:
            self.process = subprocess.Popen(
                [*command, "--dask", scheduler, "--report", str(self.report), "--json", *words],
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )

    def told(self) -> list[dict[str, object]]:
        """The lines of the report so far."""
        lines = self.report.read_text().splitlines(keepends=True) if self.report.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def wait_for(self, outcomes: int) -> None:
        """So many runs are reported."""
        wait_until(lambda: len(self.told()) >= outcomes or self.process.poll() is not None, f"{outcomes} outcomes")
        assert self.process.poll() is None, self.errors()

    def errors(self) -> list[str]:
        """What it said on stderr but how far it is."""
        return errors_of(self.stderr.read_text())

    def ended(self) -> tuple[int, object]:
        """Its exit status and the counts of its closing line, once it has ended."""
        return self.process.wait(120), self.told()[-1].get("summary")


def test_a_local_cluster_does_what_processes_do(tmp_path: Path, sqlite_uri: str) -> None:
    tree = small_tree(tmp_path / "tree", 9, epochs=3)
    words = (tree, "--tracking-uri", sqlite_uri, "--dask", "local:2", "--json")
    first = ymlf_process("import", *words)
    assert (first.status, summary(first), errors_of(first.err)) == (0, {"imported": 9}, [])
    verified = ymlf_process("verify", *words)
    assert (verified.status, summary(verified), errors_of(verified.err)) == (0, {"verified": 9}, [])
    assert_whole(sqlite_uri, tree, 9)


@pytest.mark.postgres
def test_a_worker_killed_in_mid_batch_costs_nothing(
    tmp_path: Path, cluster: DaskCluster, postgres_server: PostgresServer
) -> None:
    tree = small_tree(tmp_path / "tree", RUNS)
    uri = postgres_server.create_database("killed_worker")
    importing = Import(tree, uri, cluster.address, "--artifact-location", str(tmp_path / "artifacts"))
    importing.wait_for(5)
    cluster.workers[0].kill()
    status, counts = importing.ended()
    assert status == 0, importing.errors()
    assert isinstance(counts, dict) and sum(counts.values()) == RUNS
    assert set(counts) <= {"imported", "resumed", "already there"}, counts
    assert_whole(uri, tree, RUNS)
    assert importing.errors() == []


def test_runs_that_a_lost_scheduler_leaves_are_told_and_done_by_the_next_import(
    tmp_path: Path, cluster: DaskCluster, sqlite_uri: str
) -> None:
    tree = small_tree(tmp_path / "tree", RUNS)
    importing = Import(tree, sqlite_uri, cluster.address)
    importing.wait_for(5)
    cluster.scheduler.kill()
    status, counts = importing.ended()
    assert status == 1
    assert isinstance(counts, dict) and counts["not tried"] > 0 and sum(counts.values()) == RUNS, counts
    left = [told for told in importing.told() if told.get("outcome") == "not tried"]
    assert all(str(told["reason"]).startswith(f"--dask {cluster.address}: ") for told in left)
    assert importing.errors() == []
    for worker in cluster.workers:  # what they had in hand is theirs no more
        worker.kill()
    assert ymlf("import", tree, "--tracking-uri", sqlite_uri, "--json").status == 0
    assert_whole(sqlite_uri, tree, RUNS)


def test_ctrl_c_lets_the_workers_finish_what_they_have(tmp_path: Path, sqlite_uri: str) -> None:
    tree = small_tree(tmp_path / "tree", RUNS)
    importing = Import(tree, sqlite_uri, "local:2")
    importing.wait_for(3)
    os.killpg(importing.process.pid, signal.SIGINT)  # as a terminal does: to the workers, too
    status, counts = importing.ended()
    assert status == 128 + signal.SIGINT
    assert isinstance(counts, dict) and set(counts) == {"imported", "not tried"} and sum(counts.values()) == RUNS
    assert {run.data.tags["ymlf.state"] for run in active(sqlite_uri)} == {"complete"}
    assert len(active(sqlite_uri)) == counts["imported"]
    assert importing.errors() == ["stopping: finishing the run in hand; once more stops at once"]


def test_workers_find_a_tree_and_a_store_that_were_given_as_relative_paths(
    tmp_path: Path, cluster: DaskCluster, sqlite_uri: str
) -> None:
    tree = small_tree(tmp_path / "tree", 2, epochs=3)
    words = ("tree", "--tracking-uri", "sqlite:///mlflow.db", "--dask", cluster.address, "--json")
    answer = ymlf_process("import", *words, cwd=tmp_path)  # this one would keep the store open, by its relative name
    assert (answer.status, summary(answer)) == (0, {"imported": 2}), answer
    assert_whole(sqlite_uri, tree, 2)


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        pytest.param("local:0", "error: --dask local:0: no number of workers\n", id="no worker"),
        pytest.param("local:many", "error: --dask local:many: no number of workers\n", id="no number"),
        pytest.param("nonsense", "error: --dask nonsense: ", id="no address"),
    ],
)
def test_a_cluster_that_cannot_be_meant_is_misuse(
    tmp_path: Path, sqlite_uri: str, scheduler: str, message: str
) -> None:
    tree = small_tree(tmp_path / "tree", 2, epochs=3)
    answer = ymlf("import", tree, "--tracking-uri", sqlite_uri, "--dask", scheduler)
    assert answer.status == 2
    assert answer.err.startswith(message)
    assert active(sqlite_uri) == []


def test_a_scheduler_that_is_not_there_is_a_misuse(tmp_path: Path, sqlite_uri: str) -> None:
    tree = small_tree(tmp_path / "tree", 2, epochs=3)
    answer = ymlf("import", tree, "--tracking-uri", sqlite_uri, "--dask", "tcp://127.0.0.1:1")
    assert answer.status == 2, answer
    assert "hint: is the scheduler up, at this address?" in answer.err
