"""Calls that register at the same time leave one version for each run, and an alias on one of them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from threading import Barrier

import pytest
from mlflow import MlflowClient
from support.command import ymlf
from support.directories import copy_fixture
from support.services.fault_proxy import fault_proxy
from support.services.mlflow_server import MlflowServer

from importer import Target, import_run, register_model

ROUNDS = 8
FILES = {"MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt", "yolo_model.py", "best.pt", "last.pt"}


def test_another_process_makes_its_version_and_takes_it_back_amid_the_call(
    tmp_path: Path, http_server: MlflowServer
) -> None:
    save_dir, url = copy_fixture("train-2", tmp_path), http_server.url
    client = MlflowClient(url)
    run_id = import_run(save_dir, tracking_uri=url).run_id

    def other_process(method: str, path: str, times: int) -> None:
        """Register the run before this call does; then delete this call's version, which is the second, as it looks."""
        if path.endswith("/model-versions/create") and not times:
            register_model("at once", run_ids=[run_id], tracking_uri=url)
        if path.endswith("/model-versions/get") and not times:
            client.delete_model_version("at once", "2")

    with fault_proxy(url) as proxy:
        proxy.script = other_process
        answer = ymlf("register", "at once", "--run", run_id, "--alias", "champion", "--tracking-uri", proxy.url)
    assert answer.status == 0, answer.err
    assert answer.out.startswith("already there: version 1 of model at once")
    assert client.get_registered_model("at once").aliases == {"champion": "1"}
    assert [version.version for version in client.search_model_versions("name = 'at once'")] == ["1"]


def register_in_rounds(uri: str, run_ids: Sequence[str], barrier: Barrier) -> None:
    """Register the runs, each round under another name, as the other process does at the same moment."""
    for number in range(ROUNDS):
        barrier.wait(60)
        register_model(Target(f"round {number}", "champion", force=True), run_ids=run_ids, tracking_uri=uri)


@pytest.mark.stress
@pytest.mark.parametrize("runs", [1, 2], ids=["one run", "two runs"])
@pytest.mark.parametrize("is_server", [False, True], ids=["SQLite", "server"])
def test_two_processes_register_under_one_name(
    runs: int, is_server: bool, tmp_path: Path, empty_store: str, http_server: MlflowServer
) -> None:
    uri = http_server.url if is_server else empty_store
    client = MlflowClient(uri)
    for found in client.search_registered_models():
        client.delete_registered_model(found.name)
    names = ("train-2", "train-5")[:runs]
    imported = [import_run(copy_fixture(name, tmp_path), tracking_uri=uri).run_id for name in names]
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    processes = [
        context.Process(target=register_in_rounds, args=(uri, [run_id], barrier), daemon=True)
        for run_id in (imported[0], imported[-1])
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    for number in range(ROUNDS):
        versions = client.search_model_versions(f"name = 'round {number}'")
        assert sorted(version.run_id for version in versions) == sorted(imported)
        assert all({"task", "sha256", "metric"} <= version.tags.keys() for version in versions)
        aliases = client.get_registered_model(f"round {number}").aliases
        assert aliases.keys() == {"champion"} and str(aliases["champion"]) in {str(each.version) for each in versions}
    for run_id in imported:
        assert {Path(file.path).name for file in client.list_artifacts(run_id, "weights")} == FILES
