"""YOLOv7, and YOLOv5 up to v5.0: opt.yaml, hyp.yaml, weights/ and a results.txt that names no column.

    file     epoch/last gpu_mem box obj cls total labels img_size P R mAP@.5 mAP@.5:.95 box obj cls

Metrics are called what both trainers call them in TensorBoard, which YOLOv5 then kept for the columns of its
results.csv. Three columns have no name there and are logged as `train/loss`, which is the total, `train/labels` and
`train/img_size`, which are the last batch's. `gpu_mem`, 7.27G, is text and stays in the file, which is an artifact.
"""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import replace

from importer.errors import RunDirError
from importer.formats.csv_table import CUT, Line, Table, no_final_newline, rows_left_out, to_number
from importer.formats.text_file import option_names, read_head, read_text
from importer.model import Note, RunPath, TrainingRun
from importer.read.common import Results, add_epochs, new_run, read_options
from importer.read.directory import RunDirectory

RESULTS = "results.txt"
MAX_BYTES = 4_000_000  # 100 epochs have 15 kB
OPTIONS = {"data", "epochs", "batch_size", "img_size"}  # in every opt.yaml; later YOLOv5 has imgsz
YOLOV7_ARGS = {"v5_metric", "freeze", "paste_in", "loss_ota"}  # YOLOv5 up to v5.0 has none of them
COLUMNS = (
    "train/box_loss", "train/obj_loss", "train/cls_loss", "train/loss", "train/labels", "train/img_size",
    "metrics/precision", "metrics/recall", "metrics/mAP_0.5", "metrics/mAP_0.5:0.95",
    "val/box_loss", "val/obj_loss", "val/cls_loss",
)  # fmt: skip

LOOKS_FOR = {RESULTS: "it does not begin with an epoch and memory, such as `0/99 7.27G`"}

_EPOCH = re.compile(r"(\d{1,9})/(\d{1,9})")
_BEGIN = re.compile(r"\d{1,9}/\d{1,9}\s+[\d.e+-]+G\s")


def recognise(save_dir: RunPath, names: Set[str]) -> bool:
    """Recognise a results.txt that begins with an epoch and its memory, else what stands in opt.yaml."""
    if "results.csv" in names or "args.yaml" in names:
        return False
    if RESULTS in names and _BEGIN.match(read_head(save_dir / RESULTS)):
        return True
    return "opt.yaml" in names and option_names(save_dir / "opt.yaml") >= OPTIONS


def read(directory: RunDirectory) -> TrainingRun:
    """Read the last training of the directory, or the one that `directory.segment` names.

    Errors: RunDirError when opt.yaml, hyp.yaml or results.txt cannot be read as what they are.
    Source: train.py of YOLOv7 and of YOLOv5 v1.0 to v5.0.
    """
    options = read_options(directory, "opt.yaml", "hyp.yaml")
    results: Results = (None, None, [])
    last_epoch = None
    if (place := directory.by_path.get(RESULTS)) is not None:
        results, last_epoch = read_results_txt(place.location)
    run, table = new_run(directory, "yolov7", options, results)
    planned = run.planned_epochs or (last_epoch + 1 if last_epoch is not None else None)
    generator = "YOLOv5" if run.args and not run.args.keys() & YOLOV7_ARGS else "YOLOv7"
    run = replace(run, generator=generator, task="detect", planned_epochs=planned)
    return add_epochs(run, directory, table, base=0)


def read_results_txt(path: RunPath) -> tuple[Results, int | None]:
    """Read the table of a results.txt under its columns' names, and the number of the last epoch that was planned.

    Shape:  a last line without an end is left out, and so are lines with another number of values.
    Errors: RunDirError when no line fits, or one has text where a number should be.
    """
    text, notes = read_text(path, MAX_BYTES)
    *ended, unended = text.split("\n")
    rows: list[tuple[float, ...]] = []
    left_out: list[Line] = []
    last_epoch = None
    for number, line in enumerate(ended, start=1):
        cells = line.split()
        if not cells:
            continue
        if len(cells) != len(COLUMNS) + 2:
            left_out.append(Line(number, cells))
            continue
        epoch = _EPOCH.fullmatch(cells[0])
        if epoch is None:
            text = f"{path}: line {number}, column epoch: {cells[0][:40]!r} is not an epoch such as 0/299"
            raise RunDirError(text, hint="restore the file as the trainer wrote it")
        last_epoch = int(epoch[2])
        values = (to_number(cell, path, number, name) for cell, name in zip(cells[2:], COLUMNS, strict=True))
        rows.append((float(epoch[1]), *values))
    if left_out and not rows:
        number, cells = left_out[0]
        problem = f"line {number} has {len(cells)} values, expected {len(COLUMNS) + 2}"
        raise RunDirError(f"{path}: {problem}", hint=CUT)
    notes += [rows_left_out(path.name, left_out)] if left_out else []
    if unended.strip():
        notes.append(no_final_newline(path.name))
    elif not rows:
        notes.append(Note("empty-results", f"{path.name} is empty"))
    return (Table(("epoch", *COLUMNS), tuple(rows)), RESULTS, notes), last_epoch
