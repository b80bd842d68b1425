"""A plan or an outcome as a line of words or of JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePath

from importer.model import ImportPlan
from importer.outcome import WROTE, Kind, Outcome
from importer.redaction import redact


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
        value = point.value if math.isfinite(point.value) else str(point.value)
        series.setdefault(point.key, []).append([point.step, value, point.timestamp])
    return series


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


def kind_words(kind: Kind, *, would: bool = False) -> str:
    """A kind of outcome for people; `would` for one that is foreseen."""
    if would and kind in WROTE:
        return f"would be {kind.value}"
    return "duplicate" if kind is Kind.DUPLICATE else kind.value


def outcome_line(outcome: Outcome, *, would: bool = False) -> str:
    """One outcome for people: what, which, why."""
    kind = kind_words(outcome.kind, would=would)
    reason = f"is a copy of {outcome.reason}" if outcome.kind is Kind.DUPLICATE else outcome.reason
    if reason and reason.startswith(outcome.source):
        return redact(f"{kind}: {reason}")
    which = outcome.source
    if outcome.run_name and outcome.run_name != PurePath(outcome.source).name:
        which += f" ({outcome.run_name})"
    return redact(f"{kind}: {which}: {reason}" if reason else f"{kind}: {which}")


def facts_of(outcome: Outcome) -> dict[str, object]:
    """What is told of a run that was only looked at: its outcome as plain values, less what was done and how fast."""
    return {name: value for name, value in outcome.as_json().items() if name not in ("outcome", "seconds")}


def outcome_json(outcome: Outcome) -> str:
    """One outcome as a line of JSON, without secrets."""
    return redact(dumps(outcome.as_json()))


def dumps(told: Mapping[str, object]) -> str:
    """A line of JSON."""
    return json.dumps(told, ensure_ascii=False, allow_nan=False)


def local_time(ms: int) -> str:
    """A time in ms for a list, in local time as `--since` reads it: 2024-03-01 12:30."""
    return datetime.fromtimestamp(ms / 1000).strftime("%Y-%m-%d %H:%M")
