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


@pytest.mark.parametrize(
    ("data", "name"),
    [
        pytest.param("coco8.yaml", "coco8", id="a stem that says something"),
        pytest.param("/content/fire-8/data.yaml", "fire-8", id="a folder"),
        pytest.param("/content/fire-8/Dataset.YAML", "Dataset.YAML", id="no suffix that a trainer takes"),
        pytest.param("C:\\sets\\fire-8\\dataset.yml", "fire-8", id="a folder of Windows"),
        pytest.param("../fire-8/data/custom_data.yaml", "fire-8", id="a folder that says nothing either"),
        pytest.param("datasets/fire-8/", "fire-8", id="a folder of classes"),
        pytest.param("fire-8/data", "fire-8", id="a folder of classes that says nothing"),
        pytest.param("data.yaml", "data", id="no folder"),
        pytest.param("../data.yaml", "data", id="no folder by name"),
        pytest.param("C:\\data.yaml", "data", id="a drive"),
        pytest.param("/data/config.yaml", "config", id="nothing says something"),
        pytest.param("https://host.org/fire.yaml?X-Signature=a/b.yaml", "fire", id="a signed URL"),
        pytest.param("https://host.org/data.yaml?X-Signature=a/b.yaml", "data", id="a host is no folder"),
        pytest.param("s3://bucket/sets/fire-8/data.yaml#a", "fire-8", id="a bucket"),
        pytest.param("ul://user/datasets/fire-8", "fire-8", id="a platform"),
        pytest.param("what?/data.yaml", "what?", id="a folder with a question mark"),
    ],
)
def test_a_dataset_is_called_by_the_nearest_name_that_says_something(data: str, name: str, tmp_path: Path) -> None:
    run = read_run(training(1, args={"data": data}).write(tmp_path / "train"))
    plan = plan_import(run, ImportOptions(experiment="{dataset}"))
    assert plan.dataset is not None
    assert (plan.dataset.name, plan.experiment_name) == (name, name)


def test_the_query_of_a_signed_url_enters_no_name(tmp_path: Path) -> None:
    args = {"model": "https://host.org/yolo11n.pt?X-Signature=secret", "data": "https://host.org/a.yaml?token=secret"}
    run = read_run(training(1, args=args).write(tmp_path / "train"))
    plan = plan_import(run, ImportOptions(experiment="{model}/{dataset}"))
    assert plan.experiment_name == "yolo11n/a"


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


def named_tree(root: Path, *names: str, **args: object) -> Path:
    """A tree of trainings, each at its own place."""
    for seed, name in enumerate(names):
        training(seed, args=args).write(root / name)
    return root


def test_a_name_that_several_runs_share_is_said_once_with_a_template(tmp_path: Path, empty_store: str) -> None:
    tree = named_tree(tmp_path / "runs", "a/train", "b/train", "b/train2", "c/train", "c/train2", "train9")
    words = ("import", tree, "--tracking-uri", empty_store, "-j", "1")
    planned = ymlf(*words, "--dry-run")
    note = "note: 3 runs of experiment /Shared/Ultralytics {} called train, and 1 other name is shared\n"
    hint = "  hint: --run-name '{group}/{name}' tells them apart"
    assert note.format("would be") + hint + "\n" in planned.err
    assert ymlf(*words, "--dry-run", "--run-name", "{group}/{name}").err == ""
    written = ymlf(*words)
    assert written.status == 0
    assert note.format("are") + hint + "; to rename runs that are there, add --on-change replace\n" in written.err
    assert "called" not in ymlf(*words).err
    again = ymlf(*words, "--run-name", "{group}/{name}", "--on-change", "replace")
    assert "called" not in again.err
    names = {run.info.run_name for run in active(empty_store)}
    assert names == {"a/train", "b/train", "b/train2", "c/train", "c/train2", "train9"}


def test_where_no_folder_lies_between_the_parent_tells_runs_apart(tmp_path: Path, empty_store: str) -> None:
    tree = named_tree(tmp_path, "a/train", "b/train")
    answer = ymlf("import", tree / "a", tree / "b", "--dry-run", "--tracking-uri", empty_store)
    assert "hint: --run-name '{parent}/{name}' tells them apart\n" in answer.err


def test_runs_of_one_name_in_two_experiments_are_told_apart_already(tmp_path: Path, empty_store: str) -> None:
    tree = named_tree(tmp_path, "a/train", "b/train")
    answer = ymlf("import", tree, "--dry-run", "--experiment", "{parent}", "--tracking-uri", empty_store)
    assert "called" not in answer.err


@pytest.mark.parametrize(
    ("project", "said"), [("runs/detect", True), ("..\\runs\\train-seg", True), ("birds", False), ("/Shared/a", False)]
)
def test_projects_that_are_paths_get_the_offer_of_one_experiment(
    project: str, said: bool, tmp_path: Path, empty_store: str
) -> None:
    tree = named_tree(tmp_path, "a", "b", project=project)
    note = f"note: an experiment has a path for a name, from `project`: {project}\n  hint: --experiment NAME"
    words = ("import", tree, "--dry-run", "--tracking-uri", empty_store)
    assert (note in ymlf(*words).err) is said
    assert note not in ymlf(*words, "--experiment", "birds").err


@pytest.mark.parametrize(("group", "name"), [("farm/detect", "farm/detect/train"), ("", "train")])
def test_the_group_of_a_name_is_left_out_where_there_is_none(group: str, name: str, tmp_path: Path) -> None:
    save_dir = training(1).write(tmp_path / group / "train")
    plan = plan_import(read_run(save_dir), ImportOptions(run_name="{group}/{name}", root=str(tmp_path)))
    assert plan.run_name == name
