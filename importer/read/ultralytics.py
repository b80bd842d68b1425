"""Ultralytics, every release from 8.0.0 and every task: args.yaml, results.csv, weights/."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from pathlib import Path

from importer.formats.csv_table import Table, read_results
from importer.formats.text_file import column_names, option_names, read_head
from importer.formats.yaml_file import read_yaml
from importer.model import Epochs, FinalValidation, RunFile, TrainingRun
from importer.naming import last_part
from importer.read.directory import RunDirectory
from importer.read.epochs import build_epochs, epoch_base, epoch_numbers, split_trainings, tells_base
from importer.read.evidence import Weights, believed, read_events, read_weights, row_of_metrics, saved_at

PRIORITY = 50
RESULTS = "results.csv"
COLUMNS = ("train/", "metrics/", "val/")  # the columns of every task begin so
MAX_EPOCHS = 2**31
LOOKS_FOR = {
    RESULTS: "it has no column `epoch` with others that begin with train/, metrics/ or val/",
    "args.yaml": "it has no `task` and `mode`",
}


def recognise(save_dir: Path, names: Set[str]) -> bool:
    """By a results table of epochs and metrics, or an args.yaml that a trainer wrote."""
    results = results_name(names)
    if results is not None and _is_results(column_names(save_dir / results)):
        return True
    return "args.yaml" in names and _is_args(save_dir / "args.yaml", beside_results=results is not None)


def _is_results(columns: list[str]) -> bool:
    """Keras and Lightning count epochs in a results.csv, too, the latter beside a `step`."""
    return "epoch" in columns and "step" not in columns and any(name.startswith(COLUMNS) for name in columns)


def _is_args(path: Path, *, beside_results: bool) -> bool:
    """Others write an args.yaml, too, but of no task; one that names nothing is ours if results lie beside it."""
    if not path.is_file():  # a pipe, say
        return False
    head = read_head(path)
    if not head or head.startswith(("task:", "mode:")):
        return True
    told = option_names(path)
    return {"task", "mode"} <= told or (beside_results and not told)


def results_name(names: Set[str]) -> str | None:
    """results.csv, else the only file that a browser or a copy renamed: `results (1).csv`."""
    if RESULTS in names:
        return RESULTS
    others = _renamed_results(names)
    return others[0] if len(others) == 1 else None


def lacks_table(directory: RunDirectory) -> bool:
    """Whether no results file tells of the epochs, so that a checkpoint has to."""
    name = results_name(directory.by_path.keys())
    return name is None or not directory.by_path[name].size


def _renamed_results(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.startswith("results") and name.endswith(".csv"))


def read(directory: RunDirectory) -> TrainingRun:
    """The last training of the directory, or the one that `directory.segment` names.

    Errors: RunDirError when args.yaml or results.csv cannot be read as what they are.
    Source: ultralytics/engine/trainer.py, 8.0.0 to 8.4.190.
    """
    args = _read_args(directory)
    weights = read_weights(directory, needed=not args or lacks_table(directory))
    table, results_file = read_table(directory, weights)
    if directory.light and table is not None and not tells_base(table.column("epoch"), has_time="time" in table.header):
        weights = read_weights(directory, needed=True)
    if table is not None and table.short_rows:
        directory.note("ragged-row", f"the last line of {results_file} is short; left out")
    weights = believed(weights, table, args, directory)
    params_from = ["args.yaml"] if args else []
    if weights.any is not None and weights.any.train_args:
        params_from.append("last.pt" if weights.last else "best.pt")
        if not args:
            args = dict(weights.any.train_args)
            directory.note("args-from-checkpoint", "no args.yaml; params are the checkpoint's")
    run = TrainingRun(
        save_dir=str(directory.save_dir),
        name=directory.name,
        family="ultralytics",
        generator="Ultralytics",
        task=None,
        args=args,
        version=weights.any.version if weights.any else None,
        planned_epochs=whole(args.get("epochs")),
        last=weights.last,
        best=weights.best,
        results_file=results_file,
        params_from=tuple(params_from),
        files=directory.files,
        segment=directory.segment,
    )
    return add_epochs(run, directory, table)


def add_epochs(
    run: TrainingRun, directory: RunDirectory, table: Table | None, *, known_base: int | None = None
) -> TrainingRun:
    """The run with the epochs of its table, and all that is known from comparing them with weights and event files."""
    _note_renamed(run.args, directory)
    numbers: tuple[int, ...] = ()
    base = 1 if known_base is None else known_base
    epochs = Epochs()
    if table is not None and table.rows:
        numbers = epoch_numbers(table, directory.save_dir / (run.results_file or RESULTS))
        if known_base is None:
            has_time = "time" in table.header
            base, assumed = epoch_base(numbers, has_time=has_time, version=run.version, planned=run.planned_epochs)
            if assumed:
                directory.note(*assumed)
        spans = split_trainings(numbers, base)
        if len(spans) > 1 and run.segment is None:
            directory.note("several-trainings", f"{run.results_file} holds {len(spans)} trainings; this is the last")
        span = spans[-1 if run.segment is None else run.segment]
        epochs, notes = build_epochs(table, numbers, base, span)
        directory.add(notes)
        run = replace(run, segment=None if span is spans[-1] else run.segment, trainings=len(spans))
    if run.segment is not None:  # weights, event files and plots are the last training's
        run = replace(run, last=None, best=None)
    run = replace(run, epochs=epochs, task=_task(run.args, epochs.columns))
    last_row = saved_at(run.last, epochs, numbers, base)
    if run.last is not None and last_row is None and run.last.epoch == -1 and len(epochs):
        last_row = len(epochs) - 1
    best_row = saved_at(run.best, epochs, numbers, base)
    if run.best is not None and best_row is None:
        best_row = row_of_metrics(run.best.train_metrics, epochs)
    event_times, final = (None, None) if run.segment is not None else read_events(directory, epochs)
    return replace(
        run,
        generator=f"{run.generator} {run.version}" if run.version and run.family == "ultralytics" else run.generator,
        last_row=last_row,
        best_row=best_row,
        event_times=event_times,
        final_validation=_timed(run.final_validation, final) or final or _multitrain_result(directory, epochs),
        notes=tuple(directory.notes),
    )


def _note_renamed(args: Mapping[str, object], directory: RunDirectory) -> None:
    """Before 8.0.198, and in YOLOv5, `name` has not the number that save_dir got, so that save_dir is asked first."""
    recorded = args.get("save_dir") or args.get("name")
    if not isinstance(recorded, str):
        return
    name = last_part(recorded)
    if name and name != directory.name:
        directory.note("renamed", f"was {name} when it was trained; the run is called {directory.name}")


def _timed(written: FinalValidation | None, logged: FinalValidation | None) -> FinalValidation | None:
    """The final validation of the results file, at the time that the event file tells."""
    return replace(written, wall_ms=logged.wall_ms) if written is not None and logged is not None else written


def _read_args(directory: RunDirectory) -> dict[str, object]:
    place = directory.get("args.yaml")
    if place is None:
        directory.note("no-args", "no args.yaml; the task is told by the columns")
        return {}
    args, notes = read_yaml(place.location)
    directory.add(notes)
    return args


def read_table(
    directory: RunDirectory, weights: Weights, *, short_rows: bool = False
) -> tuple[Table | None, str | None]:
    """The table of results.csv, else the one that a checkpoint keeps, and the file it came from."""
    name = results_name(directory.by_path.keys())
    place: RunFile | None = directory.get(name) if name else None
    if place is not None:
        if place.path != RESULTS:
            directory.note("renamed-results", f"no results.csv; read {place.path}")
        if place.size:
            table = read_results(place.location, short_rows=short_rows)
            directory.add(table.notes)
            return table, place.path
        directory.note("empty-results", f"{place.path} is empty")
    elif several := _renamed_results(directory.by_path):
        directory.note("results-ignored", f"no results.csv, and {' or '.join(several)} may be it; none of them is read")
    facts = weights.any
    if facts is None or "epoch" not in facts.train_results:
        return None, place.path if place else None
    columns = facts.train_results
    directory.note("results-from-checkpoint", "no results.csv; the epochs are the checkpoint's train_results")
    length = min(map(len, columns.values()))
    return Table(tuple(columns), tuple(tuple(columns[name][row] for name in columns) for row in range(length))), None


def whole(value: object) -> int | None:
    """A number of epochs as an integer, or None where the value is no such number."""
    return int(value) if isinstance(value, (int, float)) and abs(value) < MAX_EPOCHS else None


def _task(args: Mapping[str, object], columns: tuple[str, ...]) -> str | None:
    """The task that args.yaml names, else what the columns tell; obb before 8.4 has detect's columns."""
    task = args.get("task")
    if isinstance(task, str) and task:
        return task
    named = set(columns)
    for column, meant in (
        ("metrics/mAP50(M)", "segment"),
        ("metrics/mAP50(P)", "pose"),
        ("train/angle_loss", "obb"),
        ("metrics/mAP50(B)", "detect"),
        ("metrics/accuracy_top1", "classify"),
        ("metrics/mIoU", "semantic"),
        ("metrics/delta1", "depth"),
    ):
        if column in named:
            return meant
    return None


def _multitrain_result(directory: RunDirectory, epochs: Epochs) -> FinalValidation | None:
    """The final validation that multitrain_results.json keeps beside the directory of each dataset.

    Where the file has val/ losses too, its numbers are those of an epoch, which results.csv has already.
    """
    place = directory.save_dir.parent / "multitrain_results.json"
    try:
        if not len(epochs) or not place.is_file() or place.stat().st_size > 1_000_000:
            return None
        results = json.loads(place.read_bytes())["results"][directory.name]
        metrics = tuple((str(key), float(value)) for key, value in results.items() if key.startswith("metrics/"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if (
        not metrics
        or any(key.startswith("val/") for key in results)
        or not {key for key, _ in metrics} <= set(epochs.columns)
    ):
        return None
    return FinalValidation(metrics, "multitrain_results.json")
