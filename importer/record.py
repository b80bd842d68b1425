"""What an import remembers of itself: one JSON tag, and the note that the UI shows."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from importer import __version__
from importer.model import ImportOptions, Note, Timeline, TrainingRun
from importer.naming import MAX_TAG_VALUE

# Options that shape the plan: a second import, verify and update take them from the record.
SHAPING = (
    "run_name", "tags", "start_time_ms", "timezone", "artifacts", "follow_symlinks", "best_metrics", "keep_active",
    "max_artifact_size", "exclude_artifacts",
)  # fmt: skip


def build_record(
    run: TrainingRun,
    timeline: Timeline,
    options: ImportOptions,
    best: tuple[int | None, str],
    notes: tuple[Note, ...],
) -> dict[str, object]:
    """The facts that resume, update and verify need to make the same plan again, and where they came from."""
    row, rule = best
    defaults = ImportOptions()
    facts = run.last or run.best
    chosen = {name: getattr(options, name) for name in SHAPING if getattr(options, name) != getattr(defaults, name)}
    return {
        "importer": f"ymlf {__version__}",
        "generator": run.generator,
        "clock": timeline.clock,
        "zone": timeline.zone,
        "anchors": [list(anchor) for anchor in timeline.anchors],
        "spacing_ms": timeline.spacing_ms,
        "shifted_ms": timeline.shifted_ms,
        "started_ms": timeline.started_ms,
        "ended_ms": timeline.ended_ms,
        "final_ms": timeline.final_ms,
        "epochs": len(run.epochs),
        "best_epoch": run.epochs.steps[row] if row is not None else None,
        "best_by": rule or None,
        "results_from": run.results_file,
        "params_from": list(run.params_from),
        "final_from": run.final_validation.source if run.final_validation else None,
        "git": dict(facts.git) if facts else {},
        "options": chosen,
        "notes": sorted({note.code for note in notes}),
    }


def dump_record(record: Mapping[str, object]) -> str:
    """The record as JSON that fits into a tag."""
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    if len(text) > MAX_TAG_VALUE:
        text = json.dumps({**record, "git": {}, "notes": []}, ensure_ascii=False, separators=(",", ":"))
    return text


def load_record(text: str | None) -> dict[str, object] | None:
    """The record of a run that was imported, or None where there is none that can be read."""
    try:
        record = json.loads(text or "")
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def recorded_options(options: ImportOptions, record: Mapping[str, object] | None) -> ImportOptions:
    """The options with those that shape a plan as they were when the run was imported."""
    if record is None:
        return options
    chosen = record.get("options")
    told = dict(chosen) if isinstance(chosen, Mapping) else {}
    defaults = ImportOptions()
    shaping = {name: told.get(name, getattr(defaults, name)) for name in SHAPING}
    shaping["tags"] = tuple((str(key), str(value)) for key, value in shaping["tags"])
    shaping["exclude_artifacts"] = tuple(shaping["exclude_artifacts"])
    return dataclasses.replace(options, **shaping)


def describe(run: TrainingRun, record: Mapping[str, object], timeline: Timeline, notes: tuple[Note, ...]) -> str:
    """The run's provenance in Markdown, for MLflow's `mlflow.note.content`."""
    how = CLOCKS.get(timeline.clock, timeline.clock)
    lines = [
        f"Imported by {record['importer']} from the {run.generator} run directory of {len(run.epochs)} epochs.",
        "",
        f"- **times**: {how}{f', {timeline.zone}' if timeline.zone else ''}",
        f"- **params**: {', '.join(run.params_from) or 'none found'}",
    ]
    if record["best_epoch"] is not None:
        lines.append(f"- **best epoch**: step {record['best_epoch']}, by {record['best_by']}")
    if run.final_validation is not None:
        lines.append(f"- **final validation**: {run.final_validation.source}, logged one step after the last epoch")
    git = record["git"]
    if isinstance(git, Mapping) and git:
        told = ", ".join(f"{key} {value}" for key, value in git.items() if value)
        lines.append(f"- **git**: {told} (of the code that trained; that may be Ultralytics' own repository)")
    lines += [f"- **{note.code}**: {note.text}" for note in notes]
    text = "\n".join(lines)
    return text if len(text) <= MAX_TAG_VALUE else text[: MAX_TAG_VALUE - 4] + "\n..."


CLOCKS = {
    "event-file": "the wall times of the TensorBoard event file",
    "checkpoint-date": "the date inside the checkpoint",
    "results-mtime": "`time` in results.csv, ending at its file time",
    "file-times": "file times, the epochs spaced evenly",
    "import-time": "unknown; dated at the time of the import",
    "start-time": "from --start-time",
}
