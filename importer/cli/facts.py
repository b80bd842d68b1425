"""One run in words: its facts, notes and differences."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from importer.cli.console import print_table
from importer.model import ImportPlan, Note, Timeline
from importer.redaction import redact
from importer.replay.record import CLOCKS
from importer.report import duration, size

if TYPE_CHECKING:
    from rich.console import Console


def print_plan(console: Console, plan: ImportPlan) -> None:
    """A short table of the run and its notes."""
    print_facts(console, plan.source, plan_facts(plan))
    print_notes(console, plan.notes)


def print_facts(console: Console, source: str, facts: Iterable[tuple[str, str]]) -> None:
    """The name of a run directory and a table of what is known of it."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, redact(value))
    console.print(redact(source), style="bold", soft_wrap=True, markup=False, highlight=False)
    print_table(console, table)


def plan_facts(plan: ImportPlan) -> list[tuple[str, str]]:
    """The rows of a plan's table."""
    timeline = plan.timeline
    planned = f" of {plan.planned_epochs}" if plan.planned_epochs and plan.planned_epochs != plan.epochs else ""
    left_out = f", {len(plan.left_out)} left out" if plan.left_out else ""
    rows = [
        ("task", f"{plan.task or 'unknown'}, {plan.generator}"),
        ("iterations" if is_tune(plan) else "epochs", f"{plan.epochs}{planned}{_best(plan)}"),
        ("status", plan.status),
        ("times", _times(timeline)),
        ("clock", f"{CLOCKS.get(timeline.clock, timeline.clock)}{f' ({timeline.zone})' if timeline.zone else ''}"),
        ("experiment", plan.experiment_name),
        ("run name", plan.run_name),
        ("params", str(len(plan.params))),
        ("points", f"{len(plan.points):,} of {len({point.key for point in plan.points})} metrics"),
        ("artifacts", f"{len(plan.artifacts)}, {size(plan.artifact_bytes)}{left_out}"),
    ]
    if plan.dataset is not None:
        rows.append(("dataset", plan.dataset.name))
    if plan.children:
        rows.append(("below it", f"{len(plan.children)} {'run' if len(plan.children) == 1 else 'runs'}"))
    return rows


def is_tune(plan: ImportPlan) -> bool:
    """Whether a plan is that of a tune, whose rows are iterations, and not of one of them."""
    return plan.family == "tune" and not plan.is_iteration


def _best(plan: ImportPlan) -> str:
    """Return the best epoch as a step, and of a tune the best iteration, which tuners count from 1."""
    if plan.best_epoch is None:
        return ""
    return f", best is iteration {plan.best_epoch + 1}" if is_tune(plan) else f", best at step {plan.best_epoch}"


def _times(timeline: Timeline) -> str:
    start = datetime.fromtimestamp(timeline.started_ms / 1000).astimezone()
    seconds = (timeline.ended_ms - timeline.started_ms) / 1000
    return f"{start:%Y-%m-%d %H:%M:%S %z}, for {duration(seconds)}"


def print_notes(console: Console, notes: Iterable[Note], source: str | None = None) -> None:
    """One line per note: its code and what was done; among many directories of which it is, too."""
    of = f"{source}: " if source else ""
    for note in notes:
        console.print(
            redact(f"note: {of}{note.code}: {note.text}"), style="yellow", soft_wrap=True, markup=False, highlight=False
        )


def print_mismatches(console: Console, mismatches: Iterable[str]) -> None:
    """One line per difference."""
    for mismatch in mismatches:
        console.print(f"mismatch: {redact(mismatch)}", style="red", soft_wrap=True, markup=False, highlight=False)
