"""ImportPlan -> MLflow: a run is created, filled, settled with other importers, ended, deleted."""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from itertools import starmap
from typing import TYPE_CHECKING, Any

from importer.model import ImportPlan, MetricPoint
from importer.naming import MAX_TAG_VALUE, storable
from importer.redaction import redact
from importer.replay.record import dump_record
from importer.store.failures import collided, failures
from importer.store.store import Store
from importer.write.artifacts import log_artifacts
from importer.write.lookup import (
    ALONE,
    COMPLETE,
    FINGERPRINT,
    IMPORT_ID,
    IMPORTED_AT,
    OURS,
    PARENT,
    RECORD,
    REPLACES,
    SOURCE,
    STATE,
    UPDATE_ID,
    WRITER,
    WRITING,
    canonical,
    key_tags,
    search_key,
    stored_points,
)

if TYPE_CHECKING:
    from mlflow.entities import Run

STALE_SECONDS = 1.0  # a look-up older than this is made again


def create_run(
    store: Store,
    plan: ImportPlan,
    experiment_id: str,
    *,
    import_id: str,
    alone: bool = False,
    parent_run_id: str | None = None,
    replaces: str | None = None,
) -> tuple[Run, bool]:
    """The run that the plan is to be written to and whether it is new; another importer may have been first.

    Errors: StoreError.
    """
    tags = {
        **_plain_tags(plan),
        **key_tags(plan.key),
        FINGERPRINT: plan.fingerprint,
        STATE: WRITING,
        RECORD: dump_record(plan.record),
        IMPORT_ID: import_id,
        SOURCE: storable(redact(plan.source))[:MAX_TAG_VALUE],
        IMPORTED_AT: datetime.now(timezone.utc).isoformat(timespec="seconds"),
        WRITER: f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}",
    }
    if alone:
        tags[ALONE] = "true"
    if parent_run_id is not None:
        tags[PARENT] = parent_run_id
    if replaces is not None:
        tags[REPLACES] = replaces
    with failures("creating the run"):
        run = store.client.create_run(experiment_id, plan.timeline.started_ms, tags, plan.run_name)
    return _settle(store, plan.key, run, ignored=replaces)


def fill_run(
    store: Store,
    plan: ImportPlan,
    run: Run,
    *,
    new: bool,
    replaces: str | None = None,
    update_id: str | None = None,
) -> tuple[Run, bool]:
    """The run, which now holds all that the plan says, and True; or, where another importer's run stands for the
    training by now, that one and False. What a run held already is left as it is.

    Errors: StoreError, and RunDirError for an artifact that cannot be read; the run then stays as `writing`.
    """
    points: Iterable[MetricPoint] = plan.points
    params: Mapping[str, str] = plan.params
    tags: dict[str, str] = {}
    if not new:
        points, params, kept = _missing(store, plan, run)
        tags = _refreshed_tags(plan, kept, update_id)
    chunks = list(_chunks(points, params, {**tags, STATE: COMPLETE}))
    with failures("logging params and metrics"):
        for batch in chunks[:-1]:
            store.client.log_batch(run.info.run_id, **batch)
    log_artifacts(store, plan, run, new=new)
    _log_dataset(store, plan, run, new=new)
    run, mine = _settle(store, plan.key, run, ignored=replaces)
    if not mine:
        return run, False
    looked = time.monotonic()
    with failures("ending the run"):
        if not plan.keep_active:
            store.client.set_terminated(run.info.run_id, plan.status, plan.timeline.ended_ms)
        store.client.log_batch(run.info.run_id, **chunks[-1])
    if time.monotonic() - looked > STALE_SECONDS:
        with failures("reading the run"):
            run = store.client.get_run(run.info.run_id)  # complete by now: of two complete runs, both sides see one
        return _settle(store, plan.key, run, ignored=replaces)
    return run, True


def put_below(store: Store, run: Run, parent_run_id: str) -> bool:
    """Whether a run had to be put below that of its tune, which was imported anew since, or later than the run."""
    if run.data.tags.get(PARENT) == parent_run_id:
        return False
    with failures("putting the run below that of its tune"):
        store.client.set_tag(run.info.run_id, PARENT, parent_run_id)
    return True


def delete_run(store: Store, run_id: str) -> None:
    """Soft-delete a run; `mlflow runs restore` brings it back."""
    with failures(f"deleting run {run_id}"):
        store.client.delete_run(run_id)


def _settle(store: Store, key: str, run: Run, *, ignored: str | None) -> tuple[Run, bool]:
    """The canonical run of a key and whether it is ours; where it is not, ours is soft-deleted.

    A create_run whose answer was lost, and which was sent again, made two runs of ours: one is kept.
    """
    run_id = run.info.run_id
    with failures("looking for other importers"):
        others = search_key(store, run.info.experiment_id, key, but=run_id)
    others = [other for other in others if other.info.run_id != ignored]
    if not others:
        return run, True
    ours = [run, *(other for other in others if other.data.tags.get(WRITER) == run.data.tags.get(WRITER))]
    chosen = canonical([run, *others])
    for own in ours:
        if own is not chosen:
            delete_run(store, own.info.run_id)
    return chosen, chosen in ours


def _plain_tags(plan: ImportPlan) -> dict[str, str]:
    """The plan's tags and those that MLflow's fluent API sets and its client does not."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # an account without a name
        user = "unknown"
    named = {"mlflow.user": user, **OURS}
    return {key: value[:MAX_TAG_VALUE] for key, value in {**named, **plan.tags}.items()}


def _refreshed_tags(plan: ImportPlan, kept: Mapping[str, str], update_id: str | None) -> dict[str, str]:
    record = {**plan.record, "params_kept": sorted(kept)} if kept else plan.record
    tags = {FINGERPRINT: plan.fingerprint, RECORD: dump_record(record)}
    tags.update({key: value[:MAX_TAG_VALUE] for key, value in plan.tags.items()})
    return {**tags, UPDATE_ID: update_id} if update_id else tags


def _missing(store: Store, plan: ImportPlan, run: Run) -> tuple[list[MetricPoint], dict[str, str], dict[str, str]]:
    """Points and params that the run lacks, and the params that it holds with another value, which MLflow keeps."""
    with failures("reading the run"):
        run = store.client.get_run(run.info.run_id)
    history = stored_points(store, run, {point.key for point in plan.points})
    there = {(point.key, point.step) for series in history.values() for point in series}
    points = [point for point in plan.points if (point.key, point.step) not in there]
    params = {key: value for key, value in plan.params.items() if key not in run.data.params}
    kept = {key: run.data.params[key] for key, value in plan.params.items() if run.data.params.get(key, value) != value}
    return points, params, kept


def _chunks(
    points: Iterable[MetricPoint], params: Mapping[str, str], tags: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """log_batch calls of one request each; the tags are in the last, which the store writes after all else.

    Source: mlflow/utils/validation.py for the limits; SqlAlchemyStore.log_batch writes params, metrics, tags in turn.
    """
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.utils.validation import MAX_ENTITIES_PER_BATCH, MAX_METRICS_PER_BATCH, MAX_PARAMS_TAGS_PER_BATCH

    metrics = list(starmap(Metric, points))
    named = [Param(key, value) for key, value in params.items()]
    while True:
        some_params = named[:MAX_PARAMS_TAGS_PER_BATCH]
        room = min(MAX_METRICS_PER_BATCH, MAX_ENTITIES_PER_BATCH - len(some_params))
        last = len(named) == len(some_params) and len(metrics) <= room - len(tags)
        batch = {"metrics": metrics[:room], "params": some_params, "tags": []}
        named, metrics = named[len(some_params) :], metrics[room:]
        if last:
            yield {**batch, "tags": [RunTag(key, value) for key, value in tags.items()]}
            return
        yield batch


def _log_dataset(store: Store, plan: ImportPlan, run: Run, *, new: bool) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.exceptions import MlflowException

    if plan.dataset is None or (not new and run.inputs is not None and run.inputs.dataset_inputs):
        return
    dataset = Dataset(plan.dataset.name, plan.dataset.digest, "ultralytics", plan.dataset.source)
    tag = InputTag("mlflow.data.context", "training")
    inputs = [DatasetInput(dataset, [tag])]
    with failures("logging the dataset"):
        try:
            store.client.log_inputs(run.info.run_id, datasets=inputs)
        except MlflowException as error:
            if not collided(error):
                raise
            store.client.log_inputs(run.info.run_id, datasets=inputs)  # now the experiment has this dataset
