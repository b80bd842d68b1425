"""TrainingRun -> ImportPlan: the callbacks, in the order in which the trainer calls them."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable, Mapping

from importer.errors import PlanError
from importer.model import (
    DatasetInput,
    ImportOptions,
    ImportPlan,
    MetricPoint,
    Note,
    Timeline,
    TrainingRun,
)
from importer.naming import MAX_EXPERIMENT_NAME, MAX_RUN_NAME, accepted_key, last_part, storable
from importer.read.fitness import best_key, best_row
from importer.record import ImportRecord
from importer.replay.artifacts import choose_files
from importer.replay.callbacks import (
    on_fit_epoch_end,
    on_pretrain_routine_end,
    on_train_end,
    on_train_epoch_end,
    sanitize_key,
)
from importer.replay.fingerprint import content_fingerprint
from importer.replay.identity import empty_key, place_of_training, training_key
from importer.replay.names import render
from importer.replay.params import accepted_params, live_args
from importer.replay.record import build_record, check_options, describe, recorded_options
from importer.replay.status import status
from importer.replay.timeline import build_timeline, dated_iterations

LR_PREFIXES = ("lr/", "x/lr")
TRAIN_PREFIXES = ("train/", *LR_PREFIXES)


def plan_import(
    run: TrainingRun,
    options: ImportOptions | None = None,
    *,
    recorded: ImportRecord | None = None,
    now_ms: int | None = None,
) -> ImportPlan:
    """What is to be logged for a run. With the record of an earlier import, the plan that it was made by.

    Errors: PlanError when MLflow could not hold it; RunDirError when an artifact cannot be read; UsageError for a
        time zone that does not exist, or more tags than a record holds.
    """
    options = recorded_options(options or ImportOptions(), recorded)
    check_options(options)
    now = now_ms if now_ms is not None else int(time.time() * 1000)
    timeline = build_timeline(
        run, now_ms=now, timezone_name=options.timezone, start_ms=options.start_time_ms, recorded=recorded
    )
    notes = [*run.notes, *timeline.notes]
    start = on_pretrain_routine_end(live_args(run), run.name)
    params = accepted_params(run, start.params, notes)
    keys = _metric_keys(run, notes)
    best = best_row(run)
    points = list(_points(run, timeline, keys))
    if options.best_metrics and best[0] is not None:
        points += _best_points(run, timeline, keys, best[0])
    _note_values(points, notes)
    artifacts, left_out = choose_files(run, options, notes)
    name = _run_name(run, options, timeline, start.run_name, recorded)
    experiment = experiment_name(run, options, timeline)
    children = iteration_runs(run, options, timeline) if recorded is None else ()  # an import has them plan themselves
    fingerprint = content_fingerprint(run)
    place = place_of_training(run)
    record = build_record(run, timeline, options, best, fingerprint=fingerprint, run_name=name, notes=tuple(notes))
    return ImportPlan(
        source=run.save_dir,
        place=place,
        name=run.name,
        experiment_name=experiment,
        run_name=name,
        key=training_key(run, place=place),
        empty_key=empty_key(run, place=place),
        fingerprint=fingerprint,
        status=status(run),
        timeline=timeline,
        params=params,
        points=tuple(points),
        artifacts=artifacts,
        tags={**dict(options.tags), "mlflow.note.content": storable(describe(run, record, tuple(notes)))},
        record=record,
        task=run.task,
        generator=run.generator,
        family=run.family,
        epochs=len(run.epochs),
        planned_epochs=run.planned_epochs,
        best_epoch=run.epochs.steps[best[0]] if best[0] is not None else None,
        keep_active=options.keep_active,
        dataset=_dataset(params.get("data"), run.args.get("data")),
        recorded_save_dir=_text(run.args.get("save_dir")),
        recorded_name=_text(run.args.get("name")),
        version=run.version,
        notes=tuple(notes),
        left_out=left_out,
        logged_files=tuple(found.path for found in on_train_end(run.files)),
        has_time=run.epochs.seconds is not None,
        last_step=run.epochs.steps[-1] if run.epochs.steps else -1,
        epochs_written=tuple(row.epoch for row in run.epochs.written),
        is_iteration=run.iteration is not None,
        children=tuple(plan_import(child, options.of_children(experiment), now_ms=now) for child in children),
    )


def iteration_runs(
    run: TrainingRun, options: ImportOptions, timeline: Timeline | None = None
) -> tuple[TrainingRun, ...]:
    """Return the children of a tune that become runs: those with a directory, with `--iterations all` the others too.

    `timeline` is that of the tune; it is made where it is not given.
    """
    if not run.children:
        return ()
    if timeline is None and options.iterations == "all":
        timeline = build_timeline(run, now_ms=int(time.time() * 1000), timezone_name=options.timezone)
    children = dated_iterations(run, timeline) if timeline is not None else run.children
    return tuple(child for child in children if is_imported(child, options))


def is_imported(child: TrainingRun, options: ImportOptions) -> bool:
    """Whether an iteration of a tune becomes a run: it has a directory, or `--iterations all` is given."""
    return child.iteration is None or options.iterations == "all"


def experiment_name(run: TrainingRun, options: ImportOptions, timeline: Timeline | None = None) -> str:
    """The experiment that a run belongs to; without a timeline, a template's {date} is unknown."""
    if options.experiment:
        name = render(options.experiment, run, timeline, options.root)
    else:
        name = on_pretrain_routine_end(run.args, run.name).experiment_name
    return _not_too_long("experiment", name, MAX_EXPERIMENT_NAME, run)


def _not_too_long(what: str, name: str, limit: int, run: TrainingRun) -> str:
    if len(name) <= limit:
        return name
    option = "--run-name" if limit == MAX_RUN_NAME else "--experiment"
    raise PlanError(
        f"{run.save_dir}: {what} {name[:40]}... has {len(name):,} characters, MLflow takes {limit}",
        hint=f"give a shorter one with {option}",
    )


def check_names(run: TrainingRun) -> None:
    """Errors: PlanError when two params or two columns would have one name in MLflow."""
    accepted_params(run, {str(key): "" for key in run.args}, [])
    _metric_keys(run, [])


def _run_name(
    run: TrainingRun, options: ImportOptions, timeline: Timeline, live: str, recorded: ImportRecord | None
) -> str:
    """As it was imported, though the directory may have another name by now; else as asked for; else as live.

    MLFLOW_RUN may be a template, too, and names no iteration of a tune.
    """
    if recorded is not None:
        return recorded.run_name
    asked = options.run_name or (live if live != run.name and not options.is_child else None)
    name = render(asked, run, timeline, options.root) if asked else run.name
    return _not_too_long("run name", name, MAX_RUN_NAME, run)


def _metric_keys(run: TrainingRun, notes: list[Note]) -> dict[str, str]:
    """Column -> metric key."""
    keys: dict[str, str] = {}
    taken: dict[str, str] = {}
    for column in run.epochs.columns:
        plain = sanitize_key(column)
        key = accepted_key(plain)
        if key in taken:
            raise PlanError(
                f"{run.save_dir}: columns {taken[key]!r} and {column!r} both become metric {key!r}",
                hint=f"rename one of them in {run.results_file}",
            )
        if key != plain:
            notes.append(Note("refused-characters", f"column {column!r} is logged as {key!r}"))
        keys[column] = key
        taken[key] = column
    return keys


def _points(run: TrainingRun, timeline: Timeline, keys: Mapping[str, str]) -> Iterable[MetricPoint]:
    """Epoch after epoch: on_train_epoch_end, on_fit_epoch_end; and the latter once more for the final validation.

    Every epoch has the same columns, so that the callbacks are asked once, with the index of each in its value's place.
    """
    epochs = run.epochs
    at = {keys[column]: index for index, column in enumerate(epochs.columns)}
    trained = on_train_epoch_end(
        {key: index for key, index in at.items() if key.startswith(LR_PREFIXES)},
        {key: index for key, index in at.items() if key.startswith("train/")},
    )
    fitted = on_fit_epoch_end({key: index for key, index in at.items() if key not in trained})
    for row, step in enumerate(epochs.steps):
        cells = epochs.rows[row]
        for logged, timestamp in ((trained, timeline.train_ms[row]), (fitted, timeline.fit_ms[row])):
            yield from (
                MetricPoint(key, cell, timestamp, step)
                for key, index in logged.items()
                if (cell := cells[int(index)]) is not None
            )
    if run.final_validation is not None and epochs.steps and timeline.final_ms is not None:
        scores = {keys.get(key, accepted_key(key)): value for key, value in run.final_validation.metrics}
        step = epochs.steps[-1] + 1
        final = on_fit_epoch_end(scores)
        yield from (MetricPoint(accepted_key(key), value, timeline.final_ms, step) for key, value in final.items())


def _best_points(run: TrainingRun, timeline: Timeline, keys: Mapping[str, str], row: int) -> list[MetricPoint]:
    cells = zip(run.epochs.columns, run.epochs.rows[row], strict=True)
    step = run.epochs.steps[row]
    return [
        MetricPoint(accepted_key(best_key(keys[column])), cell, timeline.fit_ms[row], step)
        for column, cell in cells
        if cell is not None and not column.startswith(TRAIN_PREFIXES)
    ]


def _note_values(points: Iterable[MetricPoint], notes: list[Note]) -> None:
    nans = infs = 0
    for point in points:
        if not math.isfinite(point.value):
            nans += math.isnan(point.value)
            infs += math.isinf(point.value)
    if nans:
        told = "1 value is nan and stays nan" if nans == 1 else f"{nans} values are nan and stay nan"
        notes.append(Note("nan", told))
    if infs:
        told = "1 value is infinite" if infs == 1 else f"{infs} values are infinite"
        notes.append(Note("inf", f"{told}; a database store shows 1.797e+308"))


def _dataset(param: str | None, given: object) -> DatasetInput | None:
    """The dataset by the text of `data`: the same wherever it is imported, for the files may be elsewhere by then."""
    if param in (None, "", "None"):
        return None
    source = json.dumps(given, default=str, sort_keys=True) if isinstance(given, dict) else str(param)
    path = str(given.get("path") or "data") if isinstance(given, dict) else source
    name = last_part(path)
    stem = name.rsplit(".", 1)[0] if name.endswith((".yaml", ".yml", ".ndjson")) else name
    return DatasetInput((stem or "data")[:500], hashlib.sha256(source.encode()).hexdigest()[:32], source)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
