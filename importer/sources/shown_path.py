"""What the paths have in common that are not a `pathlib.Path`: the text that people are shown."""

from __future__ import annotations

from typing import Any


class ShownPath:
    """A place that is named by the text that it is shown as."""

    def __init__(self, shown: str) -> None:
        self.shown = shown  # as typed, without credentials: s3://bucket/runs/train, runs.zip!train

    def __str__(self) -> str:
        return self.shown

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shown!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ShownPath) and self.shown == other.shown

    def __lt__(self, other: Any) -> bool:
        return self.shown < str(other)

    def __hash__(self) -> int:
        return hash(self.shown)

    def as_posix(self) -> str:
        return self.shown

    def is_symlink(self) -> bool:
        return False  # no link is unpacked, and object stores have no links
