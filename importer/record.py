"""What an import remembers of a run, as frozen facts: one JSON tag that resume, update and verify read."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from importer._version import __version__
from importer.naming import MAX_TAG_VALUE

FORMAT = 1  # of the tag; until the first release it may change
TRAINING = "training"  # the state of a training that goes on
RECORD_BYTES = 4  # of the digest of one record of a tune


@dataclass(frozen=True)
class Evidence:
    """What tells one training from another.

    Shape:  `time_marks` and `row_marks` have one digest for each `block` rows; of a tune, `records` has one for each
            record, sorted, the smallest of many.
    """

    is_tune: bool = False
    rows: int = 0
    finished: bool = False
    event_files: tuple[str, ...] = ()
    times: tuple[float, ...] = ()  # seconds, of the first two rows
    first: str = ""  # digest of the first row, without its time
    block: int = 1
    time_marks: bytes = b""
    row_marks: bytes = b""
    records: tuple[bytes, ...] = ()
    args: bytes = b""  # digests of the keys and values that no resume rewrites
    files: int = 0  # that live would have logged

    def to_json(self) -> dict[str, object]:
        """Return the evidence as plain values, without what is empty."""
        facts = {"tune": self.is_tune, **vars(self), "records": b"".join(self.records)}
        del facts["is_tune"]
        return {
            name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
            for name, value in facts.items()
            if value
        }

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Evidence:
        """Return what to_json made. Errors: ValueError, TypeError or AttributeError for anything else."""
        return cls(is_tune=bool(facts.get("tune")), **_read(facts, EVIDENCE_FIELDS))


@dataclass(frozen=True)
class RecordedTimes:
    """The clock that dated a run, as it was then; ms since the Unix epoch."""

    clock: str
    anchors: tuple[tuple[int, int], ...]  # (row, ms at which the seconds of the rows from there on are 0)
    started_ms: int
    ended_ms: int
    final_ms: int | None = None
    zone: str | None = None
    spacing_ms: float | None = None
    shifted_ms: int = 0  # by --start-time


@dataclass(frozen=True)
class ImportRecord:
    """The facts that resume, update and verify need to make the same plan again, and where they came from."""

    times: RecordedTimes
    evidence: Evidence
    fingerprint: str
    epochs: int
    run_name: str
    group: str = ""  # the folders between the path that was given and the directory, at the first import
    options: Mapping[str, object] = field(default_factory=dict)  # that differ from the defaults
    notes: tuple[str, ...] = ()  # codes
    params_kept: tuple[str, ...] = ()  # params that MLflow could not change
    generator: str = ""
    best_epoch: int | None = None
    best_by: str | None = None
    results_from: str | None = None
    params_from: tuple[str, ...] = ()
    final_from: str | None = None
    git: Mapping[str, object] = field(default_factory=dict)
    importer: str = f"ymlf {__version__}"
    writer: str = ""  # host:pid:random of a create_run call; a call that was sent twice has it twice
    imported_at: str = ""  # ISO 8601, UTC
    replaces: str = ""  # the id of the run in whose place this one is written
    state: str = ""  # TRAINING while the training goes on; its run is RUNNING, and no importer has left it half written

    def to_tag(self) -> str:
        """Return the record as JSON that fits into a tag."""
        facts: dict[str, Any] = {"format": FORMAT, **dataclasses.asdict(self), "evidence": self.evidence.to_json()}
        plain = {name: value for name, value in facts.items() if value not in (None, "", (), {})}
        text = to_json(plain)
        return text if len(text) <= MAX_TAG_VALUE else to_json({**plain, "git": {}, "notes": []})

    @classmethod
    def from_tag(cls, text: str | None) -> ImportRecord | None:
        """Return the record that to_tag wrote, or None where no import, or a person, wrote the tag."""
        try:
            facts = json.loads(text or "")
            record = cls(**_read(facts, RECORD_FIELDS))
            dict(facts.get("options", {}).get("tags", ()))  # pairs, or it raises
            readable = facts.get("format") == FORMAT and record.times.anchors[0][0] == 0
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError):
            return None
        return record if readable else None


@dataclass(frozen=True)
class ModelRecord:
    """The files that make the weights of a run an MLflow model."""

    weights: str  # SHA-256 of best.pt
    files: Mapping[str, str]  # SHA-256 by path within the run's artifacts

    def to_tag(self) -> str:
        """Return the record as JSON that fits into a tag."""
        return to_json({"format": FORMAT, "weights": self.weights, "files": dict(self.files)})

    @classmethod
    def from_tag(cls, text: str | None) -> ModelRecord | None:
        """Return the record that to_tag wrote, or None without one."""
        try:
            facts = json.loads(text or "")
            files = {str(path): str(digest) for path, digest in facts["files"].items()}
            return cls(str(facts["weights"]), files) if facts["format"] == FORMAT else None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None


def to_json(facts: Mapping[str, object]) -> str:
    """Return facts as JSON without blanks."""
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":"))


def _read(facts: Mapping[str, Any], fields: Mapping[str, Callable[[Any], object]]) -> dict[str, Any]:
    return {name: read(facts[name]) for name, read in fields.items() if facts.get(name) is not None}


def _bytes(text: object) -> bytes:
    return base64.b64decode(str(text), validate=True)


def _records(text: object) -> tuple[bytes, ...]:
    digests = _bytes(text)
    return tuple(digests[at : at + RECORD_BYTES] for at in range(0, len(digests), RECORD_BYTES))


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is no whole number")
    return value


def _list_of(kind: Callable[[Any], object]) -> Callable[[Any], tuple[object, ...]]:
    def read(values: object) -> tuple[object, ...]:
        if not isinstance(values, list):
            raise TypeError(f"{values!r} is no list")
        return tuple(map(kind, values))

    return read


EVIDENCE_FIELDS: dict[str, Callable[[Any], object]] = {
    "rows": _whole, "finished": bool, "event_files": _list_of(str), "times": _list_of(float), "first": str,
    "block": lambda value: max(1, _whole(value)), "time_marks": _bytes, "row_marks": _bytes,
    "records": _records, "args": _bytes, "files": _whole,
}  # fmt: skip
TIMES_FIELDS: dict[str, Callable[[Any], object]] = {
    "clock": str, "anchors": lambda pairs: tuple((int(row), int(ms)) for row, ms in pairs), "started_ms": int,
    "ended_ms": int, "final_ms": int, "zone": str, "spacing_ms": float, "shifted_ms": int,
}  # fmt: skip
RECORD_FIELDS: dict[str, Callable[[Any], object]] = {
    "times": lambda times: RecordedTimes(**_read(times, TIMES_FIELDS)), "evidence": Evidence.from_json,
    "fingerprint": str, "epochs": int, "run_name": str, "group": str, "options": dict, "notes": _list_of(str),
    "params_kept": _list_of(str), "generator": str, "best_epoch": int, "best_by": str, "results_from": str,
    "params_from": _list_of(str), "final_from": str, "git": dict, "importer": str, "writer": str, "imported_at": str,
    "replaces": str, "state": str,
}  # fmt: skip
