"""MLflow's old stores of files, which it no longer opens, and its own way to copy one to a database."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path


def how_to_migrate(file_store: str | Path) -> tuple[str, str]:
    """MLflow's own command that copies a file store to a database, which must not be there yet; and that database.

    Source: mlflow/store/fs2db/cli.py, of MLflow 3.17.
    """
    target = next(f"sqlite:///{name}" for name in _database_names() if not Path(name).exists())
    return f"mlflow migrate-filestore --source {shlex.quote(str(file_store))} --target {target}", target


def _database_names() -> Iterator[str]:
    yield "mlflow.db"
    yield "all.db"
    number = 2
    while True:
        yield f"all{number}.db"
        number += 1


def local_file_store(uri: str) -> str | None:
    """The folder of a file store, as short as can be; None for another store."""
    from urllib.parse import unquote, urlsplit

    if "://" in uri and not uri.startswith("file:"):
        return None
    path = Path(unquote(urlsplit(uri).path) if uri.startswith("file:") else uri)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
