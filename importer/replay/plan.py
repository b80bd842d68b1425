"""TrainingRun -> ImportPlan: the callbacks, in the order in which the trainer calls them."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from importer.errors import PlanError
from importer.model import DatasetInput, ImportOptions, ImportPlan, MetricPoint, Note, Timeline, TrainingRun
from importer.naming import MAX_EXPERIMENT_NAME, MAX_RUN_NAME, accepted_key, dataset_name, storable
from importer.read.fitness import BEST, LR_PREFIXES, TRAIN_PREFIXES, best_metrics, best_row
from importer.record import TRAINING, ImportRecord
from importer.replay.artifacts import choose_files, choose_images
from importer.replay.callbacks import on_fit_epoch_end, on_pretrain_routine_end, on_train_epoch_end, sanitize_key
from importer.replay.identity import empty_key, place_of_training, training_key
from importer.replay.names import group_of_run, render
from importer.replay.params import accepted_params, live_args
from importer.replay.record import build_record, check_options, describe, filter_tags, recorded_options
from importer.replay.status import status, still_training
from importer.replay.timeline import build_timeline, dated_iterations


def plan_import(
    run: TrainingRun,
    options: ImportOptions | None = None,
    *,
    recorded: ImportRecord | None = None,
    now_ms: int | None = None,
) -> ImportPlan:
    """Return what is to be logged for a run; with the record of an earlier import, the plan that it was made by.
    Errors: PlanError when MLflow could not hold it; RunDirError for an unreadable artifact; UsageError for an option.
    """
    options = recorded_options(options or ImportOptions(), recorded)
    check_options(options)
    now = now_ms if now_ms is not None else int(time.time() * 1000)
    zone, start_ms = options.timezone, options.start_time_ms
    timeline = build_timeline(run, now_ms=now, timezone_name=zone, start_ms=start_ms, recorded=recorded)
    _, live_name, live_params = on_pretrain_routine_end(live_args(run), run.name)
    params, param_notes = accepted_params(run, live_params)
    keys, key_notes = _metric_keys(run)
    best, former = _best_points(run, timeline) if options.best_metrics else ((), ())
    points = (*_epoch_points(run, timeline, keys), *best)
    (artifacts, left_out), file_notes = choose_files(run, options)
    images, image_notes = choose_images(run, options)
    notes = (*run.notes, *timeline.notes, *param_notes, *key_notes, *_value_notes(points), *file_notes, *image_notes)
    experiment = experiment_name(run, options, timeline)
    names = (recorded.run_name, recorded.group) if recorded else _names(run, options, timeline, live_name)
    record = build_record(run, timeline, options, names, notes)
    dataset = _dataset(params.get("data"), run.args.get("data"))
    tags = {**filter_tags(run, dataset, record.group, artifacts), **dict(options.tags)}
    tags["mlflow.note.content"] = storable(describe(run, record, notes))
    below = iteration_runs(run, options, timeline) if recorded is None else ()  # an import plans them one by one
    children = tuple(plan_import(child, options.of_children(experiment), now_ms=now) for child in below)
    plan = ImportPlan(
        run=run, source=run.save_dir, place=(place := place_of_training(run)), name=run.name, task=run.task,
        generator=run.generator, epochs=len(run.epochs), planned_epochs=run.planned_epochs, children=children,
        key=training_key(run, place=place), empty_key=empty_key(run, place=place), fingerprint=record.fingerprint,
        status=status(run), timeline=timeline, experiment_name=experiment, run_name=record.run_name, params=params,
        points=points, former_best=former, artifacts=artifacts, left_out=left_out, images=images, dataset=dataset,
        tags=tags, record=record, notes=notes, best_epoch=record.best_epoch, keep_active=options.keep_active,
    )  # fmt: skip
    return _going_on(plan) if options.unfinished and still_training(run, now) else plan


def _going_on(plan: ImportPlan) -> ImportPlan:
    """Return the plan of a training that goes on: RUNNING; its files come at its end, as live logs them.

    Its params come with the first checkpoint: before, args.yaml has `auto` where live logs what came of it.
    """
    return replace(
        plan,
        status="RUNNING",
        keep_active=True,
        params=plan.params if plan.run.facts is not None else {},
        artifacts=(),
        tags={**plan.tags, "ymlf.has_best": "false"},
        record=replace(plan.record, state=TRAINING),
    )


def iteration_runs(
    run: TrainingRun, options: ImportOptions, timeline: Timeline | None = None
) -> tuple[TrainingRun, ...]:
    """Return the children of a tune that become runs: those with a directory, with `--iterations all` the others too.

    `timeline` is that of the tune; it is made where it is not given.
    """
    if run.children and timeline is None and options.iterations == "all":
        timeline = build_timeline(run, now_ms=int(time.time() * 1000), timezone_name=options.timezone)
    children = dated_iterations(run, timeline) if timeline is not None else run.children
    return tuple(child for child in children if is_imported(child, options))


def is_imported(child: TrainingRun, options: ImportOptions) -> bool:
    """Return whether an iteration of a tune becomes a run: it has a directory, or `--iterations all` is given."""
    return child.iteration is None or options.iterations == "all"


def experiment_name(run: TrainingRun, options: ImportOptions, timeline: Timeline | None = None) -> str:
    """Return the experiment that a run belongs to; without a timeline, a template's {date} is unknown."""
    if options.experiment:
        name = render(options.experiment, run, timeline, options.root)
    else:
        name, _, _ = on_pretrain_routine_end(run.args, run.name)
    if not name.strip():
        message = f"{run.save_dir}: experiment {name!r} is a name of blanks only, which MLflow 3.18 refuses"
        raise PlanError(message, hint="give another with --experiment")
    return _not_too_long("experiment", name, MAX_EXPERIMENT_NAME, run)


def _names(run: TrainingRun, options: ImportOptions, timeline: Timeline, live: str) -> tuple[str, str]:
    """Return the run name that is asked for, else the trial's, else live's, and the group.

    MLFLOW_RUN may be a template.
    """
    asked = options.run_name or (live if live != run.name and not options.is_child else None)  # it names no iteration
    name = render(asked, run, timeline, options.root) if asked else (run.sweep and run.sweep.trial) or run.name
    return _not_too_long("run name", name, MAX_RUN_NAME, run), group_of_run(run, options.root)


def _not_too_long(what: str, name: str, limit: int, run: TrainingRun) -> str:
    if len(name) <= limit:
        return name
    message = f"{run.save_dir}: {what} {name[:40]}... has {len(name):,} characters, MLflow takes {limit}"
    raise PlanError(message, hint=f"give a shorter one with --{what.replace(' ', '-')}")


def check_names(run: TrainingRun) -> None:
    """Check that no two params would have one name in MLflow. Errors: PlanError."""
    accepted_params(run, {str(key): "" for key in run.args})


def _metric_keys(run: TrainingRun) -> tuple[dict[str, str], list[Note]]:
    """Return the key in MLflow of each metric that the callbacks name; columns that share one have none."""
    keys: dict[str, str] = {}
    notes: list[Note] = []
    columns: dict[str, list[str]] = {}
    for column in run.epochs.columns:
        columns.setdefault(accepted_key(sanitize_key(column)), []).append(column)
    for key, (column, *others) in columns.items():
        if others:
            names = " and ".join(map(repr, (column, *others)))
            notes.append(Note("same-key", f"columns {names} all become metric {key!r}; none is logged"))
            continue
        keys[sanitize_key(column)] = key
        if key != sanitize_key(column):
            notes.append(Note("refused-characters", f"column {column!r} is logged as {key!r}"))
    return keys, notes


def _epoch_points(run: TrainingRun, timeline: Timeline, keys: Mapping[str, str]) -> Iterator[MetricPoint]:
    """Yield what the callbacks log when they are called with the values of each epoch, and of the final validation."""

    def keyed(metrics: Mapping[str, float], at_ms: int, step: int) -> Iterator[MetricPoint]:
        return (MetricPoint(keys[name], value, at_ms, step) for name, value in metrics.items() if name in keys)

    for row, step in enumerate(run.epochs.steps):
        named = zip(run.epochs.columns, run.epochs.rows[row], strict=True)
        cells = {column: cell for column, cell in named if cell is not None}
        lr = {column: cell for column, cell in cells.items() if column.startswith(LR_PREFIXES)}
        losses = {column: cell for column, cell in cells.items() if column.startswith("train/")}
        metrics = {column: cell for column, cell in cells.items() if not column.startswith(TRAIN_PREFIXES)}
        yield from keyed(on_train_epoch_end(lr, losses), timeline.train_ms[row], step)
        yield from keyed(on_fit_epoch_end(metrics), timeline.fit_ms[row], step)
    if run.final_validation is not None and run.epochs.steps and timeline.final_ms is not None:
        metrics = dict(run.final_validation.metrics)
        yield from keyed(on_fit_epoch_end(metrics), timeline.final_ms, run.epochs.last_step + 1)


def _best_points(run: TrainingRun, timeline: Timeline) -> tuple[tuple[MetricPoint, ...], tuple[MetricPoint, ...]]:
    """Return the points of the best epoch, and those that were logged if an earlier epoch was the best once.

    They are at step 0, where MLflow draws bars across runs. Of two, it takes the later for the latest.
    """

    def of_row(row: int) -> tuple[MetricPoint, ...]:
        # A clock that gives all epochs one time would leave open which of two points is the later.
        when = max(timeline.fit_ms[row], timeline.fit_ms[0] + row)
        values = {**best_metrics(run, row), "epoch": float(run.epochs.steps[row])}
        keys = {accepted_key(BEST + name): value for name, value in values.items()}
        return tuple(MetricPoint(key, value, when, 0) for key, value in keys.items())

    best, _ = best_row(run)
    if best is None:
        return (), ()
    return of_row(best), tuple(point for row in range(best) for point in of_row(row))


def _value_notes(points: Iterable[MetricPoint]) -> Iterator[Note]:
    odd = [point.value for point in points if not math.isfinite(point.value)]
    nans = sum(map(math.isnan, odd))
    infs = len(odd) - nans
    if nans:
        yield Note("nan", "1 value is nan and stays nan" if nans == 1 else f"{nans} values are nan and stay nan")
    if infs:
        count = "1 value is infinite" if infs == 1 else f"{infs} values are infinite"
        yield Note("inf", f"{count}; a database store shows 1.797e+308")


def _dataset(param: str | None, data: object) -> DatasetInput | None:
    """Return the dataset by the text of `data`: the same wherever it is imported, for its files may be elsewhere."""
    if param in (None, "", "None"):
        return None
    source = json.dumps(data, default=str, sort_keys=True) if isinstance(data, dict) else str(param)
    name = dataset_name(data if isinstance(data, dict) else source) or "data"
    return DatasetInput(name[:500], hashlib.sha256(source.encode()).hexdigest()[:32], source)
