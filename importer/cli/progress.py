"""How far a look at a tree and a batch are: a bar on a terminal, a plain line every few seconds in a log."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from importer.cli.totals import Tally

if TYPE_CHECKING:
    from rich.console import Console

    from importer.batch.summary import Progress

LINE_SECONDS = 5.0
SHORT_SECONDS = 1.0  # a look that takes no longer is not worth a word


@contextmanager
def show_words(console: Console, words: Callable[[], str], *, quiet: bool, beside_json: bool = False) -> Iterator[None]:
    """How far it is, in words that are asked for again and again, where it takes long."""
    if quiet:
        yield
    elif not console.is_terminal or beside_json:
        with _lines(console, words):
            yield
    else:
        from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task
        from rich.text import Text

        class Words(ProgressColumn):
            """Told anew at each turn of the spinner."""

            def render(self, task: Task) -> Text:
                return Text(words())

        bar = Progress(SpinnerColumn(), Words(), console=console, transient=True)
        bar.add_task("")
        starter = threading.Timer(SHORT_SECONDS, bar.start)
        starter.start()
        try:
            yield
        finally:
            starter.cancel()
            starter.join()
            bar.stop()


def looked(looking: Progress) -> str:
    """How many run directories are found and read."""
    if looking.is_searching:
        return f"searching: {looking.found:,} run directories found"
    return f"reading: {looking.surveyed:,} of {looking.found:,} run directories"


@contextmanager
def show_progress(
    console: Console, tally: Tally, *, quiet: bool, beside_json: bool = False
) -> Iterator[Callable[[], None]]:
    """A progress that suits where `console` writes, to be called when the tally has changed.

    There is none for a single run, and no bar amid lines of JSON.
    """
    if quiet or tally.total < 2:
        yield lambda: None
        return
    if not console.is_terminal or beside_json:
        with _lines(console, tally.progress):
            yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task
    from rich.text import Text

    class Rates(ProgressColumn):
        """Told anew while one run takes long, too."""

        def render(self, task: Task) -> Text:
            return Text(tally.rates())

    with Progress(BarColumn(), MofNCompleteColumn(), Rates(), console=console, transient=True) as bar:
        task = bar.add_task("", total=tally.total)

        def show() -> None:
            bar.update(task, completed=tally.done, total=tally.known)

        yield show


@contextmanager
def _lines(console: Console, words: Callable[[], str]) -> Iterator[None]:
    """A line every few seconds, also while one run takes long."""
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(LINE_SECONDS):
            console.print(words(), soft_wrap=True, highlight=False)

    teller = threading.Thread(target=tell, name="ymlf-progress", daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()
