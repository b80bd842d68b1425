"""The table of results.csv to epochs: epoch base, seams of resumed runs, several trainings in one file."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate, pairwise
from statistics import median

from importer.errors import RunDirError
from importer.formats.csv_table import Table
from importer.model import Epochs, Note, RunPath, WrittenRow

MAX_EPOCH = 10_000_000
MAX_JOBS = 8  # that write into one file at once


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


def split_trainings(numbers: Sequence[int], base: int, at_once: Collection[int] = ()) -> list[tuple[int, int]]:
    """Return the row ranges of the trainings in one file: a new one begins where epochs return to the base.

    It does not at the rows `at_once`, which are those of a second job.
    """
    starts = [row for row, number in enumerate(numbers) if row == 0 or (number == base and row not in at_once)]
    return list(pairwise((*starts, len(numbers))))


def rows_at_once(numbers: Sequence[int], times: Sequence[float | None] | None) -> set[int]:
    """Return the rows of jobs that wrote into the file at once, so that no resume begins there.

    Each job counts its epochs one by one, and its `time` goes on. So a row is of the job that it continues, of several
    the one that wrote last; else a job begins. Two jobs ran at once if they began with the same epoch, which no resume
    of a first epoch does, and the earlier one wrote after the later one had begun.
    """
    clock = range(len(numbers)) if times is None or None in times else [time or 0.0 for time in times]
    jobs: list[list[int]] = []  # the rows of each
    waiting: dict[int, list[list[int]]] = {}  # jobs by the epoch that they do next
    for row, number in enumerate(numbers):
        fitting = [job for job in waiting.get(number, ()) if clock[job[-1]] < clock[row]]
        job = max(fitting, key=lambda rows: rows[-1], default=[])
        if fitting:
            waiting[number].remove(job)
        else:
            jobs.append(job)
        job.append(row)
        waiting[number + 1] = [*waiting.get(number + 1, ())[-MAX_JOBS:], job]
    at_once: set[int] = set()
    begun: dict[int, list[int]] = {}  # by its first epoch, the job that wrote last of all so far
    for job in jobs:
        other = begun.get(numbers[job[0]], job[:1])
        if job[0] < other[-1]:
            at_once.update(range(other[0] + 1, max(job[-1], other[-1]) + 1))
        begun[numbers[job[0]]] = max(job, other, key=lambda rows: rows[-1])
    return at_once


def unseen_resume(times: Sequence[float | None] | None, span: tuple[int, int]) -> int | None:
    """Return the row at which a training that is known to be resumed was, where neither epoch nor `time` go back.

    That is where an epoch seems to have taken less than half, or more than twice as long as the others did.
    """
    seconds = [value for value in (times or ())[span[0] : span[1]] if value is not None]
    if len(seconds) < span[1] - span[0] or len(seconds) < 2:
        return None
    took = [later - earlier for earlier, later in pairwise((0.0, *seconds))]
    usual = median(took)
    odd = [row for row in range(1, len(took)) if not usual / 2 <= took[row] <= 2 * usual]
    return span[0] + odd[-1] if odd else None


def build_epochs(
    table: Table, numbers: Sequence[int], base: int, span: tuple[int, int], known: Mapping[int, bool] | None = None
) -> tuple[Epochs, list[Note]]:
    """Return the epochs of the rows in `span`: repeated ones keep the last row, `time` runs on across resumes.

    `known` says of some rows whether a resumed session begins there.
    """
    start, end = span
    own, times = numbers[start:end], table.times()
    clock = times[start:end] if times is not None else [None] * len(own)
    begins = [(known or {}).get(row) for row in range(start, end)]
    at = {number: row for row, number in enumerate(own)}  # the last row of each epoch wins
    kept = [at[number] for number in sorted(at)]
    seconds, seams = _running_seconds(clock, own, begins)
    cells = [index for index, name in enumerate(table.header) if name not in ("epoch", "time")]
    rows = [tuple([row[cell] for cell in cells]) for row in table.rows[start:end]]
    starts = {next((at for at, row in enumerate(kept) if row >= seam), 0) for seam in (0, *seams)}
    epochs = Epochs(
        columns=tuple(table.header[cell] for cell in cells),
        steps=tuple(number - base for number in sorted(at)),
        rows=tuple(rows[row] for row in kept),
        seconds=tuple(accumulate((seconds[row] for row in kept), max)) if seconds is not None else None,
        session_starts=tuple(sorted(starts)),
        written=tuple(map(WrittenRow, own, clock, map(_less_blanks_at_the_end, rows))),
    )
    return epochs, _oddities(sorted(at), len(own), len(seams), at_once=False in begins)


def _oddities(order: Sequence[int], rows: int, resumes: int, *, at_once: bool) -> list[Note]:
    notes = []
    repeated = rows - len(order)
    if at_once:
        text = f"{repeated} rows are of epochs that another job wrote at the same time"
        notes.append(Note("jobs-at-once", f"{text}; the last row of each epoch is kept"))
    elif repeated:
        text = f"{repeated} {'epoch was' if repeated == 1 else 'epochs were'} trained again after a resume"
        notes.append(Note("repeated-epochs", f"{text}; the last row of each is kept"))
    if order and len(order) != order[-1] - order[0] + 1:
        notes.append(Note("epoch-gap", "epochs are missing between the first and the last"))
    if resumes:
        notes.append(Note("resumed", f"resumed {resumes}x; its sessions are put one after the other"))
    return notes


def _less_blanks_at_the_end(cells: tuple[float | None, ...]) -> tuple[float | None, ...]:
    """Return the row as it is also once a later one has brought more columns."""
    end = next((at for at in range(len(cells), 0, -1) if cells[at - 1] is not None), 0)
    return cells[:end]


def _running_seconds(
    times: Sequence[float | None], numbers: Sequence[int], begins: Sequence[bool | None]
) -> tuple[list[float] | None, list[int]]:
    """Return the seconds since the first epoch began, by row, and the rows at which a resumed session begins."""
    repeats = [number <= before for before, number in pairwise((-1, *numbers))]
    seams = [row for row, known in enumerate(begins) if row and (repeats[row] if known is None else known)]
    running: list[float] = []
    resumed = set(seams)
    offset = previous = 0.0
    for row, value in enumerate(times):
        if value is None or not 0 <= value < 1e10:
            return None, seams
        same = row > 0 and (numbers[row], value) == (numbers[row - 1], previous)
        goes_back = value < previous or (row in resumed and not same)
        if goes_back if begins[row] is None else begins[row]:
            offset += previous  # a resumed process counts from 0, even if its first epoch took longest
            resumed.add(row)
        previous = value
        running.append(offset + value)
    return running, sorted(resumed)
