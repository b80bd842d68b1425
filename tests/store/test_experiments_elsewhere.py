"""Experiments whose artifacts cannot be written from here are refused once, before any run is made."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient
from support.command import ymlf
from support.stores import runs_in
from support.trees import summary, training


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        pytest.param("mlflow-artifacts:/1", "are behind an MLflow server", id="behind a server"),
        pytest.param("file:///C:/Users/me/mlruns/1", "are on a drive of Windows", id="on Windows"),
    ],
)
@pytest.mark.parametrize("more", [(), ("--dry-run",)], ids=["import", "dry run"])
def test_one_refusal_names_the_experiment_and_the_way_out(
    location: str, problem: str, more: tuple[str, ...], tmp_path: Path, empty_store: str
) -> None:
    MlflowClient(empty_store).create_experiment("pallets", location)
    for seed in (1, 2, 3):
        training(seed, args={"project": "pallets"}).write(tmp_path / "runs" / f"train{seed}")
    training(4).write(tmp_path / "runs" / "train4")
    answer = ymlf("import", tmp_path / "runs", "--tracking-uri", empty_store, "--json", *more)
    assert (answer.status, summary(answer)) == (1, {"refused": 1, "imported": 1})
    [refused] = [outcome for outcome in answer.told if "refused" in (outcome.get("outcome"), outcome.get("would_be"))]
    assert f"experiment 'pallets': its artifacts {problem}" in str(refused["reason"])
    assert location in str(refused["reason"])
    assert "--artifacts none" in str(refused["hint"])
    assert len(runs_in(empty_store)) == (0 if more else 1)


def test_a_single_directory_is_refused_before_its_run_is_made(tmp_path: Path, empty_store: str) -> None:
    MlflowClient(empty_store).create_experiment("pallets", "mlflow-artifacts:/1")
    save_dir = training(1, args={"project": "pallets"}).write(tmp_path / "train")
    words = ("import", save_dir, "--tracking-uri", empty_store)
    assert ymlf(*words).status == 1 and runs_in(empty_store) == []
    assert ymlf(*words, "--artifacts", "none").status == 0 and len(runs_in(empty_store)) == 1
