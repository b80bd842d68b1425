"""A Dask cluster as a concurrent.futures.Executor: each run a task, each worker a process that may die."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from importer._version import __version__
from importer.batch.executors import ignore_signals
from importer.batch.own_process import begin_own
from importer.errors import UsageError

if TYPE_CHECKING:
    from dask.distributed import Client

CONNECT_SECONDS = 10
COUNT_SECONDS = 2.0  # for which the number of workers is not asked for again


class DaskExecutor(Executor):
    """The workers of a cluster, which may come and go.

    A task whose worker dies is given to another by the scheduler; one that outlives its workers' deaths too often, or
    the scheduler, ends in BrokenProcessPool, as with processes of this host. No task is called back once it was given:
    whether a worker has begun it is not known here.
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
        """A future that holds what a worker returned. Errors: BrokenProcessPool when the scheduler is gone."""
        if self._client.status != "running":
            raise BrokenProcessPool("the scheduler is gone")
        outcome: Future[Any] = Future()
        outcome.set_running_or_notify_cancel()

        def tell(task: Any) -> None:
            try:
                outcome.set_result(task.result())
            except BaseException as error:  # noqa: BLE001  it goes on to whoever waits for the outcome
                outcome.set_exception(_as_local(error))

        self._client.submit(fn, *args, **kwargs, pure=False).add_done_callback(tell)
        return outcome


def _as_local(error: BaseException) -> BaseException:
    from concurrent.futures import CancelledError

    from dask.distributed import KilledWorker
    from distributed.client import FutureCancelledError

    if isinstance(error, (KilledWorker, FutureCancelledError, CancelledError)):
        return BrokenProcessPool(str(error))
    return error


def check_address(address: str) -> None:
    """Errors: UsageError for what can be told without a connection: no Dask here, or `local:` without a number."""
    if find_spec("distributed") is None:
        raise UsageError("--dask needs Dask", hint="pip install distributed")
    if address.startswith("local:"):
        _count(address)


@contextmanager
def dask_executor(address: str) -> Iterator[DaskExecutor]:
    """An existing Dask cluster at `address`, or one of N processes of this host for `local:N`.

    Errors: UsageError when Dask is not installed, nothing answers, or the workers have another ymlf or none.
    """
    try:
        from dask.distributed import Client, LocalCluster
    except ImportError as error:
        raise UsageError("--dask needs Dask", hint="pip install distributed") from error
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("distributed"):  # each has a level of its own; what they would say, the outcomes tell
            logging.getLogger(name).setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        where: Any = address
        if address.startswith("local:"):
            where = stack.enter_context(
                LocalCluster(
                    n_workers=_count(address),
                    threads_per_worker=1,
                    dashboard_address=None,
                    silence_logs=logging.CRITICAL,
                    preload=[__name__],
                )
            )
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
        found = set(client.run(installed_version).values())
    except ImportError as error:
        raise UsageError(f"--dask {address}: the workers cannot load ymlf: {error}", hint=hint) from error
    if found - {__version__}:
        raise UsageError(f"--dask {address}: workers have ymlf {', '.join(sorted(found - {__version__}))}", hint=hint)


def dask_setup(worker: object) -> None:
    """Called by Dask in each worker of this host as it starts: Ctrl-C is the parent's, who lets it finish its run."""
    begin_own()
    ignore_signals()


def installed_version() -> str:
    """The version of ymlf where this is called."""
    return __version__
