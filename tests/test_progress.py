"""How far a batch is, on a terminal and in a log."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from trees import training

from importer.report import Tally
from importer.terminal.progress import show_progress


def on_a_terminal(*words: object) -> str:
    """What `ymlf WORDS` writes to a terminal, with its codes."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "importer.cli", *map(str, words)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        written = b""
        try:
            while block := os.read(ours, 1 << 16):
                written += block
        except OSError:  # the other end was closed
            pass
        finally:
            os.close(ours)
    assert process.returncode == 0, written
    return written.decode()


def lines_left(written: str) -> list[str]:
    """Each line as it stands in the end, if not erased: what was written since it was erased last."""
    return [line.rpartition("\x1b[2K")[2] for line in written.split("\n")]


@pytest.mark.parametrize("words", [(), ("-v",), ("--json",)], ids=["a table", "each run", "JSON"])
def test_no_line_on_a_terminal_is_joined_to_the_bar(words: tuple[str, ...], tmp_path: Path, empty_store: str) -> None:
    for seed in range(4):
        training(seed).write(tmp_path / "runs" / f"train{seed}")
    written = on_a_terminal("import", tmp_path / "runs", "--tracking-uri", empty_store, "-j", "1", *words)
    told = [line for line in lines_left(written) if "imported" in line]
    assert len(told) == {(): 1, ("-v",): 5, ("--json",): 5}[words]
    assert ("━" in written) == (words != ("--json",))
    assert not any("━" in line for line in told), told


def test_a_log_is_told_every_few_seconds_also_while_one_run_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importer.terminal.progress.LINE_SECONDS", 0.05)
    log = io.StringIO()
    with show_progress(Console(file=log), Tally(2), quiet=False):
        time.sleep(0.5)
    lines = log.getvalue().splitlines()
    assert len(lines) > 2 and set(lines) == {"0/2 runs, 0 points/s, 0 B/s"}
