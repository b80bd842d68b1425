"""A whole tree in one command: what becomes of each directory, and what is told of it."""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from mlflow import MlflowClient
from support.command import ymlf, ymlf_process
from support.directories import touch_all
from support.stores import points_of, rewrite_record, runs_in
from support.trees import (
    active,
    assert_whole,
    by_name,
    grow,
    imported,
    outcomes,
    small_tree,
    summary,
    training,
    write_unfinished,
)

from importer import Workers, import_many

MAPS = "- no\n- mapping\n"


def test_a_tree_is_imported_once_and_verified(tree: Path, empty_store: str) -> None:
    first = imported(tree, uri=empty_store)
    assert (first.status, summary(first)) == (0, {"imported": 4})
    assert_whole(empty_store, tree, 4)
    again = imported(tree, uri=empty_store)
    assert (again.status, summary(again)) == (0, {"already there": 4})


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
        "train": "imported", "train2": "imported", "train2-copy": "duplicate", "train3": "refused",
        "train10": "imported", "dead": "no epochs", "running": "still training",
    }  # fmt: skip
    assert by_name(answer)["dead"]["hint"] == "to import it too: --also empty"
    assert "--also", "unfinished" in str(by_name(answer)["running"]["hint"])
    more = imported(tree / "dead", tree / "running", "--also", "empty", "--also", "unfinished", uri=empty_store)
    assert (more.status, outcomes(more)) == (0, {"dead": "imported", "running": "imported"})


def test_of_two_directories_of_one_training_that_with_more_rows_is_it(tmp_path: Path, empty_store: str) -> None:
    write_unfinished(tmp_path / "runs" / "early", 1, 5)
    grow(tmp_path / "runs" / "late", 1, 5)
    answer = imported(tmp_path / "runs", uri=empty_store)
    assert (answer.status, outcomes(answer)) == (0, {"early": "duplicate", "late": "imported"})
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
    rewrite_record(empty_store, left, writer="another-host:1:00000000", imported_at="2024-01-01T00:00:00+00:00")
    answer = imported(tree, uri=empty_store)
    assert (answer.status, summary(answer)) == (0, {"resumed": 1, "already there": 3})
    assert_whole(empty_store, tree, 4)


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
    lines = answer.out.splitlines()
    counts, *table, written = lines[lines.index("5 directories: 4 trainings, 1 duplicate") :][:4]
    assert counts == "5 directories: 4 trainings, 1 duplicate"
    assert [line.split() for line in table] == [["1", "duplicate"], ["4", "imported"]]
    assert "156 points and " in written


def test_a_log_gets_plain_lines_of_progress(tree: Path, empty_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importer.cli.progress.LINE_SECONDS", 0.001)
    answer = ymlf("import", tree, "--tracking-uri", empty_store, "-j", "1")
    lines = [line for line in answer.err.splitlines() if not re.match("searching: |reading: ", line)]
    assert {line.split()[0] for line in lines} >= {"0/4", "1/4", "2/4", "3/4"}
    assert all(re.fullmatch(r"0/4 runs|[1-4]/4 runs, .* points/s, .* .?B/s(, .* left)?", line) for line in lines)
    assert "\x1b" not in answer.err + answer.out


def test_a_path_that_is_not_there_and_a_path_without_a_run_are_named(tree: Path, empty_store: str) -> None:
    missing = imported(tree, tree / "nowhere", uri=empty_store)
    assert missing.status == 1 and f"{tree}/nowhere: no such file or directory" in missing.err + missing.out
    assert summary(missing) == {"imported": 4, "refused": 1}
    (tree / "empty").mkdir()
    answer = imported(tree / "train", tree / "empty", uri=empty_store)
    assert (answer.status, outcomes(answer)) == (1, {"train": "already there", "empty": "refused"})


def test_of_many_that_were_passed_over_five_are_named_and_share_one_hint(tree: Path, empty_store: str) -> None:
    for number in range(50, 59):
        (training(number, last=None).write(tree / f"train{number}") / "results.csv").write_text("")
    shutil.copytree(tree / "train2", tree / "train2-copy")
    told = ymlf("import", tree, "--tracking-uri", empty_store)
    assert told.out.count("no epochs: ") == 5
    assert "... and 4 more (-v names them)\n  hint: to import it too: --also empty\n" in told.out
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
    assert "note: time-unknown: 2 of these runs are dated at the import; `ymlf verify -v` tells which\n" in told.err


def test_a_command_with_several_processes_fills_an_empty_database(tree: Path, new_sqlite_uri: str) -> None:
    answer = ymlf_process("import", tree, "--tracking-uri", new_sqlite_uri, "--json", "-j", "2", cwd=tree.parent)
    assert (answer.status, summary(answer)) == (0, {"imported": 4})
    progress = [line for line in answer.err.splitlines() if not line.startswith("note: ")]
    assert all("/4 runs" in line for line in progress), answer.err  # a slow machine hears of the progress
    assert_whole(new_sqlite_uri, tree, 4)


def test_without_dask_the_package_to_install_is_named(
    tree: Path, empty_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dask.distributed", None)  # as where it is not installed
    answer = ymlf("import", tree, "--tracking-uri", empty_store, "--dask", "local:2")
    assert answer.status == 2
    assert "pip install distributed" in answer.err


def frozen_after_an_import(tree: Path, uri: str) -> int:
    """How many objects a program that imports a tree is left with that are never collected."""
    assert [outcome.kind.value for outcome in import_many([tree], tracking_uri=uri)] == ["imported"] * 4
    return gc.get_freeze_count()


def test_a_program_that_uses_the_library_in_a_process_keeps_its_garbage_collector(tree: Path, empty_store: str) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(frozen_after_an_import, tree, empty_store).result() == 0


def test_a_library_call_uses_threads_and_starts_no_process(tmp_path: Path, empty_store: str) -> None:
    tree = small_tree(tmp_path / "tree", 9, epochs=2)
    kinds = []
    for outcome in import_many([tree], tracking_uri=empty_store, workers=Workers(2)):
        kinds.append(outcome.kind.value)
        assert multiprocessing.active_children() == []
    assert kinds == ["imported"] * 9
    assert_whole(empty_store, tree, 9)
