"""What it costs to read and plan one run directory: `python tests/weigh.py SAVE_DIR` prints it as JSON.

Units:  CPU seconds; megabytes of memory above what the modules take.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pandas as pd

from importer import PlanError, RunDirError, plan_import, read_run


def peak_megabytes() -> float:
    """The most memory that this process has had; getrusage would tell that of the process that started it, too."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1000  # kB


def main(save_dir: str) -> None:
    """Read and plan, and print what that took."""
    pd.Series([1.0])
    megabytes, seconds = peak_megabytes(), time.process_time()
    try:
        plan_import(read_run(save_dir))
        ended = "planned"
    except (RunDirError, PlanError) as error:
        ended = type(error).__name__
    cost = {"seconds": time.process_time() - seconds, "megabytes": peak_megabytes() - megabytes}
    print(json.dumps({"ended": ended, **cost}))


if __name__ == "__main__":
    main(sys.argv[1])
