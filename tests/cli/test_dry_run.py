"""`ymlf import --dry-run` foretells what the import then does, and changes nothing."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from support.command import ymlf
from support.directories import tune_table
from support.stores import untouched
from support.trees import training

ALL = ("--iterations", "all")  # the tune has no directories, only its table
FORETOLD = ("summary", "runs", "points", "artifact_bytes", "exit_status")


def names(told: dict[str, object]) -> tuple[object, ...]:
    """What a plan or an outcome calls a run."""
    return told["source"], told["run_name"], told["experiment_name"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three trainings, a copy of one, a tune of two iterations, and a directory that cannot be read."""
    runs = tmp_path / "runs"
    for seed in range(3):
        training(seed).write(runs / f"train{seed}")
    training(1).write(runs / "train1-copy")
    tune_table(runs / "tune", (0.25, 0.5))
    training(7).write(runs / "broken")
    (runs / "broken" / "args.yaml").write_text("- no\n- mapping\n")
    return runs


def test_what_would_be_written_is_what_is_then_written(tree: Path, empty_store: str) -> None:
    foreseen = ymlf("import", tree, *ALL, "--dry-run", "--json", "--tracking-uri", empty_store)
    assert untouched(empty_store)
    done = ymlf("import", tree, *ALL, "--json", "--tracking-uri", empty_store, "-j", "1")
    assert foreseen.status == done.status == 1
    plans = [child for plan in foreseen.told[:-1] for child in (plan, *plan.get("children", ()))]  # type: ignore[misc]
    written = [told for told in done.told if "run_id" in told]
    assert [names(plan) for plan in plans if "run_name" in plan] == [names(told) for told in written]
    assert [foreseen.told[-1][name] for name in FORETOLD] == [done.told[-1][name] for name in FORETOLD]
    assert foreseen.told[-1]["summary"] == {"imported": 6, "duplicate": 1, "refused": 1}
    again = ymlf("import", tree, *ALL, "--dry-run", "--json", "--tracking-uri", empty_store)
    assert again.told[-1]["summary"] == {"already there": 6, "duplicate": 1, "refused": 1}


def test_of_many_directories_it_counts_and_on_demand_names_each(tree: Path, empty_store: str) -> None:
    few_words = ymlf("import", tree, *ALL, "--dry-run", "--tracking-uri", empty_store)
    assert few_words.out.splitlines()[-4:-1] == ["     1  duplicate", "     6  would be imported", "     1  refused"]
    assert few_words.out.splitlines()[-1].endswith(" of artifacts would be written")
    assert "train2" not in few_words.out and f"error: {tree}/broken/args.yaml" in few_words.err
    named = ymlf("import", tree, *ALL, "--dry-run", "-v", "--tracking-uri", empty_store)
    told = [line.removeprefix(f"would be imported: {tree}/") for line in named.out.splitlines()]
    iterations = ["tune", "tune (tune iteration 1)", "tune (tune iteration 2)"]
    assert [name for name in told if name.startswith("t")] == ["train0", "train1", "train2", *iterations]


def test_one_tune_is_told_by_one_plan(tree: Path, empty_store: str) -> None:
    words = ("import", tree / "tune", "--dry-run", "--tracking-uri", empty_store)
    answer = ymlf(*words, *ALL)
    assert answer.out.count("experiment ") == 1 and "would be imported" in answer.out
    for more, runs in (((), 1), (ALL, 3)):
        plan, closing = ymlf(*words, *more, "--json").told
        assert (len(plan["children"]), closing["summary"]) == (runs - 1, {"imported": runs})  # type: ignore[arg-type]


def test_what_an_import_would_not_take_a_dry_run_does_not_take(tree: Path, empty_store: str) -> None:
    for words in (["--run-name", "one for all"], ["--import-id", "o'clock"], ["--dask", "local:none"],
                  ["--start-time", "2024-03-01"]):  # fmt: skip
        foreseen = ymlf("import", tree, *words, "--tracking-uri", empty_store, "--dry-run")
        done = ymlf("import", tree, *words, "--tracking-uri", empty_store)
        assert (foreseen.status, foreseen.out, foreseen.err) == (done.status, done.out, done.err)
        assert done.status == 2
    assert untouched(empty_store)


def test_the_report_says_what_would_be(tree: Path, tmp_path: Path, empty_store: str) -> None:
    report = tmp_path / "report.jsonl"
    answer = ymlf("import", tree, *ALL, "--dry-run", "--report", report, "--tracking-uri", empty_store)
    *lines, closing = map(json.loads, report.read_text().splitlines())
    assert Counter(line["would_be"] for line in lines) == closing["summary"]
    assert (closing["exit_status"], closing["runs"]) == (answer.status, len(lines)) == (1, 8)
    [refused] = [line for line in lines if line["would_be"] == "refused"]
    assert refused["source"] == f"{tree}/broken" and refused["hint"]


def test_the_iterations_of_a_tune_are_named_as_they_will_be(tree: Path, empty_store: str) -> None:
    words = ("import", tree / "tune", *ALL, "--run-name", "best", "--experiment", "{name}")
    plan, _ = ymlf(*words, "--tracking-uri", empty_store, "--dry-run", "--json").told
    done = ymlf(*words, "--tracking-uri", empty_store, "--json").told[:-1]
    assert [names(told) for told in (plan, *plan["children"])] == [names(told) for told in done]  # type: ignore[misc]
    assert [told["experiment_name"] for told in done] == ["tune"] * 3
