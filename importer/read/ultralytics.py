"""Ultralytics, every release from 8.0.0 and every task: args.yaml, results.csv, weights/."""

from __future__ import annotations

import json
from collections.abc import Set
from dataclasses import replace

from importer.formats.text_file import column_names, option_names, read_head
from importer.model import Epochs, FinalValidation, RunPath, TrainingRun
from importer.read.common import RESULTS, add_epochs, new_run, read_options, read_table, results_name
from importer.read.directory import RunDirectory

COLUMNS = ("train/", "metrics/", "val/")  # the columns of every task begin so
LOOKS_FOR = {
    RESULTS: "it has no column `epoch` with others that begin with train/, metrics/ or val/",
    "args.yaml": "it has no `task` and `mode`",
}
TASKS = {  # by a column that it has and those above have not; obb before 8.4 has detect's
    "metrics/mAP50(M)": "segment",
    "metrics/mAP50(P)": "pose",
    "train/angle_loss": "obb",
    "metrics/mAP50(B)": "detect",
    "metrics/accuracy_top1": "classify",
    "metrics/mIoU": "semantic",
    "metrics/delta1": "depth",
}


def recognise(save_dir: RunPath, names: Set[str]) -> bool:
    """Recognise a results table of epochs and metrics, or an args.yaml that a trainer wrote."""
    results = results_name(names)
    columns = column_names(save_dir / results) if results is not None else []
    # Keras and Lightning count epochs in a results.csv, too, the latter beside a `step`.
    if "epoch" in columns and "step" not in columns and any(name.startswith(COLUMNS) for name in columns):
        return True
    return "args.yaml" in names and _is_args(save_dir / "args.yaml", beside_results=results is not None)


def _is_args(path: RunPath, *, beside_results: bool) -> bool:
    """Others write an args.yaml, too, but of no task; one that names nothing is ours if results lie beside it."""
    if not path.is_file():  # a pipe, say
        return False
    head = read_head(path)
    if not head or head.startswith(("task:", "mode:")):
        return True
    options = option_names(path)
    return {"task", "mode"} <= options or (beside_results and not options)


def read(directory: RunDirectory) -> TrainingRun:
    """Read the last training of the directory, or the one that `directory.segment` names.

    Errors: RunDirError when args.yaml or results.csv cannot be read as what they are.
    Source: ultralytics/engine/trainer.py, 8.0.0 to 8.4.190.
    """
    options = read_options(directory, "args.yaml")
    run, table = new_run(directory, "ultralytics", options, read_table(directory))
    version = run.facts.version if run.facts else None
    generator = f"Ultralytics {version}" if version else "Ultralytics"
    run = add_epochs(replace(run, version=version, generator=generator), directory, table)
    task = run.args.get("task")
    if not isinstance(task, str) or not task:
        task = next((task for column, task in TASKS.items() if column in run.epochs.columns), None)
    return replace(run, task=task, final_validation=run.final_validation or _multitrain_result(directory, run.epochs))


def _multitrain_result(directory: RunDirectory, epochs: Epochs) -> FinalValidation | None:
    """Read the final validation that multitrain_results.json keeps beside the directory of each dataset.

    Where the file has val/ losses too, its numbers are those of an epoch, which results.csv has already.
    """
    place = directory.save_dir.parent / "multitrain_results.json"
    try:
        if not len(epochs) or not place.is_file() or place.stat().st_size > 1_000_000:
            return None
        results = json.loads(place.read_bytes())["results"][directory.name]
        metrics = {str(key): float(value) for key, value in results.items() if key.startswith("metrics/")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if not metrics or not metrics.keys() <= set(epochs.columns) or any(key.startswith("val/") for key in results):
        return None
    return FinalValidation(tuple(metrics.items()), "multitrain_results.json")
