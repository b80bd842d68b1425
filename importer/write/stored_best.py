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
    """Return what ranks a run, by the params and metrics that the store has of it; its source is the run id.

    `task` is that of the run where its params do not name one. Errors: StoreError.
    """
    record = stored_run(run).record
    keys = [key for key in run.data.metrics if key.startswith("metrics/")]
    clock = next((key for key in run.data.metrics if key.startswith(("train/", "lr/"))), None)
    points = stored_points(store, run, [*keys, *([clock] if clock else [])])
    by_step = {key: {point.step: point.value for point in series} for key, series in points.items()}
    # The final validation, which live logs one step after the last epoch, is no epoch: it has no loss.
    steps = sorted(by_step[clock] if clock else {step for values in by_step.values() for step in values})
    epochs = Epochs(
        # metrics/mAP50B was logged from the column metrics/mAP50(B)
        columns=tuple(f"{key[:-1]}({key[-1]})" if key[-1] in "BMP" else key for key in keys),
        steps=tuple(steps),
        rows=tuple(tuple(by_step[key].get(step) for key in keys) for step in steps),
        seconds=tuple(map(float, steps)),  # as every release has them that a live run may be of
    )
    generator = record.generator if record is not None else ""
    training = TrainingRun(
        save_dir=str(run.info.run_id), name=str(run.info.run_name), family="ultralytics", generator=generator,
        task=run.data.params.get("task", task), args={"data": run.data.params.get("data")}, epochs=epochs,
        version=generator.rpartition(" ")[2] if record is not None else None,
    )  # fmt: skip
    [best] = best_epochs(training)
    return best
