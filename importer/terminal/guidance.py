"""Words for someone who is here for the first time: what lies here, what to type, where the runs went."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importer.store.client import Store

MANY = 1000  # run directories that are counted, and no more
USUAL = ("runs/mlflow", "mlruns")  # where Ultralytics' callback and MLflow itself kept their file stores by default
ANY_EXPERIMENT_WITH_A_RUN = "*/*/meta.yaml"


def suggest_paths(command: str = "import") -> str:
    """What to type after `ymlf COMMAND`, by what lies in the working directory."""
    from importer.discover import find_runs
    from importer.readers import recognise

    if recognise(Path(), {entry.name for entry in os.scandir()}) is not None:
        return f"this folder is a run directory; type `ymlf {command} .`"
    for folder in _likely_folders():
        count = sum(1 for _ in islice(find_runs([folder]), MANY))
        if count:
            number = f"{count} or more" if count == MANY else str(count)
            lie = "run directory lies" if count == 1 else "run directories lie"
            return f"{number} {lie} below {folder}; type `ymlf {command} {folder}`"
    return "give a run directory, or a folder that has some below it, such as runs/detect"


def _likely_folders() -> Iterator[Path]:
    """runs, where Ultralytics writes, and the runs of a folder here, such as yolov5/runs."""
    yield from (folder for folder in (Path("runs"), *sorted(Path().glob("*/runs"))) if folder.is_dir())


def file_stores() -> list[Path]:
    """The file stores of older releases below the working directory that hold a run."""
    return [store for store in map(Path, USUAL) if next(store.glob(ANY_EXPERIMENT_WITH_A_RUN), None) is not None]


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


def new_store_words(store: Store, *, is_default: bool) -> list[str]:
    """What to tell, once, of a SQLite file that was made just now, and of the file stores beside it."""
    from importer.store.opening import database_file

    file = database_file(store.uri)
    if file is None or not store.is_new:
        return []
    ui = "mlflow ui" if is_default else f"mlflow ui --backend-store-uri {store.shown_uri}"
    where = ", MLflow's default in this folder" if is_default else ""
    lines = [f"new store: {file.absolute()}{where}; `{ui}` shows it"]
    newer = "" if find_spec("mlflow.store.fs2db") else " of a newer MLflow"
    for old in file_stores():
        command, target = how_to_migrate(old)
        lines.append(
            f"old file store: {old} holds runs that this import has not looked at; to have all in one database, "
            f"`{command}`{newer}, then import again with --tracking-uri {target}"
        )
    return lines
