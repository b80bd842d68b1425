"""Which epoch was the best: by best.pt where it tells, else by the fitness of the release that trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from importer.model import MetricPoint, TrainingRun
from importer.read.epochs import release

BEST = "best/"  # before the key of a metric: its value at the best epoch
PARTS = {"(B)": "boxes", "(M)": "masks", "(P)": "keypoints", "": "boxes"}  # what the metrics of a suffix are of
NAMES = (("mAP50", "mAP50-95"), ("mAP_0.5", "mAP_0.5:0.95"))  # Ultralytics', YOLOv5's


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
    for key in ("metrics/mIoU", "metrics/delta1", "fitness"):
        if key in cells:
            return cells[key], key.removeprefix("metrics/")
    keys = [(f"metrics/{a}{suffix}", f"metrics/{b}{suffix}", part) for suffix, part in PARTS.items() for a, b in NAMES]
    pairs = [(cells[a], cells[b], part) for a, b, part in keys if a in cells and b in cells]
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
    for row, cells in enumerate(run.epochs.rows):
        known = {name: cell for name, cell in zip(run.epochs.columns, cells, strict=True) if cell is not None}
        value, formula = fitness(known, _rule_of(run))
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


def best_key(key: str) -> str:
    """Return what `--best-metrics` calls the metric of a key."""
    return BEST + key.removeprefix("metrics/")


def of_former_best(point: MetricPoint, planned: Mapping[str, Mapping[int, MetricPoint]]) -> MetricPoint | None:
    """Return the planned point whose value a stored `best/` point has kept while a later epoch became the best."""
    if not point.key.startswith(BEST) or point.step >= max(planned.get(point.key, ()), default=0):
        return None
    key = point.key.removeprefix(BEST)
    return planned.get(f"metrics/{key}", planned.get(key, {})).get(point.step)
