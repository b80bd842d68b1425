"""What a store holds of a training: read-only look-ups in the target experiment. No rule is here; see decision.py."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import product
from typing import TYPE_CHECKING, Any

from importer.model import ImportPlan, MetricPoint
from importer.naming import MAX_RUN_NAME
from importer.record import TRAINING, ImportRecord
from importer.replay.callbacks import DEFAULT_EXPERIMENT, FORMER_EXPERIMENT
from importer.store.failures import store_errors
from importer.store.store import Store
from importer.write.artifacts import list_artifacts
from importer.write.bulk import bulk_access

if TYPE_CHECKING:
    from mlflow.entities import Run

KEY, STATE, RECORD = "ymlf.key", "ymlf.state", "ymlf.record"
IMPORT_ID, UPDATE_ID, SOURCE = "ymlf.import_id", "ymlf.update_id", "ymlf.source"
MODEL_FILES = "ymlf.model_files"  # the files that make the weights an MLflow model
LIVE_STATUS = "ymlf.live_status"  # of a run of the live callback that was completed: its status before
CONTINUED_IN = "ymlf.continued_in"  # of a run of the live callback: the one that a resume made, and that was completed
PARENT, NAME = "mlflow.parentRunId", "mlflow.runName"
OURS = {"mlflow.source.name": "ymlf", "mlflow.source.type": "LOCAL"}  # as the fluent API sets them
WRITING, COMPLETE = "writing", "complete"
RUNNING = "RUNNING"
EMPTY_DIGIT = "empty"  # in place of a key's first digit: a directory without epochs
LEFT_AFTER_SECONDS = 120  # a run begun longer ago and not complete was left; weights may take a while, though
PAGE = 1000
ACTIVE, DELETED, ALL = 1, 2, 3  # mlflow.entities.ViewType, without the import

Points = Mapping[str, Mapping[int, tuple[float, ...]]]  # the values by key and step; a step may have two


@dataclass(frozen=True)
class StoredRun:
    """A run that ymlf wrote or completed, as its tags say."""

    run_id: str
    experiment_id: str = ""
    run_name: str = ""
    key: str = ""
    has_epochs: bool = True
    state: str = COMPLETE
    source: str = ""
    record: ImportRecord | None = None  # None where a person wrote into the tag
    parent_run_id: str | None = None
    being_written: bool = False  # by another import that seems to be at it still
    live_status: str = ""  # of a run that the live callback created, and ymlf completed: its status before

    @property
    def fingerprint(self) -> str:
        """The fingerprint of what was imported; empty where the record cannot be read."""
        return self.record.fingerprint if self.record is not None else ""

    @property
    def replaces(self) -> str:
        """The id of the run in whose place this one is written, or an empty text."""
        return self.record.replaces if self.record is not None else ""

    @property
    def goes_on(self) -> bool:
        """Whether the training went on when it was last looked at."""
        return self.record is not None and self.record.state == TRAINING

    @property
    def writer(self) -> str:
        """The create_run call that made it."""
        return self.record.writer if self.record is not None else ""


StoredRuns = tuple[StoredRun, ...]


@dataclass(frozen=True)
class LiveRun:
    """A run that ymlf did not write, of the same save_dir or name.

    Shape:  points as values_by_step has them, of the directory's keys only; artifacts by path, with their sizes.
    """

    run_id: str
    run_name: str
    status: str
    params: Mapping[str, str]
    points: Points
    artifacts: Mapping[str, int] = field(default_factory=dict)
    experiment_id: str = ""
    is_elsewhere: bool = False  # in another experiment than that of the import
    started_ms: int = 0
    newest_ms: int = 0  # of its start and its points


@dataclass(frozen=True)
class Stored:
    """What an experiment holds of a training."""

    runs: tuple[StoredRun, ...] = ()  # that carry its key; they may be of other trainings
    live: tuple[LiveRun, ...] = ()
    points: Mapping[str, tuple[MetricPoint, ...]] = field(default_factory=dict)  # of the matched run, by key
    empty: tuple[StoredRun, ...] = ()  # of this directory, before it had epochs
    former: tuple[StoredRun, ...] = ()  # as find_former found them


def find_runs_of(store: Store, experiment_id: str | None, key: str, *, has_epochs: bool = True) -> StoredRuns:
    """Return the active runs of an experiment that carry a key. One search. Errors: StoreError."""
    if experiment_id is None:
        return ()
    bulk, tag = bulk_access(store), key_tag(key, has_epochs=has_epochs)
    if bulk is not None and (tags := bulk.tags_of_runs(experiment_id, tag, key)) is not None:
        return tuple(run_of_tags(run_id, experiment_id, found) for run_id, found in tags.items())
    with store_errors("looking the run up"):
        return tuple(map(stored_run, search_runs(store, [experiment_id], with_key(key, has_epochs=has_epochs))))


def find_former(store: Store, experiment_name: str, key: str) -> StoredRuns:
    """Return the runs that carry a key where releases before 8.3.9 logged by default, and were completed there.

    An import to another experiment than the default has no such runs. Errors: StoreError.
    """
    return tuple(run for run in find_runs_of(store, _former_experiment(store, experiment_name), key) if run.live_status)


def _former_experiment(store: Store, experiment_name: str) -> str | None:
    if experiment_name != DEFAULT_EXPERIMENT:
        return None
    with store_errors(f"experiment {FORMER_EXPERIMENT!r}"):
        return store.active_experiment_id(FORMER_EXPERIMENT)


def look_up(
    store: Store, plan: ImportPlan, runs: StoredRuns, experiment_id: str | None, matched: StoredRun | None
) -> Stored:
    """Return what an experiment holds of the training of a plan.

    `runs` is what find_runs_of found and `matched` the one of this training, if there is one: its points are read where
    its content differs. Without one, or where it was the callback's, live runs are looked for.

    Errors: StoreError.
    """
    if matched is not None and matched.fingerprint != plan.fingerprint:
        with store_errors("reading the run"):
            run = store.client.get_run(matched.run_id)
        points = stored_points(store, run, sorted({point.key for point in plan.points}))
        resumed = _live_runs(store, plan, matched.experiment_id, matched.run_id) if matched.live_status else ()
        return Stored(runs, points=points, live=resumed)
    if matched is not None or not plan.points:
        return Stored(runs)
    looks_for_empty = plan.epochs and experiment_id is not None and store.may_hold_empty_runs(experiment_id)
    empty = find_runs_of(store, experiment_id, plan.empty_key, has_epochs=False) if looks_for_empty else ()
    former = find_former(store, plan.experiment_name, plan.key)
    return Stored(runs, live=_live_runs(store, plan, experiment_id), empty=empty, former=former)


def stored_run(run: Run) -> StoredRun:
    """Return what the tags of a run say."""
    return run_of_tags(str(run.info.run_id), str(run.info.experiment_id), run.data.tags)


def run_of_tags(run_id: str, experiment_id: str, tags: Mapping[str, str]) -> StoredRun:
    """Return what the tags of a run say."""
    record = ImportRecord.from_tag(tags.get(RECORD))
    state = COMPLETE if tags.get(STATE) == COMPLETE else WRITING
    return StoredRun(
        run_id=run_id,
        experiment_id=experiment_id,
        run_name=tags.get(NAME, ""),
        key=next((value for name, value in tags.items() if name.startswith(f"{KEY}.")), ""),
        has_epochs=f"{KEY}.{EMPTY_DIGIT}" not in tags,
        state=state,
        source=tags.get(SOURCE, ""),
        record=record,
        parent_run_id=tags.get(PARENT),
        being_written=state == WRITING and record is not None and _is_being_written(record),
        live_status=tags.get(LIVE_STATUS, ""),
    )


def _is_being_written(record: ImportRecord) -> bool:
    """Whether the importer that created a run seems to be at it still, and is not this process.

    On this host its process tells; on another, that it began a short while ago.
    """
    host, _, rest = record.writer.partition(":")
    pid = rest.partition(":")[0]
    if host == socket.gethostname() and pid.isdigit() and os.name == "posix":
        if int(pid) == os.getpid():
            return False
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return False
        except (PermissionError, OverflowError):
            pass
    try:
        began = datetime.fromisoformat(record.imported_at)
        return (datetime.now(timezone.utc) - began).total_seconds() < LEFT_AFTER_SECONDS
    except (ValueError, TypeError):
        return False


def key_tag(key: str, *, has_epochs: bool = True) -> str:
    """Return the name of the tag that holds a key: it ends in the first digit of the key.

    MLflow's databases index tags by name, not by value: a search reads all tags of the name, with the digit one run
    in sixteen. At 10,000 runs that is 3 ms in place of 35. Source: the primary key of `tags` is (key, run_uuid).
    """
    return f"{KEY}.{key[:1] if has_epochs else EMPTY_DIGIT}"


def with_key(key: str, *, has_epochs: bool = True) -> str:
    """Return the condition of a search for the runs that carry a key."""
    return f"tags.`{key_tag(key, has_epochs=has_epochs)}` = '{key}'"


def search_runs(store: Store, experiment_ids: list[str], condition: str, view: int = ACTIVE) -> Iterator[Run]:
    """Yield every run of some experiments that meets a condition, page after page."""
    return pages(lambda token: store.client.search_runs(experiment_ids, condition, view, PAGE, page_token=token))


def pages(fetch: Callable[[str | None], Any]) -> Iterator[Any]:
    """Yield what the pages of an MLflow search hold; `fetch` takes the token of a page."""
    page = fetch(None)
    yield from page
    while page.token:
        page = fetch(page.token)
        yield from page


def stored_points(store: Store, run: Run, keys: Iterable[str]) -> dict[str, tuple[MetricPoint, ...]]:
    """Return the whole history of the given metrics of a run, by key. Errors: StoreError."""
    history: dict[str, tuple[MetricPoint, ...]] = {}
    with store_errors("reading the run's metrics"):
        for key in keys:
            if key in run.data.metrics:
                found = store.client.get_metric_history(run.info.run_id, key)
                history[key] = tuple(MetricPoint(key, point.value, point.timestamp, point.step) for point in found)
    return history


def _live_runs(store: Store, plan: ImportPlan, experiment_id: str | None, before: str = "") -> tuple[LiveRun, ...]:
    """Return the runs without ymlf's tags that have the save_dir or name of a plan and share a metric with it.

    Those that the run of the id `before` goes on with are left out.

    For an import to the default experiment, that of older releases is looked through, too. Errors: StoreError.
    """
    former = _former_experiment(store, plan.experiment_name)
    found: dict[str, Run] = {}
    with store_errors("looking for runs that were logged live"):
        places = [place for place in (experiment_id, former) if place is not None and store.may_hold_live_runs(place)]
        for place, condition in product(places, _live_conditions(plan)):
            found.update({run.info.run_id: run for run in store.search_foreign(place, condition)})
    keys = {point.key for point in plan.points}
    return tuple(
        _live_run(store, run, plan, experiment_id)
        for run in found.values()
        if STATE not in run.data.tags
        and run.data.tags.get(CONTINUED_IN) != before
        and not (run.data.metrics and keys.isdisjoint(run.data.metrics))
    )


def _live_conditions(plan: ImportPlan) -> list[str]:
    """Return the filters that find live runs; a text that holds both quotes is left out, for no filter can say it."""
    args = plan.run.args
    names = sorted({str(name)[:MAX_RUN_NAME] for name in (args.get("name"), plan.name) if name})
    wanted = [("params.save_dir", str(args.get("save_dir") or "")), *(("attributes.run_name", name) for name in names)]
    quotes = [(field, text, '"' if "'" in text else "'") for field, text in wanted if text]
    return [f"{field} = {quote}{text}{quote}" for field, text, quote in quotes if quote not in text]


def _live_run(store: Store, run: Run, plan: ImportPlan, experiment_id: str | None) -> LiveRun:
    history = stored_points(store, run, sorted({point.key for point in plan.points}))
    info, started_ms = run.info, int(run.info.start_time or 0)
    with store_errors("listing the artifacts of a run that was logged live", any_class=True):
        artifacts = list_artifacts(store.artifact_repository(info.artifact_uri))
    newest_ms = max([started_ms, *(point.timestamp for series in history.values() for point in series)])
    return LiveRun(
        run_id=str(info.run_id), run_name=str(info.run_name), status=str(info.status), params=dict(run.data.params),
        points=values_by_step(history, plan), artifacts=artifacts, experiment_id=str(info.experiment_id),
        is_elsewhere=str(info.experiment_id) != experiment_id, started_ms=started_ms, newest_ms=newest_ms,
    )  # fmt: skip


def values_by_step(history: Mapping[str, Iterable[MetricPoint]], plan: ImportPlan) -> Points:
    """Return the values of each metric by step, in the order of their times.

    Before 8.4.52 the callback logged the final validation at the last step, beside the values of that epoch; it is put
    one step later, as a plan has it. Where val/ lacks at that step, the epoch's own call is what lacks.
    """
    points: dict[str, dict[int, tuple[float, ...]]] = {}
    for key, series in history.items():
        for point in sorted(series, key=lambda point: point.timestamp):
            by_step = points.setdefault(key, {})
            by_step[point.step] = (*by_step.get(point.step, ()), point.value)
    last = plan.run.epochs.last_step
    losses = {point.key for point in plan.points if point.step == last and point.key.startswith("val/")}
    is_lost = bool(losses) and not any(last in points.get(key, {}) for key in losses)
    for key, by_step in points.items():
        final = by_step.get(last, ())[0 if is_lost else 1 :]
        if key.startswith("metrics/") and final and last + 1 not in by_step:
            by_step[last + 1] = final
            if is_lost:
                del by_step[last]
    return points
