"""The iterations of a tune on a terminal, a run a line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from importer.cli.chart import number
from importer.cli.console import print_table, table_of
from importer.model import ImportPlan, MetricPoint

if TYPE_CHECKING:
    from rich.console import Console

MANY = 20  # iterations that are shown


class _Line(NamedTuple):
    """An iteration, or one dataset's part of it."""

    number: int | None  # from 1; None where several runs belong to one iteration
    run: ImportPlan
    fitness: float | None


def print_iterations(
    console: Console, plan: ImportPlan, iterations: Sequence[ImportPlan], *, all_of_them: bool
) -> None:
    """Print each iteration of a tune with its fitness and its last metric at its best epoch; of many, the fittest.

    `iterations` are the plans of all of them, also of those that an import makes no run of.
    """
    lines = _lines(plan, iterations)
    shown = lines if all_of_them or len(lines) <= MANY else _fittest(lines)
    keys = [point.key for child in iterations for point in child.points if point.key.startswith("metrics/")]
    table = table_of("run", "iteration", "epochs", "status", "fitness", *keys[-1:])
    for line in shown:
        child = line.run
        best = values_at(child.points, child.best_epoch) if child.best_epoch is not None else {}
        scores = [number(best[key]) if key in best else "" for key in keys[-1:]]
        table.add_row(
            child.run_name,
            str(line.number or ""),
            "" if child.generator == plan.generator and child.epochs == 1 else str(child.epochs),  # a row of the table
            child.status,
            number(line.fitness) if line.fitness is not None else "",
            *scores,
        )
    print_table(console, table)
    if len(shown) < len(lines):
        told = f"... and {len(lines) - len(shown)} more that are less fit (-v shows them)"
        console.print(told, soft_wrap=True, highlight=False)


def _lines(plan: ImportPlan, iterations: Sequence[ImportPlan]) -> list[_Line]:
    fitness = {point.step: point.value for point in plan.points if point.key == "fitness"}
    if len(fitness) == len(iterations):  # in the order of the iterations, both
        return [_Line(step + 1, child, fitness[step]) for step, child in zip(sorted(fitness), iterations, strict=True)]
    told = []
    for child in iterations:
        iteration = child.params.get("iteration", "") if child.generator == plan.generator else ""
        step = int(iteration) - 1 if iteration.isdigit() else -1
        told.append(_Line(step + 1 or None, child, fitness.get(step)))
    return told


def _fittest(lines: Sequence[_Line]) -> list[_Line]:
    """Those of the greatest fitness, in their order; the first of equals."""

    def fitness(at: int) -> float:
        told = lines[at].fitness
        return told if told is not None and not math.isnan(told) else -math.inf

    best = sorted(range(len(lines)), key=fitness, reverse=True)[:MANY]
    return [lines[at] for at in sorted(best)]


def values_at(points: Iterable[MetricPoint], step: int) -> dict[str, float]:
    return {point.key: point.value for point in points if point.step == step}
