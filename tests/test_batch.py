"""A whole tree in one command: what becomes of each directory, what is told of it, and how it is undone."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from command import Answer, ymlf, ymlf_process
from directories import touch_all
from mlflow import MlflowClient
from stores import experiments_in, points_of, runs_in, untouched
from trees import active, assert_whole, by_name, outcomes, small_tree, summary, training

from importer.cli import cli
from importer.errors import UsageError
from importer.store.opening import open_store
from importer.work import Workers, gather, import_work

MAPS = "- no\n- mapping\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Four trainings: runs/train, train2, train3 and train10."""
    for seed, name in enumerate(("train", "train2", "train3", "train10")):
        training(seed).write(tmp_path / "runs" / name)
    return tmp_path / "runs"


def imported(*words: object, uri: str) -> Answer:
    """The answer of `ymlf import --json` with one worker."""
    return ymlf("import", *map(str, words), "--tracking-uri", uri, "--json", "-j", "1")


def names(answer: Answer) -> list[str]:
    """The names of the directories, in the order in which they were told."""
    return list(by_name(answer))


def grow(save_dir: Path, seed: int, epochs: int) -> None:
    """The same training, seen when it had gone on for longer."""
    training(seed, epochs=epochs).write(save_dir)


# Outcomes


def test_a_tree_is_imported_once_and_verified(tree: Path, empty_store: str) -> None:
    first = imported(tree, uri=empty_store)
    assert (first.status, summary(first)) == (0, {"imported": 4})
    assert_whole(empty_store, tree, 4)
    again = imported(tree, uri=empty_store)
    assert (again.status, summary(again)) == (0, {"already there": 4})


def test_several_processes_import_a_tree(tmp_path: Path, empty_store: str) -> None:
    tree = small_tree(tmp_path / "tree", 9, epochs=3)
    answer = ymlf("import", tree, "--tracking-uri", empty_store, "--json", "-j", "2")
    assert (answer.status, summary(answer)) == (0, {"imported": 9})
    assert_whole(empty_store, tree, 9)


def test_one_bad_directory_does_not_stop_the_batch_but_fails_it(tree: Path, empty_store: str) -> None:
    (tree / "train2" / "args.yaml").write_text(MAPS)
    answer = ymlf("import", tree, "--tracking-uri", empty_store, "-j", "1")
    assert answer.status == 1
    assert f"error: {tree}/train2/args.yaml: " in answer.err and "hint: " in answer.err
    assert sorted(run.info.run_name for run in active(empty_store)) == ["train", "train10", "train3"]


def test_an_experiment_that_was_deleted_fails_its_own_runs_only(tree: Path, empty_store: str) -> None:
    training(30, args={"project": "gone"}).write(tree / "train30")
    client = MlflowClient(empty_store)
    client.delete_experiment(client.create_experiment("gone"))
    answer = imported(tree, uri=empty_store)
    assert (answer.status, summary(answer)) == (3, {"failed": 1, "imported": 4})
    assert "experiment 'gone' was deleted" in str(by_name(answer)["train30"]["reason"])


def test_each_directory_has_an_outcome_of_its_own(tree: Path, empty_store: str) -> None:
    training(20, epochs=0, last=None, plots=False).write(tree / "dead")
    now_running = training(21, planned=50, last=None, plots=False).write(tree / "running")
    os.utime(now_running / "results.csv")
    (tree / "train3" / "results.csv").write_text("epoch,time,train/box_loss\n1,2,three\n")
    shutil.copytree(tree / "train2", tree / "train2-copy")
    answer = imported(tree, uri=empty_store)
    assert answer.status == 1
    assert outcomes(answer) == {
        "train": "imported", "train2": "imported", "train2-copy": "duplicate of", "train3": "refused",
        "train10": "imported", "dead": "no epochs", "running": "still training",
    }  # fmt: skip
    assert by_name(answer)["dead"]["hint"] == "import it with --empty"
    assert "--unfinished" in str(by_name(answer)["running"]["hint"])
    more = imported(tree / "dead", tree / "running", "--empty", "--unfinished", uri=empty_store)
    assert (more.status, outcomes(more)) == (0, {"dead": "imported", "running": "imported"})


def test_of_two_directories_of_one_training_that_with_more_rows_is_it(tmp_path: Path, empty_store: str) -> None:
    grow(tmp_path / "runs" / "early", 1, 2)
    grow(tmp_path / "runs" / "late", 1, 5)
    answer = imported(tmp_path / "runs", uri=empty_store)
    assert (answer.status, outcomes(answer)) == (0, {"early": "duplicate of", "late": "imported"})
    assert by_name(answer)["early"]["reason"] == str(tmp_path / "runs" / "late")


def test_a_directory_that_was_moved_and_copied_without_its_times_is_there_already(tree: Path, empty_store: str) -> None:
    imported(tree, uri=empty_store)
    elsewhere = tree.with_name("archive")
    shutil.copytree(tree, elsewhere)
    touch_all(elsewhere, 1_750_000_000_000)
    answer = imported(elsewhere, uri=empty_store)
    assert (answer.status, summary(answer)) == (0, {"already there": 4})


def test_what_was_left_half_written_is_finished(tree: Path, empty_store: str) -> None:
    imported(tree, uri=empty_store)
    client = MlflowClient(empty_store)
    left = active(empty_store)[0]
    client.set_tag(left.info.run_id, "ymlf.state", "writing")
    client.set_tag(left.info.run_id, "ymlf.writer", "another-host:1:00000000")
    client.set_tag(left.info.run_id, "ymlf.imported_at", "2024-01-01T00:00:00+00:00")
    answer = imported(tree, uri=empty_store)
    assert (answer.status, summary(answer)) == (0, {"finished": 1, "already there": 3})
    assert_whole(empty_store, tree, 4)


# Changed directories


@pytest.fixture
def grown(tree: Path, empty_store: str) -> Path:
    """The tree, imported; since then train2 has grown by two epochs."""
    imported(tree, uri=empty_store)
    grow(tree / "train2", 1, 5)
    return tree


def test_a_run_that_has_grown_is_updated(grown: Path, empty_store: str) -> None:
    answer = imported(grown, uri=empty_store)
    assert (answer.status, summary(answer)) == (0, {"updated": 1, "already there": 3})
    [run] = [run for run in active(empty_store) if run.info.run_name == "train2"]
    assert [step for step, _ in points_of(empty_store, run, "train/box_loss")] == [0, 1, 2, 3, 4]
    assert summary(imported(grown, uri=empty_store)) == {"already there": 4}


def test_a_run_whose_values_are_no_longer_the_same_is_left_and_fails_the_batch(tree: Path, empty_store: str) -> None:
    imported(tree, uri=empty_store)
    path = tree / "train2" / "results.csv"
    lines = path.read_text().splitlines()
    lines[2] = lines[2].replace(lines[2].split(",")[3], "9.99", 1)
    path.write_text("\n".join(lines) + "\n")
    (tree / "train2" / "weights" / "last.pt").unlink()
    answer = imported(tree, uri=empty_store)
    assert (answer.status, outcomes(answer)["train2"]) == (1, "changed")
    assert "--on-change replace" in str(by_name(answer)["train2"]["hint"])
    skipped = imported(tree, "--on-change", "skip", uri=empty_store)
    assert (skipped.status, outcomes(skipped)["train2"]) == (0, "skipped")
    replaced = imported(tree, "--on-change", "replace", uri=empty_store)
    assert (replaced.status, outcomes(replaced)["train2"]) == (0, "replaced")
    assert_whole(empty_store, tree, 4)
    assert [run.info.lifecycle_stage for run in runs_in(empty_store)].count("deleted") == 1


def test_with_skip_a_run_that_has_grown_stays_as_it_is(grown: Path, empty_store: str) -> None:
    answer = imported(grown, "--on-change", "skip", uri=empty_store)
    assert (answer.status, summary(answer)) == (0, {"skipped": 1, "already there": 3})
    [run] = [run for run in active(empty_store) if run.info.run_name == "train2"]
    assert len(points_of(empty_store, run, "train/box_loss")) == 3


# What is told


def test_fail_fast_stops_at_the_first_that_is_refused(tree: Path, empty_store: str) -> None:
    (tree / "train" / "args.yaml").write_text(MAPS)
    answer = imported(tree, "--fail-fast", uri=empty_store)
    assert (answer.status, summary(answer)) == (1, {"refused": 1, "not tried": 3})
    assert by_name(answer)["train2"]["reason"] == f"--fail-fast, and {tree}/train was refused"
    assert active(empty_store) == []


def test_the_report_is_what_json_prints(tree: Path, tmp_path: Path, empty_store: str) -> None:
    (tree / "train2" / "args.yaml").write_text(MAPS)
    answer = imported(tree, "--report", tmp_path / "report", uri=empty_store)
    assert (tmp_path / "report").read_text() == answer.out
    assert len(answer.told) == 5
    closing = answer.told[-1]
    assert closing["summary"] == {"imported": 3, "refused": 1} and closing["runs"] == 4
    assert closing["points"] == 3 * 3 * 13 and closing["exit_status"] == 1


def test_words_close_with_a_table_by_outcome_and_the_reasons(tree: Path, empty_store: str) -> None:
    shutil.copytree(tree / "train2", tree / "train2-copy")
    answer = ymlf("import", tree, "--tracking-uri", empty_store, "-j", "1")
    assert f"duplicate: {tree}/train2-copy: is a copy of {tree}/train2" in answer.out
    assert [line.split() for line in answer.out.splitlines()[-3:-1]] == [["1", "duplicate"], ["4", "imported"]]
    assert "156 points and " in answer.out.splitlines()[-1]


def test_a_log_gets_plain_lines_of_progress(tree: Path, empty_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importer.terminal.progress.LINE_SECONDS", 0.001)
    answer = ymlf("import", tree, "--tracking-uri", empty_store, "-j", "1")
    lines = [line for line in answer.err.splitlines() if not re.match("searching: |reading: ", line)]
    assert {line.split()[0] for line in lines} >= {"0/4", "1/4", "2/4", "3/4"}
    assert all(re.fullmatch(r"0/4 runs|[1-4]/4 runs, .* points/s, .* .?B/s(, .* left)?", line) for line in lines)
    assert "\x1b" not in answer.err + answer.out


# Which directories


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
            ["--task", "segmnt"],
            "no run of task segmnt; there are detect 4, segment 1\n  hint: did you mean --task segment?\n",
            id="a task",
        ),
        pytest.param(["--task", "pose"], "no run of task pose; there are detect 4, segment 1\n", id="like no task"),
        pytest.param(
            ["--include", "foo*", "--include", "bar"],
            "--include 'foo*' --include 'bar' matches none of 5 run directories\n"
            "  hint: such as {tree}/masks, whose path or name is to match\n",
            id="a glob",
        ),
        pytest.param(["--exclude", "*"], "--exclude '*' leaves none of 5 run directories\n", id="none is left"),
        pytest.param(
            ["--since", "2030-01-01", "--task", "detect"],
            "no run is as young as --since asks for; the newest file is of 2023-11-14 22:13 UTC\n",
            id="too young",
        ),
        pytest.param(
            ["--until", "2000-01-01"],
            "no run is as old as --until asks for; the oldest is of 2023-11-14 22:13 UTC\n",
            id="too old",
        ),
        pytest.param(
            ["--include", "train*", "--task", "segment"],
            "no run of task segment; there are detect 4\n",
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
    assert answer.err == f"nothing to do: {told.format(tree=tree)}"


def test_a_selection_of_nothing_but_what_cannot_be_read_says_so_too(tree: Path) -> None:
    (tree / "train2" / "args.yaml").write_text(MAPS)
    answer = ymlf("scan", tree, "--task", "pose")
    assert answer.status == 1 and "no run of task pose; there are detect 3\n" in answer.err


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
        [sys.executable, "-m", "importer.cli", *words], input=f"{tree}/train3\n", capture_output=True, text=True,
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


def test_a_path_that_is_not_there_and_a_path_without_a_run_are_named(tree: Path, empty_store: str) -> None:
    missing = imported(tree, tree / "nowhere", uri=empty_store)
    assert missing.status == 1 and f"{tree}/nowhere: no such file or directory" in missing.err + missing.out
    assert summary(missing) == {"imported": 4, "refused": 1}
    (tree / "empty").mkdir()
    answer = imported(tree / "train", tree / "empty", uri=empty_store)
    assert (answer.status, outcomes(answer)) == (1, {"train": "already there", "empty": "refused"})


# Names and artifacts


def test_templates_name_experiments_and_runs(tmp_path: Path, empty_store: str) -> None:
    args = {"project": "/data/farm", "name": "corn7", "model": "models/yolo11n.pt", "data": "/data/corn.yaml"}
    training(1, args=args).write(tmp_path / "runs" / "farm" / "corn7")
    training(2, args={**args, "name": "corn8"}).write(tmp_path / "runs" / "farm" / "corn8")
    experiment, run_name = "{project}/{task}/{dataset}/{parent}", "{relpath}-{model}-{name}-{date}"
    answer = imported(tmp_path / "runs", "--experiment", experiment, "--run-name", run_name, uri=empty_store)
    assert answer.status == 0, answer.err
    assert experiments_in(empty_store) == ["farm/detect/corn/farm"]
    assert sorted(run.info.run_name for run in active(empty_store)) == [
        f"farm/{name}-yolo11n-{name}-2023-11-14" for name in ("corn7", "corn8")
    ]


@pytest.mark.parametrize("option", ["--experiment", "--run-name"])
def test_a_template_with_an_unknown_field_is_a_misuse(option: str, tree: Path, empty_store: str) -> None:
    answer = imported(tree, option, "{nmae}", uri=empty_store)
    assert answer.status == 2 and "{nmae}" in answer.err and "{relpath}" in answer.err
    assert untouched(empty_store)


@pytest.mark.parametrize("given", ["option", "environment"])
def test_one_run_name_for_several_runs_is_a_misuse(
    given: str, tree: Path, empty_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if given == "environment":
        monkeypatch.setenv("MLFLOW_RUN", "best")
    answer = imported(tree, *(["--run-name", "best"] if given == "option" else []), uri=empty_store)
    assert answer.status == 2 and "'best'" in answer.err
    assert untouched(empty_store)


def artifacts(uri: str, run_name: str) -> list[str]:
    """The paths of a run's artifacts."""
    client = MlflowClient(uri)
    [run] = [run for run in active(uri) if run.info.run_name == run_name]
    top = [found for folder in (None, "weights") for found in client.list_artifacts(run.info.run_id, folder)]
    return sorted(found.path for found in top if not found.is_dir)


def test_artifacts_can_be_left_out_by_size_and_by_name(tree: Path, empty_store: str) -> None:
    (tree / "train" / "weights" / "best.pt").write_bytes(b"x" * 30_000)
    words = ("--max-artifact-size", "20kB", "--exclude-artifacts", "*.jpg")
    imported(tree / "train", *words, uri=empty_store)
    assert artifacts(empty_store, "train") == ["args.yaml", "results.csv", "results.png", "weights/last.pt"]
    assert ymlf("verify", tree / "train", "--tracking-uri", empty_store).status == 0


# What is there


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
    template = ("--experiment", "/Shared/Ultralytics", "--run-name", "{relpath}")
    told = by_name(ymlf("scan", grown, "--json", "--tracking-uri", empty_store, *template))
    assert {name: facts["store"] for name, facts in told.items()} == {
        "train": "already there", "train2": "there with other content", "train3": "already there",
        "train10": "already there", "new": "not there",
    }  # fmt: skip


def test_scan_makes_no_store(tree: Path, tmp_path: Path) -> None:
    answer = ymlf("scan", tree, "--json", "--tracking-uri", f"sqlite:///{tmp_path}/new.db")
    assert answer.status == 3 and "new.db: no such file" in answer.err
    assert not (tmp_path / "new.db").exists()


def test_scan_names_the_experiment_to_which_a_training_was_imported(tree: Path, empty_store: str) -> None:
    imported(tree / "train2", "--experiment", "archive", uri=empty_store)
    told = by_name(ymlf("scan", tree, "--json", "--tracking-uri", empty_store))
    assert (told["train2"]["store"], told["train3"]["store"]) == ("not there, but in archive", "not there")
    told = by_name(ymlf("scan", tree, "--json", "--tracking-uri", empty_store, "--experiment", "archive"))
    assert (told["train2"]["store"], told["train3"]["store"]) == ("already there", "not there")


def test_scan_before_the_first_import_takes_a_store_of_the_environment_for_empty(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/new.db")
    answer = ymlf("scan", tree, "--json")
    assert (answer.status, {told["store"] for told in answer.told}) == (0, {"not there"})
    assert not (tmp_path / "new.db").exists()


# Imports and undo


def test_imports_lists_each_import_and_retries_share_an_id(tree: Path, empty_store: str) -> None:
    imported(tree / "train", tree / "train2", "--import-id", "job-42", uri=empty_store)
    imported(tree, "--import-id", "job-42", uri=empty_store)
    training(40).write(tree / "more" / "train40")
    training(41).write(tree / "more" / "train41")
    imported(tree / "more", uri=empty_store)
    told = ymlf("imports", "--tracking-uri", empty_store, "--json").told
    [job] = [entry for entry in told if entry["import_id"] == "job-42"]
    [other] = [entry for entry in told if entry["import_id"] != "job-42"]
    assert (job["counts"], other["counts"]) == ({"imported": 4}, {"imported": 2})
    assert job["experiments"] == ["/Shared/Ultralytics"]
    words = ymlf("imports", "--tracking-uri", empty_store)
    assert "job-42" in words.out and "4 imported" in words.out


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal on which no table is folded."""
    monkeypatch.setenv("COLUMNS", "200")


def listed(uri: str) -> dict[str, tuple[str, str, str]]:
    """The host, experiment and runs that `ymlf imports` tells of each import, by its id."""
    lines = [line.split(maxsplit=4) for line in ymlf("imports", "--tracking-uri", uri).out.splitlines()[1:]]
    return {told[0]: (told[2], told[3], told[4]) for told in lines}


@pytest.mark.usefixtures("wide")
def test_imports_tells_what_is_new_what_is_under_way_and_what_was_undone(tree: Path, empty_store: str) -> None:
    imported(tree, "--import-id", "first", uri=empty_store)
    imported(tree, "--import-id", "second", uri=empty_store)
    assert [told[2] for told in listed(empty_store).values()] == ["4 imported", "nothing new"]
    ymlf("undo", "first", "--yes", "--include", "train1*", "--tracking-uri", empty_store)
    assert listed(empty_store)["first"][2] == "4 imported, 1 undone"
    ymlf("undo", "first", "--yes", "--tracking-uri", empty_store)
    assert listed(empty_store)["first"][2] == "4 imported, 4 undone"
    work = gather([tree])
    for _ in import_work(work, open_store(empty_store), import_id="third", workers=Workers(1)):
        assert listed(empty_store)["third"][2] == "begun"
        break  # as if it had been killed
    assert listed(empty_store)["third"][2] == "begun"


@pytest.mark.usefixtures("wide")
def test_an_import_of_one_run_is_listed_and_undone_like_any_other(tree: Path, empty_store: str) -> None:
    imported(tree / "train", "--import-id", "one", uri=empty_store)
    host = socket.gethostname()
    assert listed(empty_store) == {"one": (host, "/Shared/Ultralytics", "1 imported")}
    [told] = ymlf("imports", "--tracking-uri", empty_store, "--json").told
    assert (told["import_id"], told["counts"]) == ("one", {"imported": 1})
    answer = ymlf("undo", "one", "--yes", "--tracking-uri", empty_store)
    assert answer.status == 0 and "\n1 run soft-deleted;" in answer.out
    assert active(empty_store) == []
    assert listed(empty_store) == {"one": (host, "/Shared/Ultralytics", "1 imported, 1 undone")}


def test_an_undo_of_many_names_twenty_and_counts_the_rest(tmp_path: Path, empty_store: str) -> None:
    tree = small_tree(tmp_path / "tree", 23, epochs=1)
    imported(tree, "--artifacts", "none", "--import-id", "job", uri=empty_store)
    words = ["undo", "job", "--tracking-uri", empty_store]
    short = CliRunner().invoke(cli, words, input="n\n").output
    assert sum(line.startswith("delete  ") for line in short.splitlines()) == 21
    assert "delete  ... and 3 more (-v names them)\n" in short and "Soft-delete 23 runs?" in short
    every = CliRunner().invoke(cli, [*words, "-v"], input="n\n").output
    assert sum(line.startswith("delete  ") for line in every.splitlines()) == 23
    assert len(active(empty_store)) == 23


@pytest.mark.parametrize("directories", [pytest.param(["train"], id="one run"), pytest.param(["."], id="a tree")])
def test_undoing_twice_says_that_it_was_done(directories: list[str], tree: Path, empty_store: str) -> None:
    imported(*(tree / directory for directory in directories), "--import-id", "twice", uri=empty_store)
    count = len(active(empty_store))
    assert ymlf("undo", "twice", "--yes", "--tracking-uri", empty_store).status == 0
    again = ymlf("undo", "twice", "--yes", "--tracking-uri", empty_store)
    assert again.status == 0, again.err
    assert again.out == f"import twice has no runs to delete; {count} are soft-deleted already\n"


def test_of_many_that_were_passed_over_five_are_named_and_share_one_hint(tree: Path, empty_store: str) -> None:
    for number in range(50, 59):
        (training(number, last=None).write(tree / f"train{number}") / "results.csv").write_text("")
    shutil.copytree(tree / "train2", tree / "train2-copy")
    told = ymlf("import", tree, "--tracking-uri", empty_store)
    assert told.out.count("no epochs: ") == 5
    assert "... and 4 more (-v names them)\n  hint: import it with --empty\n" in told.out
    assert told.out.count("more (-v names them)") == told.out.count("  hint: ") == 1
    every = ymlf("import", tree, "-v", "--tracking-uri", empty_store)
    assert every.out.count("no epochs: ") == 9 and "names them" not in every.out


def test_what_was_not_tried_is_told_with_the_reason_and_what_to_do(tree: Path, empty_store: str) -> None:
    (tree / "train" / "args.yaml").write_text(MAPS)
    answer = ymlf("import", tree, "--fail-fast", "--tracking-uri", empty_store)
    words = f"not tried: 3 run directories: --fail-fast, and {tree}/train was refused\n"
    assert f"{words}  hint: run the same command again\n" in answer.out


def test_runs_of_a_tree_that_nothing_dates_are_counted_aloud(tree: Path, empty_store: str) -> None:
    for number in range(50, 52):
        touch_all(training(number, last=None).write(tree / f"train{number}"), 1_700_000_000_000)
    told = ymlf("import", tree, "--tracking-uri", empty_store)
    assert "note: time-unknown: 2 of these runs are dated at the import; -v tells which\n" in told.err


def test_an_import_id_that_no_filter_can_hold_is_a_misuse(tree: Path, empty_store: str) -> None:
    assert imported(tree, "--import-id", "it's", uri=empty_store).status == 2
    assert untouched(empty_store)


def test_undo_asks_first(tree: Path, empty_store: str) -> None:
    imported(tree, "--import-id", "job", uri=empty_store)
    words = ["undo", "job", "--tracking-uri", empty_store]
    refused = CliRunner().invoke(cli, words, input="n\n")
    assert refused.exit_code == 1 and "Soft-delete 4 runs?" in refused.output
    assert len(active(empty_store)) == 4
    assert CliRunner().invoke(cli, words, input="y\n").exit_code == 0
    assert active(empty_store) == []


def test_undo_says_how_to_go_on_where_nobody_answers(tree: Path, empty_store: str) -> None:
    imported(tree, "--import-id", "job", uri=empty_store)
    answer = CliRunner().invoke(cli, ["undo", "job", "--tracking-uri", empty_store], input="")
    assert isinstance(answer.exception, UsageError) and answer.exception.hint == "--yes does it without asking"
    assert len(active(empty_store)) == 4


def test_undo_keeps_what_was_only_updated_and_restore_brings_back_the_rest(grown: Path, empty_store: str) -> None:
    training(30).write(grown / "new")
    imported(grown, "--import-id", "second", uri=empty_store)
    answer = ymlf("undo", "second", "--yes", "--tracking-uri", empty_store)
    assert answer.status == 0
    told = [line.split(maxsplit=2) for line in answer.out.splitlines()[:2]]
    assert [(word, rest) for word, _, rest in told] == [
        ("delete", f"new  {grown / 'new'}"),
        ("keep", f"train2  {grown / 'train2'}  (only updated)"),
    ]
    [deleted] = [run for run in runs_in(empty_store) if run.info.lifecycle_stage == "deleted"]
    assert deleted.info.run_name == "new"
    shown = answer.out.split("`")[1].replace("mlflow", f"{shlex.quote(sys.executable)} -m mlflow", 1)
    assert shown.startswith(f"MLFLOW_TRACKING_URI={empty_store} ")
    subprocess.run(shown.replace("ID", deleted.info.run_id), shell=True, check=True, capture_output=True)
    assert_whole(empty_store, grown, 5)
    assert summary(imported(grown, uri=empty_store)) == {"already there": 5}


@pytest.mark.parametrize(
    ("globs", "left"),
    [
        pytest.param(["--include", "train1*"], ["train", "train2", "train3"], id="by name"),
        pytest.param(["--include", "*/train", "--include", "train2"], ["train3", "train10"], id="by path or name"),
        pytest.param(["--exclude", "*/train10"], ["train10"], id="all but one"),
        pytest.param(["--include", "nothing"], ["train", "train2", "train3", "train10"], id="none"),
    ],
)
def test_a_part_of_an_import_is_undone_by_globs(
    globs: list[str], left: list[str], tree: Path, empty_store: str
) -> None:
    imported(tree, "--import-id", "job", uri=empty_store)
    answer = ymlf("undo", "job", "--yes", *globs, "--tracking-uri", empty_store)
    assert answer.status == 0, answer.err
    assert sorted(run.info.run_name for run in active(empty_store)) == sorted(left)
    assert f"{len(left)} more of this import" in answer.out
    assert ymlf("undo", "job", "--yes", "--tracking-uri", empty_store).status == 0
    assert active(empty_store) == []


def test_what_was_undone_can_be_imported_again(tree: Path, empty_store: str) -> None:
    imported(tree, "--import-id", "job", uri=empty_store)
    ymlf("undo", "job", "--yes", "--tracking-uri", empty_store)
    assert summary(imported(tree, uri=empty_store)) == {"imported": 4}
    assert_whole(empty_store, tree, 4)


def test_an_import_that_there_never_was_is_not_undone(empty_store: str) -> None:
    answer = ymlf("undo", "nobody", "--yes", "--tracking-uri", empty_store)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err == "error: nobody: no import of this store\n  hint: `ymlf imports` lists them\n"


def test_a_command_of_its_own_says_the_same(tree: Path, empty_store: str) -> None:
    answer = ymlf_process("import", tree, "--tracking-uri", empty_store, "--json", "-j", "2")
    assert (answer.status, summary(answer)) == (0, {"imported": 4})
    assert all("/4 runs" in line for line in answer.err.splitlines())  # a slow machine hears of the progress
