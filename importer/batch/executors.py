"""Where a batch runs on this host: threads or processes. dask_cluster.py has many hosts."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from importer.batch.own_process import begin_own
from importer.store.sqlite_file import PREFIX, database_file
from importer.store.variables import set_variables

SERVER_THREADS = 4  # a server is the limit: eight threads gain a fifth, and leave others less of it
LOADED = ("importer.batch.worker",)  # once, before processes are made
LOADED_WITH_MLFLOW = (*LOADED, "importer.batch.loaded")
FEW_RUNS = 8  # below this, starting processes costs more than they save


def default_jobs(*, is_server: bool, runs: int) -> int:
    """Threads for a server, one process a core for a database, one worker for few runs."""
    if runs < 2:
        return 1
    if is_server:
        return SERVER_THREADS
    if runs < FEW_RUNS:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def local_executor(jobs: int, *, threads: bool, with_mlflow: bool = True) -> Iterator[Executor]:
    """Workers of this host. They leave Ctrl-C to the parent, which lets them finish the run in hand."""
    if threads or jobs == 1:
        pool: Executor = ThreadPoolExecutor(jobs, thread_name_prefix="ymlf")
    else:
        set_variables()  # which processes get as they start
        methods = multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        if "forkserver" in methods:
            context.set_forkserver_preload(list(LOADED_WITH_MLFLOW if with_mlflow else LOADED))
        pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=begin_worker)
    try:
        if isinstance(pool, ProcessPoolExecutor):
            with _deaf():
                pool.submit(int)  # for which the processes start
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _deaf() -> Iterator[None]:
    """Signals wait meanwhile, and processes that start are deaf to them: one that ends while it loads shows how."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    kept = {number: signal.signal(number, lambda number, frame: came.append(number)) for number in numbers}
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)  # of this thread; processes begin with what it blocks
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, heard)
        for number, handler in kept.items():
            signal.signal(number, handler)
        for each in came:
            signal.raise_signal(each)


def begin_worker() -> None:
    """Leave signals to the parent process, and do not outlive it."""
    begin_own()
    ignore_signals()
    threading.Thread(target=_end_with_parent, name="ymlf-parent", daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for the next run for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def ignore_signals() -> None:
    """Leave Ctrl-C and SIGTERM to the parent process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def absolute_uri(uri: str) -> str:
    """The URI of a store as a process with another working directory finds it."""
    if (file := database_file(uri)) is not None:
        _, mark, query = uri.partition("?")
        return f"{PREFIX}{file.absolute()}{mark}{query}"
    return uri if ":" in uri or uri.startswith("databricks") else str(Path(uri).absolute())
