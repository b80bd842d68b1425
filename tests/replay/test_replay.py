"""What live would have logged: params, keys, steps, the final validation, the status, the best epoch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.directories import COLUMNS, Training, place

from importer.model import Epochs, ImportOptions, ImportPlan, TrainingRun
from importer.read.fitness import best_row
from importer.read.registry import read_run
from importer.replay.plan import plan_import


def plan_of(training: Training, save_dir: Path, **options: object) -> ImportPlan:
    """The plan of a training that was written."""
    return plan_import(read_run(training.write(save_dir)), ImportOptions(**options))  # type: ignore[arg-type]


def with_train_args(
    changes: Mapping[str, object], args: Mapping[str, object] | None = None, **more: object
) -> Training:
    """A training whose last.pt has other train_args than its args.yaml."""
    plain = Training(args=args or {})
    train_args = {key: value for key, value in plain.all_args("").items() if key != "save_dir"}
    return plain.with_(last={"train_args": {**train_args, **changes}, **more})


PARAMS = [
    pytest.param({"optimizer": "AdamW", "lr0": 0.0017}, {}, {"optimizer": "AdamW", "lr0": "0.0017"},
                 id="optimizer=auto is resolved"),
    pytest.param({"imgsz": 672, "workers": 0}, {"imgsz": 650, "workers": 8}, {"imgsz": "672", "workers": "0"},
                 id="imgsz and workers are resolved"),
    pytest.param({"batch": 12}, {"batch": -1}, {"batch": "12"}, id="batch=-1 is resolved"),
    pytest.param({"batch": 12}, {"batch": 0.7}, {"batch": "12"}, id="batch=0.7 is resolved"),
    pytest.param({"batch": 8}, {"batch": 16}, {"batch": "16"}, id="a batch halved for memory was logged as given"),
    pytest.param({"epochs": 57}, {"epochs": 100, "time": 1.5}, {"epochs": "100"}, id="time= changes epochs later"),
    pytest.param({"save_dir": "/elsewhere"}, {}, {"save_dir": "runs/detect/train"}, id="save_dir is args.yaml's"),
    pytest.param({"augmentations": None}, {}, {"augmentations": "None"}, id="an arg that only the checkpoint has"),
    pytest.param({"augmentations": [SimpleNamespace(p=0.1)]}, {"augmentations": ["Blur(p=0.1)"]},
                 {"augmentations": "['Blur(p=0.1)']"}, id="an object of the checkpoint is args.yaml's text"),
    pytest.param({"freeze": (0, 1)}, {"freeze": [0, 1]}, {"freeze": "(0, 1)"}, id="a tuple stays a tuple"),
]  # fmt: skip


@pytest.mark.parametrize(("train_args", "args", "expected"), PARAMS)
def test_params_are_those_that_live_logged(
    train_args: dict[str, object], args: dict[str, object], expected: dict[str, str], tmp_path: Path
) -> None:
    params = plan_of(with_train_args(train_args, args), tmp_path / "train").params
    assert {key: params.get(key) for key in expected} == expected


OPEN = {"mosaic": 1.0, "mixup": 0.2, "copy_paste": 0.3}
CLOSED = {"mosaic": 0.0, "mixup": 0.0, "copy_paste": 0.0}
RTDETR = ("train/giou_loss", "val/giou_loss")
MOSAIC = [
    pytest.param("8.3.8", {"close_mosaic": 1}, {}, OPEN, id="close_mosaic struck after they were logged"),
    pytest.param("8.3.8", {"close_mosaic": 3}, {}, OPEN, id="it struck in the first epoch"),
    pytest.param("8.3.8", {}, {}, OPEN, id="it may have struck"),
    pytest.param("8.3.8", {"close_mosaic": 1, "time": 1.5}, {}, OPEN, id="under time= it may have struck"),
    pytest.param("8.3.8", {"close_mosaic": 10}, {}, CLOSED, id="resumed: of so few epochs they are closed at once"),
    pytest.param("8.3.8", {"close_mosaic": 0}, {}, CLOSED, id="it was never to strike"),
    pytest.param("8.3.8", {"close_mosaic": 1}, {"planned": 9}, CLOSED, id="training stopped before it could strike"),
    pytest.param("8.3.8", {"close_mosaic": 1, "rect": True}, {}, {**CLOSED, "copy_paste": 0.3},
                 id="rect sets them before they are logged"),
    pytest.param("8.3.8", {"close_mosaic": 1, "rect": True}, {"columns": RTDETR}, OPEN, id="RT-DETR is never rect"),
    pytest.param("8.3.9", {"close_mosaic": 1}, {}, CLOSED, id="from 8.3.9 on it closes on a copy"),
]  # fmt: skip


@pytest.mark.parametrize(("version", "args", "training", "expected"), MOSAIC)
def test_what_close_mosaic_changed_is_as_it_was_when_live_logged_it(
    version: str, args: dict[str, object], training: dict[str, object], expected: dict[str, float], tmp_path: Path
) -> None:
    written = Training(args={**OPEN, **args}).with_(**training)
    train_args = {key: value for key, value in written.all_args("").items() if key != "save_dir"}
    written = written.with_(last={"train_args": {**train_args, **CLOSED}, "version": version})
    params = plan_of(written, tmp_path / "train").params
    assert {key: params[key] for key in expected} == {key: str(value) for key, value in expected.items()}


FOREIGN = [
    pytest.param({"train_results": {"epoch": [1, 2, 3], "train/box_loss": [9.0, 9.0, 9.0]}}, id="its results differ"),
    pytest.param({"train_results": {}, "train_args": {"seed": 7, "optimizer": "SGD"}}, id="its seed differs"),
    pytest.param({"train_results": {}, "train_args": {"epochs": 300, "optimizer": "SGD"}}, id="its epochs differ"),
    pytest.param({"train_results": {}, "train_args": {"data": "coco.yaml", "optimizer": "SGD"}}, id="its data differ"),
]


@pytest.mark.parametrize("last", FOREIGN)
def test_a_checkpoint_of_another_training_is_not_believed(last: dict[str, object], tmp_path: Path) -> None:
    training = with_train_args({"optimizer": "SGD"})
    plan = plan_of(training.with_(last={**(training.last or {}), **last, "epoch": 1}), tmp_path / "train")
    assert "checkpoint-foreign" in [note.code for note in plan.notes]
    assert (plan.params["optimizer"], plan.status, plan.timeline.clock) == ("auto", "FINISHED", "results-mtime")


def test_a_checkpoint_of_the_same_training_is_believed_where_data_was_found_elsewhere(tmp_path: Path) -> None:
    training = with_train_args({"data": "/data/sets/coco8.yaml"}, {"data": "coco8.yaml"}, train_results={})
    assert plan_of(training, tmp_path / "train").params["data"] == "/data/sets/coco8.yaml"


STATUS = [
    pytest.param({"last": {"epoch": -1}, "planned": 9, "plots": False}, "FINISHED", id="last.pt is stripped"),
    pytest.param({"last": {"epoch": 2}, "plots": True}, "FAILED", id="last.pt is not stripped, whatever else is there"),
    pytest.param({"last": None, "best": {"epoch": -1}, "planned": 9}, "FINISHED", id="only best.pt, stripped"),
    pytest.param({"last": None, "best": {"epoch": 1}}, "FAILED", id="only best.pt, not stripped"),
    pytest.param({"last": None, "planned": 9, "plots": True}, "FINISHED", id="no checkpoint, but results.png"),
    pytest.param({"last": None, "planned": 3, "plots": False}, "FINISHED", id="no checkpoint, but all epochs"),
    pytest.param({"last": None, "planned": 9, "plots": False}, "FAILED", id="no checkpoint, and epochs are missing"),
]


@pytest.mark.parametrize(("facts", "status"), STATUS)
def test_a_stripped_checkpoint_else_plots_or_epochs_tell_how_it_ended(
    facts: dict[str, object], status: str, tmp_path: Path
) -> None:
    assert plan_of(Training().with_(**facts), tmp_path / "train").status == status


KEYS = [
    ("metrics/mAP50-95(B)", "metrics/mAP50-95B"),
    ("metrics/precision(M)", "metrics/precisionM"),
    ("train/box_loss", "train/box_loss"),
    ("lr/pg0", "lr/pg0"),
    ("val/loss µ", "val/loss µ"),
    ("val/loss@0.5", "val/loss_0.5"),
    ("metrics//mAP", "metrics/mAP"),
]


@pytest.mark.parametrize(("column", "key"), KEYS)
def test_a_column_becomes_the_key_that_live_logged_or_the_nearest_that_mlflow_accepts(
    column: str, key: str, tmp_path: Path
) -> None:
    plan = plan_of(Training(columns=("train/loss", column), last=None), tmp_path / "train")
    assert {point.key for point in plan.points} == {"train/loss", key}
    refused = column.replace("(", "").replace(")", "") != key
    assert ("refused-characters" in [note.code for note in plan.notes]) is refused


def test_no_key_ends_in_a_newline_which_mlflow_3_18_refuses(tmp_path: Path) -> None:
    plan = plan_of(Training(args={"odd\n": 1}), tmp_path / "train")
    assert plan.params["odd_"] == "1"
    assert "param 'odd\\n' is logged as 'odd_'" in [note.text for note in plan.notes]


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param(("metrics/mAP50(B)", "metrics/mAP50B"), id="parentheses"),
        pytest.param(("metrics/a{b}", "metrics/a_b_"), id="refused characters"),
        pytest.param(("metrics/a", "metrics/a"), id="one name"),
        pytest.param(("metrics/aB", "metrics/a(B)", "metrics/(aB)"), id="three columns"),
    ],
)
def test_columns_of_one_key_are_left_out_with_a_note(columns: tuple[str, ...], tmp_path: Path) -> None:
    training = Training(columns=("train/loss", *columns), last=None)
    plan = plan_import(read_run(training.write(tmp_path / "train")), ImportOptions(best_metrics=True))
    assert {point.key for point in plan.points} == {"train/loss"}
    assert len(plan.points) == training.epochs
    assert [note.code for note in plan.notes] == ["same-key"]


def test_points_are_logged_epoch_after_epoch_rates_and_losses_before_metrics(tmp_path: Path) -> None:
    training = Training(epochs=2)
    points = plan_of(training, tmp_path / "train").points
    train = [name for part in ("lr/", "train/") for name in COLUMNS if name.startswith(part)]
    fit = [name for name in COLUMNS if name not in train]
    assert [point.step for point in points] == [0] * 13 + [1] * 13
    plain = [name.replace("(B)", "B") for name in (*train, *fit)]
    assert [point.key for point in points] == plain * 2
    assert all(point.value == training.value_of(name, 0) for point, name in zip(points, (*train, *fit), strict=False))


def test_without_a_file_that_recorded_it_no_final_validation_is_logged(tmp_path: Path) -> None:
    assert max(point.step for point in plan_of(Training(epochs=3), tmp_path / "train").points) == 2


def test_the_final_validation_is_logged_one_step_after_the_last_epoch(tmp_path: Path) -> None:
    final = {"metrics/precision(B)": 0.5, "metrics/mAP50(B)": 0.123456789, "fitness": 0.4}
    training = Training(epochs=3)
    place(tmp_path / "multitrain_results.json", json.dumps({"results": {"train": final}}), training.fit_ms(3))
    points = plan_of(training, tmp_path / "train").points
    late = {(point.key, point.value) for point in points if point.step > 2}
    assert late == {("metrics/precisionB", 0.5), ("metrics/mAP50B", 0.123456789)}
    assert {point.step for point in points} == {0, 1, 2, 3}


def detected(*rows: tuple[float, float]) -> dict[str, tuple[float, ...]]:
    return {"metrics/mAP50(B)": tuple(a for a, _ in rows), "metrics/mAP50-95(B)": tuple(b for _, b in rows)}


NAN = float("nan")
BEST = [
    pytest.param("8.4.190", detected((0.1, 0.3), (0.9, 0.2), (0.1, 0.3)), 2, "mAP50-95", id="the last of equals"),
    pytest.param("8.4.190", detected((0.9, 0.30), (0.1, 0.31)), 1, "mAP50-95", id="mAP50 does not count"),
    pytest.param("8.3.180", detected((0.9, 0.30), (0.1, 0.31)), 0, "0.1 mAP50 + 0.9 mAP50-95", id="it did to 8.3.180"),
    pytest.param(
        None, detected((0.9, 0.30), (0.1, 0.31)), 0, "0.1 mAP50 + 0.9 mAP50-95", id="without `time` it is before 8.3.9"
    ),
    pytest.param("8.4.190", detected((0.1, 0.3), (0.1, NAN)), 0, "mAP50-95", id="nan is no best"),
    pytest.param("8.4.190", detected((0.0, 0.0), (0.0, 0.0)), 1, "mAP50-95", id="all are zero: the last"),
    pytest.param(
        "8.4.190",
        {**detected((0, 0.5), (0, 0.4)), "metrics/mAP50(M)": (0, 0), "metrics/mAP50-95(M)": (0.1, 0.3)},
        1,
        "mAP50-95 of boxes plus masks",
        id="boxes and masks are added",
    ),
    pytest.param(
        "8.4.190",
        {"metrics/accuracy_top1": (0.5, 0.4, 0.5), "metrics/accuracy_top5": (0.9, 1.0, 0.8)},
        1,
        "(accuracy_top1 + accuracy_top5) / 2",
        id="classify: the mean of top 1 and top 5",
    ),
    pytest.param(
        "8.0.100",
        {"metrics/accuracy_top1": (0.9, 0.1), "metrics/accuracy_top5": (0.91, 0.95)},
        1,
        "accuracy_top5",
        id="classify: top 5 alone up to 8.0.100",
    ),
    pytest.param("8.\u00b2.1", detected((0.1, 0.3), (0.1, 0.4)), 1, "0.1 mAP50 + 0.9 mAP50-95", id="no release at all"),
    pytest.param(f"8.{'4' * 5000}", detected((0.1, 0.3), (0.1, 0.4)), 1, "mAP50-95", id="a number without end"),
    pytest.param("8.4.190", {"metrics/mIoU": (0.1, 0.2, 0.15)}, 1, "mIoU", id="semantic"),
    pytest.param("8.4.190", {"metrics/delta1": (0.1, 0.05)}, 0, "delta1", id="depth"),
    pytest.param("8.4.190", {"train/loss": (0.1, 0.05)}, None, "", id="no metric, no best"),
]


@pytest.mark.parametrize(("version", "columns", "row", "rule"), BEST)
def test_the_best_epoch_is_that_of_the_releases_fitness(
    version: str | None, columns: dict[str, tuple[float, ...]], row: int | None, rule: str
) -> None:
    rows = tuple(zip(*columns.values(), strict=True))
    epochs = Epochs(columns=tuple(columns), steps=tuple(range(len(rows))), rows=rows)
    run = TrainingRun("train", "train", "ultralytics", "Ultralytics", "detect", {}, epochs=epochs, version=version)
    assert best_row(run) == (row, rule)


def test_best_pt_tells_the_best_epoch_before_any_rule(tmp_path: Path) -> None:
    training = Training(epochs=4)
    metrics = {name: training.value_of(name, 1) for name in COLUMNS if name.startswith(("metrics/", "val/"))}
    plan = plan_of(training.with_(best={"train_metrics": metrics}), tmp_path / "train", best_metrics=True)
    assert (plan.best_epoch, plan.record.best_by) == (1, "best.pt")
    best = {point.key: (point.value, point.step) for point in plan.points if point.key.startswith("best/")}
    assert best["best/mAP50-95B"] == (training.value_of("metrics/mAP50-95(B)", 1), 0)
    assert best["best/epoch"] == (1, 0)


def test_the_best_values_of_all_generators_have_one_name_and_are_at_step_0(tmp_path: Path) -> None:
    columns = ("train/box_loss", "metrics/precision", "metrics/recall", "metrics/mAP_0.5", "metrics/mAP_0.5:0.95")
    yolov5 = Training(columns=columns, has_time=False, base=0, last=None).write(tmp_path / "exp")
    (yolov5 / "args.yaml").rename(yolov5 / "opt.yaml")
    keys = []
    for save_dir in (yolov5, Training().write(tmp_path / "train")):
        plan = plan_import(read_run(save_dir), ImportOptions(best_metrics=True))
        best = {point.key: point.step for point in plan.points if point.key.startswith("best/")}
        assert set(best.values()) == {0}
        keys.append({key for key in best if "loss" not in key})
    assert keys[0] == keys[1] == {f"best/{name}" for name in ("precisionB", "recallB", "mAP50B", "mAP50-95B", "epoch")}


def test_names_come_from_the_options_then_the_environment_then_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = plan_of(Training(), tmp_path / "train7")
    assert (plain.experiment_name, plain.run_name) == ("/Shared/Ultralytics", "train7")
    projected = Training(args={"project": "birds/nests"})
    assert plan_of(projected, tmp_path / "train7").experiment_name == "birds/nests"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "from the environment")
    monkeypatch.setenv("MLFLOW_RUN", "its run")
    plan = plan_of(projected, tmp_path / "train7")
    assert (plan.experiment_name, plan.run_name) == ("from the environment", "its run")
    plan = plan_of(projected, tmp_path / "train7", experiment="given", run_name="by hand")
    assert (plan.experiment_name, plan.run_name) == ("given", "by hand")


def test_artifacts_are_the_weights_and_the_top_level_files_of_five_suffixes(tmp_path: Path) -> None:
    save_dir = Training().write(tmp_path / "train")
    for path in ("weights/epoch0.pt", "weights/best.onnx", "predictions.json", "photo.JPG", "notes.txt", "sub/x.png"):
        (save_dir / path).parent.mkdir(exist_ok=True)
        (save_dir / path).write_bytes(b"content")
    paths = [artifact.artifact_path for artifact in plan_import(read_run(save_dir)).artifacts]
    assert paths == [
        "args.yaml", "labels.jpg", "results.csv", "results.png", "train_batch0.jpg", "weights/best.onnx",
        "weights/epoch0.pt", "weights/last.pt",
    ]  # fmt: skip
