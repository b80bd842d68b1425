"""One run on a terminal: facts, last and best values, charts, notes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from importer.chart import draw_chart, number, place_side_by_side
from importer.model import ImportPlan, MetricPoint
from importer.report import plan_facts, print_facts, print_notes

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

TWO_COLUMNS, FOUR_COLUMNS = 72, 150  # characters of a terminal that has room for as many charts in a row
MAX_CHART = 60
NOT_CHARTED = ("lr/", "x/lr", "best/")


def print_run(console: Console, plan: ImportPlan) -> None:
    """Everything about a run that fits on a screen or two."""
    print_facts(console, plan.source, plan_facts(plan))
    series = series_of(plan)
    if plan.children:
        console.print()
        console.print(_iterations(plan), highlight=False)
    elif series:
        console.print()
        console.print(_values(plan), highlight=False)
    else:
        console.print("no epoch has ended: no values to show", highlight=False)
    for line in chart_lines(series, console.width, ascii_only=console.options.ascii_only):
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    if plan.notes:
        console.print()
    print_notes(console, plan.notes)


def chart_lines(series: dict[str, list[tuple[int, float]]], width: int, *, ascii_only: bool) -> list[str]:
    """The charts of all series, in as many columns as there is room for."""
    columns = 4 if width >= FOUR_COLUMNS else 2 if width >= TWO_COLUMNS else 1
    each = min(MAX_CHART, (width - 2 * (columns - 1)) // columns)
    charts = [draw_chart(key, points, each, ascii_only=ascii_only) for key, points in series.items()]
    spaced = [["".ljust(each), *chart] for chart in charts]
    return place_side_by_side(spaced, columns)


def series_of(plan: ImportPlan) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of each loss and metric up to the last epoch, a validation's loss beside its training's."""
    final = final_step(plan)
    series: dict[str, list[tuple[int, float]]] = {}
    for point in plan.points:
        if not point.key.startswith(NOT_CHARTED) and point.step != final:
            series.setdefault(point.key, []).append((point.step, point.value))
    return {key: series[key] for key in sorted(series, key=_paired(tuple(series)))}


def final_step(plan: ImportPlan) -> int | None:
    """The step of the final validation, which is that of best.pt and not of an epoch; None where there is none."""
    if plan.timeline.final_ms is None or plan.record.get("final_from") is None or not plan.points:
        return None
    return max(point.step for point in plan.points)


def _paired(keys: Sequence[str]) -> Callable[[str], tuple[int, int, int]]:
    """A sort key: train/x, val/x, train/y, val/y, then the others as they come."""
    trained = [key.removeprefix("train/") for key in keys if key.startswith("train/")]

    def order(key: str) -> tuple[int, int, int]:
        group, _, name = key.partition("/")
        if group in ("train", "val") and name in trained:
            return 0, trained.index(name), int(group == "val")
        return 1, keys.index(key), 0

    return order


def _values(plan: ImportPlan) -> Table:
    """The last and the best row, and the final validation, a key a line."""
    from rich.text import Text

    final = final_step(plan)
    last = max((point.step for point in plan.points if point.step != final), default=None)
    if plan.best_epoch == last:
        steps = [(last, "last, best")]
    else:
        steps = [(last, "last"), (plan.best_epoch, "best")]
    steps.append((final, "final"))
    rows = [(_at(plan.points, step), f"{name}\nstep {step}") for step, name in steps if step is not None]
    table = _table("", *(header for _, header in rows))
    for key in series_of(plan):
        table.add_row(Text(key), *(number(told[key]) if key in told else "" for told, _ in rows))
    return table


def _at(points: Iterable[MetricPoint], step: int) -> dict[str, float]:
    return {point.key: point.value for point in points if point.step == step}


def _iterations(plan: ImportPlan) -> Table:
    """The iterations of a tune, a run a line."""
    from rich.text import Text

    table = _table("iteration", "epochs", "status", "fitness")
    for child in plan.children:
        fitness = [point.value for point in child.points if point.key == "fitness"]
        table.add_row(Text(child.run_name), str(child.epochs), child.status, number(fitness[-1]) if fitness else "")
    return table


def _table(first: str, *others: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right", overflow="fold")
    return table
