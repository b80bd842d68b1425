"""Read results.csv, and other tables of its form, as numbers; the cells are counted first.

What spreadsheets, pandas and people add is taken away: blank lines, quotes, separators at the end, a second header.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
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
PLAIN: dict[str, Any] = {"header": None, "dtype": "float64", "na_filter": False, "quoting": csv.QUOTE_NONE}
PLAIN |= {"engine": "c", "low_memory": False}
if tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1):  # since 3.1, pandas always rounds as float() does
    PLAIN["float_precision"] = "round_trip"

Row = tuple[float | None, ...]


class Line(NamedTuple):
    number: int  # in the file, from 1
    cells: list[str]


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
    first, *texts = body.split("\n", MAX_LINES + 1)
    header = _header(path, first, needed)
    width, count = len(header), body.count("\n")
    if count > MAX_LINES or count * width > MAX_CELLS:
        raise RunDirError(f"{path}: {count:,} lines, which no trainer writes", hint="is it the right file?")
    begin = text.count("\n", 0, len(text) - len(body)) + 2
    filled = [(number, line) for number, line in enumerate(texts, begin) if line.replace(",", "").strip()]
    lines = [Line(number, _cells(line, width)) for number, line in filled if line.strip() != first.strip()]
    if len(lines) < len(filled):
        notes.append(Note("repeated-header", f"{path.name} has its header more than once; read as one table"))
    header = _with_sizes(header, lines)
    if len(header) > width:
        notes.append(Note("wide-row", f"{path.name} has rows with mAP by size that its header lacks; put under names"))
    unended = lines.pop() if lines and lines[-1].number == begin + len(texts) - 1 else None
    if unended is not None:
        notes.append(no_final_newline(path.name))
    whole, short, more = _fit_rows(path, header, lines, ended=unended is None, anywhere=short_rows)
    last = None
    if unended is not None and len(unended.cells) == len(header):
        with suppress(RunDirError):  # it may be cut
            last = _row(path, header, unended)
    elif unended is not None and not whole and not short:
        raise _misfit(path, unended, header, CUT)
    rows = _numbers(path, header, whole)
    return _named(Table(header, rows, tuple(short), (*notes, *more), last), path.name, width)


def no_final_newline(name: str) -> Note:
    """Return the note on a last line that is left out because it may be cut."""
    return Note("no-final-newline", f"the last line of {name} has no line end and may be cut; left out")


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


def _split(line: str) -> list[str]:
    """Return the cells of a line; a comma between quotes parts none."""
    with suppress(csv.Error):  # a cell has more than 131,072 characters
        if '"' in line:
            return next(csv.reader([line], skipinitialspace=True), [])
    return line.split(",")


def _cells(line: str, width: int) -> list[str]:
    """Return the cells of a line, without those beyond the header if they are blank."""
    cells = _split(line)
    return cells if any(cell.strip() for cell in cells[width:]) else cells[:width]


def _with_sizes(header: tuple[str, ...], lines: list[Line]) -> tuple[str, ...]:
    """Put mAP by size into columns at the end, if a row has it, and return the header of the table then.

    Source: with save_json, 8.4.120 and later put them between metrics/ and val/, but with val=False only in the last
        epoch, when the header is long written.
    """
    width, more = len(header), len(SIZES)
    is_wide = any(len(line.cells) == width + more for line in lines)
    if not is_wide or "metrics/mAP50-95(B)" not in header or SIZES[0] in header:
        return header
    at = 1 + max(index for index, name in enumerate(header) if name.startswith("metrics/"))
    for _, cells in lines:
        if len(cells) == width + more:
            cells[at:] = [*cells[at + more :], *cells[at : at + more]]
        elif len(cells) == width:
            cells.extend([""] * more)
    return *header, *SIZES


def _fit_rows(
    path: RunPath, header: tuple[str, ...], lines: list[Line], *, ended: bool, anywhere: bool
) -> tuple[list[Line], list[ShortRow], list[Note]]:
    """Return the lines whose columns are known for certain, short ones set aside, and notes on those left out.

    Errors: RunDirError when no line fits, or one is the marker of a merge conflict.
    """
    whole: list[Line] = []
    short: list[ShortRow] = []
    left_out: list[Line] = []
    repaired = 0
    for line in lines:
        missing = len(header) - len(line.cells)
        if line.cells[0].startswith(("<<<<<<<", "=======", ">>>>>>>")):
            raise _misfit(path, line, header, CONFLICT)
        if not missing:
            whole.append(line)
        elif whole and missing == -1 and (at := _ray_cell(header, line.cells)) is not None:
            del line.cells[at]
            whole.append(line)
            repaired += 1
        elif missing > 0 and (ended if line is lines[-1] else anywhere):
            short.append(ShortRow(line.number, len(whole), _row(path, header, line)))
        else:
            left_out.append(line)
    if left_out and not whole:
        raise _misfit(path, left_out[0], header, CUT)
    notes = []
    if repaired:
        text = f"{repaired} rows of {path.name} have the epoch once more before lr/, as Ray Tune's callback wrote it"
        notes.append(Note("ray-cell", f"{text}; that cell is left out"))
    if left_out:
        notes.append(rows_left_out(path.name, left_out))
    return whole, short, notes


def rows_left_out(name: str, lines: list[Line]) -> Note:
    """Return the note on lines whose columns are not known."""
    numbers = ", ".join(str(line.number) for line in lines[:5]) + (", .." if len(lines) > 5 else "")
    rows = "1 row" if len(lines) == 1 else f"{len(lines)} rows"
    text = f"{rows} of {name} with another number of cells than the header: left out (line {numbers})"
    return Note("rows-left-out", text)


def _ray_cell(header: tuple[str, ...], cells: list[str]) -> int | None:
    """Return where in a line with one cell too many Ray Tune's callback put the epoch, which is before lr/, or None.

    Source: ultralytics/utils/callbacks/raytune.py, on_fit_epoch_end, up to 8.3.27 sets `epoch` in trainer.metrics;
        BaseTrainer.save_metrics writes {losses, trainer.metrics, lr}.
    """
    at = next((index for index, name in enumerate(header) if name.startswith("lr/")), None)
    if at is None or not all(name.startswith("lr/") for name in header[at:]):
        return None
    extra, epoch = cells[at].strip(), cells[0].strip()
    is_epoch = extra.isdecimal() and epoch.isdecimal() and int(extra) in (int(epoch) - 1, int(epoch) - 2)
    return at if is_epoch else None


def _misfit(path: RunPath, line: Line, header: Sequence[str], hint: str) -> RunDirError:
    count = "1 value" if len(line.cells) == 1 else f"{len(line.cells)} values"
    return RunDirError(f"{path}: line {line.number} has {count}, the header has {len(header)}", hint=hint)


def _named(table: Table, name: str, width: int) -> Table:
    """Return the table less columns without a name of their own, with notes on them and on blank cells.

    Blank cells count in the first `width` columns.
    """
    notes = list(table.notes)
    counts = Counter(table.header)
    named = [at for at, column in enumerate(table.header) if column and counts[column] == 1]
    if any(row[at] is None for row in table.rows if None in row for at in named if at < width):
        notes.append(Note("blank-cell", f"{name} has blank cells; they are left out"))
    if "" in counts:
        notes.append(
            Note("nameless-column", f"{name} has a column without a name, as pandas calls its index; left out")
        )
    for column, count in counts.items():
        if column and count > 1:
            notes.append(Note("same-key", f"{name} has {count} columns called {column!r}; none is logged"))
    if len(named) == len(table.header):
        return replace(table, notes=tuple(notes))
    header = tuple(table.header[at] for at in named)
    rows = tuple(tuple(row[at] for at in named) for row in table.rows)
    unended = tuple(table.unended[at] for at in named) if table.unended is not None else None
    return replace(table, header=header, rows=rows, notes=tuple(notes), unended=unended)


def _numbers(path: RunPath, header: tuple[str, ...], lines: list[Line]) -> tuple[Row, ...]:
    """Return the cells of lines that have one for each column, as pandas reads them in one piece, where it can."""
    text = "\n".join(",".join(line.cells) for line in lines)
    if lines and text.count(",") == len(lines) * (len(header) - 1):  # no cell has a comma in it
        with suppress(ValueError):  # nan, a blank cell, quotes, or no number at all
            return tuple(map(tuple, pd.read_csv(io.StringIO(text), **PLAIN).to_numpy().tolist()))
    return tuple(_row(path, header, line) for line in lines)


def _row(path: RunPath, header: tuple[str, ...], line: Line) -> Row:
    """Return the numbers of a line, None for blank cells. Errors: RunDirError when one is text."""
    bare = zip(map(_bare, line.cells), header, strict=False)
    return tuple(None if cell in ("", "None") else to_number(cell, path, line.number, name) for cell, name in bare)


def to_number(cell: str, path: RunPath, line: int, column: str) -> float:
    """Return the number of a cell. Errors: RunDirError, which names the line and the column."""
    try:
        if "_" in cell:  # float() takes 1_000 for a thousand
            raise ValueError(cell)
        return float(cell)
    except ValueError as error:
        text = f"{path}: line {line}, column {column}: {cell[:40]!r} is not a number"
        raise RunDirError(text, hint="restore the file as the trainer wrote it") from error
