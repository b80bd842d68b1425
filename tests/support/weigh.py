"""What it costs to read files of strangers, measured in a process of its own.

As a script, `python weigh.py checkpoint|directory CPU_SECONDS PATH...` prints a line of JSON for each path before it is
read and another one afterwards. A path that takes more CPU time ends the process.

Units:  megabytes of memory above what the process had before the first path.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple


class Cost(NamedTuple):
    """How the reading of a path ended ("read", or the code or class of its refusal), and what it took."""

    ended: str
    megabytes: float


def weigh(kind: str, paths: Sequence[Path], cpu_seconds: int) -> dict[str, Cost]:
    """Return the cost of each path by its name, without .pt. AssertionError names a path that took too long."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.support.weigh", kind, str(cpu_seconds), *map(str, paths)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode != -signal.SIGPROF, f"{lines[-1]['path']} takes more than {cpu_seconds} s of CPU time"
    assert done.returncode == 0, done.stderr
    return {
        Path(line["path"]).name.removesuffix(".pt"): Cost(line["ended"], line["megabytes"])
        for line in lines
        if "ended" in line
    }


def peak_megabytes() -> float:
    """Return the most memory of this process; getrusage would count that of the process that started it, too."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1000  # kB


def checkpoint(path: Path) -> str:
    """Read a checkpoint and return how that ended."""
    from importer.errors import CheckpointError
    from importer.read.checkpoint import read_checkpoint

    try:
        read_checkpoint(path)
    except CheckpointError as error:
        return error.code
    return "read"


def directory(path: Path) -> str:
    """Read and plan a run directory and return how that ended."""
    from importer import PlanError, RunDirError, plan_import, read_run

    try:
        plan_import(read_run(path))
    except (RunDirError, PlanError) as error:
        return type(error).__name__
    return "read"


def main(read: Callable[[Path], str], cpu_seconds: float, paths: Sequence[Path]) -> None:
    """Read each path, and print what that took."""
    before = peak_megabytes()
    for path in paths:
        print(json.dumps({"path": str(path)}), flush=True)
        Path("/proc/self/clear_refs").write_text("5")
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        ended = read(path)
        signal.setitimer(signal.ITIMER_PROF, 0)
        cost = {"ended": ended, "megabytes": peak_megabytes() - before}
        print(json.dumps({"path": str(path), **cost}), flush=True)


if __name__ == "__main__":
    import pandas as pd

    from importer.replay import plan  # noqa: F401  what its import takes is not the path's

    pd.Series([1.0])
    kinds = {"checkpoint": checkpoint, "directory": directory}
    main(kinds[sys.argv[1]], float(sys.argv[2]), [Path(path) for path in sys.argv[3:]])
