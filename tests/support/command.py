"""The command line as a test calls it: in this process, which has MLflow imported, or in one of its own."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

from importer.cli.main import main


class Answer(NamedTuple):
    """What a command said and how it ended."""

    status: int
    out: str
    err: str

    @property
    def told(self) -> list[dict[str, object]]:
        """The lines of JSON on stdout."""
        return [json.loads(line) for line in self.out.splitlines()]


def ymlf(*words: str | Path, cwd: Path | None = None, zone: str | None = None) -> Answer:
    """The answer of `ymlf WORDS`, run in this process; a traceback of it is the test's own."""
    out, err = io.StringIO(), io.StringIO()
    argv, here = sys.argv, Path.cwd()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    sys.argv = ["ymlf", *map(str, words)]
    status: object = 0
    try:
        os.chdir(cwd or here)
        with in_zone(zone), redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as ended:
        status = ended.code or 0
    finally:
        sys.argv = argv
        os.chdir(here)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert isinstance(status, int)
    return Answer(status, out.getvalue(), err.getvalue())


def ymlf_process(*words: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Answer:
    """The answer of `ymlf WORDS`, run in a process of its own."""
    command = [sys.executable, "-m", "importer", *map(str, words)]
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=120, check=False
    )
    return Answer(done.returncode, done.stdout, done.stderr)


@contextmanager
def in_zone(zone: str | None) -> Iterator[None]:
    """The local time of this process is that of `zone` for a while; None leaves it."""
    if zone is None:
        yield
        return
    kept = os.environ.get("TZ")
    os.environ["TZ"] = zone
    time.tzset()
    try:
        yield
    finally:
        if kept is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = kept
        time.tzset()
