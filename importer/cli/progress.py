"""Show how far a search and a batch are: redrawn on a terminal, a line every few seconds in a log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table

from importer.batch.summary import Progress
from importer.cli.totals import Totals

LINE_SECONDS = 5.0
SHORT_SECONDS = 1.0  # a search that takes no longer is not worth a word


@contextmanager
def show_progress(
    console: Console, words: Callable[[], str], *, totals: Totals | None = None, as_lines: bool = False
) -> Iterator[None]:
    """Show words that change, on a terminal with a bar of the totals; `as_lines` where JSON shares the terminal."""
    if as_lines or not console.is_terminal:
        with _lines(console, words):
            yield
        return
    began, spinner = time.monotonic(), Spinner("dots")

    def render() -> RenderableType:
        if totals is None:
            spinner.update(text=words())
            return spinner if time.monotonic() - began >= SHORT_SECONDS else ""
        line = Table.grid(padding=(0, 1))
        line.add_row(ProgressBar(totals.known, totals.done, width=40), words())
        return line

    with Live(get_renderable=render, console=console, transient=True, redirect_stdout=False):
        yield


def looked(progress: Progress) -> str:
    """Return how many run directories are found and read."""
    if progress.is_searching:
        return f"searching: {progress.found:,} run directories found"
    return f"reading: {progress.surveyed:,} of {progress.found:,} run directories"


@contextmanager
def _lines(console: Console, words: Callable[[], str]) -> Iterator[None]:
    """Print a line every few seconds, also while one run takes long."""
    ended = threading.Event()

    def print_lines() -> None:
        while not ended.wait(LINE_SECONDS):
            console.print(words())

    printer = threading.Thread(target=print_lines, name="ymlf-progress", daemon=True)
    printer.start()
    try:
        yield
    finally:
        ended.set()
        printer.join()
