"""Trees of small trainings, and what holds of a store once a whole tree has been imported."""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

from mlflow.entities import Run

from support.command import Answer, ymlf
from support.directories import SETUP_MS, Training
from support.stores import record_of, runs_in

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

from make_tree import make_tree


def small_tree(tree: Path, runs: int, *, epochs: int = 20) -> Path:
    """A tree of finished detect trainings: project000/detect/train, train2, ..., with files of a few hundred bytes."""
    make_tree(tree, runs, epochs=epochs, weights_bytes=300, plot_bytes=30)
    return tree


def training(seed: int, **changes: object) -> Training:
    """A finished training of three epochs that no other seed's is taken for."""
    args = {"seed": seed, **changes.pop("args", {})}  # type: ignore[dict-item]
    return Training(rows=({"train/box_loss": 1 + seed / 100},), args=args).with_(**changes)


def by_name(answer: Answer) -> dict[str, dict[str, object]]:
    """What `--json` told of each directory, by the directory's name."""
    return {Path(str(told["source"])).name: told for told in answer.told if "source" in told}


def outcomes(answer: Answer) -> dict[str, object]:
    """The outcome of each directory, by the directory's name."""
    return {name: told["outcome"] for name, told in by_name(answer).items()}


def summary(answer: Answer) -> object:
    """How many there were of each outcome, as the closing line of `--json` says."""
    return answer.told[-1]["summary"]


def active(uri: str) -> list[Run]:
    """The runs of a store that are not deleted."""
    return [run for run in runs_in(uri) if run.info.lifecycle_stage == "active"]


def assert_whole(uri: str, tree: Path, runs: int) -> None:
    """The store has each training of a tree once, complete, ended and as its directory says, and nothing else."""
    found = active(uri)
    assert Counter(run.data.tags["ymlf.state"] for run in found) == {"complete": runs}
    assert len({record_of(run).fingerprint for run in found}) == runs
    assert {run.info.status for run in found} == {"FINISHED"}
    verified = ymlf("verify", tree, "--tracking-uri", uri, "--json", "-j", "1")
    assert (verified.status, summary(verified)) == (0, {"verified": runs}), verified.out


def imported(*words: object, uri: str) -> Answer:
    """The answer of `ymlf import --json` with one worker."""
    return ymlf("import", *map(str, words), "--tracking-uri", uri, "--json", "-j", "1")


def names(answer: Answer) -> list[str]:
    """The names of the directories, in the order in which they were told."""
    return list(by_name(answer))


def write_unfinished(save_dir: Path, seed: int, planned: int) -> None:
    """A training that ended before its time, or has not ended yet."""
    training(seed, planned=planned, plots=False, last={"epoch": 2}).write(save_dir)
    (save_dir / "results.png").unlink(missing_ok=True)


def grow(save_dir: Path, seed: int, epochs: int) -> None:
    """The same training, seen when it had gone on for longer."""
    training(seed, epochs=epochs).write(save_dir)


def seen(save_dir: Path, epochs: int, *, ago_s: float = 1, seed: int = 1, **changes: object) -> None:
    """A training of nine epochs as it is seen while it goes on: its last row was written `ago_s` ago."""
    facts = {"planned": 9, "plots": False, "last": {"epoch": epochs - 1}, **changes}
    going = training(seed, epochs=epochs, **facts)
    started_ms = int((time.time() - ago_s) * 1000) - SETUP_MS - epochs * going.epoch_ms
    going = going.with_(started_ms=started_ms)
    going.write(save_dir)


def listed(uri: str) -> dict[str, tuple[str, str, str]]:
    """The host, experiment and runs that `ymlf history` tells of each import, by its id."""
    lines = [line.split(maxsplit=4) for line in ymlf("history", "--tracking-uri", uri).out.splitlines()[1:]]
    return {told[0]: (told[2], told[3], told[4]) for told in lines}
