"""An HTTP/1.1 proxy that counts requests and, if told to, harms some of them.

With no faults it is transparent: it keeps connections alive on both sides, streams bodies, and where the server hangs
up or is not there it hangs up too. Faults, by name:

    drop          the connection is closed, the server sees nothing
    delay         the request is forwarded after `delay_seconds`
    400 ... 599   this status is answered, the server sees nothing
    cut_request   half of the request's body is forwarded, then both connections are closed
    lose_answer   the request is forwarded and takes effect, then the connection is closed
    cut_answer    as lose_answer, after the head and half of the body of the answer
    twice         the request is forwarded twice, one after the other, and the second answer comes back

With a `token` it is a gate, too: a request without that bearer token is answered 401, the server sees nothing.

Of a chunked body, half of the first piece is let through; a request without a body cannot be cut, and is dropped.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

from .relay import RelayServer

NAMED_FAULTS = ("drop", "delay", "cut_request", "lose_answer", "cut_answer", "twice")

Chooser = Callable[[str, str, int], "str | None"]


class FaultProxy:
    """A running proxy: what it saw, and what it is to do."""

    def __init__(self, faults: Mapping[str, float], seed: int) -> None:
        for fault in faults:
            check_fault(fault)
        self.url = ""  # where clients find it, once it runs
        self.faults = dict(faults)
        self.seed = seed
        self.token: str | None = None
        self.script: Sequence[str | None] | Chooser | None = None
        self.counts: Counter[tuple[str, str]] = Counter()  # requests by (method, path without query), harmed or not
        self.faulted: Counter[str] = Counter()  # requests by the fault that was done to them
        self.answered_bytes: Callable[[], int] = lambda: 0  # of the bodies that came through
        self._lock = threading.Lock()

    def reset(self) -> None:
        """Nothing counted yet, and a script that is a list starts again."""
        with self._lock:
            self.counts.clear()
            self.faulted.clear()

    def fault_of(self, method: str, path: str, authorization: str | None = None) -> str | None:
        """The fault of the request that has just come, which is counted.

        A script that is a list is followed in order of arrival, and ends in None. One that is a callable gets
        (method, path, how many of that method and path came before). Else chance decides, from the seed and those
        three, so that neither threads nor retries elsewhere change what befalls a request.
        """
        with self._lock:
            index, arrived = self.counts[method, path], self.counts.total()
            self.counts[method, path] += 1
        if self.token is not None and authorization != f"Bearer {self.token}":
            fault: str | None = "401"
        elif callable(self.script):
            fault = self.script(method, path, index)
        elif self.script is not None:
            fault = self.script[arrived] if arrived < len(self.script) else None
        else:
            fault = self._by_chance(method, path, index)
        if fault is not None:
            check_fault(fault)
            with self._lock:
                self.faulted[fault] += 1
        return fault

    def _by_chance(self, method: str, path: str, index: int) -> str | None:
        drawn = random.Random(f"{self.seed} {method} {path} {index}").random()
        for fault, probability in self.faults.items():
            drawn -= probability
            if drawn < 0:
                return fault
        return None


@contextmanager
def fault_proxy(
    upstream_url: str, faults: Mapping[str, float] | None = None, seed: int = 0, delay_seconds: float = 0.5
) -> Iterator[FaultProxy]:
    """A running proxy before a server; `faults` gives each fault's probability. With none it only counts."""
    proxy = FaultProxy(faults or {}, seed)
    upstream = urlsplit(upstream_url)
    server = RelayServer((upstream.hostname or "127.0.0.1", upstream.port or 80), proxy.fault_of, delay_seconds)
    proxy.answered_bytes = lambda: server.answered_bytes
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        server.close_connections()


def check_fault(fault: str) -> None:
    """ValueError for a word that is no fault."""
    if fault not in NAMED_FAULTS and not (fault.isdecimal() and 400 <= int(fault) <= 599):
        raise ValueError(f"{fault!r} is no fault: {', '.join(NAMED_FAULTS)}, or a status from 400 to 599")
