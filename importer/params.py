"""The params that live logged: the trainer's args, as they were when training began."""

from __future__ import annotations

from collections.abc import Mapping

from importer.errors import PlanError
from importer.model import Note, TrainingRun
from importer.naming import MAX_PARAM_VALUE, accepted_key
from importer.pt.inert_values import is_stand_in

CLOSED_WITH_MOSAIC = (
    "mosaic",
    "mixup",
    "copy_paste",
    "cutmix",
)  # set to 0.0 in the trainer's args after they were logged


def live_args(run: TrainingRun, notes: list[Note]) -> dict[str, object]:
    """The trainer's args as they were when live logged them.

    args.yaml is written before `optimizer=auto`, `batch=-1`, `imgsz`, `workers` and others are resolved; a checkpoint's
    train_args are written after, and so after close_mosaic, `time=` and an out-of-memory retry have changed some again.
    Source: ultralytics/engine/trainer.py, BaseTrainer.__init__, _setup_train, _close_dataloader_mosaic.
    """
    facts = run.last or run.best
    if facts is None or not facts.train_args or run.family != "ultralytics":
        return dict(run.args)
    kept = {"save_dir", *CLOSED_WITH_MOSAIC}
    if run.args.get("time"):
        kept.add("epochs")
    batch = run.args.get("batch")
    if isinstance(batch, int) and batch > 0:
        kept.add("batch")
    kept |= {key for key, value in facts.train_args.items() if is_stand_in(value)}
    overlay = {key: value for key, value in facts.train_args.items() if not (key in kept and key in run.args)}
    differing = sorted(key for key, value in overlay.items() if key in run.args and str(run.args[key]) != str(value))
    if differing:
        notes.append(Note("resolved-params", f"as the checkpoint has them: {', '.join(differing)}"))
    return {**run.args, **overlay}


def accepted_params(run: TrainingRun, params: Mapping[str, str], notes: list[Note]) -> dict[str, str]:
    accepted: dict[str, str] = {}
    for key, value in params.items():
        name = accepted_key(key)
        if name in accepted:
            raise PlanError(
                f"{run.save_dir}: {key!r} and another arg both become param {name!r}", hint="rename one in args.yaml"
            )
        if name != key:
            notes.append(Note("refused-characters", f"param {key!r} is logged as {name!r}"))
        if len(value) > MAX_PARAM_VALUE:
            notes.append(Note("long-param", f"{name} has {len(value):,} characters; MLflow keeps {MAX_PARAM_VALUE:,}"))
        accepted[name] = value[:MAX_PARAM_VALUE]
    return accepted
