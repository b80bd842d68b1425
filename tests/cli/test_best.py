"""`ymlf best`: the runs of a tree by the metrics of their best epochs, without a store."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import ymlf
from support.directories import COLUMNS, FIXTURES, Training
from support.trees import small_tree, training

from importer import RunSummary, UsageError, best, scan
from importer.read.ranking import Ranking

MASKS = tuple(name.replace("(B)", "(M)") for name in COLUMNS if name.endswith("(B)"))
SEGMENT = {"columns": (*COLUMNS[:7], *MASKS, *COLUMNS[7:]), "args": {"task": "segment", "data": "shapes-seg.yaml"}}
OURS, THEIRS = "metrics/mAP50-95(B)", "metrics/mAP_0.5:0.95"


def scored(seed: int, *values: float, column: str = OURS, **changes: object) -> Training:
    """A training of one epoch for each value of a metric."""
    rows = tuple({column: value, "train/box_loss": 1 + seed / 100} for value in values)
    return Training(rows=rows, epochs=len(values), args={"seed": seed}).with_(**changes)


def order(ranking: Ranking) -> list[tuple[str, list[str]]]:
    """The metric of each table, and the names of its runs."""
    return [(table.by, [row.best.run for row in table.rows]) for table in ranking.tables]


def test_runs_are_ranked_by_their_best_epoch_and_not_by_their_last(tmp_path: Path) -> None:
    scored(1, 0.2, 0.9, 0.1).write(tmp_path / "peaked")
    scored(2, 0.2, 0.3, 0.4).write(tmp_path / "steady")
    scored(3, 0.8, 0.1, 0.1).write(tmp_path / "early")
    [table] = best(tmp_path).tables
    assert [(row.rank, row.best.run, row.best.best_epoch, row.best.value("mAP50-95B")) for row in table.rows] == [
        (1, "peaked", 1, 0.9), (2, "early", 0, 0.8), (3, "steady", 2, 0.4),
    ]  # fmt: skip
    assert (table.task, table.dataset, table.companions) == ("detect", "coco8", ("precisionB", "recallB", "mAP50B"))
    assert {(row.best.model, row.best.epochs, row.best.has_best) for row in table.rows} == {("yolo11n", 3, False)}


def test_the_best_epoch_is_by_the_fitness_of_the_release_that_the_checkpoint_names(tmp_path: Path) -> None:
    rows = ({"metrics/mAP50(B)": 0.9, OURS: 0.40}, {"metrics/mAP50(B)": 0.1, OURS: 0.41})
    for seed, version in enumerate(("8.3.180", "8.4.190")):
        Training(epochs=2, rows=rows, last={"version": version}, args={"seed": seed}).write(tmp_path / version)
    [table] = best(tmp_path).tables
    assert {row.best.run: row.best.best_epoch for row in table.rows} == {"8.3.180": 0, "8.4.190": 1}


def test_boxes_and_masks_are_ranked_apart(tmp_path: Path) -> None:
    scored(1, 0.3).write(tmp_path / "boxes")
    scored(2, 0.2, column="metrics/mAP50-95(M)", **SEGMENT).write(tmp_path / "masks")
    scored(3, 0.9, column="metrics/mAP50-95(M)", **SEGMENT).write(tmp_path / "better-masks")
    assert order(best(tmp_path)) == [("mAP50-95B", ["boxes"]), ("mAP50-95M", ["better-masks", "masks"])]
    by_boxes = best(tmp_path, task="segment", by="mAP50-95B").tables
    assert [(table.by, table.companions) for table in by_boxes] == [("mAP50-95B", ("precisionB", "recallB", "mAP50B"))]
    assert [table.by for table in best(tmp_path, by="mAP50").tables] == ["mAP50B", "mAP50M"]


def test_yolov5_is_ranked_with_ultralytics(tmp_path: Path) -> None:
    columns = ("train/box_loss", "metrics/precision", "metrics/recall", "metrics/mAP_0.5", THEIRS, "x/lr0")
    scored(1, 0.5, 0.7, column=THEIRS, columns=columns, has_time=False, base=0, last=None).write(tmp_path / "exp")
    (tmp_path / "exp" / "args.yaml").rename(tmp_path / "exp" / "opt.yaml")
    scored(2, 0.6).write(tmp_path / "train")
    [table] = best(tmp_path).tables
    assert [(row.best.run, row.best.generator) for row in table.rows] == [
        ("exp", "YOLOv5"), ("train", "Ultralytics 8.3.40"),
    ]  # fmt: skip


def test_a_loss_ranks_from_the_smallest(tmp_path: Path) -> None:
    scored(1, 0.5, column="val/box_loss").write(tmp_path / "worse")
    scored(2, 0.1, column="val/box_loss").write(tmp_path / "better")
    scored(3, float("nan"), column="val/box_loss").write(tmp_path / "diverged")
    assert order(best(tmp_path, by="val/box_loss")) == [("val/box_loss", ["better", "worse", "diverged"])]


def test_each_dataset_has_a_table_and_one_can_be_chosen(tmp_path: Path) -> None:
    for seed, data in enumerate(("/data/corn.yaml", "corn.yaml", "wheat.yaml")):
        training(seed, args={"data": data}).write(tmp_path / f"train{seed}")
    assert [(table.dataset, table.runs) for table in best(tmp_path).tables] == [("corn", 2), ("wheat", 1)]
    assert [table.dataset for table in best(tmp_path, dataset="wheat").tables] == ["wheat"]


def test_a_directory_that_two_paths_lead_to_is_ranked_once() -> None:
    answer = ymlf("best", FIXTURES / "runs", FIXTURES / "runs" / "detect" / "train-2", "--json")
    assert [row["run"] for row in answer.told].count("train-2") == 1


@pytest.mark.parametrize(
    ("words", "said", "hint"),
    [
        (("--by", "mAP50_95"), "no run has a metric 'mAP50_95'", "mAP50-95B"),
        (("--task", "segmnt"), "no run of task 'segmnt' is here", "segment"),
        (("--task", "obb"), "no run of task 'obb' is here", "detect, segment"),
        (("--dataset", "shape"), "no run of dataset 'shape' is here", "shapes"),
    ],
)
def test_what_no_run_has_is_a_misuse_and_what_is_like_it_is_named(words: tuple[str, ...], said: str, hint: str) -> None:
    answer = ymlf("best", FIXTURES / "runs", *words)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith(f"error: {said}\n  hint: ") and hint in answer.err


def test_a_run_without_epochs_is_not_ranked(tmp_path: Path) -> None:
    training(1, epochs=0, last=None, plots=False).write(tmp_path / "dead")
    answer = ymlf("best", tmp_path)
    assert (answer.status, answer.out) == (1, "")
    assert "error: no run here has an epoch to rank it by" in answer.err
    training(2).write(tmp_path / "train")
    answer = ymlf("best", tmp_path, "-v")
    assert answer.status == 0 and f"not ranked: {tmp_path / 'dead'}: no epochs\n" in answer.err


def test_one_bad_directory_does_not_hide_the_others(tmp_path: Path) -> None:
    training(1).write(tmp_path / "train")
    training(2).write(tmp_path / "bad")
    (tmp_path / "bad" / "results.csv").write_text("epoch,train/box_loss\n1,2\n2,n/a\n")
    answer = ymlf("best", tmp_path, tmp_path / "nowhere", "--json")
    assert (answer.status, [row["run"] for row in answer.told]) == (1, ["train"])
    assert "bad" in answer.err and "nowhere: no such file or directory" in answer.err


def test_a_row_of_json_holds_the_run_and_its_metrics(tmp_path: Path) -> None:
    scored(1, 0.25, 0.5).write(tmp_path / "train")
    [row] = ymlf("best", tmp_path, "--json").told
    assert row["metrics"]["mAP50-95B"] == row["value"] == 0.5  # type: ignore[index]
    facts = {"rank": 1, "run": "train", "task": "detect", "dataset": "coco8", "model": "yolo11n", "epochs": 2}
    facts |= {"best_epoch": 1, "by": "mAP50-95B", "has_best": False, "source": str(tmp_path / "train")}
    assert row.items() >= facts.items()


def test_the_table_shows_the_first_rows_and_escapes_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    for seed in range(3):
        training(seed).write(tmp_path / f"train\x1b[31m{seed}")
    answer = ymlf("best", tmp_path, "--top", "2")
    title, header, *rows = answer.out.splitlines()
    assert title == "detect on coco8, the best 2 of 3 runs by mAP50-95B; --top 3 shows all"
    assert header.split()[:6] == ["rank", "run", "dataset", "model", "epochs", "best"] and len(rows) == 2
    assert "\x1b" not in answer.out and "train\ufffd[31m" in answer.out
    titles = [ymlf("best", tmp_path, "--top", top).out.splitlines()[0] for top in ("1", "3")]
    assert titles[0] == "detect on coco8, the best of 3 runs by mAP50-95B; --top 3 shows all"
    assert titles[1] == "detect on coco8, 3 runs by mAP50-95B"


def test_a_ranking_is_a_table_of_pandas(tmp_path: Path) -> None:
    scored(1, 0.25, 0.5).write(tmp_path / "train")
    table = best(tmp_path).to_pandas()
    assert table[["rank", "run", "by", "value", "mAP50-95B"]].values.tolist() == [[1, "train", "mAP50-95B", 0.5, 0.5]]
    assert best(tmp_path / "nowhere").to_pandas().empty


def test_what_scan_returns_can_be_ranked_and_a_wrong_name_is_raised(tmp_path: Path) -> None:
    training(1).write(tmp_path / "train")
    summaries: list[RunSummary] = scan(tmp_path)
    assert order(best(summaries)) == [("mAP50-95B", ["train"])]
    with pytest.raises(UsageError, match="no run has a metric"):
        best(summaries, by="mAP75B")


def test_best_imports_no_mlflow(tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree", 2)
    code = (
        "import sys, importer; ranking = importer.best(sys.argv[1]);"
        "print(len(ranking.tables[0].rows), 'mlflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, tree], capture_output=True, text=True, check=True)
    assert done.stdout == "2 False\n"
    command = [sys.executable, "-X", "importtime", "-m", "importer", "best", str(tree), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(list(map(json.loads, done.stdout.splitlines()))) == 2
    assert not [line for line in done.stderr.splitlines() if line.rpartition("|")[2].strip() == "mlflow"]
