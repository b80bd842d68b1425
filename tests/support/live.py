"""Runs as Ultralytics' callback logs them, call by call, so that a test can cut them off or lose calls."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run

from importer import import_run, verify_run
from importer.model import ImportOptions, ImportPlan
from importer.replay.callbacks import SUFFIXES
from importer.report import Kind, Outcome

PARAMS = 100  # that one request takes
LATER_MS = 777  # live's clock is not the one that was read from the files
TRAIN = ("train/", "lr/")


class Call(NamedTuple):
    """One call of the callback after the run was created."""

    name: str  # params 0, train 3, fit 3, final, artifact results.csv, end
    send: Callable[[MlflowClient, str], object]


def golden_of(plan: ImportPlan, *, final: bool = True) -> dict[str, Any]:
    """What live logged of the training of a plan, in the form of the golden files."""
    metrics: dict[str, list[list[float]]] = {}
    for point in plan.points:
        metrics.setdefault(point.key, []).append([point.step, point.value, point.timestamp + LATER_MS])
    if final and plan.status == "FINISHED":
        for key in metrics:
            if key.startswith("metrics/"):
                metrics[key].append([plan.run.epochs.last_step + 1, 0.5, plan.timeline.ended_ms])
    return {
        "experiment": plan.experiment_name, "run_name": plan.run_name, "params": dict(plan.params),
        "metrics": metrics, "start_time": plan.timeline.started_ms + LATER_MS, "status": plan.status,
        "end_time": plan.timeline.ended_ms + LATER_MS, "tags": {"mlflow.source.name": "train.py"},
    }  # fmt: skip


def live_calls(live: Mapping[str, Any], save_dir: Path) -> list[Call]:
    """The calls by which the callback logs a training after it has created the run, in its order."""
    params = [Param(key, value) for key, value in live["params"].items()]
    calls = [_batch(f"params {at}", params=params[at : at + PARAMS]) for at in range(0, len(params), PARAMS)]
    points = sorted((at, step, key, value) for key, series in live["metrics"].items() for step, value, at in series)
    last = max(step for _, step, key, _ in points if key.startswith("train/"))
    seen: set[str] = set()
    for (at, step), batch in groupby(points, key=lambda point: point[:2]):
        metrics = [Metric(key, value, at, step) for _, _, key, value in batch]
        train = [metric for metric in metrics if metric.key.startswith(TRAIN)]
        for word, part in (("train", train), ("fit", [metric for metric in metrics if metric not in train])):
            name = "final" if step > last or f"{word} {step}" in seen else f"{word} {step}"
            if part:
                seen.add(name)
                calls.append(_batch(name, metrics=part))
    if live["status"] == "FINISHED":
        calls += [_file(path, save_dir) for path in live_files(save_dir)]
    end = Call("end", lambda client, run_id: client.set_terminated(run_id, live["status"], live["end_time"]))
    return calls if live["status"] == "RUNNING" else [*calls, end]


def live_files(save_dir: Path) -> list[Path]:
    """The files that the callback logs when a training has come to its end."""
    files = sorted(path for path in save_dir.rglob("*") if path.is_file())
    return [path for path in files if path.parent.name == "weights" or path.suffix in SUFFIXES]


def _batch(name: str, **content: Any) -> Call:
    return Call(name, lambda client, run_id: client.log_batch(run_id, **content))


def _file(path: Path, save_dir: Path) -> Call:
    relative = path.relative_to(save_dir)
    folder = None if relative.parent == Path() else relative.parent.as_posix()
    return Call(
        f"artifact {relative.as_posix()}", lambda client, run_id: client.log_artifact(run_id, str(path), folder)
    )


def log_live(
    uri: str, live: Mapping[str, Any], calls: list[Call], *, experiment: str | None = None, lost: Container[str] = ()
) -> str:
    """The id of a run that was created and got these calls, but for the lost ones."""
    client = MlflowClient(uri)
    name = experiment or str(live["experiment"])
    found = client.get_experiment_by_name(name)
    experiment_id = found.experiment_id if found else client.create_experiment(name)
    tags = {key: value for key, value in live["tags"].items() if key != "mlflow.runName"}
    run_id = str(client.create_run(experiment_id, live["start_time"], tags, live["run_name"]).info.run_id)
    for call in calls:
        if call.name not in lost:
            call.send(client, run_id)
    return run_id


class Completion(NamedTuple):
    """What became of a live run that was to be completed, and what is wrong with it."""

    outcome: Outcome
    faults: list[str]


def complete(
    uri: str, save_dir: Path, live: Mapping[str, Any], calls: list[Call], experiment: str, lost: Container[str] = ()
) -> Completion:
    """Log a live run by these calls to an experiment of its own, complete it, and compare it with a whole live run."""
    run_id = log_live(uri, live, calls, experiment=experiment, lost=lost)
    options = ImportOptions(experiment=experiment, live="complete")
    outcome = import_run(save_dir, tracking_uri=uri, options=options)
    again = import_run(save_dir, tracking_uri=uri, options=options)
    client = MlflowClient(uri)
    run = client.get_run(run_id)
    is_ours = outcome.kind is Kind.COMPLETED
    faults = [*_faults_of_run(run, live), *_faults_of_points(client, run, live)]
    if is_ours:
        faults += verify_run(save_dir, tracking_uri=uri, options=options)
    if again.kind is not (Kind.ALREADY_THERE if is_ours else outcome.kind):
        faults.append(f"a second import: {again.kind.value}: {again.reason}")
    if len(client.search_runs([run.info.experiment_id])) != 1:
        faults.append("there is a second run")
    if live["status"] == "FINISHED":
        entries = [*client.list_artifacts(run_id), *client.list_artifacts(run_id, "weights")]
        stored = {Path(entry.path).name: entry.file_size for entry in entries if not entry.is_dir}
        faults += [
            f"artifact {file.name}" for file in live_files(save_dir) if stored.get(file.name) != file.stat().st_size
        ]
    return Completion(outcome, faults)


def _faults_of_run(run: Run, live: Mapping[str, Any]) -> Iterator[str]:
    status = "FAILED" if live["status"] == "RUNNING" else live["status"]  # a killed run is RUNNING for ever
    if (run.info.status, run.info.start_time) != (status, live["start_time"]) or run.info.end_time is None:
        yield f"{run.info.status} from {run.info.start_time} to {run.info.end_time}"
    for key, text in live["params"].items():
        if run.data.params.get(key) != text:
            yield f"param {key}: {run.data.params.get(key)}, live had {text}"


def _faults_of_points(client: MlflowClient, run: Run, live: Mapping[str, Any]) -> Iterator[str]:
    """What the live run had and this one has not, or has twice; the final validation may be missing."""
    last = max(step for key, series in live["metrics"].items() if key.startswith("train/") for step, _, _ in series)
    for key, series in live["metrics"].items():
        stored = client.get_metric_history(run.info.run_id, key)
        counts = Counter(point.step for point in stored)
        expected = Counter(step for step, _, _ in series)
        for step, value, _ in sorted(series, key=lambda point: point[2]):
            near = [p for p in stored if p.step == step and math.isclose(p.value, value, rel_tol=5e-5, abs_tol=5e-6)]
            is_final = step > last or (expected[step] > 1 and step == last and counts[step])
            if not near and not is_final and not math.isnan(value):
                yield f"{key} at step {step} is not {value}"
        yield from (f"{key}: {n} points at step {at}" for at, n in counts.items() if n > max(1, expected[at]))
        yield from (f"{key}: step {at}" for at in counts if at > last + 1)
