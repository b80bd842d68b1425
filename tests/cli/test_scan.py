"""`ymlf scan`: what lies in a tree, and what of it a store has."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from support.command import ymlf
from support.directories import tune_table
from support.trees import by_name, imported, training


def test_scan_lists_what_lies_in_a_tree(tree: Path) -> None:
    shutil.copytree(tree / "train2", tree / "train2-copy")
    training(20, epochs=0, last=None, plots=False).write(tree / "dead")
    training(21, planned=50).write(tree / "short")
    words = ymlf("scan", tree)
    assert words.status == 0
    assert "duplicate" in words.out and "no epochs" in words.out and "ended early" in words.out
    told = by_name(ymlf("scan", tree, "--json"))
    facts = {"kind": "ultralytics", "task": "detect", "state": "all epochs", "epochs": 3, "planned_epochs": 3}
    assert told["train"].items() >= facts.items()
    assert told["short"]["planned_epochs"] == 50 and told["train2-copy"]["state"] == "duplicate"
    assert [line for line in words.out.splitlines() if line != line.rstrip()] == []
    assert str(told["train"]["generator"]).startswith("Ultralytics") and told["train"]["bytes"]


def test_scan_tells_what_a_store_has_already(grown: Path, empty_store: str) -> None:
    training(30).write(grown / "new")
    template = ("--experiment", "/Shared/Ultralytics")
    told = by_name(ymlf("scan", grown, "--json", "--tracking-uri", empty_store, *template))
    assert {name: facts["store"] for name, facts in told.items()} == {
        "train": "already there", "train2": "would be updated", "train3": "already there",
        "train10": "already there", "new": "would be imported",
    }  # fmt: skip


def test_scan_makes_no_store(tree: Path, tmp_path: Path) -> None:
    answer = ymlf("scan", tree, "--json", "--tracking-uri", f"sqlite:///{tmp_path}/new.db")
    assert answer.status == 2 and "new.db: no such file" in answer.err
    assert not (tmp_path / "new.db").exists()


def test_scan_names_the_experiment_to_which_a_training_was_imported(tree: Path, empty_store: str) -> None:
    imported(tree / "train2", "--experiment", "archive", uri=empty_store)
    told = by_name(ymlf("scan", tree, "--json", "--tracking-uri", empty_store))
    assert told["train2"]["store"] == "would be imported, is in archive"
    assert told["train3"]["store"] == "would be imported"
    told = by_name(ymlf("scan", tree, "--json", "--tracking-uri", empty_store, "--experiment", "archive"))
    assert (told["train2"]["store"], told["train3"]["store"]) == ("already there", "would be imported")


def test_scan_before_the_first_import_takes_a_store_of_the_environment_for_empty(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/new.db")
    answer = ymlf("scan", tree, "--json")
    assert (answer.status, {told["store"] for told in answer.told}) == (0, {"would be imported"})
    assert not (tmp_path / "new.db").exists()


def test_scan_says_nothing_of_the_end_where_nothing_tells_how_many_epochs_were_planned(tmp_path: Path) -> None:
    save_dir = training(1, last=None).write(tmp_path / "train")
    (save_dir / "args.yaml").unlink()
    assert "state" not in ymlf("scan", save_dir, "--json").told[0]
    assert "ended early" not in ymlf("scan", save_dir).out


def test_scan_counts_the_iterations_of_a_tune_that_are_not_there(tmp_path: Path, empty_store: str) -> None:
    tune = tune_table(tmp_path / "tune", (0.25, 0.5, 0.75))
    imported(tune, "--iterations", "all", "--import-id", "job", uri=empty_store)
    look = ("scan", tune, "--json", "--tracking-uri", empty_store)
    assert ymlf(*look, "--iterations", "all").told[0]["store"] == "already there"
    ymlf("undo", "job", "--yes", "--include", "tune iteration [12]", "--tracking-uri", empty_store)
    assert ymlf(*look, "--iterations", "all").told[0]["store"] == "already there, 2 of 3 iterations not"
    assert ymlf(*look).told[0]["store"] == "already there"


def test_directories_are_counted_alike_by_each_command_and_the_counts_add_up(tree: Path, empty_store: str) -> None:
    for seed in (20, 21):
        training(seed, epochs=0, last=None, plots=False).write(tree / f"dead{seed}")
    shutil.copytree(tree / "train2", tree / "train2-copy")
    tune_table(tree / "tune", (0.25, 0.5, 0.75))
    (training(30).write(tree / "broken") / "args.yaml").write_text("- task\n")
    counts = "6 trainings (2 without epochs), 1 tune (3 iterations), 1 duplicate, 1 refused"
    words = f"9 directories: {counts}"
    options = ("--iterations", "all", "--tracking-uri", empty_store)
    assert f"\n{words}; " in ymlf("scan", tree, *options).out
    for command in (["import", tree, "--dry-run"], ["import", tree], ["import", tree], ["verify", tree]):
        answer = ymlf(*command, *options)
        assert f"{words}\n" in answer.out, command
        table = re.findall(r"^ +(\d+)  \w", answer.out, re.M)
        assert sum(map(int, table)) == 6 + 1 + 3 + 1 + 1, answer.out
    assert "1 directory: 1 training; " in ymlf("scan", tree / "train").out


def test_scan_of_a_folder_without_runs_has_an_error_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    hint = "  hint: a run directory holds args.yaml or results.csv\n"
    for more in ([], ["-q"], ["--json"]):
        answer = ymlf("scan", "empty", *more, cwd=tmp_path)
        assert (answer.status, answer.err) == (1, f"error: empty: no run directory here or below\n{hint}")


def test_a_duplicate_has_one_word_in_words_and_in_json(tree: Path, empty_store: str) -> None:
    shutil.copytree(tree / "train2", tree / "train2-copy")
    for words in (("scan", tree), ("import", tree, "--dry-run"), ("import", tree)):
        store = ("--tracking-uri", empty_store)
        said = by_name(ymlf(*words, *store, "--json"))["train2-copy"]
        assert "duplicate" in (said.get("state"), said.get("would_be"), said.get("outcome"))
        assert re.search(r"\bduplicate\b", ymlf(*words, *store, "-v").out)
