"""results.csv to epochs: padding, epoch base, seams of resumed runs, ragged rows."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from importer.errors import RunDirError
from importer.model import Epochs, Note
from importer.yaml_file import read_text

MAX_BYTES = 8_000_000  # the largest results.csv seen, 400 epochs, has 135 kB
MAX_COLUMNS = 2_000
MAX_EPOCH = 10_000_000
MAX_LINES = 100_000
MAX_CELLS = 1_000_000

Row = tuple[float | None, ...]


@dataclass(frozen=True)
class Table:
    """The numbers of a results file in file order; `short_last` is a last row that has fewer cells than the header."""

    header: tuple[str, ...]
    rows: tuple[Row, ...]
    short_last: Row | None = None
    padded: bool = False
    notes: tuple[Note, ...] = ()

    def column(self, name: str) -> tuple[float | None, ...]:
        """The cells of one column, top to bottom."""
        index = self.header.index(name)
        return tuple(row[index] for row in self.rows)


def read_results(path: Path, needed: str = "epoch") -> Table:
    """The table of a results.csv or of another file of its form, each cell as float(text).

    Errors: RunDirError when there is no column called `needed`, a line is cut short, or a cell is text.
    Source: ultralytics/engine/trainer.py, BaseTrainer.save_metrics, 8.0.0 to 8.4.190.
    """
    text, notes = read_text(path, MAX_BYTES)
    header = tuple(name.strip() for name in text.split("\n", 1)[0].split(",", MAX_COLUMNS))
    _check_header(path, header, needed)
    count = text.count("\n")
    if count > MAX_LINES or count * len(header) > MAX_CELLS:
        raise RunDirError(f"{path}: {count:,} lines, which no trainer writes", hint="is it the right file?")
    lines = text.split("\n")
    numbered = [(number, line) for number, line in enumerate(lines[1:], start=2) if line.strip()]
    short_last = None
    if numbered and (cells := numbered[-1][1].count(",") + 1) < len(header) and text.endswith("\n"):
        # A whole line, only shorter: YOLOv5 and YOLOv9 train-seg end so. Elsewhere its reader refuses it.
        number, line = numbered.pop()
        short_last = tuple(_number(cell, path, number, header[at]) for at, cell in enumerate(line.split(",")[:cells]))
    for number, line in numbered:
        if (cells := line.count(",") + 1) != len(header):
            raise _cut(path, number, line, len(header))
    if numbered and not text.endswith("\n"):
        notes.append(
            Note("no-final-newline", f"the last line of {path.name} has no line end; its last cell may be cut")
        )
    rows = _numbers(path, header, numbered)
    if any(None in row for row in rows):
        notes.append(Note("blank-cell", f"{path.name} has blank cells; they are left out"))
    return Table(header, rows, short_last, lines[0].startswith(" "), tuple(notes))


def _check_header(path: Path, header: tuple[str, ...], needed: str) -> None:
    if needed not in header or len(header) > MAX_COLUMNS:
        found = ", ".join(header[:4])[:80] or "nothing"
        raise RunDirError(
            f"{path}: the first line has no `{needed}` column; found {found}",
            hint="such a file begins with a line of column names",
        )
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise RunDirError(f"{path}: two columns are called {twice[0]!r}", hint="rename one of them")


def _cut(path: Path, number: int, line: str, expected: int) -> RunDirError:
    cells = line.count(",") + 1
    values = "value" if cells == 1 else "values"
    hint = "the line was cut or joined; restore the file from a copy, or remove the line"
    if line.startswith(("<<<<<<<", "=======", ">>>>>>>")):
        hint = "it holds the markers of a merge conflict; resolve it"
    return RunDirError(f"{path}: line {number} has {cells} {values}, the header has {expected}", hint=hint)


def _numbers(path: Path, header: tuple[str, ...], numbered: list[tuple[int, str]]) -> tuple[Row, ...]:
    if not numbered:
        return ()
    frame = pd.read_csv(
        io.StringIO("\n".join(line for _, line in numbered)),
        header=None,
        names=list(range(len(header))),
        dtype=str,
        na_filter=False,
        quoting=3,  # csv.QUOTE_NONE: cells were counted by their commas
        engine="c",
    )
    columns: list[Sequence[float | None]] = []
    for at, name in enumerate(header):
        cells = frame[at].tolist()
        try:
            if any("_" in cell for cell in cells):
                raise ValueError
            columns.append(list(map(float, cells)))
        except ValueError:
            columns.append([_number(cell, path, numbered[row][0], name) for row, cell in enumerate(cells)])
    return tuple(zip(*columns, strict=True))


def _number(cell: str, path: Path, line: int, column: str) -> float | None:
    cell = cell.strip()
    if not cell:
        return None
    try:
        if "_" in cell:  # float() takes 1_000 for a thousand
            raise ValueError(cell)
        return float(cell)
    except ValueError as error:
        raise RunDirError(
            f"{path}: line {line}, column {column}: {cell[:40]!r} is not a number",
            hint="restore the file as the trainer wrote it",
        ) from error


def epoch_numbers(table: Table, path: Path) -> tuple[int, ...]:
    """The `epoch` column as integers, as written.

    Errors: RunDirError when one of them is not a whole number that is 0 or more.
    """
    numbers = []
    for row, value in enumerate(table.column("epoch")):
        if value is None or not 0 <= value <= MAX_EPOCH or value != int(value):
            told = "more than a trainer counts to" if value and value > MAX_EPOCH else "not a whole number"
            raise RunDirError(f"{path}: row {row + 1}: epoch {value} is {told}", hint="mend the epoch column")
        numbers.append(int(value))
    return tuple(numbers)


def epoch_base(
    numbers: Sequence[int], *, has_time: bool, version: str | None, planned: int | None
) -> tuple[int, Note | None]:
    """0 or 1, what the first epoch is called, and a note where the file alone does not tell.

    Source: `time` came with 8.3.9, base 1 with 8.0.162.
    """
    if 0 in numbers:
        return 0, None
    if 1 in numbers or has_time or not numbers:
        return 1, None
    if version is not None:
        return (0 if release(version) < (8, 0, 162) else 1), None
    base = 0 if planned is not None and max(numbers) == planned - 1 else 1
    return base, Note("epoch-base-assumed", f"the first epochs are missing; taken to be counted from {base}")


def release(version: str) -> tuple[int, ...]:
    """The numbers of a version that a checkpoint tells: (8, 3, 40) of `8.3.40`."""
    return tuple(int(part) for part in re.findall("[0-9]{1,6}", version[:40])[:3])


def split_trainings(numbers: Sequence[int], base: int) -> list[tuple[int, int]]:
    """The row ranges of the trainings that one file holds: a new one begins where epochs return to the base."""
    starts = [row for row, number in enumerate(numbers) if row == 0 or number == base]
    return list(zip(starts, [*starts[1:], len(numbers)], strict=False))


def build_epochs(table: Table, numbers: Sequence[int], base: int, span: tuple[int, int]) -> tuple[Epochs, list[Note]]:
    """The epochs of the rows in `span`: repeated ones keep the last row, `time` runs on across resumes."""
    start, end = span
    notes: list[Note] = []
    at = {number: row for row, number in enumerate(numbers[start:end], start)}  # the last row of each epoch wins
    order = sorted(at)
    repeated = end - start - len(order)
    if repeated:
        noun = "epoch was" if repeated == 1 else "epochs were"
        notes.append(
            Note("repeated-epochs", f"{repeated} {noun} trained again after a resume; the last row of each is kept")
        )
    if order and len(order) != order[-1] - order[0] + 1:
        notes.append(Note("epoch-gap", "epochs are missing between the first and the last"))
    times = table.column("time") if "time" in table.header else None
    seconds, seams = _running_seconds(times, numbers, span)
    kept = [at[number] for number in order]
    columns = tuple(name for name in table.header if name not in ("epoch", "time"))
    cells = [index for index, name in enumerate(table.header) if name not in ("epoch", "time")]
    if seams:
        notes.append(Note("resumed", f"resumed {len(seams)}x; its sessions are put one after the other"))
    epochs = Epochs(
        columns=columns,
        steps=tuple(number - base for number in order),
        rows=tuple(tuple(table.rows[row][cell] for cell in cells) for row in kept),
        seconds=_never_backwards(seconds[row] for row in kept) if seconds is not None else None,
        session_starts=_session_starts(kept, seams),
        first_row=tuple(table.rows[start][cell] for cell in cells) if end > start else (),
    )
    return epochs, notes


def _running_seconds(
    times: tuple[float | None, ...] | None, numbers: Sequence[int], span: tuple[int, int]
) -> tuple[dict[int, float] | None, list[int]]:
    """Seconds since the first epoch began, by row; and the rows at which a session began anew."""
    start, end = span
    seams = [row for row in range(start + 1, end) if numbers[row] <= numbers[row - 1]]
    if times is None or any(value is None or not 0 <= value < 1e10 for value in times[start:end]):
        return None, seams
    running: dict[int, float] = {}
    offset = previous = 0.0
    for row in range(start, end):
        value = times[row]
        assert value is not None  # noqa: S101  checked above, for mypy
        if value < previous:
            offset += previous
            seams.append(row)
        previous = value
        running[row] = offset + value
    return running, sorted(set(seams))


def _never_backwards(values: Iterable[float]) -> tuple[float, ...]:
    latest = 0.0
    forward = []
    for value in values:
        latest = max(latest, value)
        forward.append(latest)
    return tuple(forward)


def _session_starts(kept: list[int], seams: list[int]) -> tuple[int, ...]:
    """Indexes into the kept rows at which a session begins."""
    starts = {0} if kept else set()
    for seam in seams:
        later = [index for index, row in enumerate(kept) if row >= seam]
        if later:
            starts.add(later[0])
    return tuple(sorted(starts))
