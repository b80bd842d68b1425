"""Ultralytics' MLflow callback as pure functions: to be read beside its utils/callbacks/mlflow.py.

Each function returns what its namesake would have sent to MLflow. Its arguments take the place of the trainer.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from importer.model import RunFile

DEFAULT_EXPERIMENT = "/Shared/Ultralytics"
FORMER_EXPERIMENT = "/Shared/YOLOv8"  # before 8.3.9
SUFFIXES = (".png", ".jpg", ".csv", ".pt", ".yaml")
TRUE = {"1", "true", "yes", "on", "y", "t"}


def sanitize_key(name: str) -> str:
    """Return the name of a metric without parentheses: metrics/mAP50(B) is logged as metrics/mAP50B."""
    return name.replace("(", "").replace(")", "")


def sanitize_dict(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics by their sanitized names, and values as floats."""
    return {sanitize_key(name): float(value) for name, value in metrics.items()}


def on_pretrain_routine_end(args: Mapping[str, object], name: str) -> tuple[str, str, dict[str, str]]:
    """Return experiment, run name and params, environment first.

    Source: 8.3.9 to 8.4.190; before 8.3.9 the default experiment was /Shared/YOLOv8.
    """
    project = args.get("project")
    experiment_name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or (str(project) if project else DEFAULT_EXPERIMENT)
    run_name = os.environ.get("MLFLOW_RUN") or name
    return experiment_name, run_name, {str(key): str(value) for key, value in args.items()}


def on_train_epoch_end(lr: Mapping[str, float], losses: Mapping[str, float]) -> dict[str, float]:
    """Return learning rates and training losses, logged at step = epoch. Source: registered since 8.1.10."""
    return {**sanitize_dict(lr), **sanitize_dict(losses)}


def on_fit_epoch_end(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return metrics and validation losses, at step = epoch; called once more after the final validation of best.pt."""
    return sanitize_dict(metrics)


def on_train_end(files: Iterable[RunFile]) -> list[RunFile]:
    """Return the files that become artifacts: all of weights/, and of the others those with one of five suffixes."""
    return [
        file
        for file in files
        if file.path.startswith("weights/") or ("/" not in file.path and file.path.endswith(SUFFIXES))
    ]


def keep_run_active() -> bool:
    """Return whether the environment asks for the run to stay RUNNING. Source: accepted words as of 8.4.120."""
    return os.environ.get("MLFLOW_KEEP_RUN_ACTIVE", "").lower() in TRUE
