"""Where a batch runs: threads, processes, or a Dask cluster, each as a concurrent.futures.Executor."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from importer.errors import UsageError

SERVER_THREADS = 4  # a server is the limit; more threads than this gain nothing
FEW_RUNS = 8  # below this, starting processes costs more than they save


def default_jobs(*, is_server: bool, is_sqlite: bool, runs: int) -> int:
    """Threads for a server, one process a core for a database, one worker for few runs."""
    if runs < 2:
        return 1
    if is_server:
        return SERVER_THREADS
    return 1 if runs < FEW_RUNS else max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)


@contextmanager
def local_executor(jobs: int, *, threads: bool) -> Iterator[Executor]:
    """Workers of this host. They leave Ctrl-C to the parent, which lets them finish the run in hand."""
    if threads or jobs == 1:
        pool: Executor = ThreadPoolExecutor(jobs, thread_name_prefix="ymlf")
    else:
        methods = multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        if "forkserver" in methods:
            context.set_forkserver_preload(["importer.batch", "mlflow"])
        pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_ignore_signals)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ignore_signals() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def absolute_uri(uri: str) -> str:
    """The URI of a store as a process with another working directory finds it."""
    prefix = "sqlite:///"
    if uri.startswith(prefix) and not uri.startswith((f"{prefix}/", f"{prefix}:memory:")):
        return prefix + str(Path(uri.removeprefix(prefix)).absolute())
    return uri if ":" in uri or uri.startswith("databricks") else str(Path(uri).absolute())


@contextmanager
def dask_executor(address: str) -> Iterator[Executor]:
    """An existing Dask cluster at `address`, or one of N local processes for `local:N`.

    Errors: UsageError when dask is not installed or nothing answers.
    """
    try:
        from dask.distributed import Client, LocalCluster
    except ImportError as error:
        raise UsageError("--dask needs Dask", hint="pip install 'ymlf-importer[dask]'") from error
    cluster = None
    if address.startswith("local:"):
        count = address.removeprefix("local:")
        if not count.isdigit() or not int(count):
            raise UsageError(f"--dask {address}: no number of workers", hint="write --dask local:4")
        cluster = LocalCluster(n_workers=int(count), threads_per_worker=1, dashboard_address=None)
    try:
        client = Client(cluster or address, timeout=10)
    except (OSError, TimeoutError, ValueError) as error:
        raise UsageError(f"--dask {address}: {error}", hint="is the scheduler up, at this address?") from error
    try:
        yield client.get_executor(pure=False, retries=3)
    finally:
        client.close()
        if cluster is not None:
            cluster.close()
