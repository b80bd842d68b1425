"""A run directory is recognised by its content, not by its path."""

from __future__ import annotations

import logging
import os
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from support.command import ymlf

from importer import RunDirError, plan_import
from importer.batch.gather import gather
from importer.read.discover import find_runs
from importer.read.registry import read_run

ARGS = "task: detect\nmode: train\nepochs: 2\nname: train\n"
RESULTS = "epoch,time,train/box_loss,metrics/mAP50(B)\n1,10,0.5,0.1\n2,20,0.25,0.2\n"
TIMM = "aa: null\nbatch_size: 128\nepochs: 100\nmodel: resnet50\n"

OURS = [
    pytest.param({"results.csv": RESULTS}, id="results.csv alone"),
    pytest.param({"results.csv": f",{RESULTS}"}, id="with the index of pandas in front"),
    pytest.param({"results.csv": RESULTS, "args.yaml": TIMM}, id="results.csv, whatever args.yaml is"),
    pytest.param({"args.yaml": ARGS}, id="args.yaml alone"),
    pytest.param({"args.yaml": f"# the night run\n---\n{ARGS}"}, id="args.yaml with a comment in front"),
    pytest.param({"args.yaml": "".join(sorted(ARGS.splitlines(keepends=True)))}, id="args.yaml by the alphabet"),
    pytest.param({"args.yaml": ""}, id="args.yaml of no bytes"),
    pytest.param({"args.yaml": ARGS, "results.csv": "404"}, id="args.yaml beside a results.csv that is to be refused"),
    pytest.param({"args.yaml": "404", "results.csv": "404"}, id="both to be refused"),
]  # fmt: skip
OTHERS = [
    pytest.param({"results.csv": "epoch,accuracy,loss,val_loss\n0,0.1,0.2,0.3\n"}, id="Keras"),
    pytest.param({"results.csv": "epoch,step,train_loss\n0,10,0.1\n"}, id="Lightning"),
    pytest.param({"results.csv": "epoch,step,train/loss,val/loss\n0,10,0.1,\n"}, id="Lightning with a slash"),
    pytest.param({"results.csv": "class,precision\na,1\n"}, id="a table of classes"),
    pytest.param({"args.yaml": TIMM, "summary.csv": "epoch,train_loss\n0,1\n"}, id="timm"),
    pytest.param({"args.yaml": TIMM, "results.csv": "model,top1\nresnet50,80\n"}, id="timm with results"),
    pytest.param({"tune_results.csv": "lr,depth,mse\n0.1,3,0.5\n"}, id="XGBoost"),
    pytest.param({"data.yaml": "train: images\nnames: [a]\n"}, id="a dataset"),
    pytest.param({"confusion_matrix.png": "", "val_batch0_pred.jpg": ""}, id="a validation"),
]


def written(folder: Path, files: dict[str, str]) -> Path:
    """The folder with these files."""
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("files", OURS)
def test_a_run_directory_is_found(files: dict[str, str], tmp_path: Path) -> None:
    save_dir = written(tmp_path / "train", files)
    assert [found.save_dir for found in find_runs([tmp_path])] == [save_dir]


@pytest.mark.parametrize("files", OTHERS)
def test_what_others_write_is_no_run_directory(files: dict[str, str], tmp_path: Path) -> None:
    written(tmp_path / "train", files)
    assert list(find_runs([tmp_path])) == []


PLACES = ["datasets/runs/train", "weights/train", "images", "labels/train", "wandb/train", "crops", "mlflow/train"]


@pytest.mark.parametrize("place", PLACES)
def test_a_run_is_found_in_a_folder_of_any_name(place: str, tmp_path: Path) -> None:
    save_dir = written(tmp_path / "tree" / place, {"args.yaml": ARGS, "results.csv": RESULTS})
    [summary] = gather([tmp_path / "tree"]).summaries
    assert (summary.save_dir, summary.epochs) == (str(save_dir), 2)


def test_the_artifacts_of_a_store_are_no_runs(tmp_path: Path) -> None:
    for place in ("mlruns/1/8a/artifacts", "mlartifacts/1/8a/artifacts", "mlflow/1/8a/artifacts"):
        written(tmp_path / place, {"args.yaml": ARGS, "results.csv": RESULTS})
    (tmp_path / "mlflow/1/meta.yaml").write_text("experiment_id: '1'\n")
    assert list(find_runs([tmp_path])) == []


def test_a_folder_with_a_meta_yaml_of_another_program_is_searched(tmp_path: Path) -> None:
    save_dir = written(tmp_path / "fire/train", {"args.yaml": ARGS, "results.csv": RESULTS})
    (tmp_path / "fire/meta.yaml").write_text("name: fire\nlicense: MIT\n")
    assert [run.save_dir for run in find_runs([tmp_path])] == [save_dir]


@pytest.mark.parametrize("name", ["0123456789abcdef" * 2, f"m-{'0123456789abcdef' * 2}"])
def test_the_copies_that_a_server_keeps_are_no_runs(name: str, tmp_path: Path) -> None:
    save_dir = written(tmp_path / name / "train", {"args.yaml": ARGS, "results.csv": RESULTS})
    written(tmp_path / name / "artifacts", {"args.yaml": ARGS, "results.csv": RESULTS})
    written(tmp_path / name / "artifacts/run", {"args.yaml": ARGS, "results.csv": RESULTS})
    assert [run.save_dir for run in find_runs([tmp_path])] == [save_dir]


def test_a_digit_that_is_no_decimal_stops_no_search(tmp_path: Path) -> None:
    for name in ("10²", "①", "train2", "train10", "٣"):
        written(tmp_path / name, {"args.yaml": ARGS, "results.csv": RESULTS})
    found = [run.save_dir.name for run in find_runs([tmp_path])]
    assert sorted(found) == sorted(["10²", "①", "train2", "train10", "٣"])
    assert found.index("train2") < found.index("train10")


def test_the_images_and_labels_of_a_dataset_are_not_searched_and_runs_beside_it_are_found(tmp_path: Path) -> None:
    for place in ("datasets/coco8/images/train", "datasets/coco8/labels/train", "datasets/runs/detect/train", "images"):
        written(tmp_path / place, {"args.yaml": ARGS, "results.csv": RESULTS})
    found = [run.save_dir.relative_to(tmp_path).as_posix() for run in find_runs([tmp_path])]
    assert found == ["datasets/runs/detect/train", "images"]


def test_a_run_is_found_however_deep_it_lies(tmp_path: Path) -> None:
    here = Path.cwd()
    try:
        os.chdir(tmp_path)
        for _ in range(1_100):  # more than Python's stack has frames
            Path("a").mkdir()
            os.chdir("a")
        Path("args.yaml").write_text(ARGS)
        assert len(list(find_runs([tmp_path]))) == 1
    finally:
        os.chdir(here)
        subprocess.run(["rm", "-r", str(tmp_path / "a")], check=True)  # shutil.rmtree would not get down there


@pytest.mark.parametrize("name", ["results.csv", "args.yaml", "opt.yaml", "results.txt", "tune_results.csv"])
def test_a_pipe_is_not_waited_for(name: str, tmp_path: Path) -> None:
    save_dir = written(tmp_path / "train", {} if name == "args.yaml" else {"args.yaml": ARGS})
    os.mkfifo(save_dir / name)
    gather([tmp_path])
    with suppress(RunDirError):  # of args.yaml alone nothing is left to read
        plan_import(read_run(save_dir))


@pytest.mark.parametrize(
    ("files", "why"),
    [
        pytest.param(
            {"tune_results.csv": "lr,depth\n1,2\n"},
            "tune_results.csv is not a YOLO trainer's: its first column is not `fitness`",
            id="XGBoost's tune",
        ),
        pytest.param(
            {"results.csv": "epoch,step,loss\n0,1,2\n"},
            "results.csv is not a YOLO trainer's: it has no column `epoch` with others that begin with train/,",
            id="Lightning's results",
        ),
        pytest.param(
            {"results.txt": "hello\n", "args.yaml": "lr: 1\n"},
            "args.yaml is not a YOLO trainer's: it has no `task` and `mode`; results.txt is not a YOLO trainer's",
            id="two of them",
        ),
        pytest.param({"notes.md": "hello\n"}, "a run directory holds args.yaml or results.csv", id="nothing alike"),
    ],
)
def test_a_directory_that_is_no_run_directory_is_refused_with_the_reason(
    files: dict[str, str], why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_dir = written(tmp_path / "decoy", files)
    with pytest.raises(RunDirError, match="no run directory here") as refused:
        read_run(save_dir)
    assert why in str(refused.value.hint)
    [outcome] = gather([save_dir]).settled
    assert why in str(outcome.hint)
    with caplog.at_level(logging.INFO, "importer.read.discover"):
        assert list(find_runs([tmp_path])) == []
    looks_alike = "notes.md" not in files
    assert [record.getMessage().startswith(f"{save_dir}: passed by: {why}") for record in caplog.records] == (
        [True] * looks_alike
    )


def test_folders_that_only_look_like_a_run_are_named_with_the_reason(tmp_path: Path, empty_store: str) -> None:
    written(tmp_path / "tree/train", {"args.yaml": ARGS})
    for name in ("lightning", "keras"):
        written(tmp_path / "tree" / name, {"results.csv": "epoch,step,loss\n0,1,2\n"})
    why = "only looks like a run directory: results.csv is not a YOLO trainer's: it has no column `epoch`"
    for words in (["scan"], ["import", "--also", "empty", "--tracking-uri", empty_store], ["import", "--dry-run"]):
        err = ymlf(words[0], tmp_path / "tree", *words[1:]).err
        for name in ("lightning", "keras"):
            assert f"note: {tmp_path / 'tree' / name}: {why}" in err, words
    assert ymlf("scan", tmp_path / "tree", "-q").err == ""
    for number in range(6):
        written(tmp_path / f"tree/more{number}", {"results.csv": "epoch,step,loss\n0,1,2\n"})
    assert ymlf("scan", tmp_path / "tree").err.endswith("note: ... and 3 more such folders (-v names them)\n")
    alone = ymlf("scan", tmp_path / "tree/keras")
    assert "note: " not in alone.err and "results.csv is not a YOLO trainer's" in alone.out + alone.err
    below = written(tmp_path / "other/keras", {"results.csv": "epoch,step,loss\n0,1,2\n"}).parent
    assert f"note: {below / 'keras'}: {why}" in ymlf("scan", below).err


def test_the_hint_on_a_folder_above_one_that_only_looks_like_a_run_says_why(tmp_path: Path) -> None:
    below = written(tmp_path / "tuning/of_trees", {"tune_results.csv": "lr,depth\n1,2\n"})
    [outcome] = gather([tmp_path / "tuning"]).settled
    why = f"{below} only looks like one: tune_results.csv is not a YOLO trainer's: its first column is not `fitness`"
    assert outcome.hint == why
