"""How far a batch is, on a terminal and in a log."""

from __future__ import annotations

import io
import os
import pty
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import pytest
from rich.console import Console
from support.command import ymlf
from support.directories import tune_table
from support.services.process import wait_until
from support.trees import training

from importer.batch.gather import gather
from importer.batch.scheduler import Stop
from importer.batch.summary import Progress
from importer.cli.main import main
from importer.cli.progress import Totals, looked, show_progress
from importer.report import Kind, Outcome


def on_a_terminal(*words: object, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `ymlf WORDS` writes to a terminal, with its codes."""
    ours, theirs = pty.openpty()
    written: list[bytes] = []
    reader = threading.Thread(target=lambda: written.extend(_all_of(ours)), daemon=True)
    reader.start()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr("sys.argv", ["ymlf", *map(str, words)])
    try:
        with ExitStack() as stack:
            err = stack.enter_context(os.fdopen(theirs, "w"))
            out = stack.enter_context(os.fdopen(theirs, "w", closefd=False))
            for entered in (redirect_stdout(out), redirect_stderr(err), suppress(SystemExit)):
                stack.enter_context(entered)
            main()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    reader.join(60)
    os.close(ours)
    return b"".join(written).decode()


def _all_of(terminal: int) -> Iterator[bytes]:
    """What is written to the other end of a terminal until that is closed."""
    with suppress(OSError):
        while block := os.read(terminal, 1 << 16):
            yield block


def lines_left(written: str) -> list[str]:
    """Each line as it stands in the end, if not erased: what was written since it was erased last."""
    return [line.rpartition("\x1b[2K")[2] for line in written.split("\n")]


@pytest.mark.parametrize("words", [(), ("-v",), ("--json",)], ids=["a table", "each run", "JSON"])
def test_no_line_on_a_terminal_is_joined_to_the_bar(
    words: tuple[str, ...], tmp_path: Path, empty_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for seed in range(4):
        training(seed).write(tmp_path / "runs" / f"train{seed}")
    written = on_a_terminal(
        "import", tmp_path / "runs", "--tracking-uri", empty_store, "-j", "1", *words, monkeypatch=monkeypatch
    )
    told = [line for line in lines_left(written) if "imported" in line]
    assert len(told) == {(): 1, ("-v",): 5, ("--json",): 5}[words]
    assert ("━" in written) == (words != ("--json",))
    assert not any("━" in line for line in told), told


def test_a_log_is_told_every_few_seconds_also_while_one_run_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importer.cli.progress.LINE_SECONDS", 0.01)
    log = io.StringIO()
    with show_progress(Console(file=log), Totals(2).progress):
        wait_until(lambda: log.getvalue().count("\n") > 2, "three lines")
    lines = log.getvalue().splitlines()
    assert len(lines) > 2 and set(lines) == {"0/2 runs"}


def test_a_log_is_told_how_far_the_look_at_a_tree_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importer.cli.progress.LINE_SECONDS", 0.01)
    log = io.StringIO()
    progress = Progress()
    with show_progress(Console(file=log), lambda: looked(progress)):
        progress.found = 1200
        wait_until(lambda: "1,200" in log.getvalue(), "the first line")
        progress.is_searching, progress.surveyed = False, 640
        wait_until(lambda: "640" in log.getvalue(), "the second line")
    assert list(dict.fromkeys(log.getvalue().splitlines()))[-2:] == [
        "searching: 1,200 run directories found",
        "reading: 640 of 1,200 run directories",
    ]


def test_gather_tells_what_it_found_and_read(tmp_path: Path) -> None:
    for seed in range(20):
        training(seed).write(tmp_path / f"train{seed}")
    progress = Progress()
    gather([tmp_path], progress=progress)
    assert progress == Progress(found=20, surveyed=20, is_searching=False)


@pytest.mark.parametrize("seconds", [0.0, 0.5], ids=["short", "long"])
def test_a_look_that_takes_long_is_told_on_a_terminal_and_leaves_nothing(
    seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importer.cli.progress.SHORT_SECONDS", 0.1)
    screen = io.StringIO()
    with show_progress(Console(file=screen, force_terminal=True), lambda: "12 found"):
        time.sleep(seconds)
    told, _, after = screen.getvalue().rpartition("12 found")
    assert bool(told) == bool(seconds)
    assert not told or "\x1b[1A\x1b[2K" in after  # one up, and that line erased


@pytest.fixture
def tune_and_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A training and the table of a tune of three iterations; progress is a line every moment."""
    monkeypatch.setattr("importer.cli.progress.LINE_SECONDS", 0.001)
    training(1).write(tmp_path / "runs" / "train")
    tune_table(tmp_path / "runs" / "tune", (0.25, 0.75, 0.5))
    return tmp_path / "runs"


def test_the_iterations_of_a_tune_are_counted_from_the_start(tune_and_train: Path, empty_store: str) -> None:
    answer = ymlf("import", tune_and_train, "--iterations", "all", "--tracking-uri", empty_store, "-j", "1")
    lines = [line for line in answer.err.splitlines() if line[:1].isdigit()]
    assert list(dict.fromkeys(line.split()[0].rstrip(",") for line in lines))[:5] == [f"{done}/5" for done in range(5)]
    assert "5  imported" in answer.out


def test_a_verification_tells_runs_a_second_and_no_bytes(tune_and_train: Path, empty_store: str) -> None:
    ymlf("import", tune_and_train, "--tracking-uri", empty_store, "-j", "1")
    answer = ymlf("verify", tune_and_train, "--tracking-uri", empty_store, "-j", "1")
    lines = answer.err.splitlines()
    assert any("runs/s" in line for line in lines)
    assert not any("points" in line or "B/s" in line for line in lines)


def test_a_tune_that_has_no_run_has_no_iterations_to_wait_for() -> None:
    totals = Totals(4, below={"key": 2})
    totals.add(Outcome(Kind.FAILED, "runs/tune", "the store is gone", key="key"))
    assert totals.progress().startswith("1/2 runs, ")


def test_no_time_is_told_before_a_run_is_done() -> None:
    totals = Totals(3, settled=1)
    totals.add(Outcome(Kind.DUPLICATE, "runs/copy", "runs/train"))
    assert totals.progress() == "1/3 runs"
    totals.add(Outcome(Kind.ALREADY_THERE, "runs/train"))
    assert totals.progress().endswith(" left")


def test_what_was_not_tried_is_not_told_as_done() -> None:
    stop = Stop()
    totals = Totals(3, stop=stop)
    totals.add(Outcome(Kind.ALREADY_THERE, "runs/train"))
    stop.asked = True
    assert totals.progress().startswith("1/3 runs, ") and "left" not in totals.progress()
    for name in ("train2", "train3"):
        totals.add(Outcome(Kind.NOT_TRIED, f"runs/{name}", "interrupted"))
    assert (totals.done, totals.known) == (1, 3) and "left" not in totals.progress()
