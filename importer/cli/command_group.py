"""The group of commands: what was probably meant by a word that is none."""

from __future__ import annotations

import difflib
import os

import click

from importer.errors import UsageError

EPILOG = """\b
Tab completion, for this shell (bash, zsh or fish) and for later ones:
  eval "$(ymlf completion bash)"
  ymlf completion bash >> ~/.bashrc
"""


class SuggestingGroup(click.Group):
    """A group whose error for an unknown command says which one was probably meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names. Errors: UsageError with a suggestion."""
        word = args[0]
        if self.get_command(ctx, word) is None and not word.startswith("-") and not ctx.resilient_parsing:
            raise UsageError(f"no such command: {word}", hint=self._hint(ctx, word, args))
        return super().resolve_command(ctx, args)

    def _hint(self, ctx: click.Context, word: str, args: list[str]) -> str:
        if os.path.exists(word) or "/" in word:  # noqa: PTH110  a path may be a URL
            words = " ".join(args)
            return f"type `ymlf import {words}` to import it, `ymlf show {word}` to look at it"
        names = self.list_commands(ctx)
        close = difflib.get_close_matches(word.lower(), names, n=2)
        if close:
            return f"did you mean {' or '.join(f'`ymlf {name}`' for name in close)}?"
        return f"the commands are {', '.join(names)}"
