"""What checkpoints and event files say of a training, believed only where they agree with its results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from importer.errors import CheckpointError, RunDirError
from importer.formats.csv_table import Table
from importer.formats.event_file import Scalar, read_event_file
from importer.model import CheckpointFacts, Epochs, EventSession, EventTimes, FinalValidation, Note
from importer.naming import last_part
from importer.read.checkpoint import read_checkpoint
from importer.read.directory import RunDirectory

CSV_REL = 1e-4  # results.csv keeps five digits, so a rounded value is off by 5e-5 at most
EVENT_REL = 6e-4  # of a results.txt, which keeps four digits; 90% of the values have to agree
ROUNDED = 6e-6  # trainer and tuner round to five digits after the point


Checkpoints = Mapping[str, CheckpointFacts]  # the facts of last.pt and best.pt, in this order, as far as there are any


def read_checkpoints(directory: RunDirectory, *, needed: bool) -> tuple[Checkpoints, list[Note]]:
    """Read the two checkpoints, in weights/ or beside it; one that cannot be read becomes a note.

    A summary reads them only if it cannot do without.
    """
    checkpoints: dict[str, CheckpointFacts] = {}
    notes = []
    for name in ("last.pt", "best.pt") if needed or not directory.is_summary else ():
        place = directory.by_path.get(f"weights/{name}") or directory.by_path.get(name)
        if place is None:
            continue
        if place.path == name:
            notes.append(Note("weights-beside", f"{name} lies beside weights/, not in it"))
        try:
            checkpoints[name] = read_checkpoint(place.location)
        except CheckpointError as error:
            notes.append(Note(error.code, f"{error.message}; imported without its facts"))
    return checkpoints, notes


def believed(
    checkpoints: Checkpoints, table: Table | None, args: Mapping[str, object]
) -> tuple[Checkpoints, list[Note]]:
    """Return the checkpoints less those of another training.

    train_results must agree with results.csv; where they are absent, seed, epochs and data with args.yaml.

    Source: ultralytics/engine/trainer.py, BaseTrainer.save_model and read_results_csv.
    """
    reasons = {name: reason for name, facts in checkpoints.items() if (reason := _foreign(facts, table, args))}
    text = "{} belongs to another training ({}); not believed"
    notes = [Note("checkpoint-foreign", text.format(name, reason)) for name, reason in reasons.items()]
    return {name: facts for name, facts in checkpoints.items() if name not in reasons}, notes


def _foreign(facts: CheckpointFacts, table: Table | None, args: Mapping[str, object]) -> str | None:
    results = facts.train_results
    if table is not None and table.rows and "epoch" in results:
        count = min(len(results["epoch"]), len(table.rows))
        for name in (name for name in table.header if name in results):
            pairs = zip(table.column(name)[:count], results[name], strict=False)
            if not all(near(cell, kept, 1e-5) for cell, kept in pairs):
                return f"its {name} differs from results.csv"
        return None
    trained_with = facts.train_args or facts.opt
    for name in ("seed", "epochs", "data"):
        ours, theirs = args.get(name), trained_with.get(name)
        if name == "data":
            ours, theirs = (last_part(at).split(".")[0] if isinstance(at, str) else None for at in (ours, theirs))
        is_time_limited = name == "epochs" and args.get("time")
        if ours is not None and theirs is not None and ours != theirs and not is_time_limited:
            return f"{name} is {theirs}, not {ours}"
    return None


def near(a: float | None, b: float | None, rel: float = 0.0) -> bool:
    """Return whether two numbers are one but for rounding; a blank cell contradicts nothing."""
    if a is None or b is None or a == b:
        return True
    try:
        return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=rel, abs_tol=ROUNDED)
    except OverflowError:  # an integer of 400 digits
        return False


def has_row(checkpoints: Checkpoints, table: Table, row: Sequence[float | None]) -> bool:
    """Return whether a checkpoint's train_results, which was read from the same file, has a row of the table.

    Parsers may differ in the last bit; a blank cell is nan there.
    """
    cells = [math.nan if cell is None else cell for cell in row]
    for facts in checkpoints.values():
        columns = [facts.train_results.get(name, ()) for name in table.header]
        for kept in zip(*columns, strict=False):
            pairs = zip(cells, kept, strict=True)
            if all(math.isclose(*pair, rel_tol=1e-14) or all(map(math.isnan, pair)) for pair in pairs):
                return True
    return False


def saved_at(facts: CheckpointFacts | None, epochs: Epochs, numbers: Sequence[int], base: int) -> int | None:
    """Return the index of the epoch at whose end a checkpoint was saved, as far as the checkpoint has it."""
    if facts is None:
        return None
    step = facts.epoch
    if step is None or step < 0:
        rows = len(facts.train_results.get("epoch", ()))
        step = numbers[rows - 1] - base if 0 < rows < len(numbers) else None
    return epochs.steps.index(step) if step is not None and step in epochs.steps else None


def row_of_metrics(metrics: Mapping[str, float], epochs: Epochs) -> int | None:
    """Return the index of the last epoch whose metrics are those of a checkpoint's train_metrics, or None."""
    shared = [(at, metrics[name]) for at, name in enumerate(epochs.columns) if name in metrics]
    rows = reversed(list(enumerate(epochs.rows))) if shared else ()
    return next((row for row, cells in rows if all(near(cells[at], value, CSV_REL) for at, value in shared)), None)


def read_events(
    directory: RunDirectory, epochs: Epochs, *, is_earlier: bool = False
) -> tuple[EventTimes | None, FinalValidation | None, list[Note]]:
    """Read the wall times of the epochs and the final validation, from all event files joined by time.

    Of an earlier training in the directory, only the files that hold its values.
    """
    scalars: list[Scalar] = []
    sessions: list[EventSession] = []
    notes = []
    places = [file for file in directory.files if file.path.startswith("events.out.tfevents.")]
    for place in places if not directory.is_summary else ():
        try:
            events = read_event_file(place.location)
        except RunDirError as error:
            notes.append(Note("event-file-unreadable", f"{error.message}; imported without it"))
            continue
        if is_earlier and _step_offset(events.scalars, epochs) is None:
            continue
        if events.truncated:
            notes.append(Note("event-file-truncated", f"{place.path} is cut off or damaged; what comes before is used"))
        scalars += events.scalars
        if events.created_ms is not None:
            first_ms = events.scalars[0].wall_ms if events.scalars else None
            sessions.append(EventSession(events.created_ms, events.first_graph_ms, first_ms))
    if not scalars or not len(epochs):
        return None, None, notes
    scalars.sort(key=lambda scalar: scalar.wall_ms)
    offset = _step_offset(scalars, epochs)
    if offset is None:
        text = "the event file's values are not those of the results; not used"
        return None, None, [*notes, Note("event-file-foreign", text)]
    sessions.sort(key=lambda session: session.opened_ms)
    final = _final_validation(scalars, epochs.steps[-1] + offset, epochs, places[-1].path)
    return _event_times(scalars, offset, sessions), final, notes


def _step_offset(scalars: Sequence[Scalar], epochs: Epochs) -> int | None:
    """Return what the event file adds to our steps: 1 in Ultralytics, 0 in YOLOv5, None if its values are not ours."""
    values: dict[tuple[str, int], list[float]] = {}
    for scalar in scalars:
        values.setdefault((scalar.tag, scalar.step), []).append(scalar.value)
    for offset in (1, 0):
        agreed = [
            any(near(cell, value, EVENT_REL) for value in values[column, step + offset])
            for step, row in zip(epochs.steps, epochs.rows, strict=True)
            for column, cell in zip(epochs.columns, row, strict=True)
            if (column, step + offset) in values
        ]
        if agreed and sum(agreed) >= 0.9 * len(agreed):
            return offset
    return None


def _event_times(scalars: Sequence[Scalar], offset: int, sessions: Sequence[EventSession]) -> EventTimes:
    """Return the later time of a step logged twice, as a resume does; a final validation has no val/ losses."""
    fit: dict[int, int] = {}
    plain: dict[int, int] = {}
    train: dict[int, int] = {}
    for scalar in scalars:
        step = scalar.step - offset
        if scalar.tag.startswith("val/"):
            fit[step] = scalar.wall_ms
        elif scalar.tag.startswith("metrics/"):
            plain.setdefault(step, scalar.wall_ms)
        elif scalar.tag.startswith(("train/", "lr/", "x/lr")):
            train[step] = scalar.wall_ms
    return EventTimes(fit or plain, train, tuple(sessions))


def _final_validation(scalars: Sequence[Scalar], last_step: int, epochs: Epochs, source: str) -> FinalValidation | None:
    """Return the metrics that were logged after the val/ losses of the last epoch, if all columns have one."""
    fits = [at for at, scalar in enumerate(scalars) if scalar.step == last_step and scalar.tag.startswith("val/")]
    columns = {name for name in epochs.columns if name.startswith("metrics/")}
    later = {
        scalar.tag: scalar
        for scalar in scalars[fits[-1] + 1 if fits else len(scalars) :]
        if scalar.step in (last_step, last_step + 1) and scalar.tag in columns
    }
    if not columns or columns != later.keys():
        return None
    metrics = tuple((tag, scalar.value) for tag, scalar in later.items())
    return FinalValidation(metrics, source, max(scalar.wall_ms for scalar in later.values()))
