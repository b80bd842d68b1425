"""Where an output cannot be written, or memory or a worker is gone: a sentence, the right status, and whole runs."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.command import ymlf
from support.services.fault_proxy import fault_proxy
from support.services.mlflow_server import MlflowServer
from support.stores import runs_in, untouched
from support.trees import training

from importer import Kind, WorkerError, Workers, import_many, verify_run
from importer.batch.gather import gather

CUT_SHORT = "  hint: the output is cut short; what was imported is whole\n"


def in_shell(words: list[object], redirected: str, cwd: Path) -> tuple[int, str]:
    """Run a command with its output redirected, and return its status and stderr."""
    command = " ".join(shlex.quote(str(word)) for word in (sys.executable, "-m", "importer", *words))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        ["bash", "-c", f"{command} {redirected}"],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


def assert_all_imported(tree: Path, uri: str) -> None:
    assert {run.data.tags["ymlf.state"] for run in runs_in(uri)} == {"complete"}
    assert len(runs_in(uri)) == 4
    assert [mismatch for path in sorted(tree.iterdir()) for mismatch in verify_run(path, tracking_uri=uri)] == []


@pytest.mark.parametrize(
    ("redirected", "why"),
    [
        pytest.param(">/dev/full", "stdout: No space left on device", id="a full disk"),
        pytest.param(">&-", "stdout: Bad file descriptor", id="closed"),
        pytest.param("<&- >&-", "stdout: Bad file descriptor", id="closed, and stdin too"),
    ],
)
@pytest.mark.parametrize(
    "more", [pytest.param([], marks=pytest.mark.stress, id="words"), pytest.param(["--json"], id="JSON")]
)
def test_a_batch_ends_and_says_that_its_output_could_not_be_written(
    redirected: str, why: str, more: list[str], tree: Path, empty_store: str
) -> None:
    status, err = in_shell(["import", tree, *more, "--tracking-uri", empty_store], redirected, tree.parent)
    assert (status, err) == (1, f"error: {why}\n{CUT_SHORT}")
    assert_all_imported(tree, empty_store)


def test_nothing_can_be_said_where_stderr_is_broken_too(tree: Path, empty_store: str) -> None:
    for redirected in (">/dev/full 2>/dev/full", ">&- 2>&-"):
        status, err = in_shell(["import", tree, "--tracking-uri", empty_store], redirected, tree.parent)
        assert (status, err) == (1, "")
    assert_all_imported(tree, empty_store)


def test_a_report_that_fails_does_not_end_the_batch(tree: Path, empty_store: str) -> None:
    words = ("import", tree, "--report", "/dev/full", "--tracking-uri", empty_store, "--json")
    answer = ymlf(*words)
    assert answer.err == "error: --report /dev/full: No space left on device; the report ends here\n"
    assert (answer.status, len(answer.told), answer.told[-1]["exit_status"]) == (1, 5, 1)
    assert_all_imported(tree, empty_store)


def test_a_report_that_cannot_be_opened_is_found_before_anything_is_made(tree: Path, new_sqlite_uri: str) -> None:
    for report in ("no/such/folder/report", "runs"):
        answer = ymlf("import", tree, "--report", report, "--tracking-uri", new_sqlite_uri)
        assert (answer.status, answer.out) == (2, "")
        assert sorted(path.name for path in tree.parent.iterdir()) == ["runs"]


def test_a_working_directory_that_is_gone_is_said(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    status, err = in_shell(["scan", tmp_path], "", tmp_path / "gone")
    assert status == 1
    command = shlex.join([sys.executable, "-m", "importer", "scan", str(tmp_path)])
    done = subprocess.run(
        ["bash", "-c", f"rmdir ../gone; {command}"], cwd=tmp_path / "gone", capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(
        "error: the working directory: No such file or directory\n  hint: cd to a folder that exists\n"
    )
    assert "Traceback" not in err + done.stderr


def test_a_directory_that_needs_too_much_memory_stops_no_other(
    tree: Path, empty_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importer.batch import summary, worker

    read, write = summary.read_summary, worker.import_training

    def read_but_one(save_dir: Any, **more: Any) -> Any:
        if save_dir.name == "train2":
            raise MemoryError
        return read(save_dir, **more)

    def write_but_one(job: Any) -> Any:
        if job.run.name == "train3":
            raise MemoryError
        return write(job)

    monkeypatch.setattr(summary, "read_summary", read_but_one)
    monkeypatch.setattr(worker, "import_training", write_but_one)
    monkeypatch.setattr(summary.read_trainings, "__defaults__", (read_but_one,))
    outcomes = {Path(outcome.source).name: outcome for outcome in import_many(tree, tracking_uri=empty_store)}
    assert {name: outcome.kind for name, outcome in outcomes.items()} == {
        "train": Kind.IMPORTED, "train2": Kind.REFUSED, "train3": Kind.FAILED, "train10": Kind.IMPORTED,
    }  # fmt: skip
    assert str(outcomes["train2"].reason).endswith(": not enough memory to read it")
    assert outcomes["train3"].reason == "not enough memory"


def test_a_command_that_needs_too_much_memory_ends_with_a_sentence(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("importer.api.read_run", too_much)
    answer = ymlf("plan", tree / "train")
    assert (answer.status, answer.err) == (3, "error: not enough memory\n  hint: fewer workers need less: -j 1\n")


class DyingWorkers(Workers):
    """Workers that die at their first task."""

    @contextmanager
    def executor(self, jobs: int, *, threads: bool) -> Iterator[Executor]:
        class Dying(Executor):
            def map(self, *_: object, **__: object) -> Any:
                raise BrokenProcessPool("one died")

        yield Dying()


def test_a_worker_that_dies_as_directories_are_looked_at_is_said(
    tree: Path, empty_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WorkerError, match="a worker died while it read run directories"):
        gather(tree, workers=DyingWorkers())
    monkeypatch.setattr("importer.batch.executors.Workers", DyingWorkers)
    answer = ymlf("import", tree, "--tracking-uri", empty_store, "--json")
    assert answer.status == answer.told[-1]["exit_status"] == 3
    assert answer.err.startswith("error: a worker died while it read run directories\n  hint: ")
    assert untouched(empty_store)


def test_a_dry_run_has_its_closing_line_when_the_store_fails(
    tree: Path, http_server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with fault_proxy(http_server.url) as gate:
        gate.script = lambda method, path, index: "503" if "runs/search" in path and index else None
        words = ("import", tree, "--dry-run", "--json", "--report", tree.parent / "report", "--tracking-uri", gate.url)
        answer = ymlf(*words, "--experiment", "a dry run that fails")
        ymlf("import", tree, "--experiment", "a dry run that fails", "--tracking-uri", http_server.url)
        answer = ymlf(*words, "--experiment", "a dry run that fails")
    closing = json.loads((tree.parent / "report").read_text().splitlines()[-1])
    for line in (closing, answer.told[-1]):
        assert line["exit_status"] == answer.status == 3 and "503" in str(line["reason"])


def test_undo_of_a_full_stdout_is_done_all_the_same(tree: Path, empty_store: str) -> None:
    shutil.rmtree(tree / "train2")
    ymlf("import", tree, "--import-id", "job", "--tracking-uri", empty_store)
    status, err = in_shell(["undo", "job", "--yes", "--tracking-uri", empty_store], ">/dev/full", tree)
    assert (status, err) == (1, f"error: stdout: No space left on device\n{CUT_SHORT}")
    assert {run.info.lifecycle_stage for run in runs_in(empty_store)} == {"deleted"}


def test_what_is_read_from_the_pipe_of_a_reader_that_is_gone_ends_quietly(tmp_path: Path) -> None:
    training(1).write(tmp_path / "train")
    status, err = in_shell(["scan", tmp_path, "--json"], "| true; exit ${PIPESTATUS[0]}", tmp_path)
    assert status in (0, 141) and err == ""
