"""A batch that is stopped, or loses its workers, or is killed: what was done stays, the next start does the rest."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from support.command import ymlf
from support.directories import tune_table
from support.services.process import wait_until
from support.trees import active, assert_whole, small_tree

from importer.batch.executors import Workers
from importer.batch.scheduler import Job, Scheduler, Stop, Task
from importer.batch.summary import RunSummary
from importer.model import ImportContext, ImportOptions
from importer.report import Kind, Outcome

RUNS = 12
MANY_RUNS = 60


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_tree(tmp_path_factory.mktemp("interrupted") / "tree", RUNS, epochs=5)


@pytest.fixture(scope="session")
def large_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_tree(tmp_path_factory.mktemp("interrupted") / "large_tree", MANY_RUNS)


class Begun:
    """`ymlf import --json` in a process group of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.told: list[dict[str, object]] = []

    def wait_for(self, outcomes: int) -> None:
        """So many directories have been told of, or the command has ended."""
        while len(self.told) < outcomes and (line := self.process.stdout.readline()):  # type: ignore[union-attr]
            self.told.append(json.loads(line))

    def end(self) -> int:
        """The exit status, once the command is over and all it said is read."""
        self.wait_for(sys.maxsize)
        return self.process.wait(30)

    def kill(self) -> None:
        """Nothing of it runs any more."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)
        wait_until(lambda: not self.others(), "the whole group is gone", 10)

    def others(self) -> dict[int, int]:
        """The other processes of the group that run, each with its parent's id."""
        words = ["ps", "-A", "-o", "pid=,ppid=,pgid=,stat="]
        listed = subprocess.run(words, capture_output=True, text=True, check=True)
        rows = [line.split() for line in listed.stdout.splitlines()]
        group = str(self.process.pid)
        return {int(row[0]): int(row[1]) for row in rows if row[2] == group != row[0] and not row[3].startswith("Z")}

    def workers(self) -> list[int]:
        """The processes that import: those of the group that the command did not start itself."""
        return [pid for pid, parent in self.others().items() if parent != self.process.pid]


@contextmanager
def begin(*words: object, uri: str, jobs: int = 2) -> Iterator[Begun]:
    """An import that runs meanwhile; nothing of it is left afterwards."""
    command = [
        sys.executable,
        "-m",
        "importer",
        "import",
        *words,
        "--tracking-uri",
        uri,
        "--json",
        "-j",
        jobs,
    ]
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        begun = Begun(process)
        try:
            yield begun
        finally:
            begun.kill()


def finish(tree: Path, uri: str, runs: int) -> None:
    """One more start is enough."""
    answer = ymlf("import", tree, "--tracking-uri", uri, "--json", "-j", "1")
    assert answer.status == 0, answer.out
    assert_whole(uri, tree, runs)


@pytest.mark.parametrize(
    ("number", "to_all", "status"),
    [
        pytest.param(signal.SIGINT, True, 130, id="Ctrl-C, which the workers get too"),
        pytest.param(signal.SIGTERM, False, 143, id="SIGTERM", marks=pytest.mark.stress),
    ],
)
def test_a_signal_lets_the_runs_in_hand_finish_and_tells_what_was_done(
    number: signal.Signals, to_all: bool, status: int, tree: Path, empty_store: str
) -> None:
    with begin(tree, uri=empty_store) as begun:
        begun.wait_for(2)
        (os.killpg if to_all else os.kill)(begun.process.pid, number)
        assert begun.end() == status
        assert "once more stops at once" in begun.process.stderr.read()  # type: ignore[union-attr]
        wait_until(lambda: not begun.others(), "no worker is left", 30)
    closing = begun.told[-1]
    assert closing["exit_status"] == status
    done = Counter(told["outcome"] for told in begun.told[:-1])
    assert done == closing["summary"] and set(done) == {"imported", "not tried"}
    assert 2 <= done["imported"] < RUNS and done.total() == RUNS
    assert Counter(run.data.tags["ymlf.state"] for run in active(empty_store)) == {"complete": done["imported"]}
    finish(tree, empty_store, RUNS)


@pytest.mark.stress
@pytest.mark.parametrize(
    ("number", "to_all", "status"),
    [
        pytest.param(signal.SIGINT, True, 130, id="Ctrl-C, which all processes get"),
        pytest.param(signal.SIGTERM, False, 143, id="SIGTERM"),
    ],
)
def test_a_signal_while_the_directories_are_looked_at_ends_it_in_a_word_and_leaves_nothing(
    number: signal.Signals, to_all: bool, status: int, tmp_path: Path, empty_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = small_tree(tmp_path / "many", 65, epochs=1)  # more than one process looks at
    archive = shutil.make_archive(str(tmp_path / "many"), "zip", many)
    with tempfile.TemporaryDirectory(prefix="ymlf-") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        with begin(archive, uri=empty_store) as begun:
            wait_until(lambda: bool(begun.others()), "other processes start", 30)
            (os.killpg if to_all else os.kill)(begun.process.pid, number)
            assert begun.end() == status
            [closing] = begun.told
            assert (closing["runs"], closing["exit_status"], closing["reason"]) == (0, status, "interrupted")
            *progress, last = filter(None, begun.process.stderr.read().splitlines())  # type: ignore[union-attr]
            assert last == "interrupted" and all(line.startswith(("searching: ", "reading: ")) for line in progress)
            wait_until(lambda: not begun.others(), "no process is left", 5)
        assert [path.name for path in Path(folder).iterdir() if path.suffix != ".lock"] == []
    assert active(empty_store) == []


@pytest.mark.stress
def test_a_second_signal_stops_at_once_and_leaves_no_worker(tree: Path, empty_store: str) -> None:
    with begin(tree, uri=empty_store) as begun:
        begun.wait_for(1)
        with sqlite3.connect(empty_store.removeprefix("sqlite:///"), isolation_level=None, timeout=30) as database:
            database.execute("BEGIN IMMEDIATE")  # the runs in hand cannot go on
            os.kill(begun.process.pid, signal.SIGINT)
            assert any("stopping" in line for line in begun.process.stderr)  # type: ignore[union-attr]
            os.kill(begun.process.pid, signal.SIGINT)
            assert begun.process.wait(10) == 130  # before the 20 s for which a worker waits for the database
            wait_until(lambda: not begun.others(), "no worker is left", 10)
            database.execute("ROLLBACK")
    assert {run.data.tags["ymlf.state"] for run in active(empty_store)} <= {"complete", "writing"}


@pytest.mark.stress
def test_a_batch_killed_six_times_has_each_run_once_in_the_end(large_tree: Path, empty_store: str) -> None:
    moments = random.Random(20240301)
    for _ in range(6):
        with begin(large_tree, uri=empty_store) as begun:
            there = len(active(empty_store))
            begun.wait_for(min(there + moments.randrange(4), MANY_RUNS))  # what is there already is told first
            time.sleep(moments.uniform(0, 0.2))
    left = Counter(run.data.tags["ymlf.state"] for run in active(empty_store))
    assert 6 < left.total() <= MANY_RUNS + 2 and left["complete"] < MANY_RUNS  # it was killed at work, and had got on
    finish(large_tree, empty_store, MANY_RUNS)


def test_a_killed_batch_leaves_no_worker_and_the_next_import_does_the_rest(tree: Path, empty_store: str) -> None:
    with begin(tree, uri=empty_store) as begun:
        begun.wait_for(1)
        assert begun.workers()
        begun.process.kill()
        wait_until(lambda: not begun.others(), "the workers have ended too", 30)
    assert 1 <= len(active(empty_store)) < RUNS
    finish(tree, empty_store, RUNS)


@pytest.mark.stress
def test_the_run_of_a_worker_that_is_killed_is_tried_again(tree: Path, empty_store: str) -> None:
    with begin(tree, uri=empty_store) as begun:
        begun.wait_for(3)
        os.kill(begun.workers()[0], signal.SIGKILL)
        assert begun.end() == 0
    counted = begun.told[-1]["summary"]
    assert isinstance(counted, dict) and sum(counted.values()) == RUNS
    assert set(counted) <= {"imported", "resumed", "already there"}
    assert_whole(empty_store, tree, RUNS)


@pytest.mark.stress
def test_a_signal_amid_a_tune_lets_its_iterations_in_hand_finish_and_leaves_the_rest(
    tmp_path: Path, empty_store: str
) -> None:
    runs = 1 + MANY_RUNS
    tune_table(tmp_path / "tune", [number / 100 for number in range(MANY_RUNS)])
    with begin(tmp_path / "tune", "--iterations", "all", uri=empty_store) as begun:
        begun.wait_for(5)
        begun.process.send_signal(signal.SIGTERM)
        assert begun.end() == 143
    counted = begun.told[-1]["summary"]
    assert isinstance(counted, dict) and counted["not tried"] > 10 and sum(counted.values()) == runs
    assert {run.data.tags["ymlf.state"] for run in active(empty_store)} == {"complete"}
    again = ymlf("import", tmp_path / "tune", "--iterations", "all", "--tracking-uri", empty_store, "--json")
    assert again.told[-1]["summary"] == {"already there": counted["imported"], "imported": runs - counted["imported"]}
    [parent] = [run for run in active(empty_store) if "mlflow.parentRunId" not in run.data.tags]
    below = {run.data.tags.get("mlflow.parentRunId") for run in active(empty_store)} - {None}
    assert (len(active(empty_store)), below) == (runs, {parent.info.run_id})


def dies_of_poison(summary: RunSummary, uri: str, options: ImportOptions, context: ImportContext) -> Outcome:
    """A job whose worker dies of one run; to the batch the death of a process is this error."""
    if summary.save_dir == "poison":
        raise BrokenProcessPool
    return Outcome(Kind.IMPORTED, summary.save_dir)


def exits_of_poison(summary: RunSummary, uri: str, options: ImportOptions, context: ImportContext) -> Outcome:
    """The same job, for workers that are processes: they do end."""
    if summary.save_dir == "poison":
        os._exit(9)
    return dies_of_poison(summary, uri, options, context)


def outcomes_of(job: Job, *names: str, jobs: int = 1, threads: bool = True, fail_fast: bool = False) -> list[Outcome]:
    """The outcomes of a batch of directories of these names, which are not there."""
    task = Task(job, "", ImportOptions(), ImportContext())
    with contextlib.closing(Workers(jobs, processes=True)) as workers:
        engine = partial(workers.executor, jobs, threads=threads)
        scheduler = Scheduler(task, engine, jobs, Stop(fail_fast=fail_fast))
        return list(scheduler.outcomes([RunSummary(name, ".") for name in names]))


@pytest.mark.parametrize(
    ("job", "threads"),
    [(dies_of_poison, True), pytest.param(exits_of_poison, False, marks=pytest.mark.stress)],
    ids=["threads", "processes"],
)
def test_a_run_that_kills_its_workers_fails_alone(job: Job, threads: bool) -> None:
    every = outcomes_of(job, "a", "poison", "b", "c", "d", "e", jobs=2, threads=threads)
    outcomes = {outcome.source: outcome for outcome in every}
    failed = outcomes.pop("poison")
    assert (failed.kind, failed.reason) == (Kind.FAILED, "its worker died twice")
    assert {name: outcome.kind for name, outcome in outcomes.items()} == dict.fromkeys("abcde", Kind.IMPORTED)


def test_fail_fast_stops_at_a_run_that_kills_its_workers() -> None:
    outcomes = outcomes_of(dies_of_poison, "a", "poison", "b", "c", fail_fast=True)
    kinds = {outcome.source: outcome.kind for outcome in outcomes}
    assert kinds["poison"] is Kind.FAILED and kinds["c"] is Kind.NOT_TRIED
    assert {outcome.reason for outcome in outcomes if outcome.kind is Kind.NOT_TRIED} == {"--fail-fast"}


def dies_once_then_finds_another_import_at_it(
    summary: RunSummary, uri: str, options: ImportOptions, context: ImportContext
) -> Outcome:
    """A job whose deaths and looks are files beside the run."""
    done = Path(summary.save_dir)
    for step, kind in (("died", None), ("was busy", Kind.BUSY)):
        if not (done / step).exists():
            (done / step).touch()
            if kind is None:
                raise BrokenProcessPool
            return Outcome(kind, summary.save_dir)
    return Outcome(Kind.RESUMED, summary.save_dir)


def test_a_run_that_is_put_off_after_its_worker_died_is_gone_back_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importer.batch.scheduler.BUSY_SECONDS", 0.01)
    outcomes = outcomes_of(dies_once_then_finds_another_import_at_it, str(tmp_path))
    assert [outcome.kind for outcome in outcomes] == [Kind.RESUMED]
