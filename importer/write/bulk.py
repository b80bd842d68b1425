"""Write and look up runs straight in MLflow's tables, where that is proven equal to MLflow's own API."""

from __future__ import annotations

import logging
import math
import os
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from importer.model import DatasetInput, ImportPlan, MetricPoint
from importer.store.store import Store

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Table

    from importer.write.lookup import StoredRun

log = logging.getLogger(__name__)

# Schema revisions of MLflow whose tables were compared row by row with what the API writes: tests/write/test_bulk.py.
REVISIONS = {  # and the MLflow release whose newest revision it is
    "bf29a5ff90ea": "3.7",
    "1bd49d398cd23": "3.8",
    "d3e4f5a6b7c8": "3.9",
    "1b5f0d9ad7c1": "3.10",
    "c3d6457b6d8a": "3.11",
    "7d34483879f0": "3.12",
    "da6fb0208061": "3.13",
    "b7e4c1a90f23": "3.14",
    "6f8d9c3b2a1e": "3.15",
    "b7e2c1a4d9f3": "3.16",
    "dc11669786a5": "3.17",
}
TABLES = ("runs", "params", "metrics", "latest_metrics", "tags", "datasets", "inputs", "input_tags")
LARGEST = 1.7976931348623157e308  # MLflow keeps an infinity as this; source: SqlAlchemyStore.sanitize_metric_value
LOCK_SECONDS = 60  # for another process that writes to a SQLite file

Row = dict[str, Any]
TagsByRun = dict[str, dict[str, str]]
Find = Callable[[str, str], TagsByRun]


@dataclass(frozen=True)
class BulkAccess:
    """A connection of its own to the database of a store, and the tables that a run consists of."""

    engine: Engine
    tables: Mapping[str, Table]

    def write(self, run: StoredRun, plan: ImportPlan, tags: Mapping[str, str], stands: Callable[[Find], bool]) -> bool:
        """Write params, points, dataset, status and changed tags of a run that has none yet, in one transaction.

        `stands` decides whether the run is the one of its training, by the runs that its argument finds for a tag and a
        value; nobody else completes one before the transaction ends. Return False when it is not, or when the database
        refused; then nothing of it is there, and the API says why.
        """
        from sqlalchemy import text
        from sqlalchemy.exc import SQLAlchemyError

        driver: Any = self.engine.dialect.dbapi
        rows = _metric_rows(plan.points, run.run_id)
        params = [{"key": key, "value": value, "run_uuid": run.run_id} for key, value in plan.params.items()]
        try:
            with self.engine.begin() as connection:
                if self.engine.dialect.name == "postgresql":  # SQLite has one writer in any case
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": int(plan.key[:15], 16)})
                if not self._end(connection, plan, run.run_id):  # a write first: SQLite takes its lock at once
                    return False
                if not stands(partial(self._tags, connection, run.experiment_id)):
                    connection.rollback()
                    return False
                self._insert(connection, "params", params)
                self._insert(connection, "metrics", rows)
                self._insert(connection, "latest_metrics", _latest(rows))
                if plan.dataset is not None:
                    self._log_dataset(connection, plan.dataset, run)
                stored = self.tables["tags"]
                for key, value in tags.items():
                    ours = stored.update().where(stored.c.run_uuid == run.run_id, stored.c.key == key)
                    connection.execute(ours.values(value=value))
        except (SQLAlchemyError, driver.Error) as error:  # the latter of COPY
            log.debug("run %s is written by the API: %s", run.run_id, type(error).__name__)
            return False
        return True

    def tags_of_runs(self, experiment_id: str, tag: str, value: str) -> TagsByRun | None:
        """Return the tags of the active runs that have a tag, by run id; None when the database refused."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self.engine.connect() as connection:
                return self._tags(connection, experiment_id, tag, value)
        except SQLAlchemyError as error:
            log.debug("runs are looked up by the API: %s", type(error).__name__)
            return None

    def _tags(self, connection: Connection, experiment_id: str, tag: str, value: str) -> TagsByRun:
        runs, tags = self.tables["runs"], self.tables["tags"]
        wanted = tags.select().with_only_columns(tags.c.run_uuid).where(tags.c.key == tag, tags.c.value == value)
        query = tags.select().join(runs, runs.c.run_uuid == tags.c.run_uuid)
        query = query.with_only_columns(tags.c.run_uuid, tags.c.key, tags.c.value).where(tags.c.run_uuid.in_(wanted))
        query = query.where(runs.c.experiment_id == int(experiment_id), runs.c.lifecycle_stage == "active")
        found: TagsByRun = {}
        for run_id, key, text in connection.execute(query):
            found.setdefault(run_id, {})[key] = text
        return found

    def _insert(self, connection: Connection, table: str, rows: list[Row]) -> None:
        if rows and self.engine.driver == "psycopg":
            _copy(connection.connection.cursor(), table, rows)
        elif rows:
            connection.execute(self.tables[table].insert(), rows)

    def _end(self, connection: Connection, plan: ImportPlan, run_id: str) -> bool:
        """Return whether the run is there and active; it gets its status and end."""
        runs = self.tables["runs"]
        ours = runs.update().where(runs.c.run_uuid == run_id, runs.c.lifecycle_stage == "active")
        end = {} if plan.keep_active else {"status": plan.status, "end_time": plan.timeline.ended_ms}
        return connection.execute(ours.values(run_uuid=run_id, **end)).rowcount == 1

    def _log_dataset(self, connection: Connection, dataset: DatasetInput, run: StoredRun) -> None:
        """Log the dataset of a run; an experiment has one row for each name and digest."""
        datasets = self.tables["datasets"]
        same = {"experiment_id": int(run.experiment_id), "name": dataset.name, "digest": dataset.digest}
        known = datasets.select().with_only_columns(datasets.c.dataset_uuid).filter_by(**same)
        dataset_id = connection.execute(known).scalar()
        if dataset_id is None:
            dataset_id = uuid.uuid4().hex
            place = {"dataset_source_type": "ultralytics", "dataset_source": dataset.source}
            self._insert(connection, "datasets", [{**same, "dataset_uuid": dataset_id, **place}])
        input_id = uuid.uuid4().hex
        source = {"source_type": "DATASET", "source_id": dataset_id}
        destination = {"destination_type": "RUN", "destination_id": run.run_id}
        self._insert(connection, "inputs", [{"input_uuid": input_id, **source, **destination}])
        context = {"input_uuid": input_id, "name": "mlflow.data.context", "value": "training"}
        self._insert(connection, "input_tags", [context])


def _copy(cursor: Any, table: str, rows: Sequence[Row]) -> None:
    """Insert rows of the same columns by PostgreSQL's COPY, which takes a third less CPU. Errors: psycopg.Error."""
    names = ", ".join(f'"{name}"' for name in rows[0])
    with cursor, cursor.copy(f'COPY "{table}" ({names}) FROM STDIN') as copy:
        for row in rows:
            copy.write_row(tuple(row.values()))


def bulk_access(store: Store) -> BulkAccess | None:
    """Return the access to the database of a store, opened once; None where it is not proven equal to the API."""
    if not store.allows_bulk or not store.uri.startswith(("sqlite:", "postgresql:", "postgresql+")):
        return None
    return store.ask_once("bulk", store.uri, lambda: _open(store))


def _open(store: Store) -> BulkAccess | None:
    import sqlalchemy
    from sqlalchemy.exc import SQLAlchemyError

    if os.environ.get("MLFLOW_ENABLE_WORKSPACES", "").lower() in ("true", "1"):
        log.debug("%s: workspaces are on, so runs are written by the API", store.shown_uri)
        return None
    timeout = {"timeout": LOCK_SECONDS} if store.is_sqlite else {}
    engine = sqlalchemy.create_engine(store.uri, connect_args=timeout)
    try:
        with engine.connect() as connection:
            revision = connection.execute(sqlalchemy.text("SELECT version_num FROM alembic_version")).scalar()
        if revision in REVISIONS:
            metadata = sqlalchemy.MetaData()
            metadata.reflect(engine, only=TABLES, resolve_fks=False)
            return BulkAccess(engine, metadata.tables)
        log.debug("%s: schema %s is not known, so runs are written by the API", store.shown_uri, revision)
    except SQLAlchemyError as error:
        log.debug("%s: runs are written by the API: %s", store.shown_uri, type(error).__name__)
    engine.dispose()
    return None


def _metric_rows(points: Iterable[MetricPoint], run_id: str) -> list[Row]:
    """Return the rows of the points, each once. Source: SqlAlchemyStore._log_metrics_once."""
    rows: dict[tuple[Any, ...], Row] = {}
    for key, value, timestamp, step in points:
        is_nan = math.isnan(value)
        kept = 0.0 if is_nan else math.copysign(LARGEST, value) if math.isinf(value) else value
        row = {"key": key, "value": kept, "timestamp": timestamp, "step": step, "is_nan": is_nan, "run_uuid": run_id}
        rows.setdefault((key, kept, timestamp, step, is_nan), row)
    return list(rows.values())


def _latest(rows: Iterable[Row]) -> list[Row]:
    """Return the last row of each key. Source: SqlAlchemyStore._update_latest_metrics_if_necessary."""
    by_age = sorted(rows, key=lambda row: (row["step"], row["timestamp"], row["value"]))
    return list({row["key"]: row for row in by_age}.values())
