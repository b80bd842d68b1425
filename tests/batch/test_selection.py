"""Which of the directories of a tree are meant: paths, lists, globs, dates, tasks, shards."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from support.command import ymlf
from support.directories import STARTED_MS
from support.trees import imported, names, small_tree, training

MAPS = "- no\n- mapping\n"


def test_directories_come_in_natural_order_from_every_path_that_is_given(tree: Path, empty_store: str) -> None:
    training(7).write(tree / "train-2")
    answer = imported(tree / "train10", tree, tree / "train3", uri=empty_store)
    assert names(answer) == ["train10", "train", "train2", "train3", "train-2"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["--include", "train1*"], ["train10"], id="a name"),
        pytest.param(["--include", "*/b/*"], ["b-train"], id="a part of the path"),
        pytest.param(["--exclude", "train*", "--exclude", "b/*"], ["a-train"], id="all but"),
        pytest.param(["--since", "2023-11-20T00:00Z"], ["a-train", "b-train"], id="this date and later"),
        pytest.param(["--until", "2023-11-20T00:00Z"], ["train", "train2", "train3", "train10"], id="before this date"),
        pytest.param(["--task", "classify"], ["b-train"], id="a task"),
    ],
)
def test_a_selection_takes_a_part_of_the_tree(
    words: list[str], expected: list[str], tree: Path, empty_store: str
) -> None:
    later = 1_700_000_000_000 + 10 * 86_400_000
    training(8, started_ms=later).write(tree / "a" / "a-train")
    training(9, started_ms=later, args={"task": "classify"}).write(tree / "b" / "b-train")
    scanned = ymlf("scan", tree, "--json", *words)
    assert sorted(names(scanned)) == sorted(expected)
    assert sorted(names(imported(tree, *words, uri=empty_store))) == sorted(expected)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(
            ["--task", "obb", "--task", "pose"],
            "--task obb --task pose leaves none of 5 run directories: detect 4, segment 1, last changed {at} to {at}\n",
            id="a task",
        ),
        pytest.param(
            ["--include", "foo*", "--include", "bar"],
            "--include 'foo*' --include 'bar' leaves none of 5 run directories\n"
            "  hint: such as {tree}/masks, whose path or name is to match\n",
            id="a glob",
        ),
        pytest.param(
            ["--exclude", "*"],
            "--exclude '*' leaves none of 5 run directories\n"
            "  hint: such as {tree}/masks, whose path or name is to match\n",
            id="all excluded",
        ),
        pytest.param(
            ["--since", "2030-01-01", "--task", "detect"],
            "--task detect --since 2030-01-01 00:00 leaves none of 5 run directories: "
            "detect 4, segment 1, last changed {at} to {at}\n",
            id="too young",
        ),
        pytest.param(
            ["--until", "2000-01-01"],
            "--until 2000-01-01 00:00 leaves none of 5 run directories: "
            "detect 4, segment 1, last changed {at} to {at}\n",
            id="too old",
        ),
        pytest.param(
            ["--include", "train*", "--task", "segment"],
            "--include 'train*' --task segment leaves none of 5 run directories: detect 4, last changed {at} to {at}\n",
            id="of those that a glob has left",
        ),
    ],
)
@pytest.mark.parametrize("command", [["import"], ["import", "--dry-run"], ["scan"]], ids=" ".join)
def test_a_selection_of_nothing_names_the_option_and_what_there_is(
    command: list[str], words: list[str], told: str, tree: Path, tmp_path: Path
) -> None:
    training(60, args={"task": "segment"}).write(tree / "masks")
    answer = ymlf(*command, tree, *words, cwd=tmp_path)
    assert answer.status == 0
    at = datetime.fromtimestamp(STARTED_MS / 1000).strftime("%Y-%m-%d %H:%M")
    assert answer.err == "nothing to do: " + told.format(tree=tree, at=at)


def test_a_task_that_there_is_not_is_a_misuse_with_the_one_that_was_meant(tree: Path, new_sqlite_uri: str) -> None:
    answer = ymlf("import", tree, "--task", "detct", "--tracking-uri", new_sqlite_uri)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err == "error: --task detct: no such task\n  hint: did you mean detect?\n"
    assert "  hint: the tasks are detect, segment, " in ymlf("scan", tree, "--task", "x").err
    assert not (tree.parent / "mlflow.db").exists()


def test_a_selection_of_nothing_but_what_cannot_be_read_says_so_too(tree: Path) -> None:
    (tree / "train2" / "args.yaml").write_text(MAPS)
    answer = ymlf("scan", tree, "--task", "pose")
    assert answer.status == 1 and "--task pose leaves none of 4 run directories: detect 3, " in answer.err


def test_shards_are_a_partition_of_the_tree(tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree", 12, epochs=2)
    (tree / "broken").mkdir()
    (tree / "broken" / "args.yaml").write_text(MAPS)
    shards = [[told["source"] for told in ymlf("scan", tree, "--json", "--shard", f"{i}/3").told] for i in (1, 2, 3)]
    assert sum(bool(shard) for shard in shards) >= 2
    whole = [told["source"] for told in ymlf("scan", tree, "--json").told]
    assert sorted(source for shard in shards for source in shard) == sorted(whole)


def test_a_shard_that_there_cannot_be_is_a_misuse(tree: Path, empty_store: str) -> None:
    assert imported(tree, "--shard", "4/3", uri=empty_store).status == 2


def test_paths_are_read_from_a_file_and_from_stdin(tree: Path, tmp_path: Path, empty_store: str) -> None:
    (tmp_path / "list").write_text(f"{tree}/train2\n\n{tree}/train10\n")
    assert names(imported("--from-file", tmp_path / "list", uri=empty_store)) == ["train2", "train10"]
    words = ["import", "--from-file", "-", "--tracking-uri", empty_store, "--json"]
    piped = subprocess.run(
        [sys.executable, "-m", "importer", *words], input=f"{tree}/train3\n", capture_output=True, text=True,
        timeout=120, check=True,
    )  # fmt: skip
    assert json.loads(piped.stdout.splitlines()[0])["source"] == f"{tree}/train3"


def test_a_list_that_cannot_be_read_is_a_misuse(tmp_path: Path, empty_store: str) -> None:
    answer = imported("--from-file", tmp_path / "nowhere", uri=empty_store)
    assert answer.status == 2 and "--from-file" in answer.err


def test_folders_that_only_look_like_runs_are_passed_by(tree: Path, empty_store: str) -> None:
    for decoy in ("mlruns", ".ipynb_checkpoints", "train/weights", "train/.ipynb_checkpoints"):
        training(50 + len(decoy)).write(tree / decoy / "train")
    assert sorted(names(imported(tree, uri=empty_store))) == ["train", "train10", "train2", "train3"]


def test_links_that_lead_in_circles_end(tree: Path, empty_store: str) -> None:
    (tree / "back").symlink_to(tree, target_is_directory=True)
    (tree / "train" / "up").symlink_to("..", target_is_directory=True)
    (tree / "again").symlink_to(tree / "train2", target_is_directory=True)
    for words in ((), ("--follow-symlinks",)):
        assert len(names(imported(tree, *words, uri=empty_store))) == 4
