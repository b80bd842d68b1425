"""The text of a results.csv, and of other tables of its form, to numbers; its cells are counted first.

What spreadsheets, pandas and people add is taken away: blank lines, quotes, separators at the end, a second header.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import pandas as pd

from importer.errors import RunDirError
from importer.formats.yaml_file import read_text
from importer.model import Note, RunPath

MAX_BYTES = 8_000_000  # the largest results.csv seen, 400 epochs, has 135 kB
MAX_COLUMNS = 2_000
MAX_LINES = 100_000
MAX_CELLS = 1_000_000
SIZES = ("metrics/mAP_small(B)", "metrics/mAP_medium(B)", "metrics/mAP_large(B)")
# Decimals of which pandas before 3.1 rounds two to the wrong double.
HARD = ("0.1234567890123456789", "2.2250738585072011e-308", "8.41e+21", "9007199254740993.5", "1.7976931348623157e308")
CUT = "the line was cut or joined; restore the file from a copy, or remove the line"

Row = tuple[float | None, ...]
Line = tuple[int, str]  # its number in the file, from 1


class ShortRow(NamedTuple):
    """A whole line that has fewer cells than the header."""

    line: int
    before: int  # how many rows stand before it
    cells: Row


@dataclass(frozen=True)
class Table:
    """The numbers of a results file in file order."""

    header: tuple[str, ...]
    rows: tuple[Row, ...]
    short_rows: tuple[ShortRow, ...] = ()
    notes: tuple[Note, ...] = ()

    def column(self, name: str) -> tuple[float | None, ...]:
        """The cells of one column, top to bottom."""
        index = self.header.index(name)
        return tuple(row[index] for row in self.rows)


def read_results(path: RunPath, needed: str = "epoch", *, short_rows: bool = False) -> Table:
    """The table of a results.csv or of another file of its form, each cell as float(text).

    Shape:  a short last line is set aside, with `short_rows` any short line.
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
    if epochs and not text.endswith("\n"):
        notes.append(
            Note("no-final-newline", f"the last line of {path.name} has no line end; its last cell may be cut")
        )
    header, epochs, added = _with_sizes(header, epochs)
    if added:
        notes.append(
            Note("wide-row", f"{path.name} has rows with mAP by size, which its header lacks; put under names")
        )
    whole, short = _parted(path, header, epochs, anywhere=short_rows, ended=text.endswith("\n"))
    return _named(Table(header, _numbers(path, header, whole), short, tuple(notes)), path, len(header) - added)


def _header(path: RunPath, line: str, needed: str) -> tuple[str, ...]:
    header = [_bare(name) for name in line.split(",", MAX_COLUMNS)]
    while header and not header[-1]:  # a spreadsheet ends all lines with separators
        header.pop()
    if needed not in header or len(header) > MAX_COLUMNS:
        raise _no_column(path, line, needed)
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise RunDirError(f"{path}: two columns are called {twice[0]!r}", hint="rename one of them")
    return tuple(header)


def _no_column(path: RunPath, line: str, needed: str) -> RunDirError:
    found = ", ".join(line.split(",", 4)[:4])
    found = ", ".join(part.strip() for part in found.split(","))[:80].strip() or "nothing"
    hint = "such a file begins with a line of column names"
    if line.startswith("<<<<<<<"):
        hint = "it holds the markers of a merge conflict; resolve it"
    for name, separator in (("semicolons", ";"), ("tabs", "\t")):
        if needed in [_bare(part) for part in line.split(separator, MAX_COLUMNS)] and separator in line:
            hint = f"it is separated by {name}; save it with commas, and with points in the numbers"
    return RunDirError(f"{path}: the first line has no `{needed}` column; found {found}", hint=hint)


def _bare(cell: str) -> str:
    """The cell without blanks and the quotes around it."""
    cell = cell.strip()
    return cell[1:-1].strip() if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell


def _fitted(line: str, width: int) -> str:
    """The line without separators after its last cell, where they make it wider than the header."""
    if line.count(",") < width:
        return line
    short = line.rstrip(" \t,")
    missing = width - 1 - short.count(",")
    return short + "," * missing if missing >= 0 else line


def _with_sizes(header: tuple[str, ...], lines: list[Line]) -> tuple[tuple[str, ...], list[Line], int]:
    """The table with mAP by size in columns at the end, and how many those are.

    Source: with save_json, 8.4.120 and later put them between metrics/ and val/, but with val=False only in the last
        epoch, when the header is long written.
    """
    width, more = len(header), len(SIZES)
    if "metrics/mAP50-95(B)" not in header or SIZES[0] in header:
        return header, lines, 0
    if not any(line.count(",") + 1 == width + more for _, line in lines):
        return header, lines, 0
    at = 1 + max(index for index, name in enumerate(header) if name.startswith("metrics/"))
    moved = []
    for number, line in lines:
        cells = line.split(",", width + more)
        if len(cells) == width + more:
            cells = [*cells[:at], *cells[at + more :], *cells[at : at + more]]
        elif len(cells) == width:
            cells += [""] * more
        moved.append((number, ",".join(cells)))
    return (*header, *SIZES), moved, more


def _parted(
    path: RunPath, header: tuple[str, ...], lines: list[Line], *, anywhere: bool, ended: bool
) -> tuple[list[Line], tuple[ShortRow, ...]]:
    """The lines that have a cell for each column, and the short ones that may be there."""
    whole: list[Line] = []
    short: list[ShortRow] = []
    for number, line in lines:
        cells = line.count(",") + 1
        is_last = number == lines[-1][0]
        if cells == len(header):
            whole.append((number, line))
        elif cells > len(header) or not (is_last or anywhere) or (is_last and not ended):
            raise cut(path, number, line, len(header))
        else:
            told = zip(line.split(","), header, strict=False)
            short.append(ShortRow(number, len(whole), tuple(_number(cell, path, number, name) for cell, name in told)))
    return whole, tuple(short)


def cut(path: RunPath, number: int, line: str, expected: int) -> RunDirError:
    """The refusal of a line that has not as many values as the header."""
    cells = line.count(",") + 1
    values = "value" if cells == 1 else "values"
    hint = CUT
    if line.startswith(("<<<<<<<", "=======", ">>>>>>>")):
        hint = "it holds the markers of a merge conflict; resolve it"
    return RunDirError(f"{path}: line {number} has {cells} {values}, the header has {expected}", hint=hint)


def _named(table: Table, path: RunPath, width: int) -> Table:
    """The table less columns without a name, and with notes on them and on blank cells in the first `width` ones."""
    notes = list(table.notes)
    named = [at for at, name in enumerate(table.header) if name]
    if any(row[at] is None for row in table.rows if None in row for at in named if at < width):
        notes.append(Note("blank-cell", f"{path.name} has blank cells; they are left out"))
    if len(named) == len(table.header):
        return Table(table.header, table.rows, table.short_rows, tuple(notes))
    notes.append(
        Note("nameless-column", f"{path.name} has a column without a name, as pandas calls its index; left out")
    )
    header = tuple(table.header[at] for at in named)
    return Table(header, tuple(tuple(row[at] for at in named) for row in table.rows), table.short_rows, tuple(notes))


def _numbers(path: RunPath, header: tuple[str, ...], lines: list[Line]) -> tuple[Row, ...]:
    if not lines:
        return ()
    text = "\n".join(line for _, line in lines)
    try:
        return tuple(map(tuple, _cells(text, dtype="float64", **_rounded())))
    except ValueError:  # nan, a blank cell, quotes, or no number at all
        pass
    rows = _cells(text, dtype=object)
    return tuple(
        tuple(_number(cell, path, number, name) for cell, name in zip(row, header, strict=True))
        for (number, _), row in zip(lines, rows, strict=True)
    )


@cache
def _rounded() -> dict[str, str]:
    """What makes pandas round as float() does. Source: it does so by itself since 3.1, and takes no word for it."""
    if [cell for [cell] in _cells("\n".join(HARD), dtype="float64")] == list(map(float, HARD)):
        return {}
    return {"float_precision": "round_trip"}


def _cells(text: str, **how: Any) -> list[list[Any]]:
    """The cells of lines that have one for each column, as pandas reads them."""
    frame = pd.read_csv(
        io.StringIO(text),
        header=None,
        na_filter=False,
        quoting=3,  # csv.QUOTE_NONE: cells were counted by their commas
        engine="c",
        low_memory=False,  # in one piece
        **how,
    )
    return list(frame.to_numpy().tolist())


def _number(cell: str, path: RunPath, line: int, column: str) -> float | None:
    cell = _bare(cell)
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
