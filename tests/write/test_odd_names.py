"""Directories are called anything, on any system, and are moved and renamed once they have been trained in."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from support.command import ymlf, ymlf_process
from support.directories import Training
from support.stores import experiments_in, runs_in
from support.trees import outcomes, summary, training

from importer import plan_import, read_run
from importer.model import TrainingRun

NAMES = [
    "訓練", "🐦 run", "ניסוי", "e\u0301te\u0301", "with blanks ", "new\nline", "tab\there", 'quo"te', "apo'strophe",
    "{x}", "{name}", "[red]red[bold]", "%s", "back\\slash", "-dash", "--json", "~", "$HOME", "a;b&c=d", "a,b", "a#b?c",
    "a%20b", "*", "\u202egnp.exe", "\x1b[31mred", "con", "x" * 250,
]  # fmt: skip
TEXT = "epoch,train/loss\n1,0.5\n"


def note(run: TrainingRun, code: str) -> str | None:
    """What the note of this code says, or None where there is none."""
    return next((text for found, text in run.notes if found == code), None)


def test_a_directory_of_any_name_is_imported_under_it_and_verified(tmp_path: Path, empty_store: str) -> None:
    tree = tmp_path / "runs"
    for seed, name in enumerate(NAMES):
        training(seed, args={"name": name, "save_dir": f"runs/{name}"}, plots=False).write(tree / name)
    words = (tree, "--tracking-uri", empty_store, "--json", "-j", "1")
    imported = ymlf("import", *words)
    assert (imported.status, summary(imported)) == (0, {"imported": len(NAMES)})
    assert {run.info.run_name for run in runs_in(empty_store)} == set(NAMES)
    assert summary(ymlf("import", *words)) == {"already there": len(NAMES)}
    assert summary(ymlf("verify", *words)) == {"verified": len(NAMES)}


@pytest.mark.parametrize("name", ["[red]red[bold]", "{name}", "訓練", "a b"])
def test_what_is_told_of_a_directory_has_its_name_as_it_is(name: str, tmp_path: Path) -> None:
    Training().write(tmp_path / name)
    assert name in ymlf("plan", name, cwd=tmp_path).out
    assert f"error: {name}x: no such file or directory" in ymlf("plan", f"{name}x", cwd=tmp_path).err


@pytest.mark.parametrize(
    ("name", "run_name"),
    [
        pytest.param("été".encode(), "été", id="UTF-8"),
        pytest.param("été".encode("latin-1"), "\\udce9t\\udce9", id="Latin-1"),
    ],
)
def test_a_run_is_called_the_same_in_a_locale_without_unicode(name: bytes, run_name: str, tmp_path: Path) -> None:
    save_dir = training(1).write(tmp_path / os.fsdecode(name))
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0"}
    told = [ymlf("plan", save_dir, "--json").told[0], ymlf_process("plan", save_dir, "--json", env=plain).told[0]]
    assert [facts["run_name"] for facts in told] == [run_name, run_name]
    assert told[0]["key"] == told[1]["key"]


@pytest.mark.parametrize("name", ["/a/b", 'it\'s "quoted"', "實驗", "a%b_c", "[red]", "x" * 500])
def test_an_experiment_of_any_name_is_found_again(name: str, tmp_path: Path, empty_store: str) -> None:
    Training().write(tmp_path / "train")
    words = ("import", tmp_path / "train", "--tracking-uri", empty_store, "--experiment", name)
    assert [ymlf(*words).out.split(":")[0] for _ in range(2)] == ["imported", "already there"]
    assert experiments_in(empty_store) == [name]


def test_a_name_in_braces_is_no_template_and_a_template_fills_it_in(tmp_path: Path, empty_store: str) -> None:
    Training().write(tmp_path / "{task}")
    words = ("--tracking-uri", empty_store, "--run-name", "{name} of {parent}")
    assert ymlf("import", tmp_path / "{task}", *words).status == 0
    [run] = runs_in(empty_store)
    assert run.info.run_name == f"{{task}} of {tmp_path.name}"


def test_an_empty_run_name_is_as_none(tmp_path: Path, empty_store: str) -> None:
    Training().write(tmp_path / "train")
    assert ymlf("import", tmp_path / "train", "--tracking-uri", empty_store, "--run-name", "").status == 0
    assert [run.info.run_name for run in runs_in(empty_store)] == ["train"]


def test_a_name_that_no_database_holds_is_refused_unless_a_shorter_one_is_given(
    tmp_path: Path, empty_store: str
) -> None:
    Training().write(tmp_path / ("x" * 251))
    words = ("import", tmp_path / ("x" * 251), "--tracking-uri", empty_store)
    refused = ymlf(*words)
    assert refused.status == 1
    assert "has 251 characters, MLflow takes 250" in refused.err
    assert runs_in(empty_store) == []
    assert ymlf(*words, "--run-name", "short").status == 0


RENAMED = [
    pytest.param("train", {"save_dir": "runs/detect/train", "name": "train"}, None, id="as it was"),
    pytest.param("train2", {"save_dir": "runs/detect/train2", "name": "train"}, None, id="numbered, name is not"),
    pytest.param("train", {"save_dir": "C:\\me\\runs\\detect\\train", "name": "train"}, None, id="a path of Windows"),
    pytest.param("train", {"save_dir": "runs/detect/train/", "name": "train"}, None, id="a slash at the end"),
    pytest.param("train", {"save_dir": None, "name": None}, None, id="nothing recorded"),
    pytest.param("train", {"save_dir": 7, "name": ["x"]}, None, id="nonsense recorded"),
    pytest.param("best", {"save_dir": "runs/detect/train7", "name": "train7"}, "train7", id="renamed"),
    pytest.param("best", {"save_dir": "D:\\runs\\train7", "name": "train7"}, "train7", id="renamed, from Windows"),
    pytest.param("best", {"save_dir": None, "name": "train7"}, "train7", id="renamed, without save_dir"),
]


@pytest.mark.parametrize(("name", "args", "was"), RENAMED)
def test_a_directory_renamed_after_training_is_noted_and_keeps_its_new_name(
    name: str, args: dict[str, object], was: str | None, tmp_path: Path
) -> None:
    run = read_run(Training(args=args).write(tmp_path / name))
    told = f"was {was} when it was trained; the run is called {name}" if was is not None else None
    assert note(run, "renamed") == told
    plan = plan_import(run)
    assert (plan.run_name, plan.params["name"]) == (name, str(args["name"]))


def test_a_renamed_or_moved_directory_is_there_already(tmp_path: Path, empty_store: str) -> None:
    Training().write(tmp_path / "runs" / "detect" / "train")
    assert ymlf("import", tmp_path / "runs", "--tracking-uri", empty_store).status == 0
    shutil.move(tmp_path / "runs" / "detect" / "train", tmp_path / "the best one")
    words = (tmp_path / "the best one", "--tracking-uri", empty_store)
    assert ymlf("import", *words).out.startswith("already there: ")
    assert ymlf("verify", *words).out.startswith("verified: ")


def test_nested_runs_are_each_a_run_of_the_directory_that_they_lie_in(tmp_path: Path, empty_store: str) -> None:
    outer = training(1).write(tmp_path / "runs" / "detect" / "train")
    training(2).write(tmp_path / "runs" / "detect" / "runs" / "detect" / "train2")
    training(3).write(outer / "fold3")
    told = outcomes(ymlf("import", tmp_path / "runs", "--tracking-uri", empty_store, "--json", "-j", "1"))
    assert told == {"train": "imported", "train2": "imported", "fold3": "imported"}


RESULTS = [
    pytest.param(["results.csv"], "results.csv", set(), id="results.csv"),
    pytest.param(["results (1).csv"], "results (1).csv", {"renamed-results"}, id="renamed by a browser"),
    pytest.param(["results - Kopie.csv"], "results - Kopie.csv", {"renamed-results"}, id="a copy"),
    pytest.param(["results.csv", "results (1).csv"], "results.csv", set(), id="results.csv and a copy"),
    pytest.param(["results (1).csv", "results (2).csv"], None, {"results-ignored"}, id="two that are not called so"),
]


@pytest.mark.parametrize(("files", "read", "codes"), RESULTS)
def test_epochs_come_from_results_csv_else_from_the_only_file_like_it(
    files: list[str], read: str | None, codes: set[str], tmp_path: Path
) -> None:
    (tmp_path / "args.yaml").write_text("task: detect\nmode: train\n")
    for name in files:
        (tmp_path / name).write_text(TEXT)
    run = read_run(tmp_path)
    assert (run.results_file, len(run.epochs)) == (read, 1 if read else 0)
    assert {found.code for found in run.notes} == codes


def test_files_that_may_all_be_results_csv_are_named(tmp_path: Path, empty_store: str) -> None:
    (tmp_path / "args.yaml").write_text("task: detect\nmode: train\n")
    for name in ("results (1).csv", "results (2).csv"):
        (tmp_path / name).write_text(TEXT)
    told = "".join(ymlf("import", tmp_path, "--tracking-uri", empty_store)[1:])
    assert "no results.csv, and results (1).csv or results (2).csv may be it; none of them is read" in told
