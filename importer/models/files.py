"""The files that lie beside best.pt and make it an MLflow model: MLmodel, the code, the environment."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.resources import files

import yaml

from importer.errors import PlanError
from importer.model import CheckpointFacts, Note
from importer.read.epochs import release

FOLDER = "weights"  # of the run's artifacts: it is the model
CODE = "yolo_model.py"
TRIED = (8, 3, 0), (8, 4, 190)  # the first and the last release of Ultralytics that was tried with this torch
TORCH = ("torch==2.14.1", "torchvision==0.29.1")
RELEASE = re.compile(r"[0-9]+([.][0-9]+){1,3}")  # any other text of a checkpoint could name another package
POINTS = {"detect": None, "segment": "polygon", "pose": "keypoints", "obb": "corners"}  # beside the box
TASKS = (*POINTS, "classify")
OTHERS = "YOLOv5, YOLOv7 and YOLOv9 have a code base of their own, which `pip install ultralytics` does not load"


def task_of(facts: CheckpointFacts) -> str:
    """Return the task of a checkpoint that Ultralytics can serve. Errors: PlanError."""
    model_class = facts.model_class or "none"
    if not model_class.startswith("ultralytics."):
        raise PlanError(f"best.pt is no model of Ultralytics; its class is {model_class}", hint=OTHERS)
    task = facts.train_args.get("task")
    if task not in TASKS:
        raise PlanError(f"best.pt is for the task {task}", hint=f"models are made for {', '.join(TASKS)}")
    return str(task)


def model_files(facts: CheckpointFacts, run_id: str, started_ms: int) -> tuple[dict[str, bytes], tuple[Note, ...]]:
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

    task = task_of(facts)
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
