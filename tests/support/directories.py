"""Run directories for the tests: copies of the fixtures with their file times, and trainings made to measure."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import cache
from pathlib import Path, PurePosixPath

import yaml

from support.torch_saves import pickled, zipped

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
STARTED_MS = 1_700_000_000_000  # 2023-11-14T22:13:20Z
SETUP_MS = 4_000  # from args.yaml to the first epoch
COLUMNS = (
    "train/box_loss", "train/cls_loss", "train/dfl_loss", "metrics/precision(B)", "metrics/recall(B)",
    "metrics/mAP50(B)", "metrics/mAP50-95(B)", "val/box_loss", "val/cls_loss", "val/dfl_loss", "lr/pg0", "lr/pg1",
    "lr/pg2",
)  # fmt: skip


def fixture_names() -> list[str]:
    """Return the names of the fixtures that have a golden plan beside them; of those in `runs/`, only some have one."""
    names = {PurePosixPath(path).name for path in _fixture_times()}
    return sorted(name for name in names if golden_plan(name).exists())


def golden_plan(name: str) -> Path:
    """Return the file with the golden plan of a fixture."""
    return FIXTURES / f"{name}.json"


def fixture_path(name: str) -> str:
    """Return the path below fixtures/ of a fixture by its name, such as `train-2` or `segment/train`."""
    [path] = [path for path in _fixture_times() if PurePosixPath(path).match(name)]
    return path


def copy_fixture(name: str, below: Path) -> Path:
    """Copy a fixture to `below/name`, with the file times of its training, which git does not keep."""
    path = fixture_path(name)
    return _copy(path, below / PurePosixPath(path).name)


def copy_all_fixtures(below: Path) -> list[Path]:
    """Copy every fixture to its own path below a folder, with the file times of its training."""
    return [_copy(path, below / path) for path in _fixture_times()]


def _copy(path: str, save_dir: Path) -> Path:
    shutil.copytree(FIXTURES / path, save_dir)
    for name, mtime_ns in _fixture_times()[path].items():
        os.utime(save_dir / name, ns=(mtime_ns, mtime_ns))
    return save_dir


@cache
def _fixture_times() -> dict[str, dict[str, int]]:
    return json.loads((FIXTURES / "times.json").read_text())  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Training:
    """A training of Ultralytics to be written to disk; by default one of 8.3.40, finished, with `time`.

    Units:  ms since the Unix epoch; `epoch_ms` from one epoch's end to the next.
    """

    epochs: int = 3
    planned: int | None = None  # as many as there are
    epoch_ms: int = 10_000
    started_ms: int = STARTED_MS  # when args.yaml was written; the first epoch begins SETUP_MS later
    columns: tuple[str, ...] = COLUMNS
    has_time: bool = True
    padded: bool = False
    base: int = 1
    rows: tuple[Mapping[str, float], ...] = ()  # cells that are not as value_of has them, by row
    sessions: tuple[int, ...] = ()  # rows, from 1 on, at which a resume began: there `time` starts again
    args: Mapping[str, object] = field(default_factory=dict)
    last: Mapping[str, object] | None = field(default_factory=dict)  # what differs from a finished one; None: no file
    best: Mapping[str, object] | None = None
    plots: bool = True

    def with_(self, **changes: object) -> Training:
        """The training with other facts."""
        return replace(self, **changes)  # type: ignore[arg-type]

    @property
    def first_epoch_ms(self) -> int:
        """When the first epoch began."""
        return self.started_ms + SETUP_MS

    def fit_ms(self, row: int) -> int:
        """When the epoch of a row was over."""
        return self.first_epoch_ms + (row + 1) * self.epoch_ms

    def value_of(self, column: str, row: int) -> float:
        """A cell: no two are the same, and five digits hold it."""
        told = self.rows[row].get(column) if row < len(self.rows) else None
        return told if told is not None else round(0.1 + 0.01 * self.columns.index(column) + 0.001 * row, 5)

    def csv(self) -> str:
        """The text of results.csv."""
        header = ("epoch", "time", *self.columns) if self.has_time else ("epoch", *self.columns)
        lines = [header, *(self._cells(row) for row in range(self.epochs))]
        if self.padded:
            return "".join(",".join(f"{cell:>23}" for cell in line) + "\n" for line in lines)
        return "".join(",".join(line) + "\n" for line in lines)

    def _cells(self, row: int) -> tuple[str, ...]:
        began = max((start for start in self.sessions if start <= row), default=0)
        time = [f"{(row - began + 1) * self.epoch_ms / 1000:.6g}"] if self.has_time else []
        return (str(row + self.base), *time, *(f"{self.value_of(column, row):.6g}" for column in self.columns))

    def all_args(self, save_dir: Path | str) -> dict[str, object]:
        """What args.yaml holds."""
        planned = self.planned if self.planned is not None else self.epochs
        told = {"task": "detect", "mode": "train", "model": "yolo11n.pt", "data": "coco8.yaml", "epochs": planned}
        told |= {"batch": 16, "imgsz": 640, "optimizer": "auto", "seed": 0, "lr0": 0.01, "mosaic": 1.0, "project": None}
        return {**told, "name": "train", "save_dir": "runs/detect/train", **self.args}

    def checkpoint(self, changes: Mapping[str, object], save_dir: Path | str) -> dict[str, object]:
        """What a .pt holds beside its weights, saved after the last epoch where `changes` do not say otherwise."""
        saved = datetime.fromtimestamp(self.fit_ms(self.epochs - 1) / 1000, timezone.utc)
        train_args = {key: value for key, value in self.all_args(save_dir).items() if key != "save_dir"}
        rows = range(self.epochs)
        results: dict[str, Sequence[float]] = {"epoch": [row + self.base for row in rows]}
        results |= {column: [self.value_of(column, row) for row in rows] for column in self.columns}
        facts = {"epoch": -1, "version": "8.3.40", "date": saved.isoformat(), "train_results": results}
        return {**facts, "train_args": train_args, **changes}

    def write(self, save_dir: Path) -> Path:
        """The directory with all its files, each with the time at which a trainer writes it."""
        weights = save_dir / "weights"
        weights.mkdir(parents=True, exist_ok=True)
        end_ms = self.fit_ms(self.epochs - 1)
        place(save_dir / "args.yaml", yaml.safe_dump(self.all_args(save_dir), sort_keys=False), self.started_ms)
        if self.plots:
            place(save_dir / "labels.jpg", b"labels", self.started_ms + SETUP_MS - 200)
            place(save_dir / "train_batch0.jpg", b"first batch", self.started_ms + SETUP_MS + 200)
            place(save_dir / "results.png", b"curves", end_ms + 3_000)
        place(save_dir / "results.csv", self.csv(), end_ms)
        for name, changes in (("last.pt", self.last), ("best.pt", self.best)):
            if changes is not None:
                place(weights / name, zipped(pickled(self.checkpoint(changes, save_dir))), end_ms + 100)
        return save_dir


def tune_table(save_dir: Path, fitness: Sequence[float]) -> Path:
    """A tune of which only the table is left: an iteration for each fitness."""
    save_dir.mkdir(parents=True)
    lines = [
        {"iteration": number, "fitness": told, "hyperparameters": {"lr0": 0.01 * number},
         "datasets": {"shapes": {"fitness": told, "metrics/mAP50-95(B)": told}}}
        for number, told in enumerate(fitness, start=1)
    ]  # fmt: skip
    (save_dir / "tune_results.ndjson").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return save_dir


def place(path: Path, content: str | bytes, mtime_ms: int) -> None:
    """A file with this content and file time."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    os.utime(path, ns=(mtime_ms * 1_000_000,) * 2)


def touch_all(save_dir: Path, mtime_ms: int) -> None:
    """Every file time alike, as after a clone or a careless copy."""
    for path in save_dir.rglob("*"):
        os.utime(path, ns=(mtime_ms * 1_000_000,) * 2)


def round_times(save_dir: Path, grain_ms: int) -> None:
    """Every file time as an archive keeps it: cut to whole seconds, or to even ones as zip does."""
    for path in save_dir.rglob("*"):
        mtime_ms = path.stat().st_mtime_ns // 1_000_000
        os.utime(path, ns=(mtime_ms // grain_ms * grain_ms * 1_000_000,) * 2)


def move_times(save_dir: Path, by_ms: int) -> None:
    """Every file time later by as much."""
    for path in save_dir.rglob("*"):
        mtime_ns = path.stat().st_mtime_ns + by_ms * 1_000_000
        os.utime(path, ns=(mtime_ns, mtime_ns))
