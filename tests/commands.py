"""The command line as a test calls it, and what the store holds afterwards."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest.mock import patch

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from importer.cli import cli
from importer.terminal import run


@dataclass(frozen=True)
class Told:
    """What a command said and its exit status."""

    status: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """Both streams."""
        return self.out + self.err


def ymlf(*words: object, stdin: str = "") -> Told:
    """A command in this process; a traceback fails the test by itself."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    argv = ["ymlf", *map(str, words)]
    try:
        with (
            patch.object(sys, "argv", argv),
            patch.object(sys, "stdin", io.StringIO(stdin)),
            patch.dict(os.environ, {"COLUMNS": "250"}),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            run(cli)
    except SystemExit as done:
        status = done.code if isinstance(done.code, int) else int(done.code is not None)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return Told(status, out.getvalue(), err.getvalue())


def ymlf_process(*words: object, before: Sequence[str] = (), **more: object) -> Told:
    """A command in a process of its own, behind the words of a command such as setpriv."""
    command = [*before, sys.executable, "-m", "importer.cli", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **more)  # type: ignore[call-overload]
    return Told(done.returncode, done.stdout, done.stderr)


def runs_in(uri: str) -> list[Run]:
    """Every run that a store holds, deleted ones too."""
    client = MlflowClient(uri)
    ids = [found.experiment_id for found in client.search_experiments(view_type=ViewType.ALL)]
    return list(client.search_runs(ids, run_view_type=ViewType.ALL))


def experiments_in(uri: str) -> list[str]:
    """The names of the experiments that were made in a store, less MLflow's own `Default`."""
    found = MlflowClient(uri).search_experiments(view_type=ViewType.ALL)
    return sorted(experiment.name for experiment in found if experiment.name != "Default")


def untouched(uri: str) -> bool:
    """Whether a store holds no run and no experiment of ours."""
    return not runs_in(uri) and not experiments_in(uri)


def points_of(uri: str, run: Run, key: str) -> list[tuple[int, float]]:
    """(step, value) of a metric, as stored."""
    return [(point.step, point.value) for point in MlflowClient(uri).get_metric_history(run.info.run_id, key)]
