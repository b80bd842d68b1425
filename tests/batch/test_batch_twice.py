"""Several importers of one tree at the same time: one run for each training, no matter which was first."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from mlflow import MlflowClient
from sqlalchemy import event
from sqlalchemy.engine import Engine
from support.command import Answer, ymlf
from support.services.mlflow_server import mlflow_server
from support.services.postgres import PostgresServer
from support.stores import rewrite_record, runs_in
from support.trees import active, assert_whole, small_tree, summary, training

from importer import import_many
from importer.batch.executors import Workers
from importer.report import Kind
from importer.store.opening import open_store

RUNS = 40


def at_once(importers: int, *words: object) -> list[Answer]:
    """The answers of as many `ymlf import --json`, each in a process of its own, started at the same time."""
    command = [sys.executable, "-m", "importer", "import", *map(str, words), "--json"]
    with ExitStack() as stack:
        begun = []
        for _ in range(importers):
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            begun.append(stack.enter_context(process))
            stack.callback(process.kill)
        said = [process.communicate(timeout=240) for process in begun]
        return [Answer(process.returncode, *told) for process, told in zip(begun, said, strict=True)]


def test_two_imports_that_begin_at_once_write_one_run_for_each_training(tmp_path: Path, empty_store: str) -> None:
    tree = small_tree(tmp_path / "tree", 8, epochs=3)
    begin = Barrier(2)

    def import_tree() -> Counter[Kind]:
        begin.wait()
        outcomes = import_many([tree], tracking_uri=empty_store, workers=Workers(1))
        return Counter(outcome.kind for outcome in outcomes)

    with ThreadPoolExecutor(2) as importers:
        counts = [future.result() for future in [importers.submit(import_tree) for _ in range(2)]]
    assert [kinds.total() for kinds in counts] == [8, 8]
    assert set(counts[0] + counts[1]) <= {Kind.IMPORTED, Kind.RESUMED, Kind.ALREADY_THERE}, counts
    assert_whole(empty_store, tree, 8)


def two_processes_at_once(tmp_path: Path, uri: str, *place: object) -> None:
    """Two processes import one tree, and end with one run for each training."""
    tree = small_tree(tmp_path / "tree", RUNS)
    open_store(uri)  # has its tables now, so that neither waits for the other to make them
    answers = at_once(2, tree, "--tracking-uri", uri, *place, "-j", "1")
    assert [answer.status for answer in answers] == [0, 0], [answer.err + answer.out for answer in answers]
    counts = [Counter(summary(answer)) for answer in answers]  # type: ignore[call-overload]
    assert [outcomes.total() for outcomes in counts] == [RUNS, RUNS]
    assert set(counts[0] + counts[1]) <= {"imported", "resumed", "already there"}
    assert all(outcomes["imported"] for outcomes in counts)  # they were at it together
    assert_whole(uri, tree, RUNS)


@pytest.mark.stress
def test_two_processes_on_sqlite_write_one_run_for_each_training(tmp_path: Path, sqlite_uri: str) -> None:
    two_processes_at_once(tmp_path, sqlite_uri, "--artifact-location", tmp_path / "artifacts")


@pytest.mark.postgres
def test_two_processes_on_postgres_write_one_run_for_each_training(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    uri = postgres_server.create_database("twice")
    two_processes_at_once(tmp_path, uri, "--artifact-location", tmp_path / "artifacts")


@pytest.mark.stress
def test_two_processes_on_a_server_write_one_run_for_each_training(tmp_path: Path, empty_database: Path) -> None:
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    with mlflow_server(f"sqlite:///{tmp_path / 'mlflow.db'}", str(tmp_path / "artifacts")) as server:
        two_processes_at_once(tmp_path, server.url)


@pytest.mark.postgres
def test_three_importers_open_an_empty_postgres_one_after_the_other(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    tree = small_tree(tmp_path / "tree", 3, epochs=2)
    uri = postgres_server.create_database("three_importers")
    answers = at_once(3, tree, "--tracking-uri", uri, "--artifact-location", tmp_path / "artifacts", "-j", "1")
    assert [answer.status for answer in answers] == [0, 0, 0], [answer.err for answer in answers]
    assert_whole(uri, tree, 3)


def test_what_an_importer_elsewhere_writes_is_left_to_it_for_a_while_and_then_finished(
    tmp_path: Path, empty_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importer.batch.scheduler.PATIENCE", 2)
    for seed in (1, 2):
        training(seed).write(tmp_path / "runs" / f"train{seed}")
    words = ("import", tmp_path / "runs", "--tracking-uri", empty_store, "--json", "-j", "1")
    assert ymlf(*words).status == 0
    client, run = MlflowClient(empty_store), runs_in(empty_store)[0]
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    client.set_tag(run.info.run_id, "ymlf.state", "writing")
    rewrite_record(empty_store, run, writer="another-host:1:00000000", imported_at=now)
    answer = ymlf(*words)
    assert (answer.status, summary(answer)) == (0, {"already there": 1, "resumed": 1})
    last = json.loads(answer.out.splitlines()[1])
    assert (last["outcome"], last["run_id"]) == ("resumed", run.info.run_id)
    assert_whole(empty_store, tmp_path / "runs", 2)


def test_a_run_costs_three_searches_as_it_is_written_and_one_once_it_is_there(tmp_path: Path, empty_store: str) -> None:
    tree, searched = small_tree(tmp_path / "runs", 4, epochs=2), list[str]()

    def note(*arguments: Any) -> None:
        _, _, statement, parameters, *_ = arguments
        if "WHERE" in statement:
            searched.extend(value for value in map(str, parameters) if value.startswith("ymlf.key"))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        import_many([tree], tracking_uri=empty_store, workers=Workers(1))
        writing = Counter(searched)
        searched.clear()
        import_many([tree], tracking_uri=empty_store, workers=Workers(1))
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    keys = Counter(name for run in active(empty_store) for name in run.data.tags if name.startswith("ymlf.key."))
    assert Counter(searched) == keys  # by a name that few runs have
    assert writing - keys - keys - keys == Counter({"ymlf.key.empty": 1})  # once: is there a run without epochs
