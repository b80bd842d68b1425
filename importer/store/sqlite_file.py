"""The file that the URI of a SQLite store names."""

from __future__ import annotations

from pathlib import Path

PREFIX = "sqlite:///"


def database_file(uri: str) -> Path | None:
    """The file of a SQLite store; None for another store, and for one in memory or named by a URI of SQLite's own."""
    name = uri.partition("?")[0].removeprefix(PREFIX)
    if not uri.startswith(PREFIX) or not name or name.startswith((":", "file:")):
        return None
    return Path(name)
