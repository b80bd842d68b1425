"""YOLOv5 from v6.0 and YOLOv9, detect, segment and classify: opt.yaml, hyp.yaml, results.csv, weights/.

The epochs count from 0. When a training is over, best.pt is validated once more and the numbers go to the end of
results.csv, in one of two forms. Both become the final validation, and neither is an epoch:

    on COCO         the last epoch's row again, its train/ losses and learning rates unchanged
    in train-seg    a short row: the number of epochs, then metrics/ and val/ from the second column on, where the
                    header has train/
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace

from importer.errors import RunDirError
from importer.formats.csv_table import CUT, Row, ShortRow, Table
from importer.formats.text_file import column_names, option_names
from importer.model import FinalValidation, Note, RunPath, TrainingRun
from importer.read.common import RESULTS, add_epochs, new_run, read_options, read_table, results_name
from importer.read.directory import RunDirectory
from importer.read.epochs import split_trainings

COLUMNS = {"metrics/mAP_0.5", "metrics/mAP_0.5(B)", "x/lr0", "lr/0"}
OPTIONS = {"data", "epochs", "batch_size", "imgsz"}  # in every opt.yaml of its three tasks
UNCHANGED = ("train/", "x/lr", "lr/")  # by the validation of best.pt
LOOKS_FOR = {"opt.yaml": "it lacks the options of YOLOv5's trainer, and there is no hyp.yaml"}

Final = tuple[tuple[str, float], ...]


def recognise(save_dir: RunPath, names: Set[str]) -> bool:
    """Recognise the columns of a results.csv, else what stands in opt.yaml."""
    results = results_name(names)
    columns = set(column_names(save_dir / results)) if results is not None else set()
    if ("args.yaml" in names and "opt.yaml" not in names) or {"epoch", "lr/pg0"} <= columns:
        return False
    if "epoch" in columns and columns & COLUMNS:
        return True
    return "opt.yaml" in names and ("hyp.yaml" in names or option_names(save_dir / "opt.yaml") >= OPTIONS)


def read(directory: RunDirectory) -> TrainingRun:
    """Read the last training of the directory, or the one that `directory.segment` names.

    Errors: RunDirError when opt.yaml, hyp.yaml or results.csv cannot be read as what they are.
    Source: train.py, segment/train.py, classify/train.py and utils/loggers/__init__.py of YOLOv5 v6.0 to v7.0 and of
            YOLOv9.
    """
    options = read_options(directory, "opt.yaml", "hyp.yaml")
    run, table = new_run(directory, "yolov5", options, read_table(directory, short_rows=True))
    run = replace(run, generator=_generator(run.args, table))
    if table is not None:
        table, finals, notes = _without_finals(table, run.planned_epochs, directory)
        # Of several trainings in one file, the final validation of the one that is read.
        spans = split_trainings([0 if cell == 0 else 1 for cell in table.column("epoch")], 0)
        final = finals.get(spans[-1 if directory.segment is None else directory.segment][1]) if spans else None
        validation = FinalValidation(final, run.results_file or RESULTS) if final else None
        run = replace(run, final_validation=validation, notes=(*run.notes, *notes))
    run = add_epochs(run, directory, table, base=0)
    return replace(run, task=_task(run.args, run.epochs.columns))


def _without_finals(
    table: Table, planned: int | None, directory: RunDirectory
) -> tuple[Table, dict[int, Final], list[Note]]:
    """Return the table of epochs only, and each final validation by the number of rows that stand before it.

    Errors: RunDirError when a short line that is not the last is no final validation.
    """
    epoch = table.header.index("epoch")
    same = [at for at, name in enumerate(table.header) if name.startswith(UNCHANGED) or at == epoch]
    short_rows = {short.before: short for short in table.short_rows}
    rows: list[Row] = []
    finals: dict[int, Final] = {}
    notes: list[Note] = []
    for at, row in enumerate((*table.rows, None)):
        if (short := short_rows.get(at)) is not None:
            cells = _realigned(table, short, rows[-1][epoch] if rows else None, planned)
            if cells is not None:
                finals[len(rows)] = _metrics(cells)
            elif row is not None:
                text = f"line {short.line} has {len(short.cells)} values, the header has {len(table.header)}"
                raise RunDirError(f"{directory.save_dir}/results.csv: {text}", hint=CUT)
            else:
                text = "the last line of results.csv is short and no final validation; left out"
                notes.append(Note("ragged-row", text))
        # An epoch that a resume trained again has losses of its own. By repr, for nan equals nothing.
        if row and rows and len(same) > 1 and all(repr(row[cell]) == repr(rows[-1][cell]) for cell in same):
            finals[len(rows)] = _metrics(dict(zip(table.header, row, strict=True)))
        elif row:
            rows.append(row)
    if finals:
        notes.append(Note("final-validation-row", "a row after the last epoch is best.pt's validation, not an epoch"))
    return replace(table, rows=tuple(rows), short_rows=()), finals, notes


def _realigned(
    table: Table, short: ShortRow, last: float | None, planned: int | None
) -> dict[str, float | None] | None:
    """Return the cells of train-seg's short row under the columns that they belong to, or None if it is another row.

    Source: segment/train.py logs dict(zip(KEYS[4:16], results)) at step `epochs`; the logger writes values alone.
    """
    columns = [name for name in table.header if name != "epoch" and not name.startswith(UNCHANGED)]
    is_segment = "train/seg_loss" in table.header and table.header[0] == "epoch"
    epoch, cells = short.cells[0], short.cells[1:]
    if not is_segment or len(cells) != len(columns) or epoch is None:
        return None
    is_final = epoch == planned or (last is not None and epoch > last)
    return dict(zip(columns, cells, strict=True)) if is_final else None


def _metrics(cells: Mapping[str, float | None]) -> Final:
    return tuple((key, cell) for key, cell in cells.items() if key.startswith("metrics/") and cell is not None)


def _generator(args: Mapping[str, object], table: Table | None) -> str:
    """YOLOv9 has a dfl loss, and the option to close the mosaic, which YOLOv5 has not."""
    columns = table.header if table is not None else ()
    return "YOLOv9" if "train/dfl_loss" in columns or "close_mosaic" in args or "dfl" in args else "YOLOv5"


def _task(args: Mapping[str, object], columns: tuple[str, ...]) -> str:
    if any("accuracy_top" in name for name in columns) or {"model", "pretrained"} <= args.keys():
        return "classify"
    is_segment = "train/seg_loss" in columns or "metrics/mAP_0.5(M)" in columns or "mask_ratio" in args
    return "segment" if is_segment else "detect"
