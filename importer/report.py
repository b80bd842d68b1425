"""What came of one run directory: its outcome, the exit status, and both as words and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import PurePath

from importer.model import ImportPlan, Note
from importer.redaction import redact


class Kind(str, Enum):
    """Outcomes in the words that the report uses."""

    IMPORTED = "imported"
    RESUMED = "resumed"  # was half there
    UPDATED = "updated"
    REPLACED = "replaced"
    ALREADY_THERE = "already there"
    CHANGED = "changed"
    SKIPPED = "skipped"
    TRACKED_LIVE = "tracked live"
    PARTLY_TRACKED = "partly tracked"  # by the live callback, which lacks some of it
    DUPLICATE = "duplicate of"
    NO_EPOCHS = "no epochs"
    STILL_TRAINING = "still training"
    REFUSED = "refused"
    FAILED = "failed"
    NOT_TRIED = "not tried"
    BUSY = "being written by another import"
    VERIFIED = "verified"
    MISMATCH = "mismatch"
    MISSING = "not imported"


WROTE = {Kind.IMPORTED, Kind.RESUMED, Kind.UPDATED, Kind.REPLACED}
SOURCE_FAULTS = {Kind.CHANGED, Kind.PARTLY_TRACKED, Kind.REFUSED, Kind.MISMATCH, Kind.MISSING}


@dataclass(frozen=True)
class Outcome:
    """What was done with one directory, and why."""

    kind: Kind
    source: str
    reason: str | None = None  # why not, or what it is a duplicate of
    hint: str | None = None
    run_id: str | None = None
    run_name: str | None = None
    experiment_id: str | None = None
    experiment_name: str | None = None
    key: str | None = None
    points: int = 0
    artifact_bytes: int = 0
    seconds: float = 0.0
    notes: tuple[Note, ...] = ()
    mismatches: tuple[str, ...] = ()
    live_run_ids: tuple[str, ...] = ()  # that the live callback logged

    def as_json(self) -> dict[str, object]:
        """The outcome as plain values, without what is empty."""
        told: dict[str, object] = {
            "outcome": self.kind.value,
            "source": self.source,
            "reason": self.reason,
            "hint": self.hint,
            "run_id": self.run_id,
            "run_name": self.run_name,
            "experiment_id": self.experiment_id,
            "experiment_name": self.experiment_name,
            "key": self.key,
            "points": self.points,
            "artifact_bytes": self.artifact_bytes,
            "seconds": round(self.seconds, 3),
            "notes": [note._asdict() for note in self.notes],
            "mismatches": list(self.mismatches),
            "live_run_ids": list(self.live_run_ids),
        }
        return {name: value for name, value in told.items() if value not in (None, [], "")}


def of_plan(kind: Kind, plan: ImportPlan, *, wrote: bool = False, **more: object) -> Outcome:
    """An outcome that names the run of a plan."""
    return Outcome(
        kind=kind,
        source=plan.source,
        run_name=plan.run_name,
        experiment_name=plan.experiment_name,
        key=plan.key,
        points=len(plan.points) if wrote else 0,
        artifact_bytes=plan.artifact_bytes if wrote else 0,
        notes=plan.notes,
        **more,  # type: ignore[arg-type]
    )


def exit_status(outcomes: Iterable[Kind]) -> int:
    """0 all through or there already, 1 some source was refused or changed, 3 the store failed."""
    kinds = set(outcomes)
    if Kind.FAILED in kinds:
        return 3
    return 1 if kinds & (SOURCE_FAULTS | {Kind.NOT_TRIED}) else 0


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


def dumps(told: Mapping[str, object]) -> str:
    """A line of JSON."""
    return json.dumps(told, ensure_ascii=False, allow_nan=False)


def local_time(ms: int) -> str:
    """A time in ms for a list, in local time as `--since` reads it: 2024-03-01 12:30."""
    return datetime.fromtimestamp(ms / 1000).strftime("%Y-%m-%d %H:%M")
