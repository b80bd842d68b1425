"""Imports into servers of MLflow releases that are older than the client, and with the oldest client."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from support.command import Answer, ymlf
from support.directories import copy_fixture, fixture_names
from support.services.mlflow_server import MlflowServer, mlflow_server
from support.services.older_mlflow import older_python
from support.services.postgres import PostgresServer
from support.trees import active, grow, outcomes, small_tree, summary, training, write_unfinished

from importer import plan_import, read_run
from importer.model import ImportOptions
from importer.store.opening import open_store

OLDEST = "3.7.0"  # the oldest client; see install_requires in setup.cfg
RELEASES = ("2.22.4", OLDEST)  # of servers, one of each schema generation
ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.releases


@pytest.fixture(scope="session", params=RELEASES)
def older(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer
) -> Iterator[MlflowServer]:
    """A server of an older release, on PostgreSQL."""
    release: str = request.param
    backend_uri = postgres_server.create_database(release).replace("+psycopg:", "+psycopg2:")
    artifacts = tmp_path_factory.mktemp("artifacts")
    with mlflow_server(backend_uri, str(artifacts), python=older_python(release)) as server:
        yield server


def log_as_live(uri: str, save_dir: Path, experiment: str) -> None:
    """What the live callback would have logged of a finished training."""
    plan = plan_import(read_run(save_dir), ImportOptions(experiment=experiment))
    client = MlflowClient(uri)
    tags = {"mlflow.source.name": "train.py"}  # as the fluent API sets it
    run = client.create_run(client.create_experiment(experiment), tags=tags, run_name=plan.run_name)
    metrics = [Metric(point.key, point.value, point.timestamp, point.step) for point in plan.points]
    client.log_batch(run.info.run_id, metrics, [Param(key, value) for key, value in plan.params.items()])
    client.log_artifacts(run.info.run_id, str(save_dir))
    client.set_terminated(run.info.run_id)


def test_what_is_imported_into_an_older_server_verifies(older: MlflowServer, tmp_path: Path) -> None:
    for name in fixture_names():
        copy_fixture(name, tmp_path)
    words = (tmp_path, "--tracking-uri", older.url, "--experiment", "fixtures")
    imported = ymlf("import", *words, "--json")
    assert (imported.status, outcomes(imported)) == (0, dict.fromkeys(fixture_names(), "imported")), imported
    verified = ymlf("verify", *words, "--json", "--deep")
    assert (verified.status, summary(verified)) == (0, {"verified": len(fixture_names())}), verified
    again = ymlf("import", *words, "--json")
    assert (again.status, summary(again)) == (0, {"already there": len(fixture_names())}), again


def test_a_run_that_was_tracked_live_is_found_on_an_older_server(older: MlflowServer, tmp_path: Path) -> None:
    live = training(1).write(tmp_path / "train")
    log_as_live(older.url, live, "live")
    training(2, args={"name": "train2", "save_dir": "runs/detect/train2"}).write(tmp_path / "train2")
    answer = ymlf("import", tmp_path, "--tracking-uri", older.url, "--experiment", "live", "--json")
    assert (answer.status, outcomes(answer)) == (0, {"train": "tracked live", "train2": "imported"}), answer


def test_what_ymlf_wrote_is_not_taken_for_tracked_live_on_an_older_server(older: MlflowServer, tmp_path: Path) -> None:
    words = ("--tracking-uri", older.url, "--experiment", "copies", "--json")
    assert ymlf("import", training(4).write(tmp_path / "train"), *words).status == 0
    other = training(5).write(tmp_path / "other" / "train")  # of the same name, save_dir, and most values
    answer = ymlf("import", other, *words)
    assert (answer.status, outcomes(answer)) == (0, {"train": "imported"}), answer


def test_a_training_that_has_grown_is_updated_on_an_older_server(older: MlflowServer, tmp_path: Path) -> None:
    words = ("--tracking-uri", older.url, "--experiment", "grown", "--json")
    write_unfinished(tmp_path / "train", 3, 5)
    assert ymlf("import", tmp_path / "train", *words).status == 0
    grow(tmp_path / "train", 3, 5)
    answer = ymlf("import", tmp_path / "train", *words)
    assert (answer.status, outcomes(answer)) == (0, {"train": "updated"}), answer
    assert ymlf("verify", tmp_path / "train", *words).status == 0


def test_an_import_into_an_older_server_is_undone(older: MlflowServer, tmp_path: Path) -> None:
    words = ("--tracking-uri", older.url)
    tree = small_tree(tmp_path / "tree", 3, epochs=2)
    assert ymlf("import", tree, *words, "--experiment", "undone", "--import-id", "first").status == 0
    assert '"first"' in ymlf("history", *words, "--json").out
    assert ymlf("undo", "first", "--yes", *words).status == 0
    assert not [run for run in active(older.url) if run.data.tags.get("ymlf.import_id") == "first"]


def ymlf_with_oldest_mlflow(*words: object, sqlalchemy: str = "<2.1") -> Answer:
    """Run `ymlf WORDS` with the oldest MLflow that is supported."""
    command = [str(older_python(OLDEST, sqlalchemy)), "-m", "importer", *map(str, words)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    return Answer(done.returncode, done.stdout, done.stderr)


def test_the_oldest_mlflow_imports_verifies_and_updates(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    write_unfinished(runs / "train", 1, 5)
    training(2).write(runs / "train2")
    words = (runs, "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db", "--json", "-j", "2")
    imported = ymlf_with_oldest_mlflow("import", *words, "--artifact-location", tmp_path / "artifacts")
    assert (imported.status, summary(imported)) == (0, {"imported": 2}), imported
    verified = ymlf_with_oldest_mlflow("verify", *words, "--deep")
    assert (verified.status, summary(verified)) == (0, {"verified": 2}), verified
    grow(runs / "train", 1, 5)
    again = ymlf_with_oldest_mlflow("import", *words)
    assert (again.status, outcomes(again)) == (0, {"train": "updated", "train2": "already there"}), again


def test_an_mlflow_that_does_not_import_with_this_sqlalchemy_is_misuse_that_names_the_pin(tmp_path: Path) -> None:
    save_dir = training(1).write(tmp_path / "train")
    words = ("import", save_dir, "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db")
    answer = ymlf_with_oldest_mlflow(*words, sqlalchemy=">=2.1")
    assert (answer.status, answer.out) == (2, ""), answer
    assert "cannot be imported with the SQLAlchemy that is installed" in answer.err
    assert "pip install 'sqlalchemy<2.1'" in answer.err


@pytest.mark.parametrize("release", RELEASES)
def test_the_database_of_an_older_release_is_upgraded_by_its_owner_only(release: str, tmp_path: Path) -> None:
    save_dir, database = training(1).write(tmp_path / "train"), tmp_path / "mlflow.db"
    making = f"import mlflow; mlflow.MlflowClient('sqlite:///{database}').search_experiments()"
    subprocess.run([older_python(release), "-c", making], check=True, capture_output=True)
    before = database.read_bytes()
    words = ("import", save_dir, "--tracking-uri", f"sqlite:///{database}")
    refused = ymlf(*words)
    assert (refused.status, refused.out) == (2, "") and "has the schema of an older MLflow" in refused.err, refused
    assert database.read_bytes() == before
    command = [sys.executable, "-m", "mlflow", "db", "upgrade", f"sqlite:///{database}"]
    assert " ".join(command[2:]) in refused.err
    subprocess.run(command, check=True, capture_output=True)
    assert ymlf(*words).status == 0


def test_the_oldest_mlflow_leaves_the_database_of_this_one_alone(tmp_path: Path) -> None:
    save_dir, database = training(1).write(tmp_path / "train"), tmp_path / "mlflow.db"
    open_store(f"sqlite:///{database}")
    before = database.read_bytes()
    answer = ymlf_with_oldest_mlflow("import", save_dir, "--tracking-uri", f"sqlite:///{database}")
    assert answer.status == 2 and "a newer MLflow made it" in answer.err, answer
    assert database.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "count"),
    [
        pytest.param(["tests/write/test_bulk.py", "-k", "same_rows and not 100"], 2, id="bulk writing equals the API"),
        pytest.param(["tests/store/test_undocumented.py"], 5, id="undocumented names"),
    ],
)
def test_it_holds_at_the_oldest_mlflow(words: list[str], count: int) -> None:
    words = ["-m", "pytest", "-n0", "-m", "not stress", *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [str(older_python(OLDEST)), *words], cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout
    assert f"{count} passed" in done.stdout
