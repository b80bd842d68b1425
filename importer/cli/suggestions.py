"""Words for someone who is here for the first time: what lies here, what to type, where the runs went."""

from __future__ import annotations

import os
import shlex
from collections import deque
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from importer.store.uri import how_to_migrate

if TYPE_CHECKING:
    from importer.model import RunPath
    from importer.store.store import Store

MANY = 1000  # run directories that are counted, and no more
LOOKED_AT = 2000  # folders, before a look around that nobody asked for ends
USUAL = ("runs/mlflow", "mlruns")  # where Ultralytics' callback and MLflow itself kept their file stores by default
ANY_EXPERIMENT_WITH_A_RUN = "*/*/meta.yaml"


def suggest_paths(command: str = "import", *, alone: bool = False) -> str:
    """What to type after `ymlf COMMAND`, by what lies in the working directory; `alone`, one run directory."""
    from importer.discover import find_runs

    if is_run_directory(Path()):
        return f"this folder is a run directory; type `ymlf {command} .`"
    for folder in _likely_folders():
        runs = [found.save_dir for found in islice(find_runs([folder]), MANY)]
        if runs:
            return _what_lies_below(str(folder), str(folder), runs, command, alone)
    runs = list(islice(_runs_nearby(), MANY))
    if runs:
        given = runs[0] if len(runs) == 1 else Path()
        return _what_lies_below("this folder", str(given), runs, command, alone)
    below = "" if alone else ", or a folder that has some below it, such as runs/detect"
    return f"give a run directory{below}"


def _what_lies_below(where: str, given: str, runs: Sequence[RunPath], command: str, alone: bool) -> str:
    number = f"{len(runs)} or more" if len(runs) == MANY else str(len(runs))
    lie = "run directory lies" if len(runs) == 1 else "run directories lie"
    typed = shlex.quote(str(runs[0]) if alone else given)
    return f"{number} {lie} below {where}; type `ymlf {command} {typed}`"


def is_run_directory(folder: Path) -> bool:
    """Whether a folder is recognised as a run directory; one that cannot be listed is none."""
    from importer.read.registry import recognise

    try:
        return recognise(folder, {entry.name for entry in folder.iterdir()}) is not None
    except OSError:
        return False


def _likely_folders() -> Iterator[Path]:
    """runs, where Ultralytics writes, and the runs of a folder here, such as yolov5/runs."""
    yield from (folder for folder in (Path("runs"), *sorted(Path().glob("*/runs"))) if folder.is_dir())


def _runs_nearby() -> Iterator[Path]:
    """The run directories among the folders below this one, the nearest first, as far as a short look goes."""
    from importer.discover import SKIPPED, natural_order

    waiting = deque([Path()])
    for _ in range(LOOKED_AT):
        if not waiting:
            return
        folder = waiting.popleft()
        try:
            inside = sorted((entry for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)),
                            key=lambda entry: natural_order(entry.name))  # fmt: skip
        except OSError:
            continue
        if is_run_directory(folder):
            yield folder
        else:
            waiting.extend(Path(entry) for entry in inside if entry.name not in SKIPPED and entry.name[:1] != ".")


def file_stores() -> list[Path]:
    """The file stores of older releases below the working directory that hold a run."""
    return [store for store in map(Path, USUAL) if next(store.glob(ANY_EXPERIMENT_WITH_A_RUN), None) is not None]


def _how_to_move_out() -> list[str]:
    """What to do about a default store in a run directory, whose files name that place and are not to be moved."""
    here = Path.cwd()
    made = " and ".join(name for name in ("mlflow.db", "mlruns/") if Path(name).exists())
    again = f"cd {shlex.quote(str(here.parent))} && ymlf import {shlex.quote(here.name)}"
    return [
        f"note: this folder is a run directory, and now has {made} in it",
        f"  hint: to have the store elsewhere, delete {made} here and import from there: `{again}`",
    ]


def new_store_words(store: Store, *, is_default: bool) -> list[str]:
    """What to tell, once, of a SQLite file that was made just now, and of the file stores beside it."""
    from importer.store.uri import database_file

    file = database_file(store.uri)
    if file is None or not store.is_new:
        return []
    ui = "mlflow ui" if is_default else f"mlflow ui --backend-store-uri {store.shown_uri}"
    where = ", MLflow's default in this folder" if is_default else ""
    lines = [f"new store: {file.absolute()}{where}; `{ui}` shows it"]
    if is_default and is_run_directory(Path()):
        lines += _how_to_move_out()
    newer = "" if find_spec("mlflow.store.fs2db") else " of a newer MLflow"
    for old in file_stores():
        command, target = how_to_migrate(old)
        lines.append(
            f"old file store: {old} holds runs that this import has not looked at; to have all in one database, "
            f"`{command}`{newer}, then import again with --tracking-uri {target}"
        )
    return lines
