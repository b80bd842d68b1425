"""What was imported is what the directory says; and where the store says otherwise, verify names the place."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from support.command import ymlf
from support.directories import Training, copy_fixture, fixture_names
from support.services.mlflow_server import MlflowServer

Tampering = Callable[[sqlite3.Connection, Path], object]


@pytest.mark.parametrize("name", fixture_names())
def test_an_import_into_a_database_is_what_the_directory_says(name: str, tmp_path: Path, empty_store: str) -> None:
    save_dir = copy_fixture(name, tmp_path)
    imported = ymlf("import", save_dir, "--tracking-uri", empty_store)
    assert (imported.status, imported.out.split(":")[0]) == (0, "imported")
    verified = ymlf("verify", save_dir, "--tracking-uri", empty_store)
    assert (verified.status, verified.out.split(":")[0]) == (0, "verified"), verified.err


@pytest.mark.parametrize("name", fixture_names())
def test_an_import_into_a_server_is_what_the_directory_says(
    name: str, tmp_path: Path, http_server: MlflowServer
) -> None:
    save_dir = copy_fixture(name, tmp_path)
    imported = ymlf("import", save_dir, "--tracking-uri", http_server.url)
    assert (imported.status, imported.out.split(":")[0]) == (0, "imported")
    verified = ymlf("verify", save_dir, "--tracking-uri", http_server.url, "--deep")
    assert (verified.status, verified.out.split(":")[0]) == (0, "verified"), verified.err


ODD = (  # of the first epochs, as a training that diverges writes them
    {"train/box_loss": math.nan, "val/box_loss": math.inf, "metrics/mAP50(B)": 0.0},
    {"train/box_loss": math.inf, "val/box_loss": -math.inf, "metrics/mAP50(B)": 1e-300},
)
LARGEST = 1.7976931348623157e308  # what MLflow's databases keep of an infinity


@pytest.mark.parametrize(("last", "status"), [({}, "FINISHED"), ({"epoch": 3}, "FAILED")], ids=["finished", "crashed"])
@pytest.mark.parametrize("store", ["a database", "a server"])
def test_the_store_has_the_status_each_point_and_each_file_of_a_training(
    store: str, last: dict[str, object], status: str, tmp_path: Path, empty_store: str, http_server: MlflowServer
) -> None:
    training = Training(epochs=4, planned=9, rows=ODD, last=last)
    save_dir = training.write(tmp_path / "train")
    experiment = f"{status} in {store}"
    uri = empty_store if store == "a database" else http_server.url
    assert ymlf("import", save_dir, "--tracking-uri", uri, "--experiment", experiment).status == 0

    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    [run] = client.search_runs([found.experiment_id])
    assert (run.info.status, run.data.tags["ymlf.state"]) == (status, "complete")
    keys = {column: column.replace("(B)", "B") for column in training.columns}
    assert run.data.metrics.keys() == set(keys.values())
    for column, key in keys.items():
        points = client.get_metric_history(run.info.run_id, key)
        values = [(point.step, shown(point.value)) for point in sorted(points, key=lambda point: point.step)]
        assert values == [(row, shown(training.value_of(column, row))) for row in range(4)], column
    artifacts = Path(client.download_artifacts(run.info.run_id, ""))
    files = {path.relative_to(save_dir): path.read_bytes() for path in save_dir.rglob("*") if path.is_file()}
    logged = {path.relative_to(artifacts): path.read_bytes() for path in artifacts.rglob("*") if path.is_file()}
    assert logged == files


def shown(value: float) -> float | str:
    """A value that is equal to itself, with an infinity as a database keeps it."""
    if math.isnan(value):
        return "nan"
    return math.copysign(LARGEST, value) if math.isinf(value) else value


def sql(statement: str) -> Tampering:
    """The statement, which changes one row."""

    def tamper(database: sqlite3.Connection, artifacts: Path) -> None:
        assert database.execute(statement).rowcount == 1

    return tamper


POINT = "key = 'train/box_loss' AND step = 1"
TAMPERED = [
    pytest.param(
        sql(f"DELETE FROM metrics WHERE {POINT}"),
        "metric train/box_loss step 1: directory has 3.65591, store has no point",
        id="one point is lost",
    ),
    pytest.param(
        sql(f"INSERT INTO metrics SELECT key, value, timestamp + 7, run_uuid, step, is_nan FROM metrics WHERE {POINT}"),
        "metric train/box_loss step 1: directory has one point, store has 2 points",
        id="one point is there twice",
    ),
    pytest.param(
        sql(f"UPDATE metrics SET timestamp = timestamp + 1 WHERE {POINT}"),
        "metric train/box_loss step 1: directory has timestamp 1795793578307, store has timestamp 1795793578308",
        id="one point is late by a millisecond",
    ),
    pytest.param(
        sql(f"UPDATE metrics SET value = 3.65592 WHERE {POINT}"),
        "metric train/box_loss step 1: directory has 3.65591, store has 3.65592",
        id="one point has another value",
    ),
    pytest.param(
        sql(f"UPDATE metrics SET value = 0, is_nan = 1 WHERE {POINT}"),
        "metric train/box_loss step 1: directory has 3.65591, store has nan",
        id="one point is nan",
    ),
    pytest.param(
        sql(f"INSERT INTO metrics SELECT key, value, timestamp, run_uuid, 99, is_nan FROM metrics WHERE {POINT}"),
        "metric train/box_loss step 99: directory has no point, store has 3.65591",
        id="one point is of no epoch",
    ),
    pytest.param(
        sql("DELETE FROM latest_metrics WHERE key = 'lr/pg1'"),
        "metric lr/pg1 step 0: directory has 0.000933333, store has no point",
        id="one metric is lost",
    ),
    pytest.param(
        sql("UPDATE params SET value = '0.01' WHERE key = 'lr0'"),
        "param lr0: directory has '0.003', store has '0.01'",
        id="one param has another value",
    ),
    pytest.param(
        sql("DELETE FROM params WHERE key = 'seed'"),
        "param seed: directory has '0', store has None",
        id="one param is lost",
    ),
    pytest.param(
        sql("UPDATE tags SET value = 'fish' WHERE key = 'team'"),
        "tag team: directory has 'birds', store has 'fish'",
        id="one tag has another value",
    ),
    pytest.param(
        sql("DELETE FROM tags WHERE key = 'team'"),
        "tag team: directory has 'birds', store has None",
        id="one tag is lost",
    ),
    pytest.param(
        sql("DELETE FROM tags WHERE key = 'ymlf.record'"),
        "tag ymlf.record: directory has what an import writes, store has None",
        id="the record is lost",
    ),
    pytest.param(
        sql("""UPDATE tags SET value = '{"clock":"x","anchors":[["a"]]}' WHERE key = 'ymlf.record'"""),
        "tag ymlf.record: directory has what an import writes, store has '{",
        id="somebody wrote into the record",
    ),
    pytest.param(
        sql("DELETE FROM tags WHERE key = 'ymlf.import_id'"),
        "tag ymlf.import_id: directory has what an import writes, store has nothing",
        id="it is of no import",
    ),
    pytest.param(
        sql("UPDATE tags SET value = 'writing' WHERE key = 'ymlf.state'"),
        "tag ymlf.state: directory has 'complete', store has 'writing'",
        id="it is not complete",
    ),
    pytest.param(
        sql("UPDATE tags SET value = 'train.py' WHERE key = 'mlflow.source.name'"),
        "tag mlflow.source.name: directory has 'ymlf', store has 'train.py'",
        id="it has another source",
    ),
    pytest.param(
        sql("UPDATE runs SET status = 'FAILED'"),
        "status: directory has 'FINISHED', store has 'FAILED'",
        id="it failed",
    ),
    pytest.param(
        sql("UPDATE runs SET start_time = start_time - 1"),
        "start_time: directory has 1795793569020, store has 1795793569019",
        id="it began a millisecond earlier",
    ),
    pytest.param(
        sql("UPDATE runs SET end_time = end_time + 1"),
        "end_time: directory has 1795793848984, store has 1795793848985",
        id="it ended a millisecond later",
    ),
    pytest.param(
        sql("UPDATE runs SET name = 'train2'"),
        "run_name: directory has 'train-2', store has 'train2'",
        id="it has another name",
    ),
    pytest.param(
        lambda _, artifacts: change_one_byte(artifacts / "weights" / "best.pt"),
        "artifact weights/best.pt: directory has SHA-256 7c87cb10b44d7191, store has SHA-256 d86202ad9fb9f525",
        id="one byte of an artifact is another",
    ),
    pytest.param(
        lambda _, artifacts: (artifacts / "results.png").unlink(),
        "artifact results.png: directory has 33449 bytes, store has no file",
        id="one artifact is lost",
    ),
]


def change_one_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(("tamper", "sentence"), TAMPERED)
def test_verify_names_what_the_store_does_not_hold_as_the_directory_says(
    tamper: Tampering, sentence: str, tmp_path: Path, empty_store: str
) -> None:
    save_dir = copy_fixture("train-2", tmp_path)
    assert ymlf("import", save_dir, "--tracking-uri", empty_store, "--tag", "team=birds").status == 0
    [artifacts] = tmp_path.glob("mlruns/*/*/artifacts")
    with closing(sqlite3.connect(tmp_path / "store.db")) as database, database:
        tamper(database, artifacts)
    told = ymlf("verify", save_dir, "--tracking-uri", empty_store)
    assert told.status == 1
    assert f"mismatch: {sentence}" in told.err


def test_verify_on_a_server_compares_bytes_when_asked_to(tmp_path: Path, http_server: MlflowServer) -> None:
    save_dir = copy_fixture("classify", tmp_path)
    words = (save_dir, "--tracking-uri", http_server.url, "--experiment", "bytes")
    assert ymlf("import", *words).status == 0
    change_one_byte(save_dir / "train_batch0.jpg")
    assert ymlf("verify", *words).status == 0
    told = ymlf("verify", *words, "--deep")
    assert told.status == 1
    assert "mismatch: artifact train_batch0.jpg: directory has SHA-256 " in told.err
