"""YOLOv5 and YOLOv9 run directories: what is an epoch, what is the final validation, what is a param."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from importer.errors import RunDirError
from importer.model import TrainingRun
from importer.read.registry import read_run
from importer.replay.plan import plan_import

DETECT = [
    "train/box_loss",
    "train/obj_loss",
    "train/cls_loss",
    "metrics/precision",
    "metrics/recall",
    "metrics/mAP_0.5",
    "metrics/mAP_0.5:0.95",
    "val/box_loss",
    "val/obj_loss",
    "val/cls_loss",
    "x/lr0",
    "x/lr1",
    "x/lr2",
]
YOLOV9 = [name.replace("cls_loss", "dfl_loss").replace("obj_loss", "cls_loss") for name in DETECT]
SEGMENT = [
    "train/box_loss",
    "train/seg_loss",
    "train/obj_loss",
    "train/cls_loss",
    "metrics/precision(B)",
    "metrics/recall(B)",
    "metrics/mAP_0.5(B)",
    "metrics/mAP_0.5:0.95(B)",
    "metrics/precision(M)",
    "metrics/recall(M)",
    "metrics/mAP_0.5(M)",
    "metrics/mAP_0.5:0.95(M)",
    "val/box_loss",
    "val/seg_loss",
    "val/obj_loss",
    "val/cls_loss",
    "x/lr0",
    "x/lr1",
    "x/lr2",
]
CLASSIFY = ["train/loss", "test/loss", "metrics/accuracy_top1", "metrics/accuracy_top5", "lr/0"]

OPT = """\
weights: yolov5n.pt
cfg: ''
data: data/coco128.yaml
hyp:
  lr0: 0.01
  box: 0.05
epochs: 3
batch_size: 16
imgsz: 640
project: runs/train
name: exp
seed: 0
save_dir: runs/train/exp
"""


def padded(cells: list[object]) -> str:
    return ",".join(f"{cell:>20}" for cell in cells) + "\n"


def epoch_row(epoch: int, columns: list[str], shift: float = 0.0) -> list[object]:
    return [epoch, *(round(epoch + at / 100 + shift, 5) for at in range(len(columns)))]


def run_directory(
    folder: Path, columns: list[str], rows: list[list[object]], *, opt: str | None = OPT, hyp: str | None = None
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if opt is not None:
        (folder / "opt.yaml").write_text(opt)
    if hyp is not None:
        (folder / "hyp.yaml").write_text(hyp)
    (folder / "results.csv").write_text("".join(map(padded, [["epoch", *columns], *rows])))
    return folder


def codes(run: TrainingRun) -> set[str]:
    return {note.code for note in run.notes}


@pytest.mark.parametrize(
    ("columns", "generator", "task"),
    [
        pytest.param(DETECT, "YOLOv5", "detect", id="detect"),
        pytest.param(SEGMENT, "YOLOv5", "segment", id="train-seg"),
        pytest.param(YOLOV9, "YOLOv9", "detect", id="the dfl loss is YOLOv9's"),
        pytest.param(CLASSIFY, "YOLOv5", "classify", id="train-cls"),
    ],
)
@pytest.mark.parametrize("opt", [OPT, None], ids=["with opt.yaml", "results.csv alone"])
def test_every_cell_is_at_its_step_and_epochs_count_from_0(
    tmp_path: Path, columns: list[str], generator: str, task: str, opt: str | None
) -> None:
    rows = [epoch_row(epoch, columns) for epoch in range(3)]

    run = read_run(run_directory(tmp_path / "exp", columns, rows, opt=opt))

    assert (run.family, run.generator, run.task) == ("yolov5", generator, task)
    assert run.epochs.columns == tuple(columns)
    assert run.epochs.steps == (0, 1, 2)
    assert run.epochs.rows == tuple(tuple(row[1:]) for row in rows)
    assert run.final_validation is None
    assert ("no-args" in codes(run)) == (opt is None)


def test_a_run_that_was_resumed_without_its_first_epochs_still_counts_from_0(tmp_path: Path) -> None:
    run = read_run(run_directory(tmp_path / "exp", DETECT, [epoch_row(epoch, DETECT) for epoch in (1, 2)]))

    assert run.epochs.steps == (1, 2)


def test_hyperparameters_are_params_under_their_own_names(tmp_path: Path) -> None:
    hyp = "lr0: 0.02\nbox: 0.05\nimgsz: 1\n"

    run = read_run(run_directory(tmp_path / "exp", DETECT, [epoch_row(0, DETECT)], hyp=hyp))

    assert run.args["lr0"] == 0.02, "hyp.yaml is what was trained with"
    assert run.args["imgsz"] == 640, "opt.yaml wins"
    assert "hyp" not in run.args
    assert run.params_from == ("opt.yaml", "hyp.yaml")


def test_without_hyp_yaml_the_hyperparameters_are_those_in_opt_yaml(tmp_path: Path) -> None:
    run = read_run(run_directory(tmp_path / "exp", DETECT, [epoch_row(0, DETECT)]))

    assert (run.args["lr0"], run.args["box"]) == (0.01, 0.05)
    assert "hyp" not in run.args


def test_a_hyp_that_is_a_path_stays_one(tmp_path: Path) -> None:
    opt = OPT.replace("hyp:\n  lr0: 0.01\n  box: 0.05\n", "hyp: data/hyp.yaml\n")

    run = read_run(run_directory(tmp_path / "exp", DETECT, [epoch_row(0, DETECT)], opt=opt, hyp="lr0: 0.1\n"))

    assert (run.args["hyp"], run.args["lr0"]) == ("data/hyp.yaml", 0.1)


def coco_final(row: list[object]) -> list[object]:
    """The row that YOLOv5 appends on COCO: metrics and val/ losses of best.pt, all else as it was."""
    return [*row[:4], *(round(float(cell) + 0.5, 5) for cell in row[4:11]), *row[11:]]  # type: ignore[arg-type]


@pytest.mark.parametrize("epochs", [1, 2, 3], ids=["one epoch", "stopped early", "all epochs"])
def test_on_coco_the_repeated_last_row_is_the_final_validation(tmp_path: Path, epochs: int) -> None:
    rows = [epoch_row(epoch, DETECT) for epoch in range(epochs)]

    run = read_run(run_directory(tmp_path / "exp", DETECT, [*rows, coco_final(rows[-1])]))

    assert run.epochs.steps == tuple(range(epochs))
    assert run.epochs.rows[-1] == tuple(rows[-1][1:])
    assert run.final_validation is not None
    assert [key for key, _ in run.final_validation.metrics] == DETECT[3:7]
    assert dict(run.final_validation.metrics)["metrics/precision"] == pytest.approx(epochs - 1 + 0.53)
    assert "final-validation-row" in codes(run) and "repeated-epochs" not in codes(run)


def test_a_last_epoch_that_a_resume_trained_again_is_an_epoch(tmp_path: Path) -> None:
    rows = [*(epoch_row(epoch, DETECT) for epoch in range(3)), epoch_row(2, DETECT, shift=0.001)]

    run = read_run(run_directory(tmp_path / "exp", DETECT, rows))

    assert run.epochs.rows[-1] == tuple(rows[-1][1:])
    assert run.final_validation is None
    assert "repeated-epochs" in codes(run)


def test_epochs_that_a_resume_repeats_and_a_final_validation_are_told_apart(tmp_path: Path) -> None:
    rows = [epoch_row(0, DETECT), epoch_row(1, DETECT), epoch_row(1, DETECT, shift=0.001), epoch_row(2, DETECT)]

    run = read_run(run_directory(tmp_path / "exp", DETECT, [*rows, coco_final(rows[-1])]))

    assert run.epochs.steps == (0, 1, 2)
    assert run.epochs.rows == tuple(tuple(rows[at][1:]) for at in (0, 2, 3))
    assert {"repeated-epochs", "final-validation-row"} <= codes(run)


def test_a_training_that_was_stopped_early_is_finished_if_its_final_validation_is_there(tmp_path: Path) -> None:
    rows = [epoch_row(epoch, SEGMENT) for epoch in range(2)]
    broken_off = read_run(run_directory(tmp_path / "exp", SEGMENT, rows))
    stopped = read_run(run_directory(tmp_path / "exp2", SEGMENT, [*rows, [3, *[0.5] * 12]]))
    assert (plan_import(broken_off).status, plan_import(stopped).status) == ("FAILED", "FINISHED")


def test_each_training_of_one_file_keeps_its_own_final_validation(tmp_path: Path) -> None:
    rows = [epoch_row(epoch, DETECT) for epoch in range(3)]
    later = [epoch_row(epoch, DETECT, shift=0.001) for epoch in range(3)]
    save_dir = run_directory(tmp_path / "exp", DETECT, [*rows, coco_final(rows[-1]), *later])

    first, last = read_run(save_dir, segment=0), read_run(save_dir)

    assert first.final_validation is not None and first.epochs.rows[-1] == tuple(rows[-1][1:])
    assert last.final_validation is None and last.epochs.rows[-1] == tuple(later[-1][1:])


@pytest.mark.parametrize("epochs", [2, 3], ids=["stopped early", "all epochs"])
def test_the_short_last_row_of_train_seg_is_put_under_its_columns(tmp_path: Path, epochs: int) -> None:
    rows = [epoch_row(epoch, SEGMENT) for epoch in range(epochs)]
    short: list[object] = [3, *(round(0.5 + at / 100, 2) for at in range(12))]

    run = read_run(run_directory(tmp_path / "exp", SEGMENT, [*rows, short]))

    assert run.epochs.steps == tuple(range(epochs))
    assert run.final_validation is not None
    assert run.final_validation.metrics == tuple(zip(SEGMENT[4:12], short[1:9], strict=True))
    assert "final-validation-row" in codes(run)


def test_each_training_of_one_file_has_the_short_row_that_ended_it(tmp_path: Path) -> None:
    """exist_ok=True: the second training's rows go to the end of the first one's results.csv."""
    rows = [epoch_row(epoch, SEGMENT) for epoch in range(2)]
    first: list[object] = [2, *[0.5] * 12]
    save_dir = run_directory(tmp_path / "exp", SEGMENT, [*rows, first, *rows, [3, *[0.6] * 12]])

    for segment, score in ((0, 0.5), (None, 0.6)):
        run = read_run(save_dir, segment=segment)
        assert run.epochs.steps == (0, 1)
        assert run.final_validation is not None
        assert {value for _, value in run.final_validation.metrics} == {score}


def test_a_short_row_that_is_no_final_validation_is_refused_where_more_follows(tmp_path: Path) -> None:
    rows = [epoch_row(epoch, SEGMENT) for epoch in range(2)]
    with pytest.raises(RunDirError, match=r"results\.csv: line 3 has 2 values, the header has 20"):
        read_run(run_directory(tmp_path / "exp", SEGMENT, [rows[0], [1, 0.5], rows[1]]))


def test_the_final_validation_is_logged_one_step_after_the_last_epoch(tmp_path: Path) -> None:
    short: list[object] = [3, *(round(0.5 + at / 100, 2) for at in range(12))]
    save_dir = run_directory(tmp_path / "exp", SEGMENT, [*(epoch_row(at, SEGMENT) for at in range(3)), short])

    plan = plan_import(read_run(save_dir))

    final = {point.key: point.value for point in plan.points if point.step == 3}
    assert final["metrics/mAP_0.5:0.95M"] == 0.57
    assert len(final) == 8


@pytest.mark.parametrize(
    ("columns", "short"),
    [
        pytest.param(SEGMENT, [3, 0.5, 0.5], id="too few values"),
        pytest.param(SEGMENT, [1, *[0.5] * 12], id="the number of an epoch that is there"),
        pytest.param(DETECT, [3, *[0.5] * 7], id="detect ends in no short row"),
    ],
)
def test_another_short_last_row_is_left_out_with_a_note(
    tmp_path: Path, columns: list[str], short: list[object]
) -> None:
    run = read_run(run_directory(tmp_path / "exp", columns, [*(epoch_row(at, columns) for at in range(2)), short]))

    assert len(run.epochs) == 2
    assert run.final_validation is None
    assert "ragged-row" in codes(run)


def test_columns_of_their_own_are_kept(tmp_path: Path) -> None:
    columns = ["train/loss", "valid/loss", "train/acc", "metrics/accuracy_top5", "f{test}/acc", "lr/0"]

    run = read_run(run_directory(tmp_path / "exp", columns, [epoch_row(0, columns)]))

    assert run.task == "classify"
    assert run.epochs.columns == tuple(columns)
    assert {point.key for point in plan_import(run).points} >= {"f_test_/acc", "lr/0"}


def test_nan_stays_nan(tmp_path: Path) -> None:
    run = read_run(run_directory(tmp_path / "exp", DETECT, [[0, *["nan"] * len(DETECT)]]))

    assert all(cell is not None and math.isnan(cell) for cell in run.epochs.rows[0])


def test_opt_yaml_without_results_is_a_run_that_died_before_its_first_epoch(tmp_path: Path) -> None:
    save_dir = run_directory(tmp_path / "exp", DETECT, [])
    (save_dir / "results.csv").unlink()

    run = read_run(save_dir)

    assert (run.family, len(run.epochs), run.planned_epochs, run.task) == ("yolov5", 0, 3, "detect")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        pytest.param("opt.yaml", "- a\n- b\n", "opt.yaml: holds a list", id="options that are no mapping"),
        pytest.param(
            "hyp.yaml", "lr0: !!python/name:os.system\n", "hyp.yaml: line 1", id="hyperparameters with objects"
        ),
        pytest.param("results.csv", padded(["epoch", *DETECT]) + padded([0, *["x"] * 13]), "line 2, column", id="text"),
        pytest.param("results.csv", padded(["epoch", *DETECT]) + "0, 0.1", "line 2 has 2 values", id="cut in mid-line"),
    ],
)
def test_what_cannot_be_read_is_refused_by_file_and_place(tmp_path: Path, name: str, text: str, message: str) -> None:
    save_dir = run_directory(tmp_path / "exp", DETECT, [epoch_row(0, DETECT)], hyp="lr0: 0.1\n")
    (save_dir / name).write_text(text)

    with pytest.raises(RunDirError, match=message):
        read_run(save_dir)


def test_a_results_csv_of_ultralytics_is_not_ours(tmp_path: Path) -> None:
    columns = ["train/box_loss", "metrics/mAP50(B)", "lr/pg0"]

    run = read_run(run_directory(tmp_path / "train", columns, [epoch_row(1, columns)]))

    assert run.family == "ultralytics"
