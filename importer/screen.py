"""What the terminal at hand can show: characters, colours, width."""

from __future__ import annotations

import io
import os
import sys
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def write_any_character() -> None:
    """Names that the terminal's encoding lacks, or that are in no encoding at all, are written with backslashes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


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
