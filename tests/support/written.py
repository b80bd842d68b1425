"""Every table that a trainer could have written, as hypothesis strategies, each with the points that it stands for."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import strategies as st

Draw = st.DrawFn
Points = dict[tuple[str, int], float]

DETECT = ("box_loss", "cls_loss", "dfl_loss")
BOX = ("metrics/precision(B)", "metrics/recall(B)", "metrics/mAP50(B)", "metrics/mAP50-95(B)")
TOP = ("metrics/accuracy_top1", "metrics/accuracy_top5")
MAP5 = ("metrics/precision", "metrics/recall", "metrics/mAP_0.5", "metrics/mAP_0.5:0.95")
MASK5 = tuple(f"{name}({part})" for part in "BM" for name in MAP5)


def _columns(losses: Sequence[str], metrics: Sequence[str], rates: Sequence[str]) -> tuple[str, ...]:
    return (*(f"train/{name}" for name in losses), *metrics, *(f"val/{name}" for name in losses), *rates)


LR3, LR8 = (tuple(f"lr/pg{at}" for at in range(count)) for count in (3, 8))
XLR = ("x/lr0", "x/lr1", "x/lr2")
ULTRALYTICS = (
    _columns(DETECT, BOX, LR3),
    _columns(("box_om", "cls_om"), BOX, LR3),  # a fork's
    _columns(("loss",), TOP, LR8),
    _columns(("ce_loss", "dice_loss", "aux_loss"), ("metrics/mIoU", "metrics/pixel_acc"), LR3),
)
YOLOV5 = (
    _columns(("box_loss", "obj_loss", "cls_loss"), MAP5, XLR),
    _columns(DETECT, MAP5, XLR),
    ("train/loss", "test/loss", *TOP, "lr/0"),
    _columns(("box_loss", "seg_loss", "obj_loss", "cls_loss"), MASK5, XLR),
)
YOLOV7 = (
    "train/box_loss", "train/obj_loss", "train/cls_loss", "train/loss", "train/labels", "train/img_size", *MAP5,
    "val/box_loss", "val/obj_loss", "val/cls_loss",
)  # fmt: skip

ODD = st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, 5e-324, 1.7976931348623157e308])
VALUES = st.one_of(st.floats(), st.floats(0, 1), ODD)
PLAIN = st.one_of(st.floats(1e-9, 1e9), st.sampled_from([0.0, 1.0, math.nan, math.inf]))  # fit into ten characters
SHARES = st.floats(0, 1)


@dataclass(frozen=True)
class Written:
    """A directory's files, and the points of its run: `final` are those after the last step."""

    files: dict[str, str]
    points: Points
    mtimes: tuple[int, ...] = ()
    children: dict[str, Points] = field(default_factory=dict)  # by run name

    def write(self, save_dir: Path) -> Path:
        """The directory, with file times that may be anything."""
        save_dir.mkdir(parents=True)
        for (name, text), mtime in zip(self.files.items(), self.mtimes, strict=False):
            (save_dir / name).write_bytes(text.encode())
            os.utime(save_dir / name, (mtime, mtime))
        return save_dir


def key(column: str) -> str:
    """The metric that a column becomes."""
    return column.replace("(", "").replace(")", "")


@st.composite
def file_times(draw: Draw) -> tuple[int, ...]:
    """Times of up to four files, in s since the Unix epoch."""
    return tuple(draw(st.lists(st.integers(1_500_000_000, 1_800_000_000), min_size=4, max_size=4)))


@st.composite
def epoch_column(draw: Draw, base: int) -> list[tuple[int, int]]:
    """(session, epoch) of each row of one training: a resume goes on, or does the last epochs again."""
    rows = [(0, base + at) for at in range(draw(st.integers(1, 4)))]
    for session in range(1, 1 + draw(st.integers(0, 2))):
        first = max(base + 1, rows[-1][1] + 1 - draw(st.integers(0, 2)))
        rows += [(session, first + at) for at in range(draw(st.integers(1, 3)))]
    return rows


@st.composite
def ultralytics(draw: Draw, trainings: int = 2) -> Written:
    """A training of any release and task, resumed or not, perhaps after another in the same directory."""
    padded, base, timed = draw(st.sampled_from([(True, 0, False), (True, 1, False), (False, 1, True)]))
    columns: tuple[str, ...] = draw(st.sampled_from(ULTRALYTICS))
    form = "{:.5g}" if padded else "{:.6g}"
    header = ["epoch", *(["time"] if timed else []), *columns]
    lines, points = [header], {}
    for _ in range(draw(st.integers(1, trainings))):
        points = {}
        clock, running = 0.0, -1
        for session, number in draw(epoch_column(base)):
            clock = (clock if session == running else 0.0) + draw(st.floats(0, 1e5))
            running = session
            cells = [form.format(draw(VALUES)) for _ in columns]
            lines.append([str(number), *([form.format(clock)] if timed else []), *cells])
            points |= {(key(name), number - base): float(cell) for name, cell in zip(columns, cells, strict=True)}
    width = 23 if padded else 0
    files = {"results.csv": "".join(",".join(f"{cell:>{width}}" for cell in line) + "\n" for line in lines)}
    if draw(st.booleans()):
        files["args.yaml"] = f"task: detect\nmode: train\nepochs: {draw(st.integers(1, 9))}\nname: train\n"
    return Written(files, points, draw(file_times()))


@st.composite
def yolov5(draw: Draw) -> Written:
    """A training of YOLOv5 or YOLOv9, finished or not: COCO's repeats the last row, train-seg's ends in a short one."""
    columns: tuple[str, ...] = draw(st.sampled_from(YOLOV5))
    points: Points = {}
    lines = [["epoch", *columns]]
    for _, number in draw(epoch_column(0)):
        # An epoch that was trained again has another loss.
        cells = [f"{len(lines):.5g}", *(f"{draw(VALUES):.5g}" for _ in columns[1:])]
        lines.append([str(number), *cells])
        points |= {(key(name), number): float(cell) for name, cell in zip(columns, cells, strict=True)}
    last = max(step for _, step in points)
    if draw(st.booleans()) and int(lines[-1][0]) == last:
        measured = [name for name in columns if not name.startswith(("train/", "x/lr", "lr/"))]
        cells = {name: f"{draw(VALUES):.5g}" for name in measured}
        if "train/seg_loss" in columns:
            lines.append([str(last + 1), *cells.values()])
        else:
            kept = dict(zip(columns, lines[-1][1:], strict=True))
            lines.append([lines[-1][0], *(kept | cells).values()])
        points |= {(key(name), last + 1): float(cell) for name, cell in cells.items() if name.startswith("metrics/")}
    files = {"results.csv": "".join(",".join(f"{cell:>20}" for cell in line) + "\n" for line in lines)}
    if draw(st.booleans()):
        files["opt.yaml"] = f"data: a.yaml\nepochs: {last + 1}\nbatch_size: 16\nimgsz: 640\nname: exp\n"
        files["hyp.yaml"] = "lr0: 0.01\n"
    return Written(files, points, draw(file_times()))


@st.composite
def yolov7(draw: Draw) -> Written:
    """A training of YOLOv7, or of YOLOv5 up to v5.0."""
    points: Points = {}
    lines = []
    for _, number in draw(epoch_column(0)):
        cells = [f"{draw(PLAIN):.4g}" for _ in YOLOV7]
        lines.append("".join(f"{cell:>10}" for cell in (f"{number}/9", "7.27G", *cells)))
        points |= {(name, number): float(cell) for name, cell in zip(YOLOV7, cells, strict=True)}
    files = {"results.txt": "".join(f"{line}\n" for line in lines)}
    if draw(st.booleans()):
        files["opt.yaml"] = "data: a.yaml\nepochs: 10\nbatch_size: 16\nimg_size:\n- 640\n- 640\nname: exp\n"
    return Written(files, points, draw(file_times()))


@st.composite
def tune(draw: Draw) -> Written:
    """A tune of Ultralytics, in its table of old or of new."""
    rows: list[tuple[float, float]] = draw(st.lists(st.tuples(VALUES, SHARES), min_size=1, max_size=3))
    if draw(st.booleans()):
        table = "".join(f"{fitness!r},{lr0!r}\n" for fitness, lr0 in rows)
        files = {"tune_results.csv": f"fitness,lr0\n{table}"}
    else:
        records = [
            {"iteration": at, "fitness": fitness, "hyperparameters": {"lr0": lr0}}
            for at, (fitness, lr0) in enumerate(rows, start=1)
        ]
        files = {"tune_results.ndjson": "".join(json.dumps(record) + "\n" for record in records)}
    children = {f"{at}": {("fitness", 0): fitness} for at, (fitness, _) in enumerate(rows, start=1)}
    points = {("fitness", at): fitness for at, (fitness, _) in enumerate(rows)}
    return Written(files, points, draw(file_times()), children)


@st.composite
def evolve(draw: Draw) -> Written:
    """An evolution of YOLOv5, whose fitness its own rule tells."""
    columns = (*MAP5, "val/box_loss")
    lines: list[list[str]] = [[*columns, "lr0"]]
    points: Points = {}
    children: dict[str, Points] = {}
    for at in range(draw(st.integers(1, 3))):
        cells = [f"{draw(SHARES):.5g}" for _ in columns]
        lines.append([*cells, f"{draw(SHARES):.5g}"])
        told = {name: float(cell) for name, cell in zip(columns, cells, strict=True)}
        told["fitness"] = 0.1 * told["metrics/mAP_0.5"] + 0.9 * told["metrics/mAP_0.5:0.95"]
        points |= {(name, at): value for name, value in told.items()}
        children[f"{at + 1}"] = {(name, 0): value for name, value in told.items()}
    files = {"evolve.csv": "".join(",".join(f"{cell:>20}" for cell in line) + "\n" for line in lines)}
    return Written(files, points, draw(file_times()), children)
