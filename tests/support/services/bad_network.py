"""What befalls a batch in a bad network: requests that come to harm by chance, and a server that is killed amid it."""

from __future__ import annotations

import random
from collections.abc import Sequence

from .fault_proxy import FaultProxy
from .mlflow_server import MlflowServer
from .process import wait_until

FAULTS = ("drop", "delay", "500", "503", "lose_answer", "cut_request", "cut_answer")
EACH = 0.05
CREATED = ("POST", "/api/2.0/mlflow/runs/create")


def by_chance(method: str, path: str, index: int) -> str | None:
    """One fault or another for seven requests of twenty."""
    drawn = random.Random(f"{method} {path} {index}").random()
    at = int(drawn / EACH)
    return FAULTS[at] if at < len(FAULTS) else None


def restart_at(server: MlflowServer, proxy: FaultProxy, created: Sequence[int], seconds: float = 120) -> None:
    """Kill the server and start it again each time that so many runs have been asked for."""
    for count in created:
        wait_until(lambda at=count: proxy.counts[CREATED] >= at, f"{count} runs", seconds)  # type: ignore[misc]
        server.restart()
