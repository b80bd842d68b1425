"""What an import remembers of a run: one JSON tag, read and written through ImportRecord, and the note in the UI."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from importer import __version__
from importer.errors import UsageError
from importer.model import ImportOptions, Note, Timeline, TrainingRun
from importer.naming import MAX_TAG_VALUE
from importer.replay.identity import Evidence, evidence_of

FORMAT = 1  # of the tag; until the first release it may change
MAX_OPTIONS = 3_000  # characters; the evidence of a long training takes up to 3,000, times and versions the rest

# Options that shape the plan: a second import, verify and update take them from the record.
SHAPING = (
    "run_name", "tags", "start_time_ms", "timezone", "artifacts", "follow_symlinks", "best_metrics", "keep_active",
    "max_artifact_size", "exclude_artifacts",
)  # fmt: skip
READING = {"follow_symlinks", "keep_active"}  # those that say how to read, or are the environment's
OPTION_WORDS = {"tags": "tag", "start_time_ms": "start-time"}


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
        text = _json(plain)
        return text if len(text) <= MAX_TAG_VALUE else _json({**plain, "git": {}, "notes": []})

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
            recorded_options(ImportOptions(), record)
            readable = facts.get("format") == FORMAT and record.times.anchors[0][0] == 0
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError):
            return None
        return record if readable else None


def _optional(kind: type, value: object) -> Any:
    return None if value is None else kind(value)


def build_record(
    run: TrainingRun,
    timeline: Timeline,
    options: ImportOptions,
    best: tuple[int | None, str],
    *,
    fingerprint: str,
    run_name: str,
    notes: tuple[Note, ...],
) -> ImportRecord:
    """Return the record of a plan; who writes it, and when, is added by the import."""
    row, rule = best
    facts = run.facts
    return ImportRecord(
        times=RecordedTimes(
            clock=timeline.clock,
            anchors=timeline.anchors,
            started_ms=timeline.started_ms,
            ended_ms=timeline.ended_ms,
            final_ms=timeline.final_ms,
            zone=timeline.zone,
            spacing_ms=timeline.spacing_ms,
            shifted_ms=timeline.shifted_ms,
        ),
        evidence=evidence_of(run),
        fingerprint=fingerprint,
        epochs=len(run.epochs),
        run_name=run_name,
        options=_chosen(options),
        notes=tuple(sorted({note.code for note in notes})),
        generator=run.generator,
        best_epoch=run.epochs.steps[row] if row is not None else None,
        best_by=rule or None,
        results_from=run.results_file,
        params_from=run.params_from,
        final_from=run.final_validation.source if run.final_validation else None,
        git=dict(facts.git) if facts else {},
    )


def check_options(options: ImportOptions) -> None:
    """Errors: UsageError when the options that a run keeps leave its record no room for the rest."""
    length = len(_json(_chosen(options)))
    if length > MAX_OPTIONS:
        raise UsageError(
            f"--tag and other options that a run keeps have {length:,} characters, {MAX_OPTIONS:,} fit",
            hint="give shorter values",
        )


def _chosen(options: ImportOptions) -> dict[str, object]:
    defaults = ImportOptions()
    return {name: getattr(options, name) for name in SHAPING if getattr(options, name) != getattr(defaults, name)}


def _json(facts: Mapping[str, object]) -> str:
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":"))


def recorded_options(options: ImportOptions, record: ImportRecord | None) -> ImportOptions:
    """Return the options with those that shape a plan as they were when the run was imported."""
    if record is None:
        return options
    defaults = ImportOptions()
    shaping: dict[str, Any] = {name: record.options.get(name, getattr(defaults, name)) for name in SHAPING}
    shaping["tags"] = tuple((str(key), str(value)) for key, value in shaping["tags"])
    shaping["exclude_artifacts"] = tuple(shaping["exclude_artifacts"])
    return dataclasses.replace(options, **shaping)


def not_applied(options: ImportOptions, record: ImportRecord | None) -> str | None:
    """Return the options, as typed, that are given now and that a run was imported without; None if there are none."""
    kept, defaults = recorded_options(options, record), ImportOptions()
    names = [
        OPTION_WORDS.get(name, name.replace("_", "-"))
        for name in SHAPING
        if name not in READING and getattr(options, name) not in (getattr(defaults, name), getattr(kept, name))
    ]
    return ", ".join(f"--{name}" for name in names) or None


def describe(run: TrainingRun, record: ImportRecord, notes: tuple[Note, ...]) -> str:
    """Return where the run came from, in Markdown, for MLflow's `mlflow.note.content`."""
    clock = record.times.clock
    zone = record.times.zone
    lines = [
        f"Imported by {record.importer} from {_origin(run)}.",
        "",
        f"- **times**: {CLOCKS.get(clock, clock)}{f', {zone}' if zone else ''}",
        f"- **params**: {', '.join(run.params_from) or 'none found'}",
    ]
    step = record.best_epoch
    if step is not None and len(run.epochs) > 1:
        best = f"iteration**: {step + 1}, at step {step}" if run.family == "tune" else f"epoch**: step {step}"
        lines.append(f"- **best {best}, by {record.best_by}")
    if run.final_validation is not None:
        lines.append(f"- **final validation**: {run.final_validation.source}, logged one step after the last epoch")
    if record.git:
        facts = ", ".join(f"{key} {value}" for key, value in record.git.items() if value)
        lines.append(f"- **git**: {facts} (of the code that trained; that may be Ultralytics' own repository)")
    lines += [f"- **{note.code}**: {note.text}" for note in notes]
    text = "\n".join(lines)
    return text if len(text) <= MAX_TAG_VALUE else text[: MAX_TAG_VALUE - 4] + "\n..."


def _origin(run: TrainingRun) -> str:
    """Return what a run was read from: a directory, that of a tune, or the table of a tune."""
    count = len(run.epochs)
    if run.family == "tune" and run.iteration is None:
        return f"the {run.generator} directory of {count} {'iteration' if count == 1 else 'iterations'}"
    if run.family == "tune":
        return f"the table of the {run.generator} directory, which is all that is left of this iteration"
    return f"the {run.generator} run directory of {count} {'epoch' if count == 1 else 'epochs'}"


CLOCKS = {
    "event-file": "the wall times of the TensorBoard event file",
    "checkpoint-date": "the date inside the checkpoint",
    "results-mtime": "`time` in results.csv, ending at its file time",
    "file-times": "file times, the epochs spaced evenly",
    "import-time": "unknown; dated at the time of the import",
    "start-time": "from --start-time",
    "iterations": "the times of the iterations that have a directory",
    "tune-files": "the file time of the tune's table, and how long its tuner says that it took",
}
