"""Log what a run lacks by MLflow's API, and end it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import starmap
from typing import TYPE_CHECKING, Any

from importer.model import ImportPlan, MetricPoint
from importer.store.failures import collided, store_errors
from importer.store.store import Store
from importer.store.undocumented import send_batch
from importer.write.decision import point_id
from importer.write.live_runs import differences
from importer.write.lookup import COMPLETE, RUNNING, STATE, WRITING, stored_points, stored_run, values_by_step

if TYPE_CHECKING:
    from mlflow.entities import Run

MOST_ENTITIES, MOST_PARAMS_OR_TAGS = 1000, 100  # of one log_batch; source: MLflow's REST API, request limits


@dataclass(frozen=True)
class Content:
    """What is to be logged to a run that lacks it."""

    points: Iterable[MetricPoint]
    params: Mapping[str, str]
    tags: Mapping[str, str] = field(default_factory=dict)


def find_missing(store: Store, plan: ImportPlan, run: Run) -> tuple[list[MetricPoint], dict[str, str], dict[str, str]]:
    """Return the points and params that the run lacks, and the params of another value, which MLflow keeps."""
    history = stored_points(store, run, sorted({point.key for point in plan.points}))
    if stored_run(run).live_status:
        points = [point for point, live in differences(values_by_step(history, plan), plan) if not live]
    else:
        there = {point_id(point) for series in history.values() for point in series}
        points = [point for point in plan.points if point_id(point) not in there]
    params = {key: value for key, value in plan.params.items() if key not in run.data.params}
    kept = {key: run.data.params[key] for key, value in plan.params.items() if run.data.params.get(key, value) != value}
    return points, params, kept


def log_by_api(store: Store, plan: ImportPlan, run: Run, content: Content, settle: Callable[[], None]) -> None:
    """Log content by the API, end the run, and say with the last request that it is complete.

    MLflow writes the tags of a log_batch after its metrics. Errors: LostRaceError, StoreError.
    """
    client, ours = store.client, stored_run(run)
    *batches, (last_points, last_params) = _batches(content)
    with store_errors("logging params and metrics"):
        for points, params in batches:
            _log_batch(store, ours.run_id, Content(points, params))
    _log_dataset(store, plan, run)
    if ours.state == WRITING:
        settle()
    with store_errors("ending the run"):
        may_end = ours.live_status in ("", RUNNING)
        if not plan.keep_active and may_end:
            client.set_terminated(ours.run_id, plan.status, plan.timeline.ended_ms)
        elif plan.status == RUNNING != run.info.status and may_end:  # a training that was resumed
            client.update_run(ours.run_id, RUNNING)
        _log_batch(store, ours.run_id, Content(last_points, last_params, {**content.tags, STATE: COMPLETE}))


def _batches(content: Content) -> list[tuple[list[MetricPoint], dict[str, str]]]:
    """Return the points and params of log_batch calls of one request each; the last has room for the tags."""
    points, params = list(content.points), list(content.params.items())
    tags = len(content.tags) + 1
    batches: list[tuple[list[MetricPoint], dict[str, str]]] = []
    while points or params or not batches:
        some_params = params[: MOST_PARAMS_OR_TAGS - tags]
        room = MOST_ENTITIES - tags - len(some_params)
        batches.append((points[:room], dict(some_params)))
        params, points = params[len(some_params) :], points[room:]
    return batches


def _log_batch(store: Store, run_id: str, content: Content) -> None:
    """Log content by one request."""
    if store.is_server and send_batch(store.uri, _as_json(run_id, content)):
        return
    from mlflow.entities import Metric, Param, RunTag

    params = list(starmap(Param, content.params.items()))
    tags = list(starmap(RunTag, content.tags.items()))
    store.client.log_batch(run_id, list(starmap(Metric, content.points)), params, tags)


def _as_json(run_id: str, content: Content) -> dict[str, Any]:
    """Return content as MLflow's REST API takes it: protobuf's JSON, in which nan and the infinities are texts."""
    names = {math.inf: "Infinity", -math.inf: "-Infinity"}

    def pairs(texts: Mapping[str, str]) -> list[dict[str, str]]:
        return [{"key": key, "value": value} for key, value in texts.items()]

    metrics = [
        {
            "key": key,
            "value": "NaN" if math.isnan(value) else names.get(value, value),
            "timestamp": timestamp,
            "step": step,
        }
        for key, value, timestamp, step in content.points
    ]
    return {"run_id": run_id, "metrics": metrics, "params": pairs(content.params), "tags": pairs(content.tags)}


def _log_dataset(store: Store, plan: ImportPlan, run: Run) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.exceptions import MlflowException

    if plan.dataset is None or (run.inputs is not None and run.inputs.dataset_inputs):
        return
    dataset = Dataset(plan.dataset.name, plan.dataset.digest, "ultralytics", plan.dataset.source)
    tag = InputTag("mlflow.data.context", "training")
    inputs = [DatasetInput(dataset, [tag])]
    with store_errors("logging the dataset"):
        try:
            store.client.log_inputs(run.info.run_id, datasets=inputs)
        except MlflowException as error:
            if not collided(error):
                raise
            store.client.log_inputs(run.info.run_id, datasets=inputs)  # now the experiment has this dataset
