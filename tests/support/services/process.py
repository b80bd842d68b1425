"""A server in a process group of its own, that does not outlive the tests."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

START_SECONDS = 60.0  # three to seven are usual; two cores under xdist need more
LOG_LINES = 30

# A group of its own hears no Ctrl-C, and a SIGKILLed pytest cleans nothing up: this shell does, when its stdin ends.
WATCHDOG = 'read -r _; kill -s "$1" -- "$2"'


class ServiceError(RuntimeError):
    """A service did not start or has died; the message ends with the tail of its log."""


def free_port() -> int:
    """A loopback port nothing listens on, from below the ephemeral range.

    Above it, a client that retries while the server is down may be given that very port as its own.
    """
    while True:
        port = random.SystemRandom().randrange(10240, 32768)
        if is_free(port):
            return port


def is_free(port: int) -> bool:
    """Whether a server can listen on this loopback port; lingering connections of the last one do not matter."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def answers_ok(url: str) -> bool:
    """Whether GET answers 200 within a second; no proxy of the environment is asked."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=1)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def wait_until(condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """The condition holds; ServiceError when it does not come to that in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ServiceError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.02)


class ServerProcess:
    """A command that serves a port, and that can be killed and started again."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        port: int,
        log: Path,
        is_ready: Callable[[], bool],
        env: Mapping[str, str],
        uid: int | None = None,
        stop_signal: signal.Signals = signal.SIGKILL,
        whole_group: bool = True,
    ) -> None:
        self.command = list(command)
        self.port = port
        self.log = log
        self.is_ready = is_ready
        self.env = dict(env)
        self.uid = uid
        self.stop_signal = stop_signal
        self.whole_group = whole_group
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id, which is the process group's too."""
        if self._process is None:
            raise ServiceError(f"{self.command[0]} is not running")
        return self._process.pid

    def start(self) -> None:
        """The command runs and is ready; if it does not get there, ServiceError, and nothing is left running."""
        if self._process is not None:
            raise ServiceError(f"{self.command[0]} runs already")
        try:
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    self.command,
                    cwd=self.log.parent,
                    env=self.env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    **as_user(self.uid),
                )
            self._watchdog = subprocess.Popen(
                ["/bin/sh", "-c", WATCHDOG, "watchdog", self.stop_signal.name.removeprefix("SIG"), self._target()],
                stdin=subprocess.PIPE,
                start_new_session=True,
            )
            wait_until(self._has_come_up, f"{self.command[0]} is ready")
        except ServiceError as error:
            self.kill()
            log_tail = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
            raise ServiceError("\n".join([str(error), *log_tail])) from error
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """Nothing of it runs any more; nothing is done if nothing did."""
        if self._watchdog is not None and self._watchdog.stdin is not None:
            self._watchdog.kill()
            self._watchdog.wait()
            self._watchdog.stdin.close()
            self._watchdog = None
        if self._process is not None:
            # What ended by itself is not there to be killed; what it left of its group is.
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(self._target()), self.stop_signal)
            self._process.wait(START_SECONDS)
            self._process = None
            # Its workers' ends are not ours to wait for; the port tells when the last of them is gone.
            wait_until(lambda: is_free(self.port), f"{self.command[0]} frees port {self.port}")

    def restart(self) -> None:
        """It runs again, on the same port and the same files, whether it ran before or not."""
        self.kill()
        self.start()

    def _target(self) -> str:
        return str(-self.pid if self.whole_group else self.pid)

    def _has_come_up(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise ServiceError(f"{self.command[0]} ended with {self._process.returncode}")
        return self.is_ready()


def as_user(uid: int | None) -> dict[str, Any]:
    """The arguments that let subprocess run a command as this user, none for our own."""
    return {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}
