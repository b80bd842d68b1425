"""YOLOv5 from v6.0 and YOLOv9, detect, segment and classify: opt.yaml, hyp.yaml, results.csv, weights/.

The epochs count from 0. When a training is over, best.pt is validated once more and the numbers go to the end of
results.csv, in one of two forms. Both become the final validation, and neither is an epoch:

    on COCO         the last epoch's row again, its train/ losses and learning rates unchanged
    in train-seg    a short row: the number of epochs, then metrics/ and val/ from the second column on, where the
                    header has train/
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import replace
from pathlib import Path

from importer.errors import RunDirError
from importer.formats.csv_table import CUT, Row, ShortRow, Table
from importer.formats.text_file import column_names, option_names
from importer.formats.yaml_file import read_yaml
from importer.model import FinalValidation, TrainingRun
from importer.read.directory import RunDirectory
from importer.read.epochs import split_trainings
from importer.read.evidence import believed, read_weights
from importer.read.ultralytics import add_epochs, lacks_table, read_table, results_name, whole

PRIORITY = 40
COLUMNS = {"metrics/mAP_0.5", "metrics/mAP_0.5(B)", "x/lr0", "lr/0"}
OPTIONS = {"data", "epochs", "batch_size", "imgsz"}  # in every opt.yaml of its three tasks
UNCHANGED = ("train/", "x/lr", "lr/")  # by the validation of best.pt
LOOKS_FOR = {"opt.yaml": "it lacks the options of YOLOv5's trainer, and there is no hyp.yaml"}

Final = tuple[tuple[str, float], ...]


def recognise(save_dir: Path, names: Set[str]) -> bool:
    """By the columns of a results.csv, else by what stands in opt.yaml."""
    results = results_name(names)
    columns = _columns(save_dir / results) if results is not None else set()
    if ("args.yaml" in names and "opt.yaml" not in names) or "lr/pg0" in columns:
        return False
    if columns & COLUMNS:
        return True
    return "opt.yaml" in names and ("hyp.yaml" in names or option_names(save_dir / "opt.yaml") >= OPTIONS)


def _columns(path: Path) -> set[str]:
    columns = set(column_names(path))
    return columns if "epoch" in columns else set()


def read(directory: RunDirectory) -> TrainingRun:
    """The last training of the directory, or the one that `directory.segment` names.

    Errors: RunDirError when opt.yaml, hyp.yaml or results.csv cannot be read as what they are.
    Source: train.py, segment/train.py, classify/train.py and utils/loggers/__init__.py of YOLOv5 v6.0 to v7.0 and of
        YOLOv9.
    """
    args, params_from = read_options(directory)
    weights = read_weights(directory, needed=not args or lacks_table(directory))
    table, results_file = read_table(directory, weights, short_rows=True)
    weights = believed(weights, table, args, directory)
    if not args and weights.any is not None and weights.any.opt:
        args, params_from = _flat(weights.any.opt, {}), ("last.pt" if weights.last else "best.pt",)
        directory.note("args-from-checkpoint", "no opt.yaml; params are the checkpoint's")
    finals: dict[int, Final] = {}
    if table is not None:
        table, finals = _without_finals(table, whole(args.get("epochs")), directory)
    run = TrainingRun(
        save_dir=str(directory.save_dir),
        name=directory.name,
        family="yolov5",
        generator=_generator(args, table),
        task=None,
        args=args,
        planned_epochs=whole(args.get("epochs")),
        last=weights.last,
        best=weights.best,
        final_validation=_final_of(table, finals, directory.segment, results_file),
        results_file=results_file,
        params_from=params_from,
        files=directory.files,
        segment=directory.segment,
    )
    run = add_epochs(run, directory, table, known_base=0)
    return replace(run, task=_task(args, run.epochs.columns))


def read_options(directory: RunDirectory) -> tuple[dict[str, object], tuple[str, ...]]:
    """The options of opt.yaml and, under their own names, the hyperparameters; and the files that they came from.

    The hyperparameters are those of hyp.yaml, else of the `hyp` that opt.yaml holds. Errors: RunDirError.
    """
    found: dict[str, dict[str, object]] = {}
    for name in ("opt.yaml", "hyp.yaml"):
        place = directory.get(name)
        if place is not None:
            found[name], notes = read_yaml(place.location)
            directory.add(notes)
    if "opt.yaml" not in found:
        directory.note("no-args", "no opt.yaml; the task is told by the columns")
    args = _flat(found.get("opt.yaml", {}), found.get("hyp.yaml", {}))
    return args, tuple(name for name, values in found.items() if values)


def _flat(options: Mapping[str, object], hyperparameters: Mapping[str, object]) -> dict[str, object]:
    """The options, which win, over the hyperparameters; a `hyp` that is a path stays one."""
    inner = options.get("hyp")
    if not isinstance(inner, Mapping):
        return {**hyperparameters, **options}
    plain = {key: value for key, value in options.items() if key != "hyp"}
    return {**(hyperparameters or {str(key): value for key, value in inner.items()}), **plain}


def _without_finals(table: Table, planned: int | None, directory: RunDirectory) -> tuple[Table, dict[int, Final]]:
    """The table of epochs only, and each final validation by the number of rows that stand before it.

    Errors: RunDirError when a short line that is not the last is no final validation.
    """
    epoch = table.header.index("epoch")
    same = [at for at, name in enumerate(table.header) if name.startswith(UNCHANGED) or at == epoch]
    short = {told.before: told for told in table.short_rows}
    rows: list[Row] = []
    finals: dict[int, Final] = {}
    for at, row in enumerate((*table.rows, None)):
        if at in short:
            told = _realigned(table, short[at], rows[-1][epoch] if rows else None, planned)
            if told is not None:
                finals[len(rows)] = _metrics(told)
            elif row is not None:
                raise _short(short[at], table, directory)
            else:
                directory.note("ragged-row", "the last line of results.csv is short and no final validation; left out")
        # An epoch that a resume trained again has losses of its own.
        if row is not None and rows and len(same) > 1 and all(_equal(row[at], rows[-1][at]) for at in same):
            finals[len(rows)] = _metrics(dict(zip(table.header, row, strict=True)))
        elif row is not None:
            rows.append(row)
    if finals:
        directory.note("final-validation-row", "a row after the last epoch is best.pt's validation, not an epoch")
    return replace(table, rows=tuple(rows), short_rows=()), finals


def _short(short: ShortRow, table: Table, directory: RunDirectory) -> RunDirError:
    found = f"line {short.line} has {len(short.cells)} values, the header has {len(table.header)}"
    return RunDirError(f"{directory.save_dir}/results.csv: {found}", hint=CUT)


def _realigned(
    table: Table, short: ShortRow, last: float | None, planned: int | None
) -> dict[str, float | None] | None:
    """The cells of train-seg's short row under the columns that they belong to, or None if it is another row.

    Source: segment/train.py logs dict(zip(KEYS[4:16], results)) at step `epochs`; the logger writes values alone.
    """
    columns = [name for name in table.header if name != "epoch" and not name.startswith(UNCHANGED)]
    is_segment = "train/seg_loss" in table.header and table.header[0] == "epoch"
    epoch, cells = short.cells[0], short.cells[1:]
    if not is_segment or len(cells) != len(columns) or epoch is None:
        return None
    if epoch != planned and (last is None or epoch <= last):
        return None
    return dict(zip(columns, cells, strict=True))


def _equal(a: float | None, b: float | None) -> bool:
    return a == b or (a is not None and b is not None and math.isnan(a) and math.isnan(b))


def _metrics(cells: Mapping[str, float | None]) -> Final:
    return tuple((key, cell) for key, cell in cells.items() if key.startswith("metrics/") and cell is not None)


def _final_of(
    table: Table | None, finals: Mapping[int, Final], segment: int | None, source: str | None
) -> FinalValidation | None:
    """The final validation of the training that is read, which may be followed by others in the same file."""
    if table is None or not table.rows:
        return None
    spans = split_trainings([0 if cell == 0 else 1 for cell in table.column("epoch")], 0)
    metrics = finals.get(spans[-1 if segment is None else segment][1])
    return FinalValidation(metrics, source or "results.csv") if metrics else None


def _generator(args: Mapping[str, object], table: Table | None) -> str:
    """YOLOv9 has a dfl loss, and the option to close the mosaic, which YOLOv5 has not."""
    columns = table.header if table is not None else ()
    return "YOLOv9" if "train/dfl_loss" in columns or "close_mosaic" in args or "dfl" in args else "YOLOv5"


def _task(args: Mapping[str, object], columns: tuple[str, ...]) -> str:
    if any("accuracy_top" in name for name in columns) or {"model", "pretrained"} <= args.keys():
        return "classify"
    if "train/seg_loss" in columns or "metrics/mAP_0.5(M)" in columns or "mask_ratio" in args:
        return "segment"
    return "detect"
