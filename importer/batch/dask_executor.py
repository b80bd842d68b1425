"""A Dask cluster as a concurrent.futures.Executor: each run a task, each worker a process that may die."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from importer._version import __version__
from importer.batch.executors import ignore_signals
from importer.errors import UsageError
from importer.store.opening import quiet_mlflow
from importer.store.uri import PREFIX, database_file

if TYPE_CHECKING:
    from dask.distributed import Client

CONNECT_SECONDS = 10
COUNT_SECONDS = 2.0  # between two counts of the workers


class DaskExecutor(Executor):
    """The workers of a cluster, which may come and go.

    Dask gives the task of a dead worker to another. A task that outlives too many of them, or the scheduler, ends in
    BrokenProcessPool, as with processes of this host. No task can be cancelled: it is not known whether it has begun.
    """

    def __init__(self, client: Client) -> None:
        self._client, self._counted, self._jobs = client, 0.0, 1

    @property
    def jobs(self) -> int:
        """How many runs the cluster does at a time, now."""
        if time.monotonic() - self._counted > COUNT_SECONDS and self._client.status == "running":
            self._jobs = max(1, sum(self._client.nthreads().values()))
            self._counted = time.monotonic()
        return self._jobs

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Return a future of what a worker returns. Errors: BrokenProcessPool when the scheduler is gone."""
        from dask.distributed import KilledWorker

        if self._client.status != "running":
            raise BrokenProcessPool("the scheduler is gone")
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()

        def settle(task: Any) -> None:
            try:
                future.set_result(task.result())
            except (KilledWorker, CancelledError) as error:
                future.set_exception(BrokenProcessPool(str(error)))
            except BaseException as error:  # noqa: BLE001  it is raised where the result is asked for
                future.set_exception(error)

        self._client.submit(fn, *args, **kwargs, pure=False).add_done_callback(settle)
        return future


def check_address(address: str) -> int | None:
    """Return N of `local:N`. Errors: UsageError when Dask is not installed here, or there is no number."""
    count = address.removeprefix("local:") if address.startswith("local:") else None
    if count is not None and (not count.isdigit() or not int(count)):
        raise UsageError(f"--dask {address}: no number of workers", hint="write --dask local:4")
    try:
        import dask.distributed  # noqa: F401
    except ImportError as error:
        raise UsageError("--dask needs Dask", hint="pip install distributed") from error
    return int(count) if count is not None else None


@contextmanager
def dask_executor(address: str, *, quiet: bool) -> Iterator[DaskExecutor]:
    """Yield the Dask cluster at an address, or for `local:N` a new one of N processes of this host.

    `quiet` silences Dask's loggers: the outcomes hold what they would say.

    Errors: as check_address; UsageError when no scheduler answers, or a worker lacks this version of ymlf.
    """
    processes = check_address(address)
    from dask.distributed import Client, LocalCluster

    for name in list(logging.root.manager.loggerDict) if quiet else ():
        if name.startswith("distributed"):  # each has a level of its own
            logging.getLogger(name).setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        where: Any = address
        if processes is not None:
            options = {"threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": logging.CRITICAL}
            where = stack.enter_context(LocalCluster(n_workers=processes, preload=[__name__], **options))
        try:
            client = stack.enter_context(Client(where, timeout=CONNECT_SECONDS, set_as_default=False))
        except (OSError, TimeoutError, ValueError) as error:
            raise UsageError(f"--dask {address}: {error}", hint="is the scheduler up, at this address?") from error
        _require_same_version(client, address)
        yield DaskExecutor(client)


def _require_same_version(client: Client, address: str) -> None:
    hint = f"install ymlf-importer {__version__} where the workers run"
    try:
        others = set(client.run(installed_version).values()) - {__version__}
    except ImportError as error:
        raise UsageError(f"--dask {address}: the workers cannot load ymlf: {error}", hint=hint) from error
    if others:
        raise UsageError(f"--dask {address}: workers have ymlf {', '.join(sorted(others))}", hint=hint)


def dask_setup(worker: object) -> None:
    """Leave Ctrl-C to the parent process. Dask calls this in each worker of this host as it starts."""
    quiet_mlflow()
    ignore_signals()


def installed_version() -> str:
    """Return the version of ymlf where this is called."""
    return __version__


def absolute_uri(uri: str) -> str:
    """Return the URI of a store as a process with another working directory finds it."""
    if (file := database_file(uri)) is not None:
        _, mark, query = uri.partition("?")
        return f"{PREFIX}{file.absolute()}{mark}{query}"
    return uri if ":" in uri or uri.startswith("databricks") else str(Path(uri).absolute())
