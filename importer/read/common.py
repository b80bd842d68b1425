"""What the readers of Ultralytics, YOLOv5 and YOLOv7 share: options, results.csv, and a run from its table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from typing import NamedTuple

from importer.formats.csv_table import Table, read_results
from importer.formats.yaml_file import read_yaml
from importer.model import CheckpointFacts, Note, TrainingRun
from importer.naming import last_part
from importer.read.directory import RunDirectory
from importer.read.epochs import build_epochs, epoch_base, epoch_numbers, split_trainings
from importer.read.evidence import read_events, row_of_metrics, saved_at

RESULTS = "results.csv"
MAX_EPOCHS = 2**31
Args = dict[str, object]


class Results(NamedTuple):
    """The table of epochs and the results file, which may be empty."""

    table: Table | None = None
    file: str | None = None


def whole(value: object) -> int | None:
    """Return a number of epochs as an integer, or None where the value is no such number."""
    return int(value) if isinstance(value, (int, float)) and abs(value) < MAX_EPOCHS else None


def results_name(names: Set[str]) -> str | None:
    """Return results.csv, else the only file that a browser or a copy renamed: `results (1).csv`."""
    others = _renamed_results(names)
    return RESULTS if RESULTS in names else others[0] if len(others) == 1 else None


def _renamed_results(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.startswith("results") and name.endswith(".csv"))


def read_options(directory: RunDirectory) -> tuple[Args, tuple[str, ...], list[Note]]:
    """Read opt.yaml with the hyperparameters under their own names, and return the files that they came from, too.

    The hyperparameters are those of hyp.yaml, else of the `hyp` that opt.yaml holds. Errors: RunDirError.
    """
    values: dict[str, Args] = {}
    notes: list[Note] = []
    for name in ("opt.yaml", "hyp.yaml"):
        if (place := directory.get(name)) is not None:
            values[name], more = read_yaml(place.location)
            notes += more
    if "opt.yaml" not in values:
        notes.append(Note("no-args", "no opt.yaml; the task is known by the columns"))
    args = flat(values.get("opt.yaml", {}), values.get("hyp.yaml", {}))
    return args, tuple(name for name, options in values.items() if options), notes


def flat(options: Mapping[str, object], hyperparameters: Mapping[str, object]) -> Args:
    """Return the options, which win, over the hyperparameters; a `hyp` that is a path stays one."""
    inner = options.get("hyp")
    if not isinstance(inner, Mapping):
        return {**hyperparameters, **options}
    plain = {key: value for key, value in options.items() if key != "hyp"}
    return {**(hyperparameters or {str(key): value for key, value in inner.items()}), **plain}


def read_table(directory: RunDirectory, *, short_rows: bool = False) -> tuple[Results, list[Note]]:
    """Read results.csv. Errors: RunDirError when it cannot be read as a table of epochs."""
    name = results_name(directory.by_path.keys())
    place = directory.get(name) if name else None
    if place is None:
        several = " or ".join(_renamed_results(directory.by_path))
        text = f"no results.csv, and {several} may be it; none of them is read"
        return Results(), [Note("results-ignored", text)] if several else []
    notes = [Note("renamed-results", f"no results.csv; read {name}")] if name != RESULTS else []
    if not place.size:
        return Results(None, name), [*notes, Note("empty-results", f"{name} is empty")]
    table = read_results(place.location, short_rows=short_rows)
    return Results(table, name), [*notes, *table.notes]


def or_kept(results: Results, facts: CheckpointFacts | None) -> tuple[Results, list[Note]]:
    """Return the results, or where they have no table the one that a checkpoint keeps."""
    columns = facts.train_results if facts is not None else {}
    if results.table is not None or "epoch" not in columns:
        return results, []
    table = Table(tuple(columns), tuple(zip(*columns.values(), strict=False)))
    text = "no results.csv; the epochs are the checkpoint's train_results"
    return Results(table), [Note("results-from-checkpoint", text)]


def add_epochs(run: TrainingRun, directory: RunDirectory, table: Table | None, base: int | None = None) -> TrainingRun:
    """Return the run with the epochs of its table, and what follows from its checkpoints and event files.

    The base of the epochs is worked out where it is not given.
    """
    notes = _renamed(run.args, directory)
    numbers: tuple[int, ...] = ()
    if table is not None and table.rows:
        numbers = epoch_numbers(table, directory.save_dir / (run.results_file or RESULTS))
        if base is None:
            has_time = "time" in table.header
            base, guess = epoch_base(numbers, has_time=has_time, version=run.version, planned=run.planned_epochs)
            notes += [guess] if guess else []
        spans = split_trainings(numbers, base)
        if len(spans) > 1 and run.segment is None:
            text = f"{run.results_file} holds {len(spans)} trainings; this is the last"
            notes.append(Note("several-trainings", text))
        span = spans[-1 if run.segment is None else run.segment]
        epochs, more = build_epochs(table, numbers, base, span)
        notes += more
        segment = None if span is spans[-1] else run.segment
        run = replace(run, epochs=epochs, segment=segment, trainings=len(spans))
    run = replace(run, notes=tuple(dict.fromkeys((*run.notes, *notes))))
    if run.segment is not None:  # checkpoints, event files and plots are the last training's
        return replace(run, last=None, best=None)
    return _add_events(_add_rows(run, numbers, base or 0), directory)


def _add_rows(run: TrainingRun, numbers: tuple[int, ...], base: int) -> TrainingRun:
    """Return the run with the epochs at which its checkpoints were saved."""
    last_row = saved_at(run.last, run.epochs, numbers, base)
    if last_row is None and run.last is not None and run.last.epoch == -1 and len(run.epochs):
        last_row = len(run.epochs) - 1
    best_row = saved_at(run.best, run.epochs, numbers, base)
    if best_row is None and run.best is not None:
        best_row = row_of_metrics(run.best.train_metrics, run.epochs)
    return replace(run, last_row=last_row, best_row=best_row)


def _add_events(run: TrainingRun, directory: RunDirectory) -> TrainingRun:
    """Return the run with the times of the event files, and their final validation where the results have no other."""
    times, final, notes = read_events(directory, run.epochs)
    if run.final_validation is not None:
        final = replace(run.final_validation, wall_ms=final.wall_ms if final is not None else None)
    return replace(run, event_times=times, final_validation=final, notes=tuple(dict.fromkeys((*run.notes, *notes))))


def _renamed(args: Mapping[str, object], directory: RunDirectory) -> list[Note]:
    """Before 8.0.198, and in YOLOv5, `name` has not the number that save_dir got, so that save_dir is asked first."""
    recorded = args.get("save_dir") or args.get("name")
    name = last_part(recorded) if isinstance(recorded, str) else ""
    text = f"was {name} when it was trained; the run is called {directory.name}"
    return [Note("renamed", text)] if name and name != directory.name else []
