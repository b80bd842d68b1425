"""Which epoch was the best: by best.pt where it tells, else by the fitness of the release that trained."""

from __future__ import annotations

import math
from collections.abc import Mapping

from importer.model import MetricPoint, TrainingRun
from importer.read.epochs import release

BEST = "best/"  # before the key of a metric: its value at the best epoch
TOP5_UNTIL = (8, 0, 100)  # fitness of a classifier was top5 up to here, the mean of top1 and top5 by 8.0.145
PARTS = {"(B)": "boxes", "(M)": "masks", "(P)": "keypoints", "": "boxes"}  # what the metrics of a suffix are of
MIXED_UNTIL = (8, 3, 180)  # fitness of boxes was 0.1 mAP50 + 0.9 mAP50-95 up to here, mAP50-95 after


def best_row(run: TrainingRun) -> tuple[int | None, str]:
    """Index of the best epoch, the last of equals, and the rule that found it.

    Source: ultralytics/utils/metrics.py, fitness of each Metrics class; utils/metrics.py of YOLOv5 and YOLOv9.
    """
    if run.best_row is not None:
        return run.best_row, "fitness" if run.family == "tune" else "best.pt"
    best: tuple[float, int] | None = None
    rule = ""
    for row, cells in enumerate(run.epochs.rows):
        told = {name: cell for name, cell in zip(run.epochs.columns, cells, strict=True) if cell is not None}
        fitness, rule = _fitness(told, run)
        if fitness is not None and not math.isnan(fitness) and (best is None or fitness >= best[0]):
            best = (fitness, row)
    return (best[1], rule) if best else (None, "")


def best_key(key: str) -> str:
    """What `--best-metrics` calls the metric of a key."""
    return BEST + key.removeprefix("metrics/")


def of_former_best(point: MetricPoint, planned: Mapping[str, Mapping[int, MetricPoint]]) -> MetricPoint | None:
    """The point whose value a stored `best/` point has kept since a later epoch became the best; None for any other."""
    if not point.key.startswith(BEST) or point.step >= max(planned.get(point.key, ()), default=0):
        return None
    key = point.key.removeprefix(BEST)
    return planned.get(f"metrics/{key}", planned.get(key, {})).get(point.step)


def _fitness(told: Mapping[str, float], run: TrainingRun) -> tuple[float | None, str]:
    if "metrics/accuracy_top1" in told:
        top1, top5 = told["metrics/accuracy_top1"], told.get("metrics/accuracy_top5", 0.0)
        if run.family == "yolov5":
            return top1, "accuracy_top1"
        if run.version is not None and release(run.version) <= TOP5_UNTIL:
            return top5, "accuracy_top5"
        return (top1 + top5) / 2, "(accuracy_top1 + accuracy_top5) / 2"
    for key in ("metrics/mIoU", "metrics/delta1", "fitness"):
        if key in told:
            return told[key], key.removeprefix("metrics/")
    total = 0.0
    parts: list[str] = []
    mixed = _is_mixed(run)
    for suffix, part in PARTS.items():
        for half, full in (("mAP50", "mAP50-95"), ("mAP_0.5", "mAP_0.5:0.95")):
            a, b = told.get(f"metrics/{half}{suffix}"), told.get(f"metrics/{full}{suffix}")
            if a is not None and b is not None:
                total += 0.1 * a + 0.9 * b if mixed else b
                parts.append(part)
    rule = "0.1 mAP50 + 0.9 mAP50-95" if mixed else "mAP50-95"
    return (total, f"{rule} of {' plus '.join(parts)}" if len(parts) > 1 else rule) if parts else (None, "")


def _is_mixed(run: TrainingRun) -> bool:
    if run.family != "ultralytics":
        return True
    if run.version is None:
        return run.epochs.seconds is None  # without `time` it is before 8.3.9
    return release(run.version) <= MIXED_UNTIL
