"""What one command costs beside MLflow's own start: `python bench/startup.py` prints medians of interleaved runs."""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FIXTURE = Path(__file__).resolve().parent.parent / "fixtures" / "runs" / "detect" / "train-2"
YMLF = [sys.executable, "-m", "importer"]
BARE = "import mlflow; mlflow.MlflowClient().search_experiments()"


def seconds(command: list[str], folder: Path) -> float:
    """How long a command takes, from its start to its end."""
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=7)
    times = parser.parse_args().times
    found: dict[str, list[float]] = {"ymlf --help": [], "MLflow alone": [], "one import": [], "already there": []}
    with tempfile.TemporaryDirectory(prefix="ymlf-bench-") as name:
        folder = Path(name)
        seconds([sys.executable, "-c", BARE], folder)  # makes the database
        empty = folder / "empty.db"
        shutil.copy(folder / "mlflow.db", empty)
        for _ in range(times):
            shutil.copy(empty, folder / "mlflow.db")
            found["ymlf --help"].append(seconds([*YMLF, "--help"], folder))
            found["MLflow alone"].append(seconds([sys.executable, "-c", BARE], folder))
            found["one import"].append(seconds([*YMLF, "import", str(FIXTURE)], folder))
            found["already there"].append(seconds([*YMLF, "import", str(FIXTURE)], folder))
    alone = statistics.median(found["MLflow alone"])
    print("| command | median s | more than MLflow alone |\n|---|---|---|")
    for command, told in found.items():
        middle = statistics.median(told)
        print(f"| {command} | {middle:.2f} | {middle - alone:+.2f} |")


if __name__ == "__main__":
    main()
