"""Variables of MLflow that MLflow cannot read are told in plain words, before anything is done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import Answer, ymlf, ymlf_process
from support.stores import untouched
from support.trees import training

from importer.store.opening import OURS

COMMANDS = (("import",), ("import", "--dry-run"), ("verify",), ("scan",))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_variable_that_mlflow_cannot_read_is_a_misuse(
    words: tuple[str, ...], tmp_path: Path, empty_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_dir = training(1).write(tmp_path / "train")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0.2")
    answer = ymlf(words[0], save_dir, *words[1:], "--tracking-uri", empty_store)
    assert (answer.status, answer.out) == (2, ""), answer
    assert answer.err == (
        "error: MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR=0.2: MLflow cannot read that\n"
        "  hint: give a whole number, or unset the variable\n"
    )
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR")
    assert untouched(empty_store)


@pytest.mark.parametrize(
    ("variable", "value", "hint"),
    [
        pytest.param("MLFLOW_HTTP_REQUEST_TIMEOUT", "2 min", "give a whole number, or", id="number"),
        pytest.param("MLFLOW_TRACKING_INSECURE_TLS", "yes", "give true or false, or", id="switch"),
        pytest.param("MLFLOW_LOGGING_LEVEL", "loud", "give DEBUG, INFO, WARNING, ERROR or CRITICAL, or", id="level"),
    ],
)
def test_a_variable_is_named_with_what_it_should_be(
    variable: str, value: str, hint: str, tmp_path: Path, empty_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_dir = training(1).write(tmp_path / "train")
    monkeypatch.setenv(variable, value)
    assert_misuse(ymlf("import", save_dir, "--tracking-uri", empty_store), variable, value, hint)


def test_a_variable_that_mlflow_reads_as_it_is_imported_is_named_too(tmp_path: Path, sqlite_uri: str) -> None:
    variable, value = "MLFLOW_CONFIGURE_LOGGING", "yes"
    save_dir = training(1).write(tmp_path / "train")
    answer = ymlf_process("import", save_dir, "--tracking-uri", sqlite_uri, env={variable: value})
    assert_misuse(answer, variable, value, "set that variable right")


def assert_misuse(answer: Answer, variable: str, value: str, hint: str) -> None:
    """The command ended at once, with an error that names the variable and a hint."""
    assert answer.status == 2, answer
    error, told = answer.err.splitlines()
    assert error.startswith(f"error: {variable}") and value in error
    assert told.startswith(f"  hint: {hint}")


def test_a_level_in_small_letters_is_one(tmp_path: Path, empty_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    save_dir = training(1).write(tmp_path / "train")
    monkeypatch.setenv("MLFLOW_LOGGING_LEVEL", "error")
    assert ymlf("import", save_dir, "--tracking-uri", empty_store).status == 0


def test_no_process_of_a_batch_reports_to_the_makers_of_mlflow() -> None:
    client = "__import__('mlflow.telemetry', fromlist=['client']).get_telemetry_client()"
    script = (
        "from importer.batch.executors import Workers\n"
        "if __name__ == '__main__':\n"
        "    workers = Workers(2, processes=True)\n"
        "    with workers.executor(2, threads=False) as executor:\n"
        f"        print(executor.submit(eval, {client!r}).result(60))\n"
        "    workers.close()\n"
    )
    kept = {name: value for name, value in os.environ.items() if name not in {*OURS, "CI", "DO_NOT_TRACK"}}
    answer = subprocess.run([sys.executable, "-c", script], env=kept, capture_output=True, text=True, timeout=120)
    assert answer.stdout == "None\n", answer
