"""Rank trainings by the metrics of their best epochs: a table for each task and dataset. Pure: no I/O happens here."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from importer.errors import UsageError
from importer.model import RunPath, TrainingRun
from importer.naming import dataset_name, model_name
from importer.read.fitness import DETECTION, best_metrics, best_row, shared_name

if TYPE_CHECKING:
    import pandas as pd

LEADING = {"segment": "mAP50-95M", "pose": "mAP50-95P"}  # of the others: the first of USUAL that the runs have
USUAL = ("mAP50-95B", "mAP50-95M", "mAP50-95P", "accuracy_top1", "mIoU", "delta1", "fitness")
PARTS = "BMP"  # the last letter of a metric of boxes, masks, keypoints
LESS_IS_BETTER = re.compile(r".*loss|abs_rel|rmse|silog")
UNKNOWN = "unknown"


@dataclass(frozen=True)
class BestEpoch:
    """The facts of one training that are ranked, and the metrics of its best epoch."""

    source: str  # the directory, as given
    run: str  # its name
    task: str
    dataset: str
    model: str
    generator: str
    epochs: int
    best_epoch: int | None  # from 0, as MLflow's steps; None where no metric tells
    metrics: tuple[tuple[str, float], ...]  # by the names that all generators share
    has_best: bool  # best.pt is there
    location: RunPath | None = None  # where the directory can be read

    def value(self, name: str) -> float | None:
        """Return the value of a metric at the best epoch, None where the run has none."""
        return dict(self.metrics).get(name)


@dataclass(frozen=True)
class Ranked:
    """A training at its place in a table."""

    rank: int
    best: BestEpoch

    def as_json(self) -> dict[str, object]:
        """Return the row as plain values."""
        facts = {name: value for name, value in vars(self.best).items() if name != "location"}
        return {"rank": self.rank, **facts, "metrics": dict(self.best.metrics)}


@dataclass(frozen=True)
class Table:
    """The trainings of one task on one dataset, the best first."""

    task: str
    dataset: str
    by: str  # the metric that ranks
    companions: tuple[str, ...]  # of the same boxes, masks or keypoints
    rows: tuple[Ranked, ...]
    runs: int  # that were ranked; `rows` may be the first of them


@dataclass(frozen=True)
class Ranking:
    """A table for each task and dataset, and the directories that are in no table, with the reason."""

    tables: tuple[Table, ...]
    left_out: tuple[tuple[str, str], ...] = ()

    def to_pandas(self) -> pd.DataFrame:
        """Return all rows as one table, with a column for each metric."""
        import pandas as pd

        rows = [
            {**row.as_json(), "by": table.by, "value": row.best.value(table.by)} | dict(row.best.metrics)
            for table in self.tables
            for row in table.rows
        ]
        return pd.DataFrame(rows).drop(columns="metrics", errors="ignore")


class Wanted(NamedTuple):
    """What is to be ranked; None takes all."""

    task: str | None = None
    dataset: str | None = None
    by: str | None = None  # a metric; None: the usual one of each task
    top: int | None = None  # rows of each table


def best_epochs(run: TrainingRun) -> tuple[BestEpoch, ...]:
    """Return what is ranked of a training; of a tune, that of each iteration that has a directory."""
    if run.family == "tune":
        return tuple(best for child in run.children if child.iteration is None for best in best_epochs(child))
    row, _ = best_row(run)
    results = run.file(run.results_file) if run.results_file else None
    return (
        BestEpoch(
            source=run.save_dir,
            run=run.name,
            task=run.task or UNKNOWN,
            dataset=dataset_name(run.args.get("data")) or UNKNOWN,
            model=model_name(run.args) or UNKNOWN,
            generator=run.generator,
            epochs=len(run.epochs),
            best_epoch=run.epochs.steps[row] if row is not None else None,
            metrics=tuple(best_metrics(run, row).items()) if row is not None else (),
            has_best=any(run.file(path) for path in ("weights/best.pt", "best.pt")),
            location=results.location.parent if results is not None else None,
        ),
    )


def rank(bests: Iterable[BestEpoch], wanted: Wanted) -> Ranking:
    """Return the tables of the tasks and datasets that are wanted.

    Errors: UsageError when no run is of the task or dataset, or has the metric; its hint names those there are.
    """
    chosen = _select(bests, wanted)
    by = shared_name(wanted.by) if wanted.by is not None else None
    names = {name for best in chosen for name, _ in best.metrics}
    meant = {by + part for part in PARTS} if by in DETECTION else {by}  # that of boxes, masks or keypoints
    if by is not None and names and not names & meant:
        raise UsageError(f"no run has a metric {wanted.by!r}", hint=_hint("metric", by, names))
    tables, left_out = [], []
    for task, dataset in sorted({(best.task, best.dataset) for best in chosen}):
        group = [best for best in chosen if (best.task, best.dataset) == (task, dataset)]
        leading = leading_metric(task, group)
        name = by or leading
        name += _part(leading) if name in DETECTION else ""
        ranked = [best for best in group if best.value(name) is not None]
        for best in (best for best in group if best.value(name) is None):
            why = f"no metric {name}" if best.metrics else "no metric that tells its best epoch"
            left_out.append((best.source, why if best.epochs else "no epochs"))
        ranked.sort(key=lambda best: _order(best, name))
        if ranked:
            rows = tuple(Ranked(place, best) for place, best in enumerate(ranked[: wanted.top], start=1))
            tables.append(Table(task, dataset, name, _companions(name, leading, ranked), rows, len(ranked)))
    return Ranking(tuple(tables), tuple(left_out))


def _select(bests: Iterable[BestEpoch], wanted: Wanted) -> list[BestEpoch]:
    """Return those of the task and the dataset that are wanted. Errors: UsageError when there is no run of it."""
    chosen = list(bests)
    for what in ("task", "dataset"):
        name = getattr(wanted, what)
        there = {getattr(best, what) for best in chosen}
        if name is not None and chosen and name not in there:
            raise UsageError(f"no run of {what} {name!r} is here", hint=_hint(what, name, there))
        chosen = [best for best in chosen if name in (None, getattr(best, what))]
    return chosen


def _hint(what: str, wanted: str, names: Collection[str]) -> str:
    """Return a hint with the names that are like one, else with all of them."""
    known = {name.lower(): name for name in sorted(names)}
    close = difflib.get_close_matches(wanted.lower(), known, n=5, cutoff=0.5)
    listed = [known[name] for name in close] or sorted(names)
    return f"{what} {listed[0]} is here" if len(listed) == 1 else f"{what}s here are {', '.join(listed)}"


def leading_metric(task: str, group: Sequence[BestEpoch]) -> str:
    """Return the metric by which a task is ranked: that of the masks or keypoints where it has them."""
    names = {name for best in group for name, _ in best.metrics}
    return next((name for name in (LEADING.get(task, ""), *USUAL, *sorted(names)) if name in names), USUAL[0])


def _companions(by: str, leading: str, group: Sequence[BestEpoch]) -> tuple[str, ...]:
    """Return the other metrics of the boxes, masks or keypoints that a metric is of; of a loss, of the leading one."""
    part = _part(leading if by.startswith("val/") else by)
    names = dict.fromkeys(name for best in group for name, _ in best.metrics)
    return tuple(name for name in names if name != by and _part(name) == part and not name.startswith("val/"))


def _part(name: str) -> str:
    return name[-1] if name[:-1] in DETECTION else ""


def _order(best: BestEpoch, name: str) -> tuple[bool, float, str]:
    """Return the sort key of a training: the better value first, nan last."""
    value = best.value(name)
    if value is None or math.isnan(value):
        return True, 0.0, best.source
    return False, value if LESS_IS_BETTER.fullmatch(name) else -value, best.source
