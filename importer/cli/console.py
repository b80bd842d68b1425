"""What the terminal at hand can show: characters, colours, width."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

FOLDED_WIDTH = 16  # characters that a column which breaks is given at least


def write_any_character() -> None:
    """Names that the terminal's encoding lacks, or that are in no encoding at all, are written with backslashes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def is_one_terminal() -> bool:
    """Whether stdout and stderr are the same terminal."""
    try:
        return sys.stdout.isatty() and os.ttyname(sys.stdout.fileno()) == os.ttyname(sys.stderr.fileno())
    except (OSError, AttributeError):  # no terminal, no file, or Windows
        return False


def takes_unicode(stream: IO[str]) -> bool:
    """Whether a stream's encoding has every character."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().startswith("utf")


def is_plain_locale() -> bool:
    """Whether the user asked for the C locale, in which Python writes UTF-8 all the same."""
    chosen = next((os.environ[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if os.environ.get(name)), "")
    return chosen in ("C", "POSIX")


def open_console(**given: Any) -> Console:
    """rich's console, which minds NO_COLOR, COLUMNS and pipes; in the C locale it draws in ASCII, too.

    Brackets and colons of a name are not markup.
    """
    from rich.console import Console

    class PlainConsole(Console):
        encoding = "ascii"  # what it draws with; text goes to the stream as it is

    kind = PlainConsole if is_plain_locale() else Console
    return kind(markup=False, emoji=False, **given)


def print_rows(
    console: Console, header: Sequence[str], rows: Sequence[Sequence[str]], *, folded: int, title: int
) -> None:
    """A table whose column `folded` may break. Where the others leave no room for it, a paragraph per row instead."""
    from rich.cells import cell_len
    from rich.padding import Padding
    from rich.table import Table

    widths = [max(map(cell_len, column)) for column in zip(header, *rows, strict=True)]
    others = sum(width + 2 for at, width in enumerate(widths) if at != folded)
    if others + min(widths[folded], FOLDED_WIDTH) > console.width:
        for row in rows:
            cells = [cell for at, cell in enumerate(row) if cell and at != title]
            if len(cells) == 1:  # not a run, but why it is none
                console.print(f"{cells[0]}: {row[title]}", soft_wrap=True, highlight=False)
                continue
            console.print(row[title], style="bold", soft_wrap=True, highlight=False)
            console.print(Padding(", ".join(cells), (0, 0, 0, 2), expand=False), highlight=False)
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for at, name in enumerate(header):
        table.add_column(name, no_wrap=at != folded, overflow="fold")
    for row in rows:
        table.add_row(*row)
    print_table(console, table)


def print_table(console: Console, table: Table) -> None:
    """A table, without the blanks that fill its lines where they go to a file or a pipe."""
    if console.is_terminal:
        console.print(table, highlight=False)
        return
    with console.capture() as captured:
        console.print(table, highlight=False)
    for line in captured.get().splitlines():
        console.file.write(line.rstrip() + "\n")


def table_of(first: str, *others: str) -> Table:
    """An empty table with these columns; the first is of names, the others of numbers and words."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right", overflow="fold")
    return table
