"""The end of an import says where its runs can be looked at: a line for each experiment."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient
from support.command import ymlf
from support.services.mlflow_server import MlflowServer
from support.trees import imported, training

from importer.cli import closing

TRAINING = "/runs?workflowType=machine_learning"
BY_BOXES = "&orderByKey=metrics.%60best%2FmAP50-95B%60&orderByAsc=false"


def task_filter(task: str) -> str:
    return f"&searchFilter=tags.%60ymlf.task%60%20%3D%20%27{task}%27"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Four trainings of two projects; those of one are of two tasks."""
    for seed, (project, task) in enumerate([("boxes", "detect")] * 2 + [("mixed", "detect"), ("mixed", "obb")]):
        training(seed, args={"project": project, "task": task}).write(tmp_path / "runs" / project / f"train{seed}")
    return tmp_path / "runs"


def lines_of(*words: str | Path, uri: str) -> dict[str, str]:
    """The address that an import prints for each experiment, by its name."""
    answer = ymlf("import", *words, "--tracking-uri", uri, "-j", "1")
    assert answer.status == 0, answer.err
    found = [line.removeprefix("experiment ") for line in answer.out.splitlines() if line.startswith("experiment ")]
    return dict(line.split(": ", 1) for line in found)


def page(uri: str, ui: str, experiment: str) -> str:
    found = MlflowClient(uri).get_experiment_by_name(experiment)
    assert found is not None
    return f"{ui}/#/experiments/{found.experiment_id}{TRAINING}"


def test_a_batch_into_a_server_has_a_line_for_each_experiment(tree: Path, http_server: MlflowServer) -> None:
    said = lines_of(tree, "--best-metrics", uri=http_server.url)
    boxes, mixed = (page(http_server.url, http_server.url, name) for name in ("boxes", "mixed"))
    assert said == {"boxes": boxes + task_filter("detect") + BY_BOXES, "mixed": mixed + BY_BOXES}
    assert lines_of(tree, uri=http_server.url) == {"boxes": boxes, "mixed": mixed}, "already there"


def test_one_run_in_a_server_has_its_own_page_too(tree: Path, http_server: MlflowServer) -> None:
    words = (tree / "boxes" / "train0", "--experiment", "one run")
    answer = ymlf("import", *words, "--tracking-uri", http_server.url)
    experiment = page(http_server.url, http_server.url, "one run")
    assert f"experiment one run: {experiment}\n" in answer.out
    [told] = [told for told in imported(*words, uri=http_server.url).told if "url" in told]
    run_page = experiment.replace("/runs?", f"/runs/{told['run_id']}?")
    assert told["url"] == run_page and f"  {run_page}\n" in answer.out


def test_a_database_has_the_command_that_shows_it_and_the_address_to_open_then(tree: Path, empty_store: str) -> None:
    words = (tree, "--best-metrics", "--include", "*/boxes/*")
    answer = ymlf("import", *words, "--tracking-uri", empty_store)
    assert f"\nlook at it with: mlflow ui --backend-store-uri {empty_store}\n" in answer.out
    boxes = page(empty_store, "http://127.0.0.1:5000", "boxes")
    assert f"\nexperiment boxes: {boxes}{task_filter('detect')}{BY_BOXES}\n" in answer.out


def test_of_many_experiments_the_first_are_shown_and_the_others_counted(
    tree: Path, empty_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "MANY_EXPERIMENTS", 1)
    answer = ymlf("import", tree, "--tracking-uri", empty_store, "-j", "1")
    assert answer.out.count("\nexperiment ") == 1
    assert "\n... and 1 more experiment\n" in answer.out


def test_an_import_without_a_run_has_no_link(tmp_path: Path, empty_store: str) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "results.csv").write_text("epoch,train/box_loss\n1,none\n")
    answer = ymlf("import", tmp_path / "train", "--tracking-uri", empty_store)
    assert (answer.status, "http" in answer.out, "mlflow ui" in answer.out) == (1, False, False)
