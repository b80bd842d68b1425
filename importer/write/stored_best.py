"""The best epoch of a run of the store, which an import or the live callback logged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from importer.model import Epochs, TrainingRun
from importer.read.ranking import BestEpoch, best_epochs
from importer.store.store import Store
from importer.write.lookup import stored_points, stored_run

if TYPE_CHECKING:
    from mlflow.entities import Run


def stored_best(store: Store, run: Run, task: str | None = None) -> BestEpoch:
    """Return what ranks a run, by the metrics that the store has of it; its source is the run id.

    `task` is that of the run where its params do not name one. Errors: StoreError.
    """
    [best] = best_epochs(_stored_training(store, run, task))
    return best


def _stored_training(store: Store, run: Run, task: str | None) -> TrainingRun:
    """Return the training of a run as far as params and metrics tell it."""
    record = stored_run(run).record
    keys = [key for key in run.data.metrics if key.startswith("metrics/")]
    clock = next((key for key in run.data.metrics if key.startswith(("train/", "lr/"))), None)
    points = stored_points(store, run, [*keys, *([clock] if clock else [])])
    by_step = {key: {point.step: point.value for point in series} for key, series in points.items()}
    # The final validation, which live logs one step after the last epoch, is no epoch: it has no loss.
    steps = sorted(by_step[clock] if clock else {step for values in by_step.values() for step in values})
    return TrainingRun(
        save_dir=str(run.info.run_id),
        name=str(run.info.run_name),
        family="ultralytics",
        generator=record.generator if record is not None else "",
        task=run.data.params.get("task", task),
        args={"data": run.data.params.get("data")},
        version=record.generator.rpartition(" ")[2] if record is not None else None,
        epochs=Epochs(
            # metrics/mAP50B was logged from the column metrics/mAP50(B)
            columns=tuple(f"{key[:-1]}({key[-1]})" if key[-1] in "BMP" else key for key in keys),
            steps=tuple(steps),
            rows=tuple(tuple(by_step[key].get(step) for key in keys) for step in steps),
            seconds=tuple(map(float, steps)),  # as every release has them that a live run may be of
        ),
    )
