"""What an import remembers of a run: its record, the options that shaped it, and the note in the UI."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from importer.errors import UsageError
from importer.model import Artifact, DatasetInput, ImportOptions, Note, Timeline, TrainingRun
from importer.naming import MAX_TAG_VALUE, model_name, storable
from importer.read.fitness import best_row
from importer.record import ImportRecord, RecordedTimes, to_json
from importer.replay.identity import content_fingerprint, evidence_of

MAX_OPTIONS = 3_000  # characters; the evidence of a long training takes up to 3,000, times and versions the rest

# Options that shape the plan: a second import, verify and update take them from the record.
SHAPING = (
    "run_name", "tags", "start_time_ms", "timezone", "artifacts", "follow_symlinks", "best_metrics", "images",
    "keep_active", "max_artifact_size", "exclude_artifacts",
)  # fmt: skip
READING = {"follow_symlinks", "keep_active"}  # those that say how to read, or are the environment's
OPTION_WORDS = {"tags": "tag", "start_time_ms": "start-time"}
DEFAULTS = ImportOptions()
CLOCKS = {
    "event-file": "the wall times of the TensorBoard event file",
    "checkpoint-date": "the date inside the checkpoint",
    "results-mtime": "`time` in results.csv, ending at its file time",
    "file-times": "file times, the epochs spaced evenly",
    "later-training": "`time` in results.csv, ending as the next training of the file began",
    "import-time": "unknown; dated at the time of the import",
    "start-time": "from --start-time",
    "iterations": "the times of the iterations that have a directory",
    "tune-files": "the file time of the tune's table, and how long its tuner says that it took",
}


def build_record(
    run: TrainingRun, timeline: Timeline, options: ImportOptions, names: tuple[str, str], notes: tuple[Note, ...]
) -> ImportRecord:
    """Return the record of a plan with the `names` of its run and group; the import adds who writes it, and when."""
    row, rule = best_row(run)
    times = {field.name: getattr(timeline, field.name) for field in dataclasses.fields(RecordedTimes)}
    return ImportRecord(
        times=RecordedTimes(**times),
        evidence=evidence_of(run),
        fingerprint=content_fingerprint(run),
        epochs=len(run.epochs),
        run_name=names[0],
        group=names[1],
        options=_chosen(options),
        notes=tuple(sorted({note.code for note in notes})),
        generator=run.generator,
        best_epoch=run.epochs.steps[row] if row is not None else None,
        best_by=rule or None,
        results_from=run.results_file,
        params_from=run.params_from,
        final_from=run.final_validation.source if run.final_validation else None,
        git=dict(run.facts.git) if run.facts else {},
    )


def filter_tags(
    run: TrainingRun, dataset: DatasetInput | None, group: str, artifacts: Iterable[Artifact]
) -> dict[str, str]:
    """Return the tags to filter runs by in MLflow, without those of facts that the run lacks."""
    has_best = any(artifact.artifact_path.endswith("best.pt") for artifact in artifacts)
    tags = {
        "ymlf.task": run.task,
        "ymlf.generator": run.generator.removesuffix(f" {run.version}"),
        "ymlf.dataset": dataset.name if dataset is not None else "",
        "ymlf.model": model_name(run.args),
        "ymlf.group": group,
        "ymlf.has_best": "true" if has_best else "false",
    }
    return {name: storable(value) for name, value in tags.items() if value}


def check_options(options: ImportOptions) -> None:
    """Check that the record of a run has room for the options that it keeps. Errors: UsageError."""
    length = len(to_json(_chosen(options)))
    if length > MAX_OPTIONS:
        message = f"--tag and other options that a run keeps have {length:,} characters, {MAX_OPTIONS:,} fit"
        raise UsageError(message, hint="give shorter values")


def _chosen(options: ImportOptions) -> dict[str, object]:
    return {name: getattr(options, name) for name in SHAPING if getattr(options, name) != getattr(DEFAULTS, name)}


def recorded_options(options: ImportOptions, record: ImportRecord | None) -> ImportOptions:
    """Return the options with those that shape a plan as they were when the run was imported."""
    if record is None:
        return options
    shaping: dict[str, Any] = {name: record.options.get(name, getattr(DEFAULTS, name)) for name in SHAPING}
    shaping["tags"] = tuple((str(key), str(value)) for key, value in shaping["tags"])
    shaping["exclude_artifacts"] = tuple(shaping["exclude_artifacts"])
    return dataclasses.replace(options, **shaping)


def not_applied(options: ImportOptions, record: ImportRecord | None) -> str | None:
    """Return the options, as typed, that are given now and that a run was imported without; None without any."""
    kept = recorded_options(options, record)
    names = [
        OPTION_WORDS.get(name, name.replace("_", "-"))
        for name in SHAPING
        if name not in READING and getattr(options, name) not in (getattr(DEFAULTS, name), getattr(kept, name))
    ]
    return ", ".join(f"--{name}" for name in names) or None


def describe(run: TrainingRun, record: ImportRecord, notes: tuple[Note, ...]) -> str:
    """Return where the run came from, in Markdown, for MLflow's `mlflow.note.content`."""
    clock, zone, step = record.times.clock, record.times.zone, record.best_epoch
    lines = [
        f"Imported by {record.importer} from {_origin(run)}.",
        "",
        f"- **times**: {CLOCKS.get(clock, clock)}{f', {zone}' if zone else ''}",
        f"- **params**: {', '.join(run.params_from) or 'none found'}",
    ]
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
    if run.family != "tune":
        return f"the {run.generator} run directory of {count} {'epoch' if count == 1 else 'epochs'}"
    if run.iteration is None:
        return f"the {run.generator} directory of {count} {'iteration' if count == 1 else 'iterations'}"
    return f"the table of the {run.generator} directory, which is all that is left of this iteration"
