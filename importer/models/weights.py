"""The model of a run: its best.pt as the store has it, and the files added beside it: MLmodel, code, environment."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from importer.errors import PlanError, RunDirError
from importer.model import Artifact, CheckpointFacts, Note, RunFile, TrainingRun
from importer.read.checkpoint import read_checkpoint
from importer.read.epochs import release
from importer.record import ModelRecord
from importer.report import WROTE, Kind, Outcome
from importer.sources.scratch import temporary_folder
from importer.store.failures import store_errors
from importer.store.store import Store
from importer.write.artifacts import BEST, fetched, is_local, list_artifacts, log_artifact, sha256_of, spooled
from importer.write.lookup import MODEL_FILES, STATE, WRITING

if TYPE_CHECKING:
    from mlflow.entities import Run

FOLDER = "weights"  # of the run's artifacts: it is the model
CODE = "yolo_model.py"
TRIED = (8, 3, 0), (8, 4, 190)  # the first and the last release of Ultralytics that was tried with this torch
TORCH = ("torch==2.14.1", "torchvision==0.29.1")
RELEASE = re.compile(r"[0-9]+([.][0-9]+){1,3}")  # any other text of a checkpoint could name another package
POINTS = {"detect": None, "segment": "polygon", "pose": "keypoints", "obb": "corners"}  # beside the box
TASKS = (*POINTS, "classify")
OTHERS = "YOLOv5, YOLOv7 and YOLOv9 have a code base of their own, which `pip install ultralytics` does not load"


@dataclass(frozen=True)
class RunModel:
    """What makes a run's weights a model, before it is written."""

    run: Run
    facts: CheckpointFacts
    task: str
    record: ModelRecord
    contents: dict[str, bytes]  # by file name, MLmodel last
    notes: tuple[Note, ...]
    is_there: bool  # in the run already: made of these weights, perhaps by another release


def read_model(store: Store, run: Run, local: RunFile | None = None) -> RunModel:
    """Return the model of a run, by its best.pt: `local`, where that is what was logged, else the store's.

    Nothing of the checkpoint is executed, and nothing is written.
    Errors: PlanError for a run that cannot be a model; StoreError.
    """
    run_id = str(run.info.run_id)
    try:
        if run.data.tags.get(STATE) == WRITING:
            raise PlanError("its import has not come to its end", hint="import it again, which finishes it")
        repository = _repository(store, run)
        stored = list_artifacts(repository, FOLDER)
        if BEST not in stored:
            raise PlanError(f"it has no {BEST}", hint="import it with its weights, not with --artifacts none")
        logged = None if local is None else Artifact(BEST, local.size, local.location)
        with fetched(repository, BEST) if logged is None else spooled(logged) as best:
            facts, weights = read_checkpoint(best), sha256_of(best)
        contents, notes = _model_files(facts, run_id, int(run.info.start_time))
    except (PlanError, RunDirError) as error:
        raise PlanError(f"run {run_id}: {error.message}", hint=error.hint) from error
    digests = {f"{FOLDER}/{name}": hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    record, recorded = ModelRecord(weights, digests), ModelRecord.from_tag(run.data.tags.get(MODEL_FILES))
    is_there = recorded is not None and recorded.weights == weights and set(recorded.files) <= set(stored)
    return RunModel(run, facts, _task_of(facts), record, contents, notes, is_there)


def write_model(store: Store, model: RunModel) -> None:
    """Add the files to the run, MLmodel last, and then the tag that lists them; a second call completes a first.

    Errors: StoreError.
    """
    if model.is_there:
        return
    repository = _repository(store, model.run)
    local = Path(repository.artifact_dir) if is_local(model.run.info.artifact_uri) else None
    with temporary_folder() as folder:
        for name, content in model.contents.items():
            path = folder / name
            path.write_bytes(content)
            log_artifact(repository, Artifact(f"{FOLDER}/{name}", len(content), path), local)
    with store_errors("recording the model's files"):
        store.client.set_tag(model.run.info.run_id, MODEL_FILES, model.record.to_tag())


def _repository(store: Store, run: Run) -> Any:
    with store_errors("opening the artifact store"):
        return store.artifact_repository(run.info.artifact_uri)


def with_model(store: Store, outcome: Outcome, run: TrainingRun | None) -> Outcome:
    """Add the model's files to a run that is in the store by now; a note says why where that cannot be.

    Errors: StoreError.
    """
    if outcome.run_id is None or outcome.kind not in WROTE | {Kind.ALREADY_THERE}:
        return outcome
    with store_errors("reading the run"):
        stored = store.client.get_run(outcome.run_id)
    try:
        model = read_model(store, stored, run.file(BEST) if run is not None and outcome.kind in WROTE else None)
        write_model(store, model)
        notes = model.notes
    except (PlanError, RunDirError) as error:
        notes = (Note("no-model", error.message),)
    return replace(outcome, notes=(*outcome.notes, *notes))


def _task_of(facts: CheckpointFacts) -> str:
    """Return the task of a checkpoint that Ultralytics can serve. Errors: PlanError."""
    model_class = facts.model_class or "none"
    if not model_class.startswith("ultralytics."):
        raise PlanError(f"best.pt is no model of Ultralytics; its class is {model_class}", hint=OTHERS)
    task = facts.train_args.get("task")
    if task not in TASKS:
        raise PlanError(f"best.pt is for the task {task}", hint=f"models are made for {', '.join(TASKS)}")
    return str(task)


def _model_files(facts: CheckpointFacts, run_id: str, started_ms: int) -> tuple[dict[str, bytes], tuple[Note, ...]]:
    """Return the content of each file by its name, MLmodel last; the same for the same run, Python and MLflow.

    Errors: PlanError for what Ultralytics cannot serve.
    """
    requirements, notes = _requirements(facts.version)
    python, pip = platform.python_version(), {"pip": requirements}
    contents: dict[str, object] = {
        CODE: files("importer.models").joinpath(CODE).read_text(encoding="utf-8"),
        "requirements.txt": "".join(f"{line}\n" for line in requirements),
        "python_env.yaml": {"python": python, "build_dependencies": ["pip"], "dependencies": ["-r requirements.txt"]},
        "conda.yaml": {"channels": ["conda-forge"], "dependencies": [f"python={python}", "pip", pip]},
        "MLmodel": _description(facts, run_id, started_ms),
    }
    texts = {name: text if isinstance(text, str) else yaml.safe_dump(text) for name, text in contents.items()}
    return {name: text.encode() for name, text in texts.items()}, notes


def _requirements(version: str | None) -> tuple[list[str], tuple[Note, ...]]:
    if version is None or not RELEASE.fullmatch(version):
        text = "best.pt does not name the release of Ultralytics that trained it; neither it nor torch is pinned"
        return ["mlflow>=3.7", "ultralytics", "torch"], (Note("model-unpinned", text),)
    is_tried = TRIED[0] <= release(version) <= TRIED[1]
    note = Note("model-unpinned", f"torch is not pinned: none was tried with Ultralytics {version}")
    torch = TORCH if is_tried else ("torch",)
    return ["mlflow>=3.7", f"ultralytics=={version}", *torch], () if is_tried else (note,)


def _description(facts: CheckpointFacts, run_id: str, started_ms: int) -> dict[str, object]:
    """Return the content of MLmodel. Source: models from code, mlflow/models/model.py and pyfunc/model.py, 3.17."""
    import mlflow

    task = _task_of(facts)
    flavor = {
        "loader_module": "mlflow.pyfunc.model",
        "model_code_path": CODE,
        "artifacts": {"best": {"path": "best.pt", "uri": "best.pt"}},
        "env": {"virtualenv": "python_env.yaml", "conda": "conda.yaml"},
        "python_version": platform.python_version(),
        "streamable": False,
    }
    return {
        "artifact_path": FOLDER,
        "flavors": {"python_function": flavor},
        "metadata": {"task": task, "classes": list(facts.names)},
        "mlflow_version": mlflow.__version__,
        "model_uuid": run_id,
        "run_id": run_id,
        "signature": {part: json.dumps(columns) for part, columns in _signature(task, facts.train_args).items()},
        "utc_time_created": str(datetime.fromtimestamp(started_ms / 1000, timezone.utc).replace(tzinfo=None)),
    }


def _signature(task: str, args: Mapping[str, object]) -> dict[str, list[dict[str, object]]]:
    """Return the signature of a task: the bytes of images in, a list of predictions for each out; and the params."""
    numbers = {"type": "array", "items": {"type": "double"}}
    plain = {"name": "string", "class": "long", "confidence": "double"}
    fields: dict[str, object] = {name: {"type": kind, "required": True} for name, kind in plain.items()}
    if task in POINTS:
        fields["box"] = {**numbers, "required": True}
        if points := POINTS[task]:
            fields[points] = {"type": "array", "items": numbers, "required": True}
    trained_at = args.get("imgsz")
    trained_at = trained_at if isinstance(trained_at, int) else 640
    params = [
        ("conf", "double", 0.25), ("iou", "double", 0.7), ("imgsz", "long", trained_at), ("max_det", "long", 300),
        ("device", "string", ""),
    ]  # fmt: skip
    prediction = {"type": "object", "properties": fields}
    return {
        "inputs": [{"name": "image", "type": "binary", "required": True}],
        "outputs": [{"name": "predictions", "type": "array", "items": prediction, "required": True}],
        "params": [{"name": name, "type": kind, "default": value, "shape": None} for name, kind, value in params],
    }
