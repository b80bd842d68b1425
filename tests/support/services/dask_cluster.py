"""A Dask scheduler and its workers, each a process that can be killed."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .needs import needed
from .process import ServerProcess, free_port, is_free

ONE_THREAD = ("--no-nanny", "--nthreads", "1")


class DaskCluster:
    """A running cluster; its workers have one thread each, and a working directory that nobody else has."""

    def __init__(self, scheduler: ServerProcess, workers: list[ServerProcess]) -> None:
        self.scheduler = scheduler
        self.workers = workers

    @property
    def address(self) -> str:
        """Where clients find it."""
        return f"tcp://127.0.0.1:{self.scheduler.port}"

    @property
    def log(self) -> str:
        """All that the workers have written."""
        return "".join(worker.log.read_text(errors="replace") for worker in self.workers)


@contextmanager
def dask_cluster(workers: int = 2) -> Iterator[DaskCluster]:
    """A running cluster. No nanny starts a worker again that was killed."""
    needed("distributed", "dask")
    with tempfile.TemporaryDirectory(prefix="ymlf-dask-") as name, ExitStack() as stack:
        scheduler = _started(stack, Path(name, "scheduler"), "scheduler", "--port")
        address = f"tcp://127.0.0.1:{scheduler.port}"
        started = [
            _started(stack, Path(name, f"worker{number}"), "worker", address, *ONE_THREAD, "--worker-port")
            for number in range(workers)
        ]
        yield DaskCluster(scheduler, started)


def _started(stack: ExitStack, directory: Path, *words: str) -> ServerProcess:
    """A process of `dask WORDS PORT`, that is up and is killed when the stack is closed."""
    directory.mkdir()
    port = free_port()
    process = ServerProcess(
        [sys.executable, "-m", "dask", *words, str(port), "--host", "127.0.0.1", "--no-dashboard"],
        port=port,
        log=directory / "log",
        is_ready=lambda: not is_free(port),
        env=dict(os.environ),
    )
    process.start()
    stack.callback(process.kill)
    return process
