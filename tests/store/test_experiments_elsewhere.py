"""Experiments whose artifacts cannot be written from here are refused once, before any run is made."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient
from support.command import ymlf
from support.permissions import permissions_hold
from support.services.fault_proxy import fault_proxy
from support.services.mlflow_server import MlflowServer
from support.stores import experiments_in, runs_in
from support.trees import summary, training


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        pytest.param("mlflow-artifacts:/1", "are behind an MLflow server", id="behind a server"),
        pytest.param("file:///C:/Users/me/mlruns/1", "are on a drive of Windows", id="on Windows"),
        pytest.param("C:\\Users\\me\\mlruns\\1", "are on a drive of Windows", id="on Windows, by its path"),
        pytest.param("/Users/me/mlruns/1", "are in the home of a user whom this host does not have", id="on macOS"),
        pytest.param("file:///home/nobody-here/mlruns", "are in the home of a user whom", id="of another user"),
        pytest.param("{folder}/locked/mlruns/1", "are in a folder that may not be written to", id="not ours"),
    ],
)
@pytest.mark.parametrize("more", [(), ("--dry-run",)], ids=["import", "dry run"])
def test_one_refusal_names_the_experiment_and_the_way_out(
    location: str, problem: str, more: tuple[str, ...], tmp_path: Path, empty_store: str
) -> None:
    (tmp_path / "locked").mkdir(0o555)
    location = location.format(folder=tmp_path)
    MlflowClient(empty_store).create_experiment("pallets", location)
    for seed in (1, 2, 3):
        training(seed, args={"project": "pallets"}).write(tmp_path / "runs" / f"train{seed}")
    training(4).write(tmp_path / "runs" / "train4")
    with permissions_hold():
        answer = ymlf("import", tmp_path / "runs", "--tracking-uri", empty_store, "--json", "-j", "1", *more)
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


def test_a_scheme_of_artifacts_that_mlflow_does_not_know_is_refused_before_anything_is_made(
    tree: Path, empty_store: str
) -> None:
    words = ("--tracking-uri", empty_store, "--artifact-location", "gopher://host/path", "-j", "1")
    for paths in ([tree / "train"], [tree]):
        answer = ymlf("import", *paths, *words)
        assert (answer.status, runs_in(empty_store), experiments_in(empty_store)) == (2, [], [])
        assert (
            "error: --artifact-location: Could not find a registered artifact repository for: gopher://" in answer.err
        )


def test_a_server_that_takes_files_by_presigned_urls_only_is_refused_before_anything_is_written(
    tmp_path: Path, http_server: MlflowServer
) -> None:
    save_dir = training(1).write(tmp_path / "train")
    with fault_proxy(http_server.url) as proxy:
        # As MLflow's server answers under MLFLOW_ARTIFACTS_ONLY_PRESIGNED, which no release has yet.
        proxy.script = lambda method, path, index: "409" if "/mlflow-artifacts/artifacts/" in path else None
        words = ("import", save_dir, "--tracking-uri", proxy.url, "--experiment", "presigned")
        refused = ymlf(*words)
        assert refused.status == 1 and "takes files by presigned URLs only" in refused.err + refused.out, refused
        assert "presigned" not in experiments_in(http_server.url)
        assert ymlf(*words, "--artifacts", "none").status == 0


def test_an_experiment_of_blanks_is_refused_before_anything_is_written(tmp_path: Path, empty_store: str) -> None:
    save_dir = training(1, args={"project": "  "}).write(tmp_path / "train")
    words = ("import", save_dir, "--tracking-uri", empty_store)
    refused = ymlf(*words)
    assert refused.status == 1 and "a name of blanks only" in refused.err + refused.out, refused
    assert experiments_in(empty_store) == []
    assert ymlf(*words, "--experiment", "pallets").status == 0
