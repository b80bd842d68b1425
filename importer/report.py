"""What came of it: lines, tables, JSON."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import PurePath
from typing import TYPE_CHECKING

from importer.model import ImportPlan, Note, Timeline
from importer.outcome import WROTE, Kind, Outcome
from importer.record import CLOCKS
from importer.redaction import redact
from importer.verify import Mismatch

if TYPE_CHECKING:
    from rich.console import Console


def plan_as_json(plan: ImportPlan) -> dict[str, object]:
    """Everything that a plan holds, as plain values."""
    timeline = plan.timeline
    return {
        "source": redact(plan.source),
        "name": plan.name,
        "task": plan.task,
        "generator": plan.generator,
        "epochs": plan.epochs,
        "planned_epochs": plan.planned_epochs,
        "best_epoch": plan.best_epoch,
        "experiment_name": plan.experiment_name,
        "run_name": plan.run_name,
        "key": plan.key,
        "fingerprint": plan.fingerprint,
        "status": plan.status,
        "clock": timeline.clock,
        "zone": timeline.zone,
        "start_time": timeline.started_ms,
        "end_time": timeline.ended_ms,
        "params": dict(plan.params),
        "tags": dict(plan.tags),
        "metrics": _series(plan),
        "artifacts": [{"path": artifact.artifact_path, "size": artifact.size} for artifact in plan.artifacts],
        "artifact_bytes": plan.artifact_bytes,
        "left_out": [{"path": path, "why": why} for path, why in plan.left_out],
        "dataset": plan.dataset._asdict() if plan.dataset else None,
        "notes": [note._asdict() for note in plan.notes],
        "children": [plan_as_json(child) for child in plan.children],
    }


def _series(plan: ImportPlan) -> dict[str, list[list[object]]]:
    """Each metric's points as [step, value, timestamp]; nan and inf as text, which JSON lacks."""
    series: dict[str, list[list[object]]] = {}
    for point in plan.points:
        value = point.value if abs(point.value) <= 1.8e308 and abs(point.value) != float("inf") else str(point.value)
        series.setdefault(point.key, []).append([point.step, value, point.timestamp])
    return series


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
    console.print(table, highlight=False)


def plan_facts(plan: ImportPlan) -> list[tuple[str, str]]:
    """The rows of a plan's table."""
    timeline = plan.timeline
    planned = f" of {plan.planned_epochs}" if plan.planned_epochs and plan.planned_epochs != plan.epochs else ""
    best = f", best at step {plan.best_epoch}" if plan.best_epoch is not None else ""
    left_out = f", {len(plan.left_out)} left out" if plan.left_out else ""
    rows = [
        ("task", f"{plan.task or 'unknown'}, {plan.generator}"),
        ("epochs", f"{plan.epochs}{planned}{best}"),
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
        rows.append(("iterations", f"{len(plan.children)}, each a run below this one"))
    return rows


def _times(timeline: Timeline) -> str:
    start = datetime.fromtimestamp(timeline.started_ms / 1000).astimezone()
    seconds = (timeline.ended_ms - timeline.started_ms) / 1000
    return f"{start:%Y-%m-%d %H:%M:%S %z}, for {duration(seconds)}"


def print_notes(console: Console, notes: Iterable[Note]) -> None:
    """One line per note: its code and what was done."""
    for note in notes:
        console.print(
            f"note: {note.code}: {redact(note.text)}", style="yellow", soft_wrap=True, markup=False, highlight=False
        )


def print_mismatches(console: Console, mismatches: Iterable[Mismatch | str]) -> None:
    """One line per difference."""
    for mismatch in mismatches:
        console.print(f"mismatch: {redact(str(mismatch))}", style="red", soft_wrap=True, markup=False, highlight=False)


def size(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """A number of seconds for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


class Tally:
    """What has come of a batch so far."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.began = time.monotonic()
        self.counts: Counter[Kind] = Counter()
        self.points = 0
        self.bytes = 0
        self.told: list[Outcome] = []  # those that a person has to look at
        self.undated = 0  # runs that were written and that nothing dates
        self.experiments: dict[str, Counter[str]] = {}

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        self.counts[outcome.kind] += 1
        if outcome.kind in WROTE:
            self.points += outcome.points
            self.bytes += outcome.artifact_bytes
            self.undated += any(note.code == "time-unknown" for note in outcome.notes)
            if outcome.experiment_id is not None:
                self.experiments.setdefault(outcome.experiment_id, Counter())[outcome.kind.value] += 1
        elif outcome.kind not in (Kind.ALREADY_THERE, Kind.VERIFIED) or outcome.reason:
            self.told.append(outcome)

    @property
    def done(self) -> int:
        """How many outcomes there are."""
        return sum(self.counts.values())

    def progress(self) -> str:
        """One line: runs done, of those known by now, as the iterations of a tune are only later; rates, time left."""
        passed = max(1e-9, time.monotonic() - self.began)
        known = max(self.total, self.done)
        line = f"{self.done}/{known} runs, {self.points / passed:,.0f} points/s, {size(self.bytes / passed)}/s"
        if not self.done:  # nothing tells how long a run takes
            return line
        return f"{line}, {duration(max(0.0, (self.total - self.done) * passed / self.done))} left"

    def summary(self) -> str:
        """One line by outcome: `98 imported, 2 refused`."""
        return ", ".join(f"{count} {kind.value}" for kind, count in sorted(self.counts.items())) or "nothing to do"

    def as_json(self, **more: object) -> dict[str, object]:
        """The closing line of a report."""
        return {
            "summary": {kind.value: count for kind, count in sorted(self.counts.items())},
            "runs": self.done,
            "points": self.points,
            "artifact_bytes": self.bytes,
            "seconds": round(time.monotonic() - self.began, 3),
            **more,
        }


def outcome_line(outcome: Outcome) -> str:
    """One outcome for people: what, which, why."""
    kind = "duplicate" if outcome.kind is Kind.DUPLICATE else outcome.kind.value
    reason = f"of {outcome.reason}" if outcome.kind is Kind.DUPLICATE else outcome.reason
    if reason and reason.startswith(outcome.source):
        return redact(f"{kind}: {reason}")
    which = outcome.source
    if outcome.run_name and outcome.run_name != PurePath(outcome.source).name:
        which += f" ({outcome.run_name})"
    return redact(f"{kind}: {which}: {reason}" if reason else f"{kind}: {which}")


def outcome_json(outcome: Outcome) -> str:
    """One outcome as a line of JSON, without secrets."""
    return redact(dumps(outcome.as_json()))


def dumps(told: Mapping[str, object]) -> str:
    """A line of JSON."""
    return json.dumps(told, ensure_ascii=False, allow_nan=False)


def utc(ms: int) -> str:
    """A time in ms for a list: 2024-03-01 12:30."""
    return datetime.fromtimestamp(ms / 1000, timezone.utc).strftime("%Y-%m-%d %H:%M")
