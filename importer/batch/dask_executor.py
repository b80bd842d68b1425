"""A Dask cluster as a concurrent.futures.Executor: each run a task, each worker a process that may die."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from importer._version import __version__
from importer.batch.executors import ignore_signals
from importer.errors import UsageError
from importer.store.sqlite_file import PREFIX, database_file

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
        self._client = client
        self._counted = 0.0
        self._jobs = 1

    @property
    def jobs(self) -> int:
        """How many runs the cluster does at a time, now."""
        if time.monotonic() - self._counted > COUNT_SECONDS and self._client.status == "running":
            self._jobs = max(1, sum(self._client.nthreads().values()))
            self._counted = time.monotonic()
        return self._jobs

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Return a future of what a worker returns. Errors: BrokenProcessPool when the scheduler is gone."""
        if self._client.status != "running":
            raise BrokenProcessPool("the scheduler is gone")
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()

        def settle(task: Any) -> None:
            try:
                future.set_result(task.result())
            except BaseException as error:  # noqa: BLE001  it is raised where the result is asked for
                future.set_exception(_as_local(error))

        self._client.submit(fn, *args, **kwargs, pure=False).add_done_callback(settle)
        return future


def _as_local(error: BaseException) -> BaseException:
    from dask.distributed import KilledWorker
    from distributed.client import FutureCancelledError

    is_lost = isinstance(error, (KilledWorker, FutureCancelledError, CancelledError))
    return BrokenProcessPool(str(error)) if is_lost else error


def check_address(address: str) -> None:
    """Check what needs no connection. Errors: UsageError without Dask here, or for `local:` without a number."""
    if find_spec("distributed") is None:
        raise _no_dask()
    if address.startswith("local:"):
        _count(address)


def _no_dask() -> UsageError:
    return UsageError("--dask needs Dask", hint="pip install distributed")


@contextmanager
def dask_executor(address: str) -> Iterator[DaskExecutor]:
    """Yield the Dask cluster at an address, or for `local:N` a new one of N processes of this host.

    Errors: UsageError when Dask is not installed, no scheduler answers, or a worker lacks this version of ymlf.
    """
    try:
        from dask.distributed import Client, LocalCluster
    except ImportError as error:
        raise _no_dask() from error
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("distributed"):  # each has a level of its own; the outcomes hold what they would say
            logging.getLogger(name).setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        where: Any = address
        if address.startswith("local:"):
            where = LocalCluster(
                n_workers=_count(address),
                threads_per_worker=1,
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
                preload=[__name__],
            )
            stack.enter_context(where)
        try:
            client = stack.enter_context(Client(where, timeout=CONNECT_SECONDS, set_as_default=False))
        except (OSError, TimeoutError, ValueError) as error:
            raise UsageError(f"--dask {address}: {error}", hint="is the scheduler up, at this address?") from error
        _require_same_version(client, address)
        yield DaskExecutor(client)


def _count(address: str) -> int:
    count = address.removeprefix("local:")
    if not count.isdigit() or not int(count):
        raise UsageError(f"--dask {address}: no number of workers", hint="write --dask local:4")
    return int(count)


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
