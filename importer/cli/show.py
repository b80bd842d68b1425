"""One run on a terminal: facts, last and best values, charts, notes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from importer.cli.chart import draw_chart, number, place_side_by_side
from importer.cli.console import print_table, table_of
from importer.cli.facts import plan_facts, print_facts, print_notes
from importer.cli.iterations import print_iterations, values_at
from importer.model import ImportPlan

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

TWO_COLUMNS = 72  # characters of a terminal that has room for two charts in a row
MAX_CHART = 60
CURVE = "[\u2800-\u28ff*]+"  # what a chart is drawn with
NOT_CHARTED = ("lr/", "x/lr", "best/")


def print_run(console: Console, plan: ImportPlan, *, iterations: Sequence[ImportPlan] = (), verbose: int = 0) -> None:
    """Print what fits on a screen or two about a run, and with `verbose` each of the iterations of a tune."""
    print_facts(console, plan.source, plan_facts(plan))
    series = series_of(plan)
    if iterations:
        console.print()
        print_iterations(console, plan, iterations, all_of_them=bool(verbose))
    elif series:
        console.print()
        print_table(console, _values(plan))
    else:
        console.print("no epoch has ended: no values to show", highlight=False)
    for line in chart_lines(series, console.width, ascii_only=console.options.ascii_only):
        console.print(coloured(line), soft_wrap=True, highlight=False)
    if plan.notes:
        console.print()
    print_notes(console, plan.notes)


def coloured(line: str) -> Text:
    """A line with the curves in it in a colour."""
    from rich.text import Text

    text = Text(line)
    text.highlight_regex(CURVE, "cyan")
    return text


def chart_lines(series: dict[str, list[tuple[int, float]]], width: int, *, ascii_only: bool) -> list[str]:
    """The charts of all series, two in a row where there is room for it."""
    columns = 2 if width >= TWO_COLUMNS else 1
    each = min(MAX_CHART, (width - 2 * (columns - 1)) // columns)
    charts = [draw_chart(key, points, each, ascii_only=ascii_only) for key, points in series.items()]
    spaced = [["".ljust(each), *chart] for chart in charts]
    return place_side_by_side(spaced, columns)


def series_of(plan: ImportPlan) -> dict[str, list[tuple[int, float]]]:
    """(step or iteration, value) of each loss and metric up to the last, a validation's loss beside its training's."""
    final = final_step(plan)
    series: dict[str, list[tuple[int, float]]] = {}
    for point in plan.points:
        if not point.key.startswith(NOT_CHARTED) and point.step != final:
            at = point.step + 1 if plan.family == "tune" else point.step  # iterations count from 1
            series.setdefault(point.key, []).append((at, point.value))
    return {key: series[key] for key in sorted(series, key=_paired(tuple(series)))}


def final_step(plan: ImportPlan) -> int | None:
    """The step of the final validation, which is that of best.pt and not of an epoch; None where there is none."""
    if plan.timeline.final_ms is None or plan.record.final_from is None or not plan.points:
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
    final = final_step(plan)
    last = max((point.step for point in plan.points if point.step != final), default=None)
    both = [(last, "last, best")] if plan.best_epoch == last else [(last, "last"), (plan.best_epoch, "best")]
    steps = [*both, (final, "final")]
    rows = [(values_at(plan.points, step), f"{name}\nstep {step}") for step, name in steps if step is not None]
    table = table_of("", *(header for _, header in rows))
    for key in series_of(plan):
        table.add_row(key, *(number(told[key]) if key in told else "" for told, _ in rows))
    return table
