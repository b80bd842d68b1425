"""The PATHs of a command: as words, from lists, or what to type where there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from importer.errors import UsageError

paths_argument = click.argument("paths", nargs=-1, type=click.Path(readable=False), metavar="PATH...")
path_argument = click.argument("path", required=False, type=click.Path(readable=False), metavar="PATH")


def all_paths(paths: Iterable[str], lists: Iterable[str]) -> list[str]:
    """The paths that were given, and those of each list. Errors: UsageError when there is none, or one is empty."""
    found = list(paths)
    for name in lists:
        try:
            text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            told = error.strerror if isinstance(error, OSError) else "is no UTF-8 text"
            raise UsageError(f"--from-file {name}: {told}", hint="give a text file with a path a line") from error
        found += [line for line in text.splitlines() if line.strip()]
    _check(found, alone=False)
    return found


def one_path(path: str | None) -> str:
    """The one path that was given. Errors: UsageError when there is none, or it is empty."""
    _check([path] if path is not None else [], alone=True)
    return path or ""


def _check(found: Sequence[str], *, alone: bool) -> None:
    from importer.cli.suggestions import suggest_paths

    if not found or "" in found:
        command = click.get_current_context().info_name or "import"
        raise UsageError("an empty PATH" if found else "no PATH given", hint=suggest_paths(command, alone=alone))
