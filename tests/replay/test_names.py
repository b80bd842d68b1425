"""What an import of a tree calls its experiments and runs, and which artifacts it takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient
from support.command import ymlf
from support.directories import tune_table
from support.stores import experiments_in, untouched
from support.trees import active, imported, listed, summary, training


def test_templates_name_experiments_and_runs(tmp_path: Path, empty_store: str) -> None:
    args = {"project": "/data/farm", "name": "corn7", "model": "models/yolo11n.pt", "data": "/data/corn.yaml"}
    training(1, args=args).write(tmp_path / "runs" / "farm" / "corn7")
    training(2, args={**args, "name": "corn8"}).write(tmp_path / "runs" / "farm" / "corn8")
    experiment, run_name = "{project}/{task}/{dataset}/{parent}", "{relpath}-{model}-{name}-{date}"
    answer = imported(tmp_path / "runs", "--experiment", experiment, "--run-name", run_name, uri=empty_store)
    assert answer.status == 0, answer.err
    assert experiments_in(empty_store) == ["farm/detect/corn/farm"]
    assert sorted(run.info.run_name for run in active(empty_store)) == [
        f"farm/{name}-yolo11n-{name}-2023-11-14" for name in ("corn7", "corn8")
    ]


@pytest.mark.usefixtures("wide")
def test_an_experiment_by_date_is_made_for_the_dates_that_there_are(tree: Path, empty_store: str) -> None:
    answer = imported(tree, "--experiment", "by-{date}", "--import-id", "dated", uri=empty_store)
    assert answer.status == 0, answer.err
    assert experiments_in(empty_store) == ["by-2023-11-14"]
    assert listed(empty_store)["dated"][2] == "4 imported"
    assert summary(imported(tree, "--experiment", "by-{date}", uri=empty_store)) == {"already there": 4}


def test_mlflow_run_may_be_a_template_and_names_no_iteration_of_a_tune(
    tree: Path, tmp_path: Path, empty_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN", "old {name}")
    assert imported(tree, uri=empty_store).status == 0
    named = {f"old {name}" for name in ("train", "train2", "train3", "train10")}
    assert {run.info.run_name for run in active(empty_store)} == named
    monkeypatch.setenv("MLFLOW_RUN", "best tune")
    foreseen = ymlf("plan", tune_table(tmp_path / "tune", (0.25, 0.5)), "--json").told[0]
    assert imported(tmp_path / "tune", uri=empty_store).status == 0
    named = {run.info.run_name for run in active(empty_store) if not run.info.run_name.startswith("old")}
    assert named == {"best tune", "tune iteration 1", "tune iteration 2"}
    assert {child["run_name"] for child in foreseen["children"]} | {foreseen["run_name"]} == named  # type: ignore[attr-defined]
    monkeypatch.setenv("MLFLOW_RUN", "{nmae}")
    assert imported(tree, uri=empty_store).status == 2


@pytest.mark.parametrize("option", ["--experiment", "--run-name"])
def test_a_template_with_an_unknown_field_is_a_misuse(option: str, tree: Path, empty_store: str) -> None:
    answer = imported(tree, option, "{nmae}", uri=empty_store)
    assert answer.status == 2 and "{nmae}" in answer.err and "{relpath}" in answer.err
    assert untouched(empty_store)


@pytest.mark.parametrize("given", ["option", "environment"])
def test_one_run_name_for_several_runs_is_a_misuse(
    given: str, tree: Path, empty_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if given == "environment":
        monkeypatch.setenv("MLFLOW_RUN", "best")
    answer = imported(tree, *(["--run-name", "best"] if given == "option" else []), uri=empty_store)
    assert answer.status == 2 and "'best'" in answer.err
    assert untouched(empty_store)


def artifacts(uri: str, run_name: str) -> list[str]:
    """The paths of a run's artifacts."""
    client = MlflowClient(uri)
    [run] = [run for run in active(uri) if run.info.run_name == run_name]
    top = [found for folder in (None, "weights") for found in client.list_artifacts(run.info.run_id, folder)]
    return sorted(found.path for found in top if not found.is_dir)


def test_artifacts_can_be_left_out_by_size_and_by_name(tree: Path, empty_store: str) -> None:
    (tree / "train" / "weights" / "best.pt").write_bytes(b"x" * 30_000)
    words = ("--max-artifact-size", "20kB", "--exclude-artifacts", "*.jpg")
    imported(tree / "train", *words, uri=empty_store)
    assert artifacts(empty_store, "train") == ["args.yaml", "results.csv", "results.png", "weights/last.pt"]
    assert ymlf("verify", tree / "train", "--tracking-uri", empty_store).status == 0
