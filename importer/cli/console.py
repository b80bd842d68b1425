"""Write to the terminal at hand: characters, colours, width."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from importer.redaction import one_line

FOLDED_WIDTH = 16  # characters that a column which breaks gets at least


def is_one_terminal() -> bool:
    """Whether stdout and stderr are the same terminal."""
    try:
        return sys.stdout.isatty() and os.ttyname(sys.stdout.fileno()) == os.ttyname(sys.stderr.fileno())
    except (OSError, AttributeError):  # no terminal, no file, or Windows
        return False


def is_plain_locale() -> bool:
    """Whether the user asked for the C locale, in which Python writes UTF-8 all the same."""
    chosen = next((os.environ[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if os.environ.get(name)), "")
    return chosen in ("C", "POSIX")


class LineConsole(Console):
    """Print lines that hold names: without markup and highlights, and wrapped by the terminal alone."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, soft_wrap=True, **options)
        self._is_plain = is_plain_locale()

    @property
    def encoding(self) -> str:
        """The encoding of what rich draws; text goes to the stream as it is."""
        return "ascii" if self._is_plain else super().encoding

    def on_broken_pipe(self) -> None:
        """Leave a closed pipe to `main`: rich would end the process with status 1."""
        raise


def print_rows(
    console: Console,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    folded: int,
    title: int,
    is_named: bool = False,
) -> None:
    """Print a table whose column `folded` may break; where that has no room, a paragraph per row below its `title`.

    `is_named` puts the name of its column before each cell of a paragraph.
    """
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(header, *rows, strict=True)]
    others = sum(width + 2 for at, width in enumerate(widths) if at != folded)
    if others + min(widths[folded], FOLDED_WIDTH) <= console.width:
        table = new_table()
        for at, name in enumerate(header):
            table.add_column(name, no_wrap=at != folded, overflow="fold")
        for row in rows:
            table.add_row(*row)
        print_table(console, table)
        return
    for row in rows:
        cells = [f"{header[at]} {cell}" if is_named else cell for at, cell in enumerate(row) if cell and at != title]
        if len(cells) == 1:  # of a directory that is not listed as a run, with the reason
            console.print(f"{cells[0]}: {row[title]}")
        else:
            console.print(row[title], style="bold")
            console.print(Padding(", ".join(cells), (0, 0, 0, 2), expand=False), soft_wrap=False)


def print_table(console: Console, table: Table) -> None:
    """Print a table; in a file or a pipe without the blanks that fill its lines."""
    if console.is_terminal:
        console.print(table, soft_wrap=False)
        return
    with console.capture() as captured:
        console.print(table, soft_wrap=False)
    console.print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def new_table(*numbers: str) -> Table:
    """Return an empty table; with names of columns, one of names and after it these of numbers and words."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for at, name in enumerate(numbers):
        table.add_column(name, justify="right" if at else "left", overflow="fold")
    return table
