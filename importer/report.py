"""The outcome of one run directory, and the exit status; outcomes and plans as words and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import PurePath
from typing import Any, NamedTuple

from importer.model import ImportPlan, Note
from importer.redaction import json_escaped, redact


class Kind(str, Enum):
    """Outcomes in the words that the report uses."""

    IMPORTED = "imported"
    RESUMED = "resumed"  # was half there
    UPDATED = "updated"
    REPLACED = "replaced"
    COMPLETED = "completed"  # a run of the live callback
    ALREADY_THERE = "already there"
    CHANGED = "changed"
    SKIPPED = "skipped"
    TRACKED_LIVE = "tracked live"
    PARTLY_TRACKED = "partly tracked"  # by the live callback, which lacks some of it
    DUPLICATE = "duplicate"
    NO_EPOCHS = "no epochs"
    STILL_TRAINING = "still training"
    REFUSED = "refused"
    FAILED = "failed"
    NOT_TRIED = "not tried"
    BUSY = "busy"  # another import is writing it
    VERIFIED = "verified"
    MISMATCH = "mismatch"
    MISSING = "not imported"


WROTE = {Kind.IMPORTED, Kind.RESUMED, Kind.UPDATED, Kind.REPLACED, Kind.COMPLETED}
SOURCE_FAULTS = {Kind.CHANGED, Kind.PARTLY_TRACKED, Kind.REFUSED, Kind.MISMATCH, Kind.MISSING}
PLAN_FACTS = (
    "name", "task", "generator", "epochs", "planned_epochs", "best_epoch", "experiment_name", "run_name", "key",
    "fingerprint", "status",
)  # fmt: skip


class Mismatch(NamedTuple):
    """One thing that the store does not hold as the directory says."""

    what: str  # param, metric, status, start_time, end_time, run_name, tag, artifact, image, record, model, run
    name: str
    directory: str  # what the directory has
    store: str  # what the store has
    source: str = ""  # the directory

    def __str__(self) -> str:
        return f"{f'{self.what} {self.name}'.rstrip()}: directory has {self.directory}, store has {self.store}"


@dataclass(frozen=True, repr=False)
class Outcome:
    """The fate of one directory, and why."""

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
    mismatches: tuple[Mismatch, ...] = ()
    live_run_ids: tuple[str, ...] = ()  # that the live callback logged
    import_id: str | None = None  # of the import that created the run, for undo
    url: str | None = None  # the run's page in the UI of a server

    def __repr__(self) -> str:
        return f"<Outcome {outcome_line(self)}>"

    def as_json(self) -> dict[str, object]:
        """Return the outcome as plain values, without what is empty."""
        facts = {
            "outcome": self.kind.value,
            **vars(self),
            "seconds": round(self.seconds, 3),
            "notes": [note._asdict() for note in self.notes],
            "mismatches": [str(mismatch) for mismatch in self.mismatches],
        }
        del facts["kind"]
        return {name: value for name, value in facts.items() if value not in (None, (), [], "")}


def of_plan(kind: Kind, plan: ImportPlan, *, wrote: bool = False, **more: Any) -> Outcome:
    """Return an outcome that names the run of a plan."""
    if wrote:
        more |= {"points": len(plan.points), "artifact_bytes": plan.artifact_bytes + plan.image_bytes}
    more |= {"run_name": plan.run_name, "experiment_name": plan.experiment_name, "key": plan.key, "notes": plan.notes}
    return Outcome(kind, plan.source, **more)


def exit_status(outcomes: Iterable[Kind]) -> int:
    """Return 0 when all is in the store, 1 when some source was refused or changed, 3 when the store failed."""
    kinds = set(outcomes)
    if Kind.FAILED in kinds:
        return 3
    return 1 if kinds & (SOURCE_FAULTS | {Kind.NOT_TRIED}) else 0


def plan_as_json(plan: ImportPlan) -> dict[str, object]:
    """Return everything that a plan holds, as plain values."""
    timeline = plan.timeline
    metrics: dict[str, list[list[object]]] = {}  # points as [step, value, timestamp]; JSON has no nan and no inf
    for key, value, timestamp, step in plan.points:
        metrics.setdefault(key, []).append([step, value if math.isfinite(value) else str(value), timestamp])
    images = [{"key": image.key, "size": image.size} for image in plan.images]
    return {
        "source": redact(plan.source),
        **{name: getattr(plan, name) for name in PLAN_FACTS},
        "clock": timeline.clock,
        "zone": timeline.zone,
        "start_time": timeline.started_ms,
        "end_time": timeline.ended_ms,
        "params": dict(plan.params),
        "tags": dict(plan.tags),
        "metrics": metrics,
        "artifacts": [{"path": artifact.artifact_path, "size": artifact.size} for artifact in plan.artifacts],
        "artifact_bytes": plan.artifact_bytes,
        **({"images": images, "image_bytes": plan.image_bytes} if images else {}),
        "left_out": [{"path": path, "why": why} for path, why in plan.left_out],
        "dataset": plan.dataset._asdict() if plan.dataset else None,
        "notes": [note._asdict() for note in plan.notes],
        "children": [plan_as_json(child) for child in plan.children],
    }


def size(count: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """Return a number of seconds for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


def kind_words(kind: Kind, *, would: bool = False) -> str:
    """Return a kind of outcome for people; `would` for one that is foreseen."""
    return f"would be {kind.value}" if would and kind in WROTE else kind.value


def outcome_line(outcome: Outcome, *, would: bool = False) -> str:
    """Return one outcome for people: what, which, why."""
    return f"{kind_words(outcome.kind, would=would)}: {outcome_text(outcome)}"


def outcome_text(outcome: Outcome) -> str:
    """Return the directory of an outcome and the reason, for people."""
    reason = f"is a copy of {outcome.reason}" if outcome.kind is Kind.DUPLICATE else outcome.reason
    if reason and reason.startswith(outcome.source):
        return redact(reason)
    which = outcome.source
    if outcome.run_name and outcome.run_name != PurePath(outcome.source).name:
        which += f" ({outcome.run_name})"
    return redact(f"{which}: {reason}" if reason else which)


def facts_of(outcome: Outcome) -> dict[str, object]:
    """Return the outcome of a run that was only looked at as plain values, less what was done and how fast."""
    return {name: value for name, value in outcome.as_json().items() if name not in ("outcome", "seconds")}


def dumps(facts: Mapping[str, object]) -> str:
    """Return a line of JSON."""
    return json_escaped(json.dumps(facts, ensure_ascii=False, allow_nan=False))


def local_time(ms: int) -> str:
    """Return a time in ms for a list, in local time as `--since` reads it: 2024-03-01 12:30."""
    return datetime.fromtimestamp(ms / 1000).strftime("%Y-%m-%d %H:%M")
