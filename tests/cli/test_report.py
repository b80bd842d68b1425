"""What a job reads: however a command ends, the last line of `--json` and of `--report` says how."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.command import ymlf
from support.services.process import free_port
from support.trees import small_tree, training


@pytest.fixture(autouse=True)
def _no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def closing(report: Path) -> dict[str, object]:
    """The last line of a report."""
    return dict(json.loads(report.read_text().splitlines()[-1]))


@pytest.mark.parametrize("command", ["import", "verify"])
def test_a_store_that_cannot_be_opened_is_told_in_the_closing_line(command: str, tmp_path: Path) -> None:
    save_dir, report = training(1).write(tmp_path / "train"), tmp_path / "report.jsonl"
    report.write_text('{"summary": {"imported": 1}, "exit_status": 0}\n')  # of an earlier import
    words = (command, save_dir, "--tracking-uri", f"http://127.0.0.1:{free_port()}", "--report", report)
    answer = ymlf(*words, "--json")
    assert answer.status == 3 and len(answer.told) == 1
    told = answer.told[0]
    assert (told["summary"], told["runs"], told["exit_status"]) == ({}, 0, 3)
    assert str(told["reason"]).startswith("opening the tracking store: ")
    assert told["hint"] == "is the server up? run the same command again when it is"
    assert [json.loads(line) for line in report.read_text().splitlines()] == [told]
    in_words = ymlf(*words)
    assert (in_words.status, in_words.out, closing(report)["exit_status"]) == (3, "", 3)


def test_a_misuse_is_told_in_the_closing_line(tmp_path: Path, empty_store: str) -> None:
    tree, report = small_tree(tmp_path / "tree", 2, epochs=1), tmp_path / "report.jsonl"
    answer = ymlf("import", tree, "--run-name", "one", "--tracking-uri", empty_store, "--json", "--report", report)
    assert (answer.status, closing(report)) == (2, answer.told[-1])
    assert str(answer.told[-1]["reason"]).startswith("one run name, 'one', for 2 runs")


@pytest.mark.dask
def test_what_was_settled_before_an_error_stays_in_the_report_and_is_counted(tmp_path: Path, empty_store: str) -> None:
    save_dir, report = training(1).write(tmp_path / "train"), tmp_path / "report.jsonl"
    words = ("import", save_dir, tmp_path / "nothing", "--dask", f"tcp://127.0.0.1:{free_port()}")
    answer = ymlf(*words, "--tracking-uri", empty_store, "--json", "--report", report)
    refused, end = answer.told
    assert (answer.status, refused["outcome"], end["summary"], end["exit_status"]) == (2, "refused", {"refused": 1}, 2)
    assert [json.loads(line) for line in report.read_text().splitlines()] == answer.told


def test_a_report_that_cannot_be_written_is_told_besides(tmp_path: Path, empty_store: str) -> None:
    save_dir = training(1).write(tmp_path / "train")
    answer = ymlf("import", save_dir, "--tracking-uri", empty_store, "--json", "--report", tmp_path / "no" / "report")
    assert (answer.status, len(answer.told), answer.told[0]["exit_status"]) == (2, 1, 2)
    assert "No such file or directory" in answer.err


def test_an_error_with_a_name_that_is_no_text_closes_the_report(tmp_path: Path, empty_store: str) -> None:
    save_dir, report = training(1).write(tmp_path / "train"), tmp_path / "report.jsonl"
    name = os.fsdecode(b"{\xff}")
    answer = ymlf("import", save_dir, "--experiment", name, "--tracking-uri", empty_store, "--report", report)
    assert (answer.status, closing(report)["exit_status"]) == (2, 2)
