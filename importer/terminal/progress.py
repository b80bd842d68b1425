"""How far a batch is: a bar on a terminal, a plain line every few seconds in a log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from importer.report import Tally

if TYPE_CHECKING:
    from rich.console import Console

LINE_SECONDS = 5.0


class Progress(Protocol):
    """What is told of each outcome."""

    def __call__(self, tally: Tally) -> None:
        """Show the tally as it stands."""
        ...


@contextmanager
def show_progress(console: Console, tally: Tally, *, quiet: bool) -> Iterator[Progress]:
    """A progress that suits where `console` writes; none for a single run."""
    if quiet or tally.total < 2:
        yield lambda tally: None
        return
    if not console.is_terminal:
        yield _Lines(console)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rates]}"))
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=tally.total, rates="")

        def show(tally: Tally) -> None:
            bar.update(
                task, completed=tally.done, total=max(tally.total, tally.done), rates=tally.progress().split(", ", 1)[1]
            )

        yield show


class _Lines:
    def __init__(self, console: Console) -> None:
        self.console = console
        self.last = time.monotonic()

    def __call__(self, tally: Tally) -> None:
        if time.monotonic() - self.last >= LINE_SECONDS:
            self.last = time.monotonic()
            self.console.print(tally.progress(), soft_wrap=True, highlight=False)
