"""The names of experiments and runs that the imports of a tree have, and the artifacts that they take."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient
from support.command import ymlf
from support.directories import tune_table
from support.stores import experiments_in
from support.trees import active, imported, listed, summary, training

from importer import ImportOptions, UsageError, plan_import, read_run
from importer.batch.gather import gather
from importer.batch.run import check_import


def test_templates_name_experiments_and_runs(tmp_path: Path) -> None:
    args = {"project": "/data/farm", "name": "corn7", "model": "models/yolo11n.pt", "data": "/data/corn.yaml"}
    save_dir = training(1, args=args).write(tmp_path / "runs" / "farm" / "corn7")
    options = ImportOptions(
        experiment="{project}/{task}/{dataset}/{parent}",
        run_name="{relpath}-{model}-{name}-{date}",
        root=str(tmp_path / "runs"),
    )
    plan = plan_import(read_run(save_dir), options)
    assert (plan.experiment_name, plan.run_name) == ("farm/detect/corn/farm", "farm/corn7-yolo11n-corn7-2023-11-14")


@pytest.mark.usefixtures("wide")
def test_an_experiment_by_date_is_made_for_the_dates_that_there_are(tree: Path, empty_store: str) -> None:
    answer = imported(tree, "--experiment", "by-{date}", "--import-id", "dated", uri=empty_store)
    assert answer.status == 0, answer.err
    assert experiments_in(empty_store) == ["by-2023-11-14"]
    assert listed(empty_store)["dated"][2] == "4 imported"
    assert summary(imported(tree, "--experiment", "by-{date}", uri=empty_store)) == {"already there": 4}


def test_mlflow_run_may_be_a_template(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN", "old {name}")
    work = gather([tree])
    check_import(work)
    assert plan_import(read_run(work.summaries[0].save_dir), work.options).run_name == "old train"
    monkeypatch.setenv("MLFLOW_RUN", "{nmae}")
    with pytest.raises(UsageError):
        gather([tree])


def test_mlflow_run_names_no_iteration_of_a_tune(
    tmp_path: Path, empty_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN", "best tune")
    run = read_run(tune_table(tmp_path / "tune", (0.25, 0.5)))
    plan = plan_import(run, ImportOptions(iterations="all"))
    assert imported(tmp_path / "tune", "--iterations", "all", uri=empty_store).status == 0
    names = {run.info.run_name for run in active(empty_store)}
    assert names == {"best tune", "tune iteration 1", "tune iteration 2"}
    assert {plan.run_name, *(child.run_name for child in plan.children)} == names


@pytest.mark.parametrize("option", ["experiment", "run_name"])
def test_a_template_with_an_unknown_field_is_a_misuse(option: str, tree: Path) -> None:
    with pytest.raises(UsageError, match=r"\{nmae\}") as refused:
        gather([tree], ImportOptions(**{option: "{nmae}"}))  # type: ignore[arg-type]
    assert "{relpath}" in str(refused.value.hint)


@pytest.mark.parametrize("place", ["option", "environment"])
def test_one_run_name_for_several_runs_is_a_misuse(place: str, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if place == "environment":
        monkeypatch.setenv("MLFLOW_RUN", "best")
    work = gather([tree], ImportOptions(run_name="best" if place == "option" else None))
    with pytest.raises(UsageError, match="'best', for 4 runs"):
        check_import(work)


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
