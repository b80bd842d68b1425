"""What an import remembers of itself: one JSON tag, and the note that the UI shows."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from importer import __version__
from importer.errors import UsageError
from importer.model import ImportOptions, Note, Timeline, TrainingRun
from importer.naming import MAX_TAG_VALUE

MAX_OPTIONS = 5_000  # characters; times, versions and the names of params that differ take up to 3,000

# Options that shape the plan: a second import, verify and update take them from the record.
SHAPING = (
    "run_name", "tags", "start_time_ms", "timezone", "artifacts", "follow_symlinks", "best_metrics", "keep_active",
    "max_artifact_size", "exclude_artifacts",
)  # fmt: skip
READING = {"follow_symlinks", "keep_active"}  # those that say how to read, or are the environment's
OPTION_WORDS = {"tags": "tag", "start_time_ms": "start-time"}


def build_record(
    run: TrainingRun,
    timeline: Timeline,
    options: ImportOptions,
    best: tuple[int | None, str],
    notes: tuple[Note, ...],
) -> dict[str, object]:
    """The facts that resume, update and verify need to make the same plan again, and where they came from."""
    row, rule = best
    facts = run.facts
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
        "options": _chosen(options),
        "notes": sorted({note.code for note in notes}),
    }


def dump_record(record: Mapping[str, object]) -> str:
    """The record as JSON that fits into a tag."""
    text = _json(record)
    return text if len(text) <= MAX_TAG_VALUE else _json({**record, "git": {}, "notes": []})


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


def load_record(text: str | None) -> dict[str, object] | None:
    """The record of a run that was imported, or None where there is none that can be read."""
    try:
        record = json.loads(text or "")
        recorded_options(ImportOptions(), record)
        anchors = [(int(row), int(ms)) for row, ms in record["anchors"]]
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None  # somebody wrote into the tag
    return record if anchors and anchors[0][0] == 0 else None


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


def not_applied(options: ImportOptions, record: Mapping[str, object] | None) -> str | None:
    """The options that were given and that a run was imported without, as typed; None where there are none."""
    kept, defaults = recorded_options(options, record), ImportOptions()
    names = [
        OPTION_WORDS.get(name, name.replace("_", "-"))
        for name in SHAPING
        if name not in READING and getattr(options, name) not in (getattr(defaults, name), getattr(kept, name))
    ]
    return ", ".join(f"--{name}" for name in names) or None


def describe(run: TrainingRun, record: Mapping[str, object], timeline: Timeline, notes: tuple[Note, ...]) -> str:
    """The run's provenance in Markdown, for MLflow's `mlflow.note.content`."""
    how = CLOCKS.get(timeline.clock, timeline.clock)
    lines = [
        f"Imported by {record['importer']} from {_origin(run)}.",
        "",
        f"- **times**: {how}{f', {timeline.zone}' if timeline.zone else ''}",
        f"- **params**: {', '.join(run.params_from) or 'none found'}",
    ]
    step = record["best_epoch"]
    if isinstance(step, int) and len(run.epochs) > 1:
        best = f"iteration**: {step + 1}, at step {step}" if run.children else f"epoch**: step {step}"
        lines.append(f"- **best {best}, by {record['best_by']}")
    if run.final_validation is not None:
        lines.append(f"- **final validation**: {run.final_validation.source}, logged one step after the last epoch")
    git = record["git"]
    if isinstance(git, Mapping) and git:
        told = ", ".join(f"{key} {value}" for key, value in git.items() if value)
        lines.append(f"- **git**: {told} (of the code that trained; that may be Ultralytics' own repository)")
    lines += [f"- **{note.code}**: {note.text}" for note in notes]
    text = "\n".join(lines)
    return text if len(text) <= MAX_TAG_VALUE else text[: MAX_TAG_VALUE - 4] + "\n..."


def _origin(run: TrainingRun) -> str:
    """What a run was read from: a directory, that of a tune, or no more than a tune has on one of its iterations."""
    count = len(run.epochs)
    if run.children:
        return f"the {run.generator} directory of {count} {'iteration' if count == 1 else 'iterations'}"
    if run.family == "tune":
        return f"what the {run.generator} directory holds of this iteration"
    return f"the {run.generator} run directory of {count} {'epoch' if count == 1 else 'epochs'}"


CLOCKS = {
    "event-file": "the wall times of the TensorBoard event file",
    "checkpoint-date": "the date inside the checkpoint",
    "results-mtime": "`time` in results.csv, ending at its file time",
    "file-times": "file times, the epochs spaced evenly",
    "import-time": "unknown; dated at the time of the import",
    "start-time": "from --start-time",
}
