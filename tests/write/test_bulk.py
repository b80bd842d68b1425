"""The bulk writer and MLflow's API leave the same rows, whatever the plan holds.

A failure of test_the_schema_of_the_installed_mlflow_is_known means: run this file at that MLflow, on SQLite and with
`-m postgres`; where all else passes, add the revision that it names to REVISIONS in importer/write/bulk.py.
"""

from __future__ import annotations

import math
import posixpath
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import sqlalchemy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from support.command import ymlf
from support.directories import Training
from support.services.mlflow_server import MlflowServer
from support.services.postgres import PostgresServer
from support.tables import Tables

from importer import import_run, plan_import, read_run
from importer.model import DatasetInput, ImportContext, ImportOptions, ImportPlan, MetricPoint
from importer.store.opening import open_store
from importer.store.store import Store
from importer.write import bulk
from importer.write import content as content_module
from importer.write.bulk import Find, bulk_access
from importer.write.content import Content, log_by_api
from importer.write.import_run import Job, first_tags
from importer.write.lookup import COMPLETE, STATE, find_runs_of, stored_run

LONGEST_PARAM, LONGEST_KEY = 6000, 250  # mlflow/utils/validation.py
CONTENT = ("input_tags", "inputs", "datasets", "tags", "latest_metrics", "metrics", "params", "runs")

text = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=40)
keys = st.text("abzAZ09_-./ ", min_size=1, max_size=20).filter(lambda key: key == posixpath.normpath(key).strip(" ./"))
points = st.builds(
    MetricPoint,
    st.sampled_from(["train/box_loss", "metrics/mAP50-95B", "lr/pg0", "k" * LONGEST_KEY]),
    st.floats() | st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308]),
    st.integers(0, 3) | st.integers(0, 2**62),
    st.integers(-1, 3) | st.integers(0, 2**62),
)
contents = st.fixed_dictionaries(
    {
        "points": st.lists(points, max_size=30).map(tuple),
        "params": st.dictionaries(keys, text | st.just("x" * LONGEST_PARAM) | st.just("é" * LONGEST_PARAM), max_size=8),
        "dataset": st.none() | st.builds(DatasetInput, st.sampled_from(["coco8", "données"]), st.just("1a2b"), text),
        "status": st.sampled_from(["FINISHED", "FAILED", "KILLED"]),
        "keep_active": st.booleans(),
    }
)


def alone(find: Find) -> bool:
    """No other run is of this training."""
    return True


class Target(NamedTuple):
    """An empty store, and a plan to vary."""

    store: Store
    plan: ImportPlan
    tables: Tables


@pytest.fixture(scope="session")
def sqlite_target(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Target:
    folder = tmp_path_factory.mktemp("bulk")
    shutil.copyfile(empty_database, folder / "mlflow.db")
    return target(folder, f"sqlite:///{folder}/mlflow.db")


@pytest.fixture(scope="session")
def postgres_target(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Target:
    return target(tmp_path_factory.mktemp("bulk"), postgres_server.create_database("bulk"))


def target(folder: Path, uri: str) -> Target:
    """Return a store with an experiment, and the plan of a small training."""
    plan = plan_import(read_run(Training().write(folder / "train")), ImportOptions(experiment="bulk", artifacts="none"))
    store = open_store(uri)
    store.experiment_id("bulk", str(folder / "artifacts"))
    return Target(store, plan, Tables(uri))


def written(target: Target, plan: ImportPlan, *, in_bulk: bool) -> tuple[str, dict[str, list[str]]]:
    """Write a plan and return what a client reads back, and every row of the database. The store is empty again."""
    store, tables = target.store, target.tables
    experiment_id = store.experiment_id("bulk")
    assert experiment_id is not None
    job = Job(read_run(plan.source), store, ImportOptions(), ImportContext("test"))
    tags = {**first_tags(job, plan), "mlflow.user": "me"}
    run = store.client.create_run(experiment_id, plan.timeline.started_ms, tags, plan.run_name)
    if in_bulk:
        writer = bulk_access(store)
        assert writer is not None
        assert writer.write(stored_run(run), plan, {STATE: COMPLETE}, alone)
    else:
        log_by_api(store, plan, run, Content(plan.points, plan.params), lambda: None)
    names = {str(run.info.run_id): "RUN"}
    names |= dict.fromkeys(tables.values("datasets.dataset_uuid"), "DATASET")
    names |= dict.fromkeys(tables.values("inputs.input_uuid"), "INPUT")
    rows = tables.rows(names)
    read_back = repr(reading(store.client, str(run.info.run_id))).replace(str(run.info.run_id), "RUN")
    tables.delete_rows(*CONTENT)
    return read_back, rows


def reading(client: MlflowClient, run_id: str) -> list[object]:
    """Return what a client reads of a run."""
    run = client.get_run(run_id)
    histories = [
        sorted(repr(tuple(point)[:4]) for point in client.get_metric_history(run_id, key))
        for key in sorted(run.data.metrics)
    ]
    latest = sorted((key, repr(value)) for key, value in run.data.metrics.items())
    inputs = [(found.dataset.to_dictionary(), found.tags[0].value) for found in run.inputs.dataset_inputs]
    return [run.info.status, run.info.end_time, sorted(run.data.params.items()), latest, histories, inputs]


def assert_equal(target: Target, plan: ImportPlan) -> None:
    expected, expected_rows = written(target, plan, in_bulk=False)
    read_back, rows = written(target, plan, in_bulk=True)
    assert read_back == expected
    for table, found in rows.items():
        assert found == expected_rows[table], table


varied = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


@varied
@given(content=contents)
def test_both_writers_leave_the_same_rows(sqlite_target: Target, content: dict[str, object]) -> None:
    assert_equal(sqlite_target, replace(sqlite_target.plan, **content))


@pytest.mark.postgres
@varied
@example({"params": {"nothing": r"\N", "an end": "\\.", "signs": "tab\tline\nreturn\rback\\slash \b\f\v"}})  # of COPY
@given(content=contents)
def test_both_writers_leave_the_same_rows_in_postgresql(postgres_target: Target, content: dict[str, object]) -> None:
    assert_equal(postgres_target, replace(postgres_target.plan, **content))


@settings(varied, max_examples=12)
@given(content=contents)
def test_a_server_gets_what_the_client_would_send(
    content: dict[str, object], http_server: MlflowServer, sqlite_target: Target
) -> None:
    store = open_store(http_server.url)
    experiment_id = store.experiment_id("as the client") or ""
    plan = replace(sqlite_target.plan, **content)
    found = []
    for sends in (content_module.send_batch, lambda uri, batch: False):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(content_module, "send_batch", sends)
            run = store.client.create_run(experiment_id, plan.timeline.started_ms, run_name="a run")
            log_by_api(store, plan, run, Content(plan.points, plan.params, {"a": "b"}), lambda: None)
        tags = store.client.get_run(run.info.run_id).data.tags
        found.append([*reading(store.client, run.info.run_id), tags["a"], tags[STATE]])
    assert found[0] == found[1]


def many_points(plan: ImportPlan) -> ImportPlan:
    """A plan of 100,000 points."""
    keys = [f"metric {number}" for number in range(20)]
    points = [MetricPoint(key, step / 7, 1000 * step, step) for step in range(5000) for key in keys]
    return replace(plan, points=tuple(points))


@pytest.mark.stress
def test_both_writers_leave_the_same_rows_of_100_000_points(sqlite_target: Target) -> None:
    assert_equal(sqlite_target, many_points(sqlite_target.plan))


@pytest.mark.postgres
def test_both_writers_leave_the_same_rows_of_100_000_points_in_postgresql(postgres_target: Target) -> None:
    assert_equal(postgres_target, many_points(postgres_target.plan))


def test_two_runs_of_one_dataset_share_its_row(sqlite_target: Target) -> None:
    store, plan = sqlite_target.store, sqlite_target.plan
    plan = replace(plan, dataset=DatasetInput("coco8", "1a2b", "coco8.yaml"))
    experiment_id, writer = store.experiment_id("bulk"), bulk_access(store)
    assert experiment_id is not None
    assert writer is not None
    for _ in range(2):
        run = store.client.create_run(experiment_id, run_name="a run")
        assert writer.write(stored_run(run), plan, {}, alone)
    found = [
        len(sqlite_target.tables.values(column)) for column in ("datasets.name", "inputs.source_id", "input_tags.name")
    ]
    sqlite_target.tables.delete_rows(*CONTENT)
    assert found == [1, 2, 2]


def test_a_run_that_was_deleted_meanwhile_is_not_written(sqlite_target: Target) -> None:
    store, writer = sqlite_target.store, bulk_access(sqlite_target.store)
    assert writer is not None
    run = store.client.create_run(store.experiment_id("bulk") or "", run_name="a run")
    store.client.delete_run(run.info.run_id)
    assert not writer.write(stored_run(run), sqlite_target.plan, {}, alone)
    found = [len(sqlite_target.tables.values(column)) for column in ("params.key", "metrics.key")]
    sqlite_target.tables.delete_rows(*CONTENT)
    assert found == [0, 0]


def test_the_schema_of_the_installed_mlflow_is_known(empty_database: Path) -> None:
    [revision] = Tables(f"sqlite:///{empty_database}").values("alembic_version.version_num")
    assert revision in bulk.REVISIONS, f"run the equality tests of this file, then add {revision!r} to REVISIONS"


@pytest.fixture
def unknown_schema(empty_store: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store whose revision is not in the list."""
    monkeypatch.setattr(bulk, "REVISIONS", frozenset({"another"}))
    return open_store(empty_store)


def test_a_database_of_an_unknown_schema_is_written_by_the_api(
    unknown_schema: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="importer")
    assert bulk_access(unknown_schema) is None
    assert bulk_access(unknown_schema) is None
    assert [record.message for record in caplog.records if "by the API" in record.message] != []
    assert sum("by the API" in record.message for record in caplog.records) == 1


def test_with_workspaces_runs_are_written_by_the_api(empty_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(empty_store)
    monkeypatch.setenv("MLFLOW_ENABLE_WORKSPACES", "true")
    assert bulk_access(store) is None


@pytest.mark.parametrize("has_epochs", [True, False])
def test_both_ways_find_the_same_runs(has_epochs: bool, empty_store: str, tmp_path: Path) -> None:
    training = Training() if has_epochs else Training(epochs=0)
    save_dir = training.write(tmp_path / "train")
    options = ImportOptions(empty=True)
    outcome = import_run(save_dir, tracking_uri=empty_store, options=options)
    plan = plan_import(read_run(save_dir), options)
    found = []
    for allows_bulk in (True, False):
        store = open_store(empty_store)
        store.allows_bulk = allows_bulk
        found.append(find_runs_of(store, outcome.experiment_id, plan.key, has_epochs=has_epochs))
    assert [run.run_id for run in found[0]] == [outcome.run_id]
    assert found[0] == found[1]


@pytest.mark.postgres
def test_a_role_that_may_not_write_metrics_gets_a_sentence_and_a_second_start_finishes(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    uri = postgres_server.create_database("restricted")
    open_store(uri).experiment_id("/Shared/Ultralytics", str(tmp_path / "artifacts"))
    admin = sqlalchemy.create_engine(uri)
    with admin.begin() as connection:
        for statement in (
            "CREATE ROLE importer LOGIN",
            "GRANT USAGE ON SCHEMA public TO importer",
            "GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO importer",
            "REVOKE INSERT ON metrics FROM importer",
        ):
            connection.execute(sqlalchemy.text(statement))
    restricted = sqlalchemy.make_url(uri).set(username="importer").render_as_string(hide_password=False)
    save_dir = Training().write(tmp_path / "train")
    answer = ymlf("import", save_dir, "--tracking-uri", restricted)
    assert answer.status == 3, answer
    assert "permission denied for table metrics" in answer.err
    assert "[SQL" not in answer.err
    with admin.begin() as connection:
        connection.execute(sqlalchemy.text("GRANT INSERT ON metrics TO importer"))
    admin.dispose()
    assert ymlf("import", save_dir, "--tracking-uri", restricted).out.startswith("resumed: ")
    assert ymlf("verify", save_dir, "--tracking-uri", restricted).status == 0


def test_a_run_that_is_not_the_one_of_its_training_by_then_is_not_written(sqlite_target: Target) -> None:
    store, writer = sqlite_target.store, bulk_access(sqlite_target.store)
    assert writer is not None
    run = store.client.create_run(store.experiment_id("bulk") or "", tags={"ymlf.key.a": "a"}, run_name="a run")
    found: list[str] = []

    def stands(find: Find) -> bool:
        found.extend(find("ymlf.key.a", "a"))
        return False

    assert not writer.write(stored_run(run), sqlite_target.plan, {}, stands)
    status = store.client.get_run(run.info.run_id).info.status
    left = [len(sqlite_target.tables.values(column)) for column in ("params.key", "metrics.key")]
    sqlite_target.tables.delete_rows(*CONTENT)
    assert (found, status, left) == ([run.info.run_id], "RUNNING", [0, 0])
