"""The workers of this host: threads, or for the command line processes. dask_executor.py has those of other hosts."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from importer.store.opening import check_variables
from importer.store.own_process import begin_own_process

SERVER_THREADS = 4  # a server is the limit: eight threads gain a fifth, and leave others less of it
FEW_RUNS = 8  # below this, starting processes costs more than they save


class Workers:
    """The workers of a batch: `jobs` threads (None: as many as suit the store), or the Dask cluster at an address.

    The command line has `processes` where they are faster. They start when first needed and stay until `close`.
    """

    def __init__(
        self, jobs: int | None = None, dask: str | None = None, *, processes: bool = False, with_mlflow: bool = True
    ) -> None:
        self.jobs, self.dask, self.processes, self.with_mlflow = jobs, dask, processes, with_mlflow
        self._pool: Executor | None = None

    def jobs_for(self, runs: int, *, is_server: bool) -> int:
        """Return the number of workers: by default threads for a server, a process a core for many runs, else one."""
        if self.jobs is not None:
            return self.jobs
        if is_server:
            return SERVER_THREADS if runs > 1 else 1
        return _cores() if self.processes and runs >= FEW_RUNS else 1

    @contextmanager
    def executor(self, jobs: int, *, threads: bool) -> Iterator[Executor]:
        """Yield processes, which stay open for the next use until one of them dies; or threads, which do not."""
        if threads or jobs == 1 or not self.processes:
            self.close()
            pool = ThreadPoolExecutor(jobs)
            try:
                yield pool
            finally:
                pool.shutdown(cancel_futures=True)
            return
        try:
            if self._pool is not None:
                self._pool.submit(int)
        except BrokenProcessPool:
            self.close()
        if self._pool is None:
            self._pool = _new_processes(self.jobs or _cores(), self.with_mlflow)
            with _signals_held():
                self._pool.submit(int)  # the first task starts the processes
        yield self._pool

    def close(self) -> None:
        """End the processes, once each has finished what it has in hand."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _new_processes(jobs: int, with_mlflow: bool) -> Executor:
    if with_mlflow:
        check_variables()  # refuses those at which the processes would die
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        of_mlflow = ["mlflow.store.tracking.sqlalchemy_store"] if with_mlflow else []
        context.set_forkserver_preload(["importer.batch.forkserver", "importer.batch.worker", *of_mlflow])
    return ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin_worker)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back while workers start: an interrupted start prints a traceback."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    held: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.signal(number, lambda number, frame: held.append(number)) for number in numbers}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)  # processes begin with what this thread blocks
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for received in held:
            signal.raise_signal(received)


def _begin_worker() -> None:
    """Leave signals to the parent process, and do not outlive it."""
    begin_own_process()
    ignore_signals()

    def end_with_parent() -> None:
        if (parent := multiprocessing.parent_process()) is not None:
            parent.join()
            os._exit(1)  # when the parent was killed: this worker would wait for its next run for ever

    threading.Thread(target=end_with_parent, name="ymlf-parent", daemon=True).start()


def ignore_signals() -> None:
    """Leave Ctrl-C and SIGTERM to the parent process, which lets its workers finish the run in hand."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
