"""Suggest what to type: the command that was probably meant, the run directories that lie here."""

from __future__ import annotations

import difflib
import os
import shlex
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import click

from importer.cli.options import SectionedCommand
from importer.errors import UsageError

MANY = 1000  # run directories that are counted at most


class SuggestingGroup(click.Group):
    """Suggest a command where the first word is not one."""

    command_class = SectionedCommand

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first word names. Errors: UsageError with a suggestion."""
        word = args[0]
        if self.get_command(ctx, word) is None and not word.startswith("-") and not ctx.resilient_parsing:
            raise UsageError(f"no such command: {word}", hint=self._hint(ctx, word, args))
        return super().resolve_command(ctx, args)

    def _hint(self, ctx: click.Context, word: str, args: list[str]) -> str:
        if os.path.exists(word) or "/" in word:  # noqa: PTH110  a path may be a URL
            return f"type `ymlf import {' '.join(args)}` to import it, `ymlf show {word}` to look at it"
        names = self.list_commands(ctx)
        if close := difflib.get_close_matches(word.lower(), names, n=2):
            return f"did you mean {' or '.join(f'`ymlf {name}`' for name in close)}?"
        return f"the commands are {', '.join(names)}"


def all_paths(paths: Iterable[str], lists: Iterable[str] = (), *, alone: bool = False) -> list[str]:
    """Return the paths of a command and of its lists; `alone`, it takes one run directory. Errors: UsageError."""
    paths = [*paths, *(line for name in lists for line in _read_list(name))]
    if not paths or "" in paths:
        command = click.get_current_context().info_name or "import"
        raise UsageError("an empty PATH" if paths else "no PATH given", hint=_suggest_path(command, alone=alone))
    return paths


def _read_list(name: str) -> list[str]:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is no UTF-8 text"
        raise UsageError(f"--from-file {name}: {reason}", hint="give a text file with a path a line") from error
    return [line for line in text.splitlines() if line.strip()]


def _suggest_path(command: str, *, alone: bool) -> str:
    from importer.read.discover import find_runs

    for folder in (Path("runs"), *sorted(Path().glob("*/runs"))):
        runs = [found.save_dir for found in islice(find_runs([folder]), MANY)] if folder.is_dir() else []
        if runs:
            number = f"{len(runs)} or more" if len(runs) == MANY else str(len(runs))
            lie = "run directory lies" if len(runs) == 1 else "run directories lie"
            typed = shlex.quote(str(runs[0] if alone else folder))
            return f"{number} {lie} below {folder}; type `ymlf {command} {typed}`"
    return "give a run directory" + ("" if alone else ", or a folder that has some below it, such as runs/detect")
