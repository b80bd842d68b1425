"""The table of results.csv to epochs: epoch base, seams of resumed runs, several trainings in one file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from importer.errors import RunDirError
from importer.formats.csv_table import Table
from importer.model import Epochs, Note, WrittenRow

MAX_EPOCH = 10_000_000


def epoch_numbers(table: Table, path: Path) -> tuple[int, ...]:
    """The `epoch` column as integers, as written.

    Errors: RunDirError when one of them is not a whole number that is 0 or more.
    """
    numbers = []
    for row, value in enumerate(table.column("epoch")):
        if value is None or not 0 <= value <= MAX_EPOCH or value != int(value):
            told = "more than a trainer counts to" if value and value > MAX_EPOCH else "not a whole number"
            told = "below 0" if value and value < 0 else told
            raise RunDirError(f"{path}: row {row + 1}: epoch {value} is {told}", hint="mend the epoch column")
        numbers.append(int(value))
    return tuple(numbers)


def tells_base(numbers: Sequence[float | None], *, has_time: bool) -> bool:
    """Whether the table by itself tells what the first epoch is called; else the release does, by a checkpoint."""
    return has_time or not numbers or 0 in numbers or 1 in numbers


def epoch_base(
    numbers: Sequence[int], *, has_time: bool, version: str | None, planned: int | None
) -> tuple[int, Note | None]:
    """0 or 1, what the first epoch is called, and a note where the file alone does not tell.

    Source: `time` came with 8.3.9, base 1 with 8.0.162.
    """
    if 0 in numbers:
        return 0, None
    if tells_base(numbers, has_time=has_time):
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
        written=tuple(
            WrittenRow(
                numbers[row],
                times[row] if times is not None else None,
                _less_blanks_at_the_end([table.rows[row][cell] for cell in cells]),
            )
            for row in range(start, end)
        ),
    )
    return epochs, notes


def _less_blanks_at_the_end(cells: list[float | None]) -> tuple[float | None, ...]:
    """So that the row is the same once a later one has brought more columns."""
    while cells and cells[-1] is None:
        cells.pop()
    return tuple(cells)


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
        if value < previous or (row in seams and (numbers[row], value) != (numbers[row - 1], previous)):
            offset += (
                previous  # a process that is new counts from 0, also where its first epoch took longer than all before
            )
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
