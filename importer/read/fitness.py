"""Which epoch was the best: by best.pt where it tells, else by the fitness of the release that trained."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from importer.model import TrainingRun
from importer.naming import accepted_key
from importer.read.epochs import release

BEST = "best/"  # before the key of a metric: its value at the best epoch
PARTS = {"(B)": "boxes", "(M)": "masks", "(P)": "keypoints", "": "boxes"}  # what the metrics of a suffix are of
NAMES = (("mAP50", "mAP50-95"), ("mAP_0.5", "mAP_0.5:0.95"))  # Ultralytics', YOLOv5's
PAIRS = [(f"metrics/{a}{suffix}", f"metrics/{b}{suffix}", part) for suffix, part in PARTS.items() for a, b in NAMES]
ALONE = ("metrics/mIoU", "metrics/delta1", "fitness")
NEEDED = {"metrics/accuracy_top1", "metrics/accuracy_top5", *ALONE, *(key for a, b, _ in PAIRS for key in (a, b))}
LR_PREFIXES = ("lr/", "x/lr")
TRAIN_PREFIXES = ("train/", *LR_PREFIXES)
DETECTION = ("precision", "recall", "mAP50", "mAP50-95")  # of boxes, masks or keypoints, with B, M or P behind


class Rule(NamedTuple):
    """What makes the fitness of a classifier, and of a detector."""

    accuracy: str
    is_mixed: bool  # 0.1 mAP50 + 0.9 mAP50-95, else mAP50-95


BOTH = "(accuracy_top1 + accuracy_top5) / 2"
EARLY = Rule("accuracy_top5", True)  # up to 8.0.100
MIXED = Rule(BOTH, True)  # by 8.0.145, up to 8.3.180
TODAY = Rule(BOTH, False)
YOLOV5 = Rule("accuracy_top1", True)


def fitness(cells: Mapping[str, float], rule: Rule) -> tuple[float | None, str]:
    """Return the fitness of an epoch, None without the metrics for it, and the formula for people.

    Source: ultralytics/utils/metrics.py, fitness of each Metrics class; utils/metrics.py and utils/segment/metrics.py
            of YOLOv5 and YOLOv9.
    """
    if "metrics/accuracy_top1" in cells:
        top1, top5 = cells["metrics/accuracy_top1"], cells.get("metrics/accuracy_top5", 0.0)
        return {"accuracy_top1": top1, "accuracy_top5": top5, BOTH: (top1 + top5) / 2}[rule.accuracy], rule.accuracy
    for key in ALONE:
        if key in cells:
            return cells[key], key.removeprefix("metrics/")
    pairs = [(cells[a], cells[b], part) for a, b, part in PAIRS if a in cells and b in cells]
    if not pairs:
        return None, ""
    formula = "0.1 mAP50 + 0.9 mAP50-95" if rule.is_mixed else "mAP50-95"
    formula += f" of {' plus '.join(part for _, _, part in pairs)}" if len(pairs) > 1 else ""
    return sum(0.1 * a + 0.9 * b if rule.is_mixed else b for a, b, _ in pairs), formula


def best_row(run: TrainingRun) -> tuple[int | None, str]:
    """Return the index of the best epoch, the last of equals, and the formula that found it."""
    if run.best_row is not None:
        return run.best_row, "fitness" if run.family == "tune" else "best.pt"
    best: tuple[float, int, str] | None = None
    rule = _rule_of(run)
    needed = [(at, name) for at, name in enumerate(run.epochs.columns) if name in NEEDED]
    for row, cells in enumerate(run.epochs.rows):
        value, formula = fitness({name: cell for at, name in needed if (cell := cells[at]) is not None}, rule)
        if value is not None and not math.isnan(value) and (best is None or value >= best[0]):
            best = (value, row, formula)
    return best[1:] if best else (None, "")


def _rule_of(run: TrainingRun) -> Rule:
    if run.family != "ultralytics":
        return YOLOV5 if run.family == "yolov5" else MIXED
    if run.version is None:
        return MIXED if run.epochs.seconds is None else TODAY  # without `time` it is before 8.3.9
    version = release(run.version)
    return EARLY if version <= (8, 0, 100) else MIXED if version <= (8, 3, 180) else TODAY


def best_metrics(run: TrainingRun, row: int) -> dict[str, float]:
    """Return the metrics and validation losses of an epoch, by the names that all generators share.

    A name that two columns would have is left out, as two columns of one key are.
    """
    names = [None if at.startswith(TRAIN_PREFIXES) else accepted_key(shared_name(at)) for at in run.epochs.columns]
    counts = Counter(names)
    cells = zip(names, run.epochs.rows[row], strict=True)
    return {name: cell for name, cell in cells if name is not None and cell is not None and counts[name] == 1}


def shared_name(key: str) -> str:
    """Return the name of a metric, as a column or a key in MLflow has it, that is one for all generators.

    metrics/mAP50-95(B), and metrics/mAP_0.5:0.95 of YOLOv5, are mAP50-95B.
    """
    name = key.replace("(", "").replace(")", "").removeprefix(BEST)
    if not name.startswith("metrics/"):
        return name
    name = re.sub("^mAP_0[.]5", "mAP50", re.sub("^mAP_0[.]5[:_]0[.]95", "mAP50-95", name.removeprefix("metrics/")))
    return f"{name}B" if name in DETECTION else name
