"""Which training is this, is it there already, is it whole: read-only look-ups in the target experiment."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING

from importer.model import ImportPlan, MetricPoint
from importer.read.fitness import of_former_best
from importer.replay.callbacks import DEFAULT_EXPERIMENT
from importer.replay.record import load_record
from importer.store.failures import failures
from importer.store.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run

KEY, FINGERPRINT, STATE = "ymlf.key", "ymlf.fingerprint", "ymlf.state"
RECORD, IMPORT_ID, SOURCE = "ymlf.record", "ymlf.import_id", "ymlf.source"
UPDATE_ID, REPLACES = "ymlf.update_id", "ymlf.replaces"
IMPORTED_AT = "ymlf.imported_at"
PARENT = "mlflow.parentRunId"
WRITER = "ymlf.writer"  # host:pid:random of a create_run call; a call that was sent twice has it twice
ALONE = "ymlf.alone"  # the run of an import of one directory, which needs no entry in the experiment's ledger
OURS = {"mlflow.source.name": "ymlf", "mlflow.source.type": "LOCAL"}  # as the fluent API sets them
WRITING, COMPLETE = "writing", "complete"
LEFT_AFTER_SECONDS = 120  # a run begun longer ago and not complete was left; weights may take a while, though
LARGEST = 1.7976931348623157e308  # what SQL stores keep of an infinity


class Presence(Enum):
    """What the store has of a training."""

    ABSENT = "absent"
    WRITING = "half there"
    BUSY = "being written by another import"
    SAME = "already there"
    OTHER = "there with other content"
    LIVE = "tracked live"


@dataclass(frozen=True)
class Found:
    """The outcome of a look-up; `run` is the canonical run of the training, where there is one."""

    presence: Presence
    run: Run | None = None
    surplus: tuple[str, ...] = ()  # run ids that stand for nothing: replaced, or left by a writer that died

    @property
    def record(self) -> dict[str, object] | None:
        """The record that the run was imported with."""
        return load_record(self.run.data.tags.get(RECORD)) if self.run is not None else None


def look_up(
    store: Store,
    plan: ImportPlan,
    experiment_id: str | None,
    *,
    with_live: bool = False,
    runs: list[Run] | None = None,
) -> Found:
    """What an experiment holds of the training that a plan is of: one search, and one more where live runs may be.

    `runs` is what the search just found, where it was made already.
    """
    with failures("looking the run up"):
        if runs is None:
            runs = search_key(store, experiment_id, plan.key) if experiment_id is not None else []
        if not runs:
            twin = None if with_live else _live_twin(store, plan, experiment_id)
            return Found(Presence.LIVE, twin) if twin is not None else Found(Presence.ABSENT)
    run = canonical(runs, plan.fingerprint)
    replaced = run.data.tags.get(REPLACES)
    surplus = tuple(
        other.info.run_id
        for other in runs
        if other is not run and (other.info.run_id == replaced or (_is_writing(other) and not is_being_written(other)))
    )
    if _is_writing(run):
        return Found(Presence.BUSY if is_being_written(run) else Presence.WRITING, run, surplus)
    same = run.data.tags.get(FINGERPRINT) == plan.fingerprint
    return Found(Presence.SAME if same else Presence.OTHER, run, surplus)


def _is_writing(run: Run) -> bool:
    return bool(run.data.tags.get(STATE) != COMPLETE)


def is_being_written(run: Run) -> bool:
    """Whether the importer that created a run seems to be at it still, and is not this process.

    On this host its process tells; on another, that it began a short while ago.
    """
    host, _, rest = run.data.tags.get(WRITER, "").partition(":")
    pid = rest.partition(":")[0]
    if host == socket.gethostname() and pid.isdigit() and os.name == "posix":
        if int(pid) == os.getpid():
            return False
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
    try:
        began = datetime.fromisoformat(run.data.tags.get(IMPORTED_AT, ""))
        return (datetime.now(timezone.utc) - began).total_seconds() < LEFT_AFTER_SECONDS
    except (ValueError, TypeError):
        return False


def key_tags(key: str) -> dict[str, str]:
    """The tags that say which training a run is of: one for people, and one to search by.

    MLflow's databases index tags by name, not by value, so that a search reads all tags of the name: with the first
    digit of the key in it, those are one run in sixteen. Source: the primary key of `tags` is (key, run_uuid).
    """
    return {KEY: key, _searched(key): key}


def _searched(key: str) -> str:
    return f"{KEY}.{key[:1]}"


def search_key(store: Store, experiment_ids: str | list[str], key: str, *, but: str | None = None) -> list[Run]:
    """The active runs of an experiment, or of several, that carry a key, but for the run of the id `but`."""
    places = [experiment_ids] if isinstance(experiment_ids, str) else experiment_ids
    condition = f"tags.`{_searched(key)}` = '{key}'" + (f" and attributes.run_id != '{but}'" if but else "")
    return list(store.client.search_runs(places, condition, max_results=50))


def unchanged(runs: list[Run], fingerprint: str) -> Run | None:
    """The one run of a training, whole and of this content; None where a plan is needed to tell what there is."""
    if len(runs) != 1 or _is_writing(runs[0]) or runs[0].data.tags.get(FINGERPRINT) != fingerprint:
        return None
    return runs[0]


def canonical(runs: Collection[Run], fingerprint: str | None = None) -> Run:
    """The run that stands for a training: a complete one, of this fingerprint if any, else the smallest run_id."""
    complete = [run for run in runs if run.data.tags.get(STATE) == COMPLETE]
    same = [run for run in complete if run.data.tags.get(FINGERPRINT) == fingerprint]
    return min(same or complete or runs, key=lambda run: str(run.info.run_id))


def stored_points(store: Store, run: Run, keys: Iterable[str]) -> dict[str, list[MetricPoint]]:
    """The whole history of the given metrics of a run, by key."""
    history: dict[str, list[MetricPoint]] = {}
    with failures("reading the run's metrics"):
        for key in keys:
            if key in run.data.metrics:
                found = store.client.get_metric_history(run.info.run_id, key)
                history[key] = [MetricPoint(key, point.value, point.timestamp, point.step) for point in found]
    return history


def still_holds(stored: Mapping[str, list[MetricPoint]], plan: ImportPlan) -> bool:
    """Whether every stored point is one of the plan's, by key, step and value."""
    planned = by_key_and_step(plan)
    return all(
        (ours := planned[point.key].get(point.step) or of_former_best(point, planned)) is not None
        and same_value(ours.value, point.value)
        for series in stored.values()
        for point in series
    )


def by_key_and_step(plan: ImportPlan) -> dict[str, dict[int, MetricPoint]]:
    """The points of a plan."""
    planned: dict[str, dict[int, MetricPoint]] = {}
    for point in plan.points:
        planned.setdefault(point.key, {})[point.step] = point
    return planned


def same_value(ours: float, stored: float) -> bool:
    """Whether a stored value is ours: nan is nan, and an infinity may have become the largest double."""
    if math.isnan(ours) or math.isnan(stored):
        return math.isnan(ours) and math.isnan(stored)
    if math.isinf(ours):
        return stored == ours or stored == math.copysign(LARGEST, ours)
    return ours == stored


def _live_twin(store: Store, plan: ImportPlan, experiment_id: str | None) -> Run | None:
    """A run without ymlf's tags, of the same save_dir or name, that holds points of ours.

    For an import to the default experiment, that of older releases is looked through, too.
    """
    places = [experiment_id] if experiment_id is not None else []
    if plan.experiment_name == DEFAULT_EXPERIMENT and (former := store.former_experiment_id()) is not None:
        places.append(former)
    twins = (_live_twin_in(store, plan, place) for place in places if plan.points and store.may_hold_live_runs(place))
    return next((twin for twin in twins if twin is not None), None)


def _live_twin_in(store: Store, plan: ImportPlan, experiment_id: str) -> Run | None:
    filters = []
    if plan.recorded_save_dir and (quoted := _quoted(plan.recorded_save_dir)):
        filters.append(f"params.save_dir = {quoted}")
    for name in {plan.recorded_name, plan.name} - {None}:
        if quoted := _quoted(str(name)):
            filters.append(f"attributes.run_name = {quoted}")
    seen: set[str] = set()
    for condition in filters:
        for run in store.search_foreign(experiment_id, condition, max_results=200):
            if run.info.run_id not in seen and _overlaps(store, run, plan):
                return run
            seen.add(run.info.run_id)
    return None


def _quoted(text: str) -> str | None:
    """The text as a literal of MLflow's filters; None where it holds both quotes, which no filter can say."""
    if "'" not in text:
        return f"'{text}'"
    return f'"{text}"' if '"' not in text else None


def _overlaps(store: Store, run: Run, plan: ImportPlan) -> bool:
    """Whether a live run holds the same values at the same steps, in a series that is not constant."""
    shared = [point for point in plan.points if point.key in run.data.metrics]
    keys = sorted(
        {point.key for point in shared if point.key.startswith(("train/", "val/"))} or {p.key for p in shared}
    )
    for key in keys[:3]:
        ours = {point.step: point.value for point in shared if point.key == key}
        theirs = stored_points(store, run, [key])[key]
        common = [(ours[point.step], point.value) for point in theirs if point.step in ours]
        near = [pair for pair in common if _near(*pair)]
        if len(near) > len(common) / 2 and common and len({value for _, value in near} | {0.0}) > 1:
            return True
    return False


def _near(ours: float, live: float) -> bool:
    if math.isnan(ours) or math.isnan(live):
        return math.isnan(ours) and math.isnan(live)
    return math.isclose(ours, live, rel_tol=1e-4, abs_tol=1e-5)
