"""README and docs/ as tests read them: their tables, and their examples as sessions that can be run.

A fenced block is one of these:

    ```console   `$ ymlf ...` is run, and what it prints is compared with what stands below it. `...` stands for any
                 text within a line, with the blanks of a column after it, and on a line of its own for any lines.
    ```python    is run, unless it imports a package that is not installed.
    ```sh        is not run, but for each `.venv/bin/ymlf ...`, whose output is not compared; the `ymlf` commands in it
                 must be ones that there are.

The blocks of one page are one session in one folder, which has fixtures/ as a clone has it and nothing else at first.
"""

from __future__ import annotations

import io
import re
import shlex
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

from importer.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_WORDS = r"ymlf +((?:[^\s;&|\"'#]|\"[^\"]*\"|'[^']*'| )+)"
_COMMAND = re.compile(r"(?:^|[\s/;&|-])" + _WORDS)
_SET_UP = re.compile(r"\.venv/bin/" + _WORDS)


class Block(NamedTuple):
    """A fenced block: its language and its text."""

    language: str
    text: str


class Example(NamedTuple):
    """A command of a console block and the lines that it is shown to print."""

    words: tuple[str, ...]
    shown: tuple[str, ...]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in their order."""
    return [Block(*found) for found in _BLOCK.findall(page.read_text(encoding="utf-8"))]


def examples(block: Block) -> list[Example]:
    """The commands of a console block, each with what it prints."""
    found: list[Example] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            program, *words = shlex.split(line[2:])
            assert program == "ymlf", f"{line}: only ymlf is run"
            found.append(Example(tuple(words), ()))
        else:
            found[-1] = found[-1]._replace(shown=(*found[-1].shown, line.rstrip()))
    return found


def commands(block: Block) -> list[tuple[str, ...]]:
    """The words after each `ymlf` in a block."""
    return _words(_COMMAND, block)


def set_up(block: Block) -> list[tuple[str, ...]]:
    """The words after each `.venv/bin/ymlf` in a block, which a reader runs before what stands below it."""
    return _words(_SET_UP, block)


def _words(command: re.Pattern[str], block: Block) -> list[tuple[str, ...]]:
    return [tuple(shlex.split(found)) for found in command.findall(block.text.replace("\\\n", " "))]


def answer(words: tuple[str, ...]) -> tuple[int, list[str]]:
    """The exit status of `ymlf WORDS` and all that a terminal would show, with blanks at line ends taken away."""
    shown = io.StringIO()
    status: object = 0
    with redirect_stdout(shown), redirect_stderr(shown):
        argv, sys.argv = sys.argv, ["ymlf", *words]
        try:
            main()
        except SystemExit as ended:
            status = ended.code or 0
        finally:
            sys.argv = argv
    assert isinstance(status, int)
    return status, [line.rstrip() for line in shown.getvalue().splitlines()]


def shows(shown: tuple[str, ...], printed: list[str]) -> bool:
    """Whether what was printed is what is shown."""
    pattern = "".join("(?:.*\n)*" if line == "..." else _line(line) + "\n" for line in shown)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in printed)) is not None


def _line(shown: str) -> str:
    return ".*".join(re.escape(part) for part in re.split(r"\.\.\.(?: {2,})?", shown))


def rows(page: str, heading: str | None = None) -> list[list[str]]:
    """The cells of all table rows of a page, or of one section with those below it; no header rows."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if heading is not None:
        _, level, text = re.split(rf"^(#+) {heading}\n", text, maxsplit=1, flags=re.MULTILINE)
        text = re.split(rf"^#{{1,{len(level)}}} ", text, maxsplit=1, flags=re.MULTILINE)[0]
    lines = text.splitlines()
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line, below in zip(lines, [*lines[1:], ""], strict=True)
        if line.startswith("|") and not _is_rule(line) and not _is_rule(below)
    ]


def _is_rule(line: str) -> bool:
    return bool(line) and set(line) <= set("|- :") and "-" in line


def code(cell: str) -> str:
    """What stands between the first backticks of a cell."""
    found = re.search(r"`([^`]+)`", cell)
    return found.group(1) if found else cell
