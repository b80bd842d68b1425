"""YOLOv7 run directories, and those of YOLOv5 up to v5.0: a results.txt that names no column."""

from __future__ import annotations

from pathlib import Path

import pytest

from importer.errors import RunDirError
from importer.model import TrainingRun
from importer.read.registry import read_run
from importer.replay.plan import plan_import

OPT = """\
weights: ''
cfg: cfg/training/yolov7-tiny.yaml
data: data/coco128.yaml
hyp: data/hyp.scratch.tiny.yaml
epochs: 3
batch_size: 8
img_size:
- 640
- 640
project: runs/train
name: exp
v5_metric: false
save_dir: runs/train/exp
"""
HYP = "lr0: 0.01\nbox: 0.05\nloss_ota: 1\n"

LOGGED = [
    "train/box_loss",
    "train/obj_loss",
    "train/cls_loss",
    "train/loss",
    "train/labels",
    "train/img_size",
    "metrics/precision",
    "metrics/recall",
    "metrics/mAP_0.5",
    "metrics/mAP_0.5:0.95",
    "val/box_loss",
    "val/obj_loss",
    "val/cls_loss",
]


def line(epoch: int, shift: float = 0.0) -> str:
    """As train.py writes it: '%10s' * 2 + '%10.4g' * 13."""
    losses = [0.07 - epoch / 1000 + shift, 0.1057, 0.0538, 0.2328, 132, 640]
    metrics = [0.93, 0.07428, 0.04924, 0.01218 + epoch / 100, 0.08878, 0.02468, 0.02696]
    return f"{f'{epoch}/2':>10}{'7.27G':>10}" + "".join(f"{value:>10.4g}" for value in losses + metrics) + "\n"


def run_directory(folder: Path, lines: list[str], *, opt: str | None = OPT, hyp: str | None = HYP) -> Path:
    folder.mkdir(parents=True)
    for name, text in (("opt.yaml", opt), ("hyp.yaml", hyp), ("results.txt", "".join(lines))):
        if text is not None:
            (folder / name).write_text(text)
    return folder


def codes(run: TrainingRun) -> set[str]:
    return {note.code for note in run.notes}


def test_every_number_is_logged_at_its_step_under_the_name_it_has_in_the_trainers_tensorboard(tmp_path: Path) -> None:
    run = read_run(run_directory(tmp_path / "exp", [line(0), line(1), line(2)]))

    assert (run.family, run.generator, run.task) == ("yolov7", "YOLOv7", "detect")
    assert (run.epochs.steps, run.planned_epochs) == ((0, 1, 2), 3)
    cells = [float(cell) for cell in line(1).split()[2:]]
    points = {point.key: point.value for point in plan_import(run).points if point.step == 1}
    assert points == dict(zip(LOGGED, cells, strict=True))


def test_the_file_itself_is_an_artifact(tmp_path: Path) -> None:
    run = read_run(run_directory(tmp_path / "exp", [line(0)]))

    assert "results.txt" in [artifact.artifact_path for artifact in plan_import(run).artifacts]


def test_params_are_the_options_and_the_hyperparameters(tmp_path: Path) -> None:
    run = read_run(run_directory(tmp_path / "exp", [line(0)]))

    assert (run.args["lr0"], run.args["hyp"]) == (0.01, "data/hyp.scratch.tiny.yaml")
    assert run.params_from == ("opt.yaml", "hyp.yaml")


def test_without_yolov7s_options_it_is_an_early_yolov5(tmp_path: Path) -> None:
    opt = OPT.replace("v5_metric: false\n", "")

    run = read_run(run_directory(tmp_path / "exp", [line(0)], opt=opt, hyp="lr0: 0.01\n"))

    assert run.generator == "YOLOv5"


def test_results_txt_alone_is_read(tmp_path: Path) -> None:
    run = read_run(run_directory(tmp_path / "exp", [line(0), line(1)], opt=None, hyp=None))

    assert (run.family, len(run.epochs), run.planned_epochs) == ("yolov7", 2, 3)
    assert "no-args" in codes(run)


def test_opt_yaml_without_results_is_a_run_that_died_before_its_first_epoch(tmp_path: Path) -> None:
    save_dir = run_directory(tmp_path / "exp", [])
    (save_dir / "results.txt").unlink()

    run = read_run(save_dir)

    assert (run.family, len(run.epochs), run.planned_epochs) == ("yolov7", 0, 3)


def test_a_resume_that_repeats_an_epoch_keeps_its_last_row(tmp_path: Path) -> None:
    run = read_run(run_directory(tmp_path / "exp", [line(0), line(1), line(1, shift=0.01), line(2)]))

    assert run.epochs.steps == (0, 1, 2)
    assert run.epochs.rows[1][0] == pytest.approx(0.079)
    assert "repeated-epochs" in codes(run)


def test_an_empty_results_txt_has_no_epochs(tmp_path: Path) -> None:
    run = read_run(run_directory(tmp_path / "exp", []))

    assert len(run.epochs) == 0
    assert "empty-results" in codes(run)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        pytest.param(line(1).replace("0.1057", "  none"), "line 2, column train/obj_loss: 'none' is not", id="text"),
        pytest.param(line(1).replace("1/2", "one"), "line 2, column epoch: 'one' is not an epoch", id="no epoch"),
        pytest.param(line(1).replace("0.1057", " 1_000"), "line 2, column train/obj_loss", id="an underscore"),
    ],
)
def test_a_bad_line_is_refused_by_line_and_column(tmp_path: Path, bad: str, message: str) -> None:
    save_dir = run_directory(tmp_path / "exp", [line(0), bad])

    with pytest.raises(RunDirError, match=message):
        read_run(save_dir)


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        pytest.param(line(1)[:60], "no-final-newline", id="cut in mid-line"),
        pytest.param(line(1).rstrip(), "no-final-newline", id="no line end"),
        pytest.param(line(1)[:60] + "\n", "rows-left-out", id="a short line"),
        pytest.param(line(1).rstrip() + line(2), "rows-left-out", id="two lines joined"),
    ],
)
def test_a_line_that_does_not_fit_costs_no_other_epoch(tmp_path: Path, bad: str, code: str) -> None:
    run = read_run(run_directory(tmp_path / "exp", [line(0), bad]))
    assert run.epochs.steps == (0,)
    assert code in codes(run)
    with pytest.raises(RunDirError, match="line 1 has 30 values, expected 15"):
        read_run(run_directory(tmp_path / "none", [line(0).rstrip() + line(1)]))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("results_best.txt", line(0), id="a table of another name"),
        pytest.param("results.txt", "mAP 0.5\n0.1 0.2\n", id="a text of another form"),
    ],
)
def test_other_texts_are_no_run(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)

    with pytest.raises(RunDirError, match="no run directory here"):
        read_run(tmp_path)
