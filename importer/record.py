"""What an import remembers of a run, as frozen facts: one JSON tag that resume, update and verify read."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from importer._version import __version__
from importer.naming import MAX_TAG_VALUE

FORMAT = 1  # of the tag; until the first release it may change
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
        facts: dict[str, object] = {
            "tune": self.is_tune,
            "rows": self.rows,
            "finished": self.finished,
            "event_files": list(self.event_files),
            "times": list(self.times),
            "first": self.first,
            "block": self.block,
            "time_marks": _text(self.time_marks),
            "row_marks": _text(self.row_marks),
            "records": _text(b"".join(self.records)),
            "args": _text(self.args),
            "files": self.files,
        }
        return {name: value for name, value in facts.items() if value}

    @classmethod
    def from_json(cls, facts: Mapping[str, object]) -> Evidence:
        """Return what to_json made. Errors: ValueError, TypeError or AttributeError for anything else."""
        found: Mapping[str, object] = facts
        records = _bytes(found.get("records"))
        return cls(
            is_tune=bool(found.get("tune")),
            rows=_whole(found.get("rows", 0)),
            finished=bool(found.get("finished")),
            event_files=tuple(map(str, _listed(found.get("event_files")))),
            times=tuple(float(value) for value in _listed(found.get("times"))),  # type: ignore[arg-type]
            first=str(found.get("first", "")),
            block=max(1, _whole(found.get("block", 1))),
            time_marks=_bytes(found.get("time_marks")),
            row_marks=_bytes(found.get("row_marks")),
            records=tuple(records[at : at + RECORD_BYTES] for at in range(0, len(records), RECORD_BYTES)),
            args=_bytes(found.get("args")),
            files=_whole(found.get("files", 0)),
        )


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
    shifted_ms: int = 0


@dataclass(frozen=True)
class ImportRecord:
    """The facts that resume, update and verify need to make the same plan again, and where they came from."""

    times: RecordedTimes
    evidence: Evidence
    fingerprint: str
    epochs: int
    run_name: str
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

    def to_tag(self) -> str:
        """Return the record as JSON that fits into a tag."""
        facts: dict[str, Any] = {"format": FORMAT, **dataclasses.asdict(self), "evidence": self.evidence.to_json()}
        plain = {name: value for name, value in facts.items() if value not in (None, "", (), {})}
        text = to_json(plain)
        return text if len(text) <= MAX_TAG_VALUE else to_json({**plain, "git": {}, "notes": []})

    @classmethod
    def from_tag(cls, text: str | None) -> ImportRecord | None:
        """Return the record that to_tag wrote, or None where there is none, or a person wrote into the tag."""
        try:
            facts = json.loads(text or "")
            times = facts["times"]
            record = cls(
                times=RecordedTimes(
                    clock=str(times["clock"]),
                    anchors=tuple((int(row), int(ms)) for row, ms in times["anchors"]),
                    started_ms=int(times["started_ms"]),
                    ended_ms=int(times["ended_ms"]),
                    final_ms=_optional(int, times.get("final_ms")),
                    zone=_optional(str, times.get("zone")),
                    spacing_ms=_optional(float, times.get("spacing_ms")),
                    shifted_ms=int(times.get("shifted_ms", 0)),
                ),
                evidence=Evidence.from_json(facts["evidence"]),
                fingerprint=str(facts["fingerprint"]),
                epochs=int(facts.get("epochs", 0)),
                run_name=str(facts["run_name"]),
                options=dict(facts.get("options", {})),
                notes=tuple(map(str, facts.get("notes", ()))),
                params_kept=tuple(map(str, facts.get("params_kept", ()))),
                generator=str(facts.get("generator", "")),
                best_epoch=_optional(int, facts.get("best_epoch")),
                best_by=_optional(str, facts.get("best_by")),
                results_from=_optional(str, facts.get("results_from")),
                params_from=tuple(map(str, facts.get("params_from", ()))),
                final_from=_optional(str, facts.get("final_from")),
                git=dict(facts.get("git", {})),
                importer=str(facts.get("importer", "")),
                writer=str(facts.get("writer", "")),
                imported_at=str(facts.get("imported_at", "")),
                replaces=str(facts.get("replaces", "")),
            )
            [(str(key), str(value)) for key, value in record.options.get("tags", ())]  # type: ignore[attr-defined]
            readable = facts.get("format") == FORMAT and record.times.anchors[0][0] == 0
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError):
            return None
        return record if readable else None


def _optional(kind: type, value: object) -> Any:
    return None if value is None else kind(value)


def to_json(facts: Mapping[str, object]) -> str:
    """Return facts as JSON without blanks."""
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":"))


def _text(digests: bytes) -> str:
    return base64.b64encode(digests).decode()


def _bytes(text: object) -> bytes:
    return base64.b64decode(str(text or ""), validate=True)


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is no whole number")
    return value


def _listed(values: object) -> Iterable[object]:
    if not isinstance(values, (list, type(None))):
        raise TypeError(f"{values!r} is no list")
    return values or ()
