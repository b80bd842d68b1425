"""A process that has imported a run already and forks for each further import, so that killing one costs little.

As a script it reads JSON lines {"words": [...], "cwd": "...", "kill_at": step or null} and answers each with
{"pid": ...} as the import begins and {"signal": ... or null, "status": ... or null, "steps": ...} when it is over.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

TESTS = Path(__file__).resolve().parents[1]


class Ended(NamedTuple):
    """How an import ended: by a signal, or with a status after so many steps."""

    signal: int | None
    status: int | None
    steps: int


class ForkServer:
    """Imports, each in a process of its own that leaves what it says in the file `words` of its directory.

    A step is a row that is about to be written to a database, a commit, or a copied file that is about to get its name.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def begin(self, *words: object, cwd: Path, kill_at: int | None = None, ids: str | None = None) -> int:
        """The process id of `ymlf WORDS`, which runs; at the step of that number, from 1, it kills itself.

        With `ids`, ascending or descending, each run gets a larger or a smaller id than those before it.
        """
        stdin: IO[str] = self.process.stdin  # type: ignore[assignment]
        order = {"words": [str(word) for word in words], "cwd": str(cwd), "kill_at": kill_at, "ids": ids}
        stdin.write(json.dumps(order) + "\n")
        stdin.flush()
        return int(self._answer()["pid"])

    def wait(self) -> Ended:
        """How the command that was begun ended; it is reaped by then."""
        return Ended(**self._answer())

    def run(self, *words: object, cwd: Path, kill_at: int | None = None, ids: str | None = None) -> Ended:
        """How `ymlf WORDS` ended."""
        self.begin(*words, cwd=cwd, kill_at=kill_at, ids=ids)
        return self.wait()

    def _answer(self) -> dict:  # type: ignore[type-arg]
        return json.loads(self.process.stdout.readline())  # type: ignore[union-attr,no-any-return]


@contextmanager
def fork_server() -> Iterator[ForkServer]:
    """A running fork server."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    command = [sys.executable, "-m", "support.fork_server"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, cwd=TESTS
    ) as process:
        yield ForkServer(process)
        process.stdin.close()  # type: ignore[union-attr]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        _import_one(Path(folder))
    for line in sys.stdin:
        with tempfile.TemporaryFile() as steps:
            _answer_order(json.loads(line), steps.fileno())


def _answer_order(order: dict, steps: int) -> None:  # type: ignore[type-arg]
    pid = os.fork()
    if pid == 0:
        _import(order, steps)
    print(json.dumps({"pid": pid}), flush=True)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    count = os.fstat(steps).st_size
    ended = Ended(-code, None, count) if code < 0 else Ended(None, code, count)
    print(json.dumps(ended._asdict()), flush=True)


def _import_one(folder: Path) -> None:
    """All modules of an import are imported."""
    from support.command import ymlf
    from support.directories import Training

    save_dir = Training().write(folder / "train")
    told = ymlf("import", save_dir, "--tracking-uri", f"sqlite:///{folder}/mlflow.db", cwd=folder)
    assert told.status == 0, told.err


def _import(order: dict, steps: int) -> None:  # type: ignore[type-arg]
    from importer.cli.main import main as ymlf

    os.chdir(order["cwd"])
    words = os.open("words", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    for stream in (0, 1, 2):
        os.dup2(words, stream)
    sys.argv = ["ymlf", *order["words"]]
    _count_steps(steps, order["kill_at"])
    if order["ids"] is not None:
        _order_ids(order["ids"])
    status = 70
    try:
        ymlf()
        status = 0
    except SystemExit as ended:
        status = int(ended.code or 0)
    except Exception:  # noqa: BLE001  a bug, whose traceback the test shows
        traceback.print_exc()
    finally:
        os._exit(status)


def _order_ids(order: str) -> None:
    """MLflow takes the id of a run from uuid4."""

    def uuid4() -> uuid.UUID:
        now = time.time_ns()
        return uuid.UUID(int=now if order == "ascending" else (1 << 127) - now)

    uuid.uuid4 = uuid4


def _count_steps(steps: int, kill_at: int | None) -> None:
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    one_at_a_time = threading.Lock()  # files are copied in several threads

    def step() -> None:
        with one_at_a_time:
            os.write(steps, b".")
            if os.fstat(steps).st_size == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def execute(connection: object, cursor: object, statement: str, *_: object) -> None:
        if not statement.lstrip().upper().startswith(("SELECT", "PRAGMA")):
            step()

    event.listen(Engine, "before_cursor_execute", execute)
    event.listen(Engine, "commit", lambda connection: step())
    sys.addaudithook(lambda name, _: step() if name == "os.rename" else None)


if __name__ == "__main__":
    main()
