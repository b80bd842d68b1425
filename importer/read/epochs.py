"""The table of results.csv to epochs: epoch base, seams of resumed runs, several trainings in one file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate

from importer.errors import RunDirError
from importer.formats.csv_table import Table
from importer.model import Epochs, Note, RunPath, WrittenRow

MAX_EPOCH = 10_000_000


def epoch_numbers(table: Table, path: RunPath) -> tuple[int, ...]:
    """Return the `epoch` column as integers. Errors: RunDirError when a cell is no whole number that is 0 or more."""
    numbers = []
    for row, value in enumerate(table.column("epoch")):
        if value is None or not 0 <= value <= MAX_EPOCH or value != int(value):
            fault = "more than a trainer counts to" if value and value > MAX_EPOCH else "not a whole number"
            fault = "below 0" if value and value < 0 else fault
            raise RunDirError(f"{path}: row {row + 1}: epoch {value} is {fault}", hint="mend the epoch column")
        numbers.append(int(value))
    return tuple(numbers)


def has_base(table: Table) -> bool:
    """Return whether the table shows what the first epoch is called; else it takes a checkpoint's release."""
    return "time" in table.header or _shows_base(table.column("epoch"))


def _shows_base(numbers: Sequence[float | None]) -> bool:
    return not numbers or 0 in numbers or 1 in numbers


def epoch_base(
    numbers: Sequence[int], *, has_time: bool, version: str | None, planned: int | None
) -> tuple[int, Note | None]:
    """Return what the first epoch is called, 0 or 1, and a note where that is a guess.

    Source: `time` came with 8.3.9, base 1 with 8.0.162.
    """
    if 0 in numbers:
        return 0, None
    if has_time or _shows_base(numbers):
        return 1, None
    if version is not None:
        return (0 if release(version) < (8, 0, 162) else 1), None
    base = 0 if planned is not None and max(numbers) == planned - 1 else 1
    return base, Note("epoch-base-assumed", f"the first epochs are missing; taken to be counted from {base}")


def release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version: (8, 3, 40) of `8.3.40`."""
    return tuple(int(part) for part in re.findall("[0-9]{1,6}", version[:40])[:3])


def split_trainings(numbers: Sequence[int], base: int) -> list[tuple[int, int]]:
    """Return the row ranges of the trainings in one file: a new one begins where epochs return to the base."""
    starts = [row for row, number in enumerate(numbers) if row == 0 or number == base]
    return list(zip(starts, [*starts[1:], len(numbers)], strict=False))


def build_epochs(table: Table, numbers: Sequence[int], base: int, span: tuple[int, int]) -> tuple[Epochs, list[Note]]:
    """Return the epochs of the rows in `span`: repeated ones keep the last row, `time` runs on across resumes."""
    start, end = span
    at = {number: row for row, number in enumerate(numbers[start:end], start)}  # the last row of each epoch wins
    order = sorted(at)
    kept = [at[number] for number in order]
    times = table.column("time") if "time" in table.header else None
    seconds, seams = _running_seconds(times, numbers, span)
    cells = [index for index, name in enumerate(table.header) if name not in ("epoch", "time")]
    rows = {row: [table.rows[row][cell] for cell in cells] for row in range(start, end)}
    epochs = Epochs(
        columns=tuple(table.header[cell] for cell in cells),
        steps=tuple(number - base for number in order),
        rows=tuple(tuple(rows[row]) for row in kept),
        seconds=tuple(accumulate((seconds[row] for row in kept), max)) if seconds is not None else None,
        session_starts=_session_starts(kept, seams),
        written=tuple(
            WrittenRow(numbers[row], times[row] if times is not None else None, _less_blanks_at_the_end(rows[row]))
            for row in range(start, end)
        ),
    )
    return epochs, _oddities(order, end - start, len(seams))


def _oddities(order: Sequence[int], rows: int, resumes: int) -> list[Note]:
    notes = []
    if repeated := rows - len(order):
        text = f"{repeated} {'epoch was' if repeated == 1 else 'epochs were'} trained again after a resume"
        notes.append(Note("repeated-epochs", f"{text}; the last row of each is kept"))
    if order and len(order) != order[-1] - order[0] + 1:
        notes.append(Note("epoch-gap", "epochs are missing between the first and the last"))
    if resumes:
        notes.append(Note("resumed", f"resumed {resumes}x; its sessions are put one after the other"))
    return notes


def _less_blanks_at_the_end(cells: Sequence[float | None]) -> tuple[float | None, ...]:
    """Return the row as it is also once a later one has brought more columns."""
    end = next((at for at in range(len(cells), 0, -1) if cells[at - 1] is not None), 0)
    return tuple(cells[:end])


def _running_seconds(
    times: Sequence[float | None] | None, numbers: Sequence[int], span: tuple[int, int]
) -> tuple[dict[int, float] | None, list[int]]:
    """Return the seconds since the first epoch began, by row, and the rows at which a resumed session begins."""
    start, end = span
    seams = [row for row in range(start + 1, end) if numbers[row] <= numbers[row - 1]]
    if times is None or any(value is None or not 0 <= value < 1e10 for value in times[start:end]):
        return None, seams
    running: dict[int, float] = {}
    offset = previous = 0.0
    repeats = set(seams)
    for row, value in enumerate(times[start:end], start):
        value = value or 0.0  # for mypy: no time is blank here
        if value < previous or (row in repeats and (numbers[row], value) != (numbers[row - 1], previous)):
            offset += previous  # a resumed process counts from 0, even if its first epoch took longest
            repeats.add(row)
        previous = value
        running[row] = offset + value
    return running, sorted(repeats)


def _session_starts(kept: Sequence[int], seams: Sequence[int]) -> tuple[int, ...]:
    """Return the indexes into the kept rows at which a session begins."""
    starts = {next((at for at, row in enumerate(kept) if row >= seam), 0) for seam in seams}
    return tuple(sorted({0, *starts})) if kept else ()
