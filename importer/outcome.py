"""What came of one run directory, and what that means for the exit status."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from importer.model import ImportPlan, Note


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
