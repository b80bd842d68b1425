"""Is a live run whole after `--live complete`, wherever it was cut? `python bench/completion.py CASE...`

A case is a folder with `golden.json`, what the live callback logged of a training, and `runs/` with its directory. Its
calls are cut off after each, lose each one, lose pairs of them and whole kinds. The run is then completed, and compared
with the whole live run. A line per case counts the outcomes; each fault has a line of its own. Exit status: 1 on any.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from mlflow.entities import Metric, Param
from support.live import PARAMS, Call, complete, live_calls

from importer.store.opening import open_store, quiet_mlflow

METRICS = 1000  # that one request takes
APART = 3  # calls between the two that are lost together


class Recorder:
    """What would be sent by `log_batch`."""

    def __init__(self) -> None:
        self.metrics: list[Metric] = []
        self.params: list[Param] = []

    def log_batch(self, run_id: str, metrics: Sequence[Metric] = (), params: Sequence[Param] = ()) -> None:
        """Keep what is sent."""
        self.metrics += metrics
        self.params += params


def merged(calls: Sequence[Call]) -> list[Call]:
    """Return fewer calls that leave the same run: all params, all points, then the others."""
    sent, others = Recorder(), []
    for call in calls:
        if call.name.startswith("artifact") or call.name == "end":
            others.append(call)
        else:
            call.send(sent, "")
    parts: list[dict[str, Any]] = [
        {"params": sent.params[at : at + PARAMS]} for at in range(0, len(sent.params), PARAMS)
    ]
    parts += [{"metrics": sent.metrics[at : at + METRICS]} for at in range(0, len(sent.metrics), METRICS)]
    return [*(Call("batch", lambda to, run_id, part=part: to.log_batch(run_id, **part)) for part in parts), *others]


def losses(calls: Sequence[Call]) -> Iterator[tuple[str, list[Call]]]:
    """Yield what is left of the calls of a live run, and what happened to the others."""
    for count, call in enumerate(calls, start=1):
        yield f"cut after {call.name}", list(calls[:count])
    names = [call.name for call in calls]
    epochs = [name for name in names if name.startswith(("train", "fit"))]
    lost = [{name} for name in names]
    lost += [{*pair} for pair in zip(epochs, epochs[APART:], strict=False)][:20]
    lost += [{name for name in names if name.startswith(kind)} for kind in ("fit", "train", "params")]
    lost.append({*epochs[: len(epochs) // 2]})
    for some in lost:
        yield f"lost {', '.join(sorted(some))[:60]}", [call for call in calls if call.name not in some]


def live_run(case: Path) -> tuple[Path, dict[str, Any]]:
    """Return the first run directory of a case, and what live logged of it."""
    save_dir = min(path.parent for path in (case / "runs").rglob("results.csv") if (path.parent / "args.yaml").exists())
    runs = json.loads((case / "golden.json").read_text())["runs"]
    digest = hashlib.sha256((save_dir / "results.csv").read_bytes()).hexdigest()
    return save_dir, next((run for run in runs if run["artifacts"].get("results.csv") == digest), runs[0])


def main(cases: Sequence[Path]) -> int:
    """Complete the live runs of all cases and print what came of them."""
    quiet_mlflow()
    failed = 0
    for case in cases:
        save_dir, live = live_run(case.resolve())
        counts: Counter[str] = Counter()
        with tempfile.TemporaryDirectory(prefix="ymlf-completion-") as folder:
            os.chdir(folder)
            uri = f"sqlite:///{folder}/mlflow.db"
            open_store(uri)
            for number, (what, calls) in enumerate(losses(live_calls(live, save_dir))):
                outcome, faults = complete(uri, save_dir, live, merged(calls), f"e{number}")
                counts[f"{what.split()[0]}, {outcome.kind.value}{', with faults' if faults else ''}"] += 1
                if faults:
                    failed += 1
                    print(f"{case.name}: {what}: {outcome.kind.value}: {faults[0]} (of {len(faults)})")
        print(case.name, json.dumps(counts), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main([Path(word).resolve() for word in sys.argv[1:]]))
