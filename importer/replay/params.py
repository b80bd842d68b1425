"""The params that live logged: the trainer's args, as they were when training began."""

from __future__ import annotations

from collections.abc import Mapping

from importer.errors import PlanError
from importer.formats.stub_values import holds_stub
from importer.model import Note, TrainingRun
from importer.naming import MAX_PARAM_VALUE, accepted_key
from importer.read.epochs import release

CLOSED_WITH_MOSAIC = frozenset({"mosaic", "mixup", "copy_paste", "cutmix"})  # set to 0.0 by close_mosaic
OFF_WITH_RECT = frozenset({"mosaic", "mixup", "cutmix"})  # set to 0.0 as the dataset is made, before live logs
CLOSES_ON_A_COPY = (8, 3, 9)  # in 8.3.0 close_mosaic still changed the trainer's own args


def live_args(run: TrainingRun) -> dict[str, object]:
    """Return the trainer's args as they were when live logged them.

    args.yaml is written before `optimizer=auto`, `batch=-1`, `imgsz`, `workers` and others are resolved; a checkpoint's
    train_args are written after, and so after close_mosaic, `time=` and an out-of-memory retry have changed some again.
    Source: ultralytics/engine/trainer.py, BaseTrainer.__init__, _setup_train, _close_dataloader_mosaic.
    """
    facts = run.facts
    if facts is None or not facts.train_args or run.family != "ultralytics":
        return dict(run.args)
    kept = {"save_dir", *_closed_after_logging(run, facts.version)}
    if run.args.get("time"):
        kept.add("epochs")
    batch = run.args.get("batch")
    if isinstance(batch, int) and batch > 0:
        kept.add("batch")
    kept |= {key for key, value in facts.train_args.items() if holds_stub(value)}
    overlay = {key: value for key, value in facts.train_args.items() if not (key in kept and key in run.args)}
    return {**run.args, **overlay}


def _closed_after_logging(run: TrainingRun, version: str | None) -> frozenset[str]:
    """Return the args that close_mosaic may have changed in a checkpoint after live had logged them.

    Source: ultralytics/engine/trainer.py, _do_train; ultralytics/data/dataset.py, YOLODataset.build_transforms and
        close_mosaic; RT-DETR's own dataset is never rect.
    """
    if version is not None and release(version) >= CLOSES_ON_A_COPY:
        return frozenset()
    last, planned = run.args.get("close_mosaic"), run.planned_epochs
    if isinstance(last, int) and planned is not None and not run.args.get("time") and len(run.epochs):
        began = planned - last
        # A training of fewer epochs than close_mosaic never comes to the epoch at which it strikes.
        if last <= 0 or began < 0 or run.epochs.steps[-1] < began:
            return frozenset()
    rect = run.args.get("rect") is True and "train/giou_loss" not in run.epochs.columns
    return CLOSED_WITH_MOSAIC - OFF_WITH_RECT if rect else CLOSED_WITH_MOSAIC


def accepted_params(run: TrainingRun, params: Mapping[str, str]) -> tuple[dict[str, str], list[Note]]:
    """Return the params as MLflow accepts them. Errors: PlanError when two of them would have one name."""
    accepted: dict[str, str] = {}
    notes: list[Note] = []
    for key, value in params.items():
        name = accepted_key(key)
        if name in accepted:
            message = f"{run.save_dir}: {key!r} and another arg both become param {name!r}"
            raise PlanError(message, hint="rename one in args.yaml")
        if name != key:
            notes.append(Note("refused-characters", f"param {key!r} is logged as {name!r}"))
        if len(value) > MAX_PARAM_VALUE:
            notes.append(Note("long-param", f"{name} has {len(value):,} characters; MLflow keeps {MAX_PARAM_VALUE:,}"))
        accepted[name] = value[:MAX_PARAM_VALUE]
    return accepted, notes
