"""Show one run on a terminal: facts, last and best values, charts, the iterations of a tune, notes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from importer.cli.chart import draw_chart, number, place_side_by_side
from importer.cli.console import new_table, print_table
from importer.cli.progress import how_many
from importer.model import ImportPlan, MetricPoint, Note
from importer.redaction import one_line
from importer.replay.record import CLOCKS
from importer.report import duration, size

TWO_COLUMNS = 72  # characters of a terminal that has room for two charts in a row
MAX_CHART = 60
CURVE = "[\u2800-\u28ff*]+"  # the characters of a chart
NOT_CHARTED = ("lr/", "x/lr", "best/")
MANY_ITERATIONS = 20


def print_run(console: Console, plan: ImportPlan, *, iterations: Sequence[ImportPlan] = (), verbose: int = 0) -> None:
    """Print a run on a screen or two; of a tune the fittest `iterations`, with `verbose` each of them."""
    print_facts(console, plan)
    series = _series_of(plan)
    console.print()
    if iterations:
        _print_iterations(console, plan, iterations, all_of_them=bool(verbose))
    elif series:
        print_table(console, _values(plan, series))
    else:
        console.print("no epoch has ended: no values to show")
    columns = 2 if console.width >= TWO_COLUMNS else 1
    wide = min(MAX_CHART, (console.width - 2 * (columns - 1)) // columns)
    ascii_only = console.options.ascii_only
    charts = [[" " * wide, *draw_chart(key, points, wide, ascii_only=ascii_only)] for key, points in series.items()]
    for line in place_side_by_side(charts, columns):
        console.print(coloured(line))
    if plan.notes:
        console.print()
    print_notes(console, plan.notes)


def print_plan(console: Console, plan: ImportPlan) -> None:
    """Print the facts and the notes of a plan."""
    print_facts(console, plan)
    print_notes(console, plan.notes)


def print_notes(console: Console, notes: Iterable[Note], source: str | None = None) -> None:
    """Print a line per note, among many directories with its `source`."""
    for note in notes:
        console.print(one_line(f"note: {f'{source}: ' if source else ''}{note.code}: {note.text}"), style="yellow")


def print_facts(console: Console, plan: ImportPlan) -> None:
    """Print the name of a run directory and a table of its facts."""
    planned = f" of {plan.planned_epochs}" if plan.planned_epochs and plan.planned_epochs != plan.epochs else ""
    timeline, is_tune, best = plan.timeline, plan.run.family == "tune" and plan.run.iteration is None, ""
    if plan.best_epoch is not None:  # a step from 0; tuners count iterations from 1
        best = f", best is iteration {plan.best_epoch + 1}" if is_tune else f", best at step {plan.best_epoch}"
    started = datetime.fromtimestamp(timeline.started_ms / 1000).astimezone()
    took = duration((timeline.ended_ms - timeline.started_ms) / 1000)
    facts = {
        "task": f"{plan.task or 'unknown'}, {plan.generator}",
        "iterations" if is_tune else "epochs": f"{plan.epochs}{planned}{best}",
        "status": plan.status,
        "times": f"{started:%Y-%m-%d %H:%M:%S %z}, for {took}",
        "clock": CLOCKS.get(timeline.clock, timeline.clock) + (f" ({timeline.zone})" if timeline.zone else ""),
        "experiment": plan.experiment_name,
        "run name": plan.run_name,
        "params": str(len(plan.params)),
        "points": f"{len(plan.points):,} of {len({point.key for point in plan.points})} metrics",
        "artifacts": f"{len(plan.artifacts)}, {size(plan.artifact_bytes)}"
        + (f", {len(plan.left_out)} left out" if plan.left_out else ""),
        "images": f"{len(plan.images)}, {size(plan.image_bytes)}" if plan.images else None,
        "dataset": plan.dataset.name if plan.dataset is not None else None,
        "below it": how_many(len(plan.children), "run") if plan.children else None,
    }
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value is not None:
            table.add_row(name, one_line(value))
    console.print(one_line(plan.source), style="bold")
    print_table(console, table)


def coloured(line: str) -> Text:
    """Return a line with its curves in a colour."""
    text = Text(line)
    text.highlight_regex(CURVE, "cyan")
    return text


def _series_of(plan: ImportPlan) -> dict[str, list[tuple[int, float]]]:
    """Return (step or iteration, value) of each loss and metric, a loss of validation beside that of training."""
    final = _final_step(plan)
    series: dict[str, list[tuple[int, float]]] = {}
    for point in plan.points:
        if not point.key.startswith(NOT_CHARTED) and point.step != final:
            at = point.step + 1 if plan.run.family == "tune" else point.step  # iterations count from 1
            series.setdefault(point.key, []).append((at, point.value))
    losses = [key.removeprefix("train/") for key in series if key.startswith("train/")]
    paired = [f"{part}/{name}" for name in losses for part in ("train", "val")]
    return {key: series[key] for key in (*paired, *series) if key in series}


def _final_step(plan: ImportPlan) -> int | None:
    """Return the step of the final validation, which is of best.pt and not of an epoch."""
    if plan.timeline.final_ms is None or plan.record.final_from is None:
        return None
    return max((point.step for point in plan.points), default=None)


def _values(plan: ImportPlan, series: Iterable[str]) -> Table:
    """Return a table of the last and the best row and of the final validation, a key a line."""
    final = _final_step(plan)
    last = max((point.step for point in plan.points if point.step != final), default=None)
    both = [(last, "last, best")] if plan.best_epoch == last else [(last, "last"), (plan.best_epoch, "best")]
    steps = [(step, name) for step, name in (*both, (final, "final")) if step is not None]
    table = new_table("", *(f"{name}\nstep {step}" for step, name in steps))
    rows = [_values_at(plan.points, step) for step, _ in steps]
    for key in series:
        table.add_row(key, *(number(row.get(key)) for row in rows))
    return table


def _values_at(points: Iterable[MetricPoint], step: int | None) -> dict[str, float]:
    return {point.key: point.value for point in points if point.step == step}


def _print_iterations(console: Console, tune: ImportPlan, plans: Sequence[ImportPlan], *, all_of_them: bool) -> None:
    """Print each iteration with its fitness and its last metric at its best epoch; of many the fittest.

    Where an iteration has a run for each of several datasets, these runs have no number.
    """
    fitness = {point.step: point.value for point in tune.points if point.key == "fitness"}
    numbers: list[int | None] = [step + 1 for step in sorted(fitness)]  # in the order of the plans, where each has one
    if len(numbers) != len(plans):
        names = [plan.params.get("iteration", "") if plan.generator == tune.generator else "" for plan in plans]
        numbers = [int(name) if name.isdigit() else None for name in names]
    scores = [fitness.get(number - 1) if number else None for number in numbers]
    shown = list(range(len(plans)))
    if not all_of_them and len(plans) > MANY_ITERATIONS:
        ranks = [-math.inf if score is None or math.isnan(score) else score for score in scores]
        shown = sorted(sorted(shown, key=ranks.__getitem__, reverse=True)[:MANY_ITERATIONS])
    keys = [point.key for plan in plans for point in plan.points if point.key.startswith("metrics/")][-1:]
    table = new_table("run", "iteration", "epochs", "status", "fitness", *keys)
    for at in shown:
        plan = plans[at]
        is_row = plan.generator == tune.generator and plan.epochs == 1  # of the table, without a directory
        best = _values_at(plan.points, plan.best_epoch)
        values = [number(value) for value in (scores[at], *map(best.get, keys))]
        epochs = "" if is_row else str(plan.epochs)
        table.add_row(one_line(plan.run_name), str(numbers[at] or ""), epochs, plan.status, *values)
    print_table(console, table)
    if len(shown) < len(plans):
        console.print(f"... and {len(plans) - len(shown)} more that are less fit (-v shows them)")
