"""Read results.csv, and other tables of its form, as numbers; the cells are counted first.

What spreadsheets, pandas and people add is taken away: blank lines, quotes, separators at the end, a second header.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pandas as pd

from importer.errors import RunDirError
from importer.formats.text_file import read_text
from importer.model import Note, RunPath

MAX_BYTES = 8_000_000  # the largest results.csv seen, 400 epochs, has 135 kB
MAX_COLUMNS = 2_000
MAX_LINES = 100_000
MAX_CELLS = 1_000_000
SIZES = ("metrics/mAP_small(B)", "metrics/mAP_medium(B)", "metrics/mAP_large(B)")
CUT = "the line was cut or joined; restore the file from a copy, or remove the line"
CONFLICT = "it holds the markers of a merge conflict; resolve it"
# Before 3.1, pandas rounds as float() does only when asked to; since 3.1 always, and the argument is deprecated.
ASKS_TO_ROUND = tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1)
ROUNDING: dict[str, Any] = {"float_precision": "round_trip"} if ASKS_TO_ROUND else {}

Row = tuple[float | None, ...]
Line = tuple[int, str]  # its number in the file, from 1


class ShortRow(NamedTuple):
    """A whole line that has fewer cells than the header."""

    line: int
    before: int  # how many rows are before it
    cells: Row


@dataclass(frozen=True)
class Table:
    """The numbers of a results file in file order."""

    header: tuple[str, ...]
    rows: tuple[Row, ...]
    short_rows: tuple[ShortRow, ...] = ()
    notes: tuple[Note, ...] = ()
    unended: Row | None = None  # the last line where it has no line end, so that its last cell may be cut

    def column(self, name: str) -> tuple[float | None, ...]:
        """Return the cells of one column, top to bottom."""
        index = self.header.index(name)
        return tuple(row[index] for row in self.rows)

    def times(self) -> tuple[float | None, ...] | None:
        """Return the column `time`, where there is one."""
        return self.column("time") if "time" in self.header else None


def read_results(path: RunPath, needed: str = "epoch", *, short_rows: bool = False) -> Table:
    """Return the table of a results.csv or of another file of its form, each cell as float(text).

    Shape:  a short last line is set aside, with `short_rows` any short line; a last line without an end always.
    Errors: RunDirError when there is no column called `needed`, a line is cut short, or a cell is text.
    Source: ultralytics/engine/trainer.py, BaseTrainer.save_metrics, 8.0.0 to 8.4.190.
    """
    text, notes = read_text(path, MAX_BYTES)
    body = text.lstrip()
    first, _, rest = body.partition("\n")
    header = _header(path, first, needed)
    count = rest.count("\n") + 1
    if count > MAX_LINES or count * len(header) > MAX_CELLS:
        raise RunDirError(f"{path}: {count:,} lines, which no trainer writes", hint="is it the right file?")
    begin = text.count("\n", 0, len(text) - len(body)) + 2
    lines = [
        (number, _fitted(line, len(header)))
        for number, line in enumerate(rest.split("\n"), start=begin)
        if line.replace(",", "").strip()
    ]
    epochs = [(number, line) for number, line in lines if line.strip() != first.strip()]
    if len(epochs) < len(lines):
        notes.append(Note("repeated-header", f"{path.name} has its header more than once; read as one table"))
    width = len(header)
    header, epochs = _with_sizes(header, epochs)
    if len(header) > width:
        notes.append(Note("wide-row", f"{path.name} has rows with mAP by size that its header lacks; put under names"))
    unended = epochs.pop() if epochs and epochs[-1][0] == begin + count - 1 else None
    if unended is not None:
        notes.append(no_final_newline(path.name))
    whole = [(number, line) for number, line in epochs if _count(line) == len(header)]
    short: tuple[ShortRow, ...] = ()
    if len(whole) < len(epochs):
        whole, short, more = _fit_rows(path, header, epochs, ended=unended is None, anywhere=short_rows)
        notes += more
    if unended is not None and not whole and not short and _count(unended[1]) != len(header):
        raise _misfit(path, *unended, header, CUT)
    table = Table(header, _numbers(path, header, whole), short, tuple(notes), _row(path, header, unended))
    return _named(table, path, width)


def no_final_newline(name: str) -> Note:
    """Return the note on a last line that is left out because it may be cut."""
    return Note("no-final-newline", f"the last line of {name} has no line end and may be cut; left out")


def _row(path: RunPath, header: tuple[str, ...], line: Line | None) -> Row | None:
    """Return the numbers of a line that may be cut, or None if they are not all there."""
    try:
        return _numbers(path, header, [line])[0] if line is not None and _count(line[1]) == len(header) else None
    except RunDirError:
        return None


def _header(path: RunPath, line: str, needed: str) -> tuple[str, ...]:
    header = [_bare(name) for name in _split(line)[: MAX_COLUMNS + 1]]
    while header and not header[-1]:  # a spreadsheet ends all lines with separators
        header.pop()
    if needed not in header or len(header) > MAX_COLUMNS:
        raise _no_column(path, line, needed)
    if header.count(needed) > 1:
        raise RunDirError(f"{path}: two columns are called {needed!r}", hint="rename one of them")
    return tuple(header)


def _no_column(path: RunPath, line: str, needed: str) -> RunDirError:
    names = ", ".join(part.strip() for part in line.split(",", 4)[:4])[:80].strip() or "nothing"
    hint = CONFLICT if line.startswith("<<<<<<<") else "such a file begins with a line of column names"
    for separator, mark in (("semicolons", ";"), ("tabs", "\t")):
        if mark in line and needed in [_bare(part) for part in line.split(mark, MAX_COLUMNS)]:
            hint = f"it is separated by {separator}; save it with commas, and with points in the numbers"
    return RunDirError(f"{path}: the first line has no `{needed}` column; found {names}", hint=hint)


def _bare(cell: str) -> str:
    """Return the cell without blanks and the quotes around it."""
    cell = cell.strip()
    return cell[1:-1].strip() if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell


def _fitted(line: str, width: int) -> str:
    """Return the line without separators after its last cell, where they make it wider than the header."""
    if line.count(",") < width:
        return line
    short = line.rstrip(" \t,")
    missing = width - 1 - short.count(",")
    return short + "," * missing if missing >= 0 else line


def _with_sizes(header: tuple[str, ...], lines: list[Line]) -> tuple[tuple[str, ...], list[Line]]:
    """Return the table with mAP by size in columns at the end, if a row has it.

    Source: with save_json, 8.4.120 and later put them between metrics/ and val/, but with val=False only in the last
        epoch, when the header is long written.
    """
    width, more = len(header), len(SIZES)
    is_wide = any(line.count(",") + 1 == width + more for _, line in lines)
    if not is_wide or "metrics/mAP50-95(B)" not in header or SIZES[0] in header:
        return header, lines
    at = 1 + max(index for index, name in enumerate(header) if name.startswith("metrics/"))
    moved = []
    for number, line in lines:
        cells = line.split(",", width + more)
        if len(cells) == width + more:
            cells = [*cells[:at], *cells[at + more :], *cells[at : at + more]]
        elif len(cells) == width:
            cells += [""] * more
        moved.append((number, ",".join(cells)))
    return (*header, *SIZES), moved


def _fit_rows(
    path: RunPath, header: tuple[str, ...], lines: list[Line], *, ended: bool, anywhere: bool
) -> tuple[list[Line], tuple[ShortRow, ...], list[Note]]:
    """Return the lines whose columns are known for certain, short ones set aside, and notes on those left out.

    Errors: RunDirError when no line fits, or one is the marker of a merge conflict.
    """
    whole: list[Line] = []
    short: list[ShortRow] = []
    left_out: list[Line] = []
    repaired = 0
    for index, (number, line) in enumerate(lines):
        count, is_last = _count(line), index == len(lines) - 1
        if line.startswith(("<<<<<<<", "=======", ">>>>>>>")):
            raise _misfit(path, number, line, header, CONFLICT)
        if count == len(header):
            whole.append((number, line))
        elif whole and (plain := _without_ray_cell(header, line)) is not None:
            whole.append((number, plain))
            repaired += 1
        elif count < len(header) and (ended if is_last else anywhere):
            cells = zip(_split(line), header, strict=False)
            row = tuple(_number(cell, path, number, name) for cell, name in cells)
            short.append(ShortRow(number, len(whole), row))
        else:
            left_out.append((number, line))
    if left_out and not whole:
        raise _misfit(path, *left_out[0], header, CUT)
    notes = []
    if repaired:
        text = f"{repaired} rows of {path.name} have the epoch once more before lr/, as Ray Tune's callback wrote it"
        notes.append(Note("ray-cell", f"{text}; that cell is left out"))
    if left_out:
        notes.append(rows_left_out(path.name, left_out))
    return whole, tuple(short), notes


def rows_left_out(name: str, lines: list[Line]) -> Note:
    """Return the note on lines whose columns are not known."""
    numbers = ", ".join(str(number) for number, _ in lines[:5]) + (", .." if len(lines) > 5 else "")
    rows = "1 row" if len(lines) == 1 else f"{len(lines)} rows"
    text = f"{rows} of {name} with another number of cells than the header: left out (line {numbers})"
    return Note("rows-left-out", text)


def _without_ray_cell(header: tuple[str, ...], line: str) -> str | None:
    """Return the line without the epoch that Ray Tune's callback put before lr/, where it has that and no other.

    Source: ultralytics/utils/callbacks/raytune.py, on_fit_epoch_end, up to 8.3.27 sets `epoch` in trainer.metrics;
        BaseTrainer.save_metrics writes {losses, trainer.metrics, lr}.
    """
    at = next((index for index, name in enumerate(header) if name.startswith("lr/")), None)
    cells = _split(line)
    if at is None or len(cells) != len(header) + 1 or not all(name.startswith("lr/") for name in header[at:]):
        return None
    extra, epoch = cells[at].strip(), cells[0].strip()
    if not extra.isdecimal() or not epoch.isdecimal() or int(extra) not in (int(epoch) - 1, int(epoch) - 2):
        return None
    return ",".join((*cells[:at], *cells[at + 1 :]))


def _misfit(path: RunPath, number: int, line: str, header: tuple[str, ...], hint: str) -> RunDirError:
    count = _count(line)
    values = "value" if count == 1 else "values"
    return RunDirError(f"{path}: line {number} has {count} {values}, the header has {len(header)}", hint=hint)


def _split(line: str) -> list[str]:
    """Return the cells of a line; a comma between quotes parts none."""
    return next(csv.reader([line], skipinitialspace=True), []) if '"' in line else line.split(",")


def _count(line: str) -> int:
    return len(_split(line)) if '"' in line else line.count(",") + 1


def _named(table: Table, path: RunPath, width: int) -> Table:
    """Return the table less columns without a name of their own, with notes on them and on blank cells.

    Blank cells count in the first `width` columns.
    """
    notes = list(table.notes)
    counts = Counter(table.header)
    named = [at for at, name in enumerate(table.header) if name and counts[name] == 1]
    if any(row[at] is None for row in table.rows if None in row for at in named if at < width):
        notes.append(Note("blank-cell", f"{path.name} has blank cells; they are left out"))
    if len(named) == len(table.header):
        return replace(table, notes=tuple(notes))
    if "" in counts:
        problem = f"{path.name} has a column without a name, as pandas calls its index; left out"
        notes.append(Note("nameless-column", problem))
    for name in (name for name, count in counts.items() if name and count > 1):
        notes.append(Note("same-key", f"{path.name} has {counts[name]} columns called {name!r}; none is logged"))
    return replace(
        table,
        header=tuple(table.header[at] for at in named),
        rows=tuple(tuple(row[at] for at in named) for row in table.rows),
        notes=tuple(notes),
        unended=tuple(table.unended[at] for at in named) if table.unended is not None else None,
    )


def _numbers(path: RunPath, header: tuple[str, ...], lines: list[Line]) -> tuple[Row, ...]:
    if not lines:
        return ()
    text = "\n".join(line for _, line in lines)
    try:
        return tuple(map(tuple, _cells(text, dtype="float64", **ROUNDING)))
    except ValueError:  # nan, a blank cell, quotes, or no number at all
        pass
    return tuple(
        tuple(_number(cell, path, number, name) for cell, name in zip(_split(line), header, strict=True))
        for number, line in lines
    )


def _cells(text: str, **options: Any) -> list[list[Any]]:
    """Return the cells of lines that have one for each column, as pandas reads them in one piece."""
    options |= {"na_filter": False, "engine": "c", "low_memory": False}
    options["quoting"] = csv.QUOTE_NONE  # cells were counted by their commas
    return list(pd.read_csv(io.StringIO(text), header=None, **options).to_numpy().tolist())


def _number(cell: str, path: RunPath, line: int, column: str) -> float | None:
    cell = _bare(cell)
    if cell in ("", "None"):
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
