"""What checkpoints and event files say of a training, believed only where they agree with its results."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from importer.errors import CheckpointError, RunDirError
from importer.formats.csv_table import Table
from importer.formats.event_file import Scalar, read_event_file
from importer.model import CheckpointFacts, Epochs, EventSession, EventTimes, FinalValidation, RunFile
from importer.naming import last_part
from importer.read.checkpoint import read_checkpoint
from importer.read.directory import RunDirectory

CSV_REL = 1e-4  # results.csv keeps five digits, so a rounded value is off by 5e-5 at most
EVENT_REL = 6e-4  # of a results.txt, which keeps four digits; 90% of the values have to agree


@dataclass(frozen=True)
class Weights:
    """The facts of last.pt and best.pt, each None where it is absent, unreadable or another training's."""

    last: CheckpointFacts | None = None
    best: CheckpointFacts | None = None

    @property
    def any(self) -> CheckpointFacts | None:
        """The facts of last.pt, else of best.pt."""
        return self.last or self.best


def read_weights(directory: RunDirectory, *, needed: bool) -> Weights:
    """The facts of the two checkpoints, in weights/ or beside it; what gives none becomes a note."""
    found: dict[str, CheckpointFacts] = {}
    if directory.light and not needed:
        return Weights()
    for name in ("last.pt", "best.pt"):
        place = directory.get(f"weights/{name}") or directory.get(name)
        if place is None:
            continue
        if not place.path.startswith("weights/"):
            directory.note("weights-beside", f"{name} lies beside weights/, not in it")
        try:
            found[name] = read_checkpoint(place.location)
        except CheckpointError as error:
            directory.note(error.code, f"{error.message}; imported without its facts")
    return Weights(found.get("last.pt"), found.get("best.pt"))


def believed(weights: Weights, table: Table | None, args: Mapping[str, object], directory: RunDirectory) -> Weights:
    """The weights less those of another training.

    train_results must agree with results.csv; where they are absent, seed, epochs and data with args.yaml.

    Source: ultralytics/engine/trainer.py, BaseTrainer.save_model and read_results_csv.
    """
    kept = {}
    for name, facts in (("last.pt", weights.last), ("best.pt", weights.best)):
        if facts is None:
            continue
        if reason := _foreign(facts, table, args):
            directory.note("checkpoint-foreign", f"{name} belongs to another training ({reason}); not believed")
        else:
            kept[name] = facts
    return Weights(kept.get("last.pt"), kept.get("best.pt"))


def _foreign(facts: CheckpointFacts, table: Table | None, args: Mapping[str, object]) -> str | None:
    results = facts.train_results
    if table is not None and table.rows and "epoch" in results:
        shared = [name for name in table.header if name in results]
        count = min(len(results["epoch"]), len(table.rows))
        for name in shared:
            cells = table.column(name)[:count]
            if not all(_near(cell, told, 1e-5) for cell, told in zip(cells, results[name], strict=False)):
                return f"its {name} differs from results.csv"
        return None
    trained_with = facts.train_args or facts.opt
    for name in ("seed", "epochs"):
        ours, theirs = args.get(name), trained_with.get(name)
        if ours is not None and theirs is not None and ours != theirs and not (name == "epochs" and args.get("time")):
            return f"{name} is {theirs}, not {ours}"
    ours, theirs = args.get("data"), trained_with.get("data")
    if isinstance(ours, str) and isinstance(theirs, str) and _stem(ours) != _stem(theirs):
        return f"data is {_stem(theirs)}, not {_stem(ours)}"
    return None


def _stem(path: str) -> str:
    return last_part(path).split(".")[0]


def _near(a: float | None, b: float | None, rel: float) -> bool:
    if a is None or b is None:
        return True  # a blank cell contradicts nothing
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b or math.isclose(a, b, rel_tol=rel, abs_tol=6e-6)


def saved_at(facts: CheckpointFacts | None, epochs: Epochs, numbers: Sequence[int], base: int) -> int | None:
    """Index of the epoch at whose end a checkpoint was saved, as far as it says so itself."""
    if facts is None or not len(epochs):
        return None
    if facts.epoch is not None and facts.epoch >= 0:
        return epochs.steps.index(facts.epoch) if facts.epoch in epochs.steps else None
    rows = len(facts.train_results.get("epoch", ()))
    if 0 < rows < len(numbers) and numbers[rows - 1] - base in epochs.steps:
        return epochs.steps.index(numbers[rows - 1] - base)
    return None


def row_of_metrics(metrics: Mapping[str, float], epochs: Epochs) -> int | None:
    """The last epoch whose metrics are those of a checkpoint's train_metrics, or None."""
    shared = [(at, metrics[name]) for at, name in enumerate(epochs.columns) if name in metrics]
    if not shared:
        return None
    same = [
        row for row, cells in enumerate(epochs.rows) if all(_near(cells[at], value, CSV_REL) for at, value in shared)
    ]
    return same[-1] if same else None


def read_events(directory: RunDirectory, epochs: Epochs) -> tuple[EventTimes | None, FinalValidation | None]:
    """The wall times of the epochs and the final validation, from all event files of a directory joined by time."""
    scalars: list[Scalar] = []
    sessions: list[EventSession] = []
    places = [
        found for found in directory.files if found.path.startswith("events.out.tfevents.") and not directory.light
    ]
    for place in places:
        try:
            events = read_event_file(place.location)
        except RunDirError as error:
            directory.note("event-file-unreadable", f"{error.message}; imported without it")
            continue
        if events.truncated:
            directory.note("event-file-truncated", f"{place.path} is cut off or damaged; what comes before is used")
        scalars += events.scalars
        if events.created_ms is not None:
            first_ms = events.scalars[0].wall_ms if events.scalars else None
            sessions.append(EventSession(events.created_ms, events.first_graph_ms, first_ms))
    if not scalars or not len(epochs):
        return None, None
    scalars.sort(key=lambda scalar: scalar.wall_ms)
    offset = _step_offset(scalars, epochs)
    if offset is None:
        directory.note("event-file-foreign", "the event file's values are not those of the results; not used")
        return None, None
    times = _event_times(scalars, offset, sorted(sessions, key=lambda session: session.opened_ms))
    return times, _final_validation(scalars, offset, epochs, places)


def _step_offset(scalars: Iterable[Scalar], epochs: Epochs) -> int | None:
    """What the event file adds to our steps: 1 in Ultralytics, 0 in YOLOv5; None when its values are not ours."""
    values: dict[tuple[str, int], list[float]] = {}
    for scalar in scalars:
        values.setdefault((scalar.tag, scalar.step), []).append(scalar.value)
    for offset in (1, 0):
        compared = agreed = 0
        for step, row in zip(epochs.steps, epochs.rows, strict=True):
            for column, cell in zip(epochs.columns, row, strict=True):
                if told := values.get((column, step + offset)):
                    compared += 1
                    agreed += any(_near(cell, value, EVENT_REL) for value in told)
        if compared and agreed >= 0.9 * compared:
            return offset
    return None


def _event_times(scalars: Iterable[Scalar], offset: int, sessions: Sequence[EventSession]) -> EventTimes:
    """The later of a step logged twice, for a resume repeats an epoch; a final validation has no val/ losses."""
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


def _final_validation(
    scalars: Sequence[Scalar], offset: int, epochs: Epochs, places: Sequence[RunFile]
) -> FinalValidation | None:
    last = epochs.steps[-1] + offset
    fits = [at for at, scalar in enumerate(scalars) if scalar.step == last and scalar.tag.startswith("val/")]
    if not fits:
        return None
    columns = {name for name in epochs.columns if name.startswith("metrics/")}
    later = {
        scalar.tag: scalar
        for scalar in scalars[fits[-1] + 1 :]
        if scalar.step in (last, last + 1) and scalar.tag.startswith("metrics/")
    }
    if not columns or not columns <= set(later):
        return None
    metrics = tuple((tag, scalar.value) for tag, scalar in later.items() if tag in columns)
    return FinalValidation(metrics, places[-1].path, max(later[tag].wall_ms for tag, _ in metrics))
