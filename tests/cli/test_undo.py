"""`ymlf history` and `ymlf undo`: which imports there were, and taking one back, or a part of it."""

from __future__ import annotations

import re
import shlex
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from support.command import ymlf
from support.directories import tune_table
from support.stores import runs_in, untouched
from support.trees import active, assert_whole, grow, imported, listed, summary, training, write_unfinished

from importer import ImportOptions, Selection, import_many, import_run
from importer.batch.executors import Workers
from importer.batch.gather import gather
from importer.batch.run import import_work
from importer.cli.commands import cli
from importer.cli.listing import print_undo
from importer.cli.reporter import Terminal
from importer.errors import UsageError
from importer.store.opening import open_store
from importer.undo import Undo, plan_undo
from importer.write.lookup import StoredRun


def test_imports_lists_each_import_and_retries_share_an_id(tree: Path, empty_store: str) -> None:
    imported(tree / "train", tree / "train2", "--import-id", "job-42", uri=empty_store)
    imported(tree, "--import-id", "job-42", uri=empty_store)
    training(40).write(tree / "more" / "train40")
    training(41).write(tree / "more" / "train41")
    imported(tree / "more", uri=empty_store)
    told = ymlf("history", "--tracking-uri", empty_store, "--json").told
    [job] = [entry for entry in told if entry["import_id"] == "job-42"]
    [other] = [entry for entry in told if entry["import_id"] != "job-42"]
    assert (job["counts"], other["counts"]) == ({"imported": 4}, {"imported": 2})
    assert job["experiments"] == ["/Shared/Ultralytics"]
    words = ymlf("history", "--tracking-uri", empty_store)
    assert "job-42" in words.out and "4 imported" in words.out


@pytest.mark.usefixtures("wide")
def test_imports_lists_what_wrote_something_also_if_it_was_killed_or_undone(tree: Path, empty_store: str) -> None:
    imported(tree, "--import-id", "first", uri=empty_store)
    imported(tree, "--import-id", "second", uri=empty_store)
    assert {name: runs for name, (_, _, runs) in listed(empty_store).items()} == {"first": "4 imported"}
    ymlf("undo", "first", "--yes", "--include", "train1*", "--tracking-uri", empty_store)
    assert listed(empty_store)["first"][2] == "4 imported, 1 undone"
    ymlf("undo", "first", "--yes", "--tracking-uri", empty_store)
    assert listed(empty_store)["first"][2] == "4 imported, 4 undone"
    ymlf("undo", "first", "--restore", "--yes", "--include", "train2", "--tracking-uri", empty_store)
    work = gather([tree], ImportOptions(import_id="third"))
    for _ in import_work(work, open_store(empty_store), workers=Workers(1)):
        break  # as if it had been killed
    assert listed(empty_store)["third"][2].endswith(" imported")
    [experiment] = MlflowClient(empty_store).search_experiments(filter_string="name = '/Shared/Ultralytics'")
    entry = '{"started": "2024-01-01T00:00:00+00:00", "host": "gpu1", "counts": {}, "ended": false}'
    MlflowClient(empty_store).set_experiment_tag(experiment.experiment_id, "ymlf.import.fourth.abc", entry)
    assert listed(empty_store)["fourth"] == ("gpu1", "/Shared/Ultralytics", "begun")  # no run is complete yet


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("words", [("--import-id", "job"), ()], ids=["with an id", "without"])
def test_an_import_of_one_run_is_listed_and_undone_like_any_other(
    words: tuple[str, ...], tree: Path, empty_store: str
) -> None:
    imported(tree / "train", *words, uri=empty_store)
    [experiment] = MlflowClient(empty_store).search_experiments(filter_string="name = '/Shared/Ultralytics'")
    assert any(name.startswith("ymlf.import.") for name in experiment.tags) == bool(words)
    [told] = ymlf("history", "--tracking-uri", empty_store, "--json").told
    import_id, host = str(told["import_id"]), socket.gethostname()
    assert (import_id == "job" if words else "-one-" in import_id) and told["counts"] == {"imported": 1}
    assert listed(empty_store) == {import_id: (host, "/Shared/Ultralytics", "1 imported")}
    answer = ymlf("undo", import_id, "--yes", "--tracking-uri", empty_store)
    assert answer.status == 0 and "\n1 run soft-deleted;" in answer.out
    assert active(empty_store) == []
    assert listed(empty_store) == {import_id: (host, "/Shared/Ultralytics", "1 imported, 1 undone")}
    assert ymlf("undo", import_id, "--restore", "--yes", "--tracking-uri", empty_store).status == 0
    assert listed(empty_store) == {import_id: (host, "/Shared/Ultralytics", "1 imported")}


def test_an_import_ends_with_the_command_that_takes_it_back(grown: Path, empty_store: str) -> None:
    training(30).write(grown / "new")
    answer = ymlf("import", grown, "--tracking-uri", empty_store)
    [command] = re.findall(r"^`ymlf (undo .*)` takes this import back$", answer.out, re.M)
    assert answer.out.endswith(f"`ymlf {command}` takes this import back\n")
    again = ymlf("import", grown, "--tracking-uri", empty_store)
    assert "takes this import back" not in again.out, "an import that creates nothing has nothing to take back"
    alone = ymlf("import", training(31).write(grown / "alone"), "--tracking-uri", empty_store)
    [second] = re.findall(r"^`ymlf (undo .*)` takes this import back$", alone.out, re.M)
    for words in (command, second):
        assert "1 run soft-deleted" in ymlf(*shlex.split(words), "--yes").out


def test_an_undo_of_many_names_twenty_and_counts_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    runs = tuple(StoredRun(f"id{at}", "1", f"train{at}", source=f"host:/runs/train{at}") for at in range(23))
    for verbose, lines in ((0, 21), (1, 23)):
        print_undo(Terminal(verbose=verbose), Undo("job", created=runs, updated=()))
        told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("delete ")]
        assert len(told) == lines
        assert ("3 more" in told[-1]) == (not verbose)


def test_undoing_twice_says_that_it_was_done(tree: Path, empty_store: str) -> None:
    imported(tree, "--import-id", "twice", uri=empty_store)
    assert ymlf("undo", "twice", "--yes", "--tracking-uri", empty_store).status == 0
    again = ymlf("undo", "twice", "--yes", "--tracking-uri", empty_store)
    assert again.status == 0, again.err
    assert again.out.startswith("import twice has no runs to delete") and "4 are soft-deleted already" in again.out
    assert active(empty_store) == []


def test_an_import_id_that_no_filter_can_hold_is_a_misuse(tree: Path, empty_store: str) -> None:
    assert imported(tree, "--import-id", "it's", uri=empty_store).status == 2
    assert untouched(empty_store)


def test_undo_asks_first_and_says_how_to_go_on_where_there_is_no_answer(tree: Path, empty_store: str) -> None:
    imported(tree, "--import-id", "job", uri=empty_store)
    words = ["undo", "job", "--tracking-uri", empty_store]
    silent = CliRunner().invoke(cli, words, input="")
    assert isinstance(silent.exception, UsageError) and "--yes" in (silent.exception.hint or "")
    assert silent.exception.message == "stdin is not a terminal, so nothing was done"
    refused = CliRunner().invoke(cli, words, input="n\n")
    assert refused.exit_code == 1 and "Soft-delete 4 runs?" in refused.output
    assert len(active(empty_store)) == 4
    assert CliRunner().invoke(cli, words, input="y\n").exit_code == 0
    assert active(empty_store) == []


def test_undo_keeps_what_was_only_updated_and_restore_brings_back_the_rest(grown: Path, empty_store: str) -> None:
    training(30).write(grown / "new")
    imported(grown, "--import-id", "second", uri=empty_store)
    answer = ymlf("undo", "second", "--yes", "--tracking-uri", empty_store)
    assert answer.status == 0
    ids = {run.info.run_name: run.info.run_id for run in runs_in(empty_store)}
    assert answer.out.splitlines()[:2] == [
        f"delete   {grown / 'new'}  new  {ids['new']}",
        f"keep     {grown / 'train2'}  train2  {ids['train2']}  (only updated)",
    ]
    [deleted] = [run for run in runs_in(empty_store) if run.info.lifecycle_stage == "deleted"]
    assert deleted.info.run_name == "new"
    shown = shlex.split(answer.out.split("`")[1])
    assert ymlf(*shown[1:], "--yes").status == 0
    assert_whole(empty_store, grown, 5)
    assert summary(imported(grown, uri=empty_store)) == {"already there": 5}


def test_a_part_of_an_import_is_undone_by_globs(tree: Path, empty_store: str) -> None:
    imported(tree, "--import-id", "job", uri=empty_store)
    store = open_store(empty_store)
    for include, exclude, left in (
        (["train1*"], [], ["train", "train2", "train3"]),
        (["*/train", "train2"], [], ["train3", "train10"]),
        ([], ["*/train10"], ["train10"]),
        (["runs/train3", str(tree / "train2")], [], ["train", "train10"]),
        (["nothing"], [], ["train", "train2", "train3", "train10"]),
    ):
        undo = plan_undo(store, "job", Selection(include=tuple(include), exclude=tuple(exclude)))
        meant = {run.run_name for run in undo.created}
        assert (meant | set(left), meant & set(left)) == ({"train", "train2", "train3", "train10"}, set())
        assert undo.others == len(left)
    globs = ("--include", "*/train", "--include", "train[23]", "--exclude", "train2")
    answer = ymlf("undo", "job", "--yes", *globs, "--tracking-uri", empty_store)
    assert answer.status == 0 and "2 more of this import" in answer.out
    assert sorted(run.info.run_name for run in active(empty_store)) == ["train10", "train2"]


def test_what_was_undone_can_be_imported_again(tree: Path, empty_store: str) -> None:
    imported(tree, "--import-id", "job", uri=empty_store)
    ymlf("undo", "job", "--yes", "--tracking-uri", empty_store)
    assert summary(imported(tree, uri=empty_store)) == {"imported": 4}
    assert_whole(empty_store, tree, 4)


def test_an_import_that_there_never_was_is_not_undone(empty_store: str) -> None:
    answer = ymlf("undo", "nobody", "--yes", "--tracking-uri", empty_store)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith("error: nobody: ") and "\n  hint: `ymlf history`" in answer.err


@pytest.mark.parametrize("have_directories", [True, False], ids=["with directories", "of the table alone"])
def test_the_iterations_of_a_tune_that_was_undone_alone_go_below_its_new_run(
    have_directories: bool, tmp_path: Path, empty_store: str
) -> None:
    fitness = (0.25, 0.5)
    tune, every = tune_table(tmp_path / "tune", fitness), ("--iterations", "all")
    for number, name in enumerate(("train", "train2") if have_directories else (), start=1):
        rows = ({"train/box_loss": number / 100, "metrics/mAP50-95(B)": fitness[number - 1]},)
        training(number, epochs=1, rows=rows, args={"lr0": 0.01 * number}).write(tmp_path / name)
    assert summary(imported(tune, *every, "--import-id", "first", uri=empty_store)) == {"imported": 3}
    globs = ("--include", "tune", "--exclude", "tune iteration*")
    answer = ymlf("undo", "first", *globs, "--yes", "--tracking-uri", empty_store)
    back = f"ymlf undo first --restore --tracking-uri {empty_store}"
    assert answer.status == 0 and answer.out.endswith(f"1 run soft-deleted; `{back}` brings it back\n")
    again = imported(tune, *every, uri=empty_store)
    assert summary(again) == {"imported": 1, "already there": 2}
    assert [told.get("reason") for told in again.told[1:-1]] == ["put below the run of its tune"] * 2
    assert [told.get("reason") for told in imported(tune, *every, uri=empty_store).told[:-1]] == [None] * 3
    [parent] = [run for run in active(empty_store) if "mlflow.parentRunId" not in run.data.tags]
    below = [run for run in active(empty_store) if run.info.run_id != parent.info.run_id]
    assert {run.data.tags["mlflow.parentRunId"] for run in below} == {parent.info.run_id} and len(below) == 2
    assert ymlf("verify", tune, *every, "--tracking-uri", empty_store).status == 0


def test_verify_names_an_iteration_that_is_not_below_the_run_of_its_tune(tmp_path: Path, empty_store: str) -> None:
    rows = ({"metrics/mAP50-95(B)": 0.5},)
    training(1, epochs=1, rows=rows, args={"lr0": 0.01}).write(tmp_path / "train")
    tune = tune_table(tmp_path / "tune", (0.5,))
    assert summary(imported(tune, uri=empty_store)) == {"imported": 2}
    [below] = [run for run in active(empty_store) if "mlflow.parentRunId" in run.data.tags]
    MlflowClient(empty_store).set_tag(below.info.run_id, "mlflow.parentRunId", "another")
    lost = ymlf("verify", tune, "--tracking-uri", empty_store)
    parent = below.data.tags["mlflow.parentRunId"]
    assert lost.status == 1
    assert f"mismatch: tag mlflow.parentRunId: directory has '{parent}', store has 'another'\n" in lost.err


@pytest.mark.usefixtures("wide")
def test_an_id_among_the_options_of_the_library_names_the_import(tree: Path, empty_store: str) -> None:
    options = ImportOptions(import_id="nightly")
    import_many([tree], tracking_uri=empty_store, options=options)
    assert listed(empty_store)["nightly"][2] == "4 imported"
    with pytest.raises(UsageError, match="only letters"):
        import_run(tree / "train", tracking_uri=empty_store, options=ImportOptions(import_id="o'clock"))


@pytest.mark.usefixtures("wide")
def test_what_was_undone_is_brought_back_as_it_was(tree: Path, empty_store: str) -> None:
    place = ("--tracking-uri", empty_store)
    imported(tree, "--import-id", "job", uri=empty_store)
    before = {run.info.run_id for run in active(empty_store)}
    assert ymlf("undo", "job", "--yes", "--include", "train1*", *place).status == 0
    assert ymlf("undo", "job", "--yes", *place).status == 0
    assert sum(line.startswith("gone ") for line in ymlf("undo", "job", "-v", *place).out.splitlines()) == 4
    part = ymlf("undo", "job", "--restore", "--yes", "--include", "train2", *place)
    assert part.status == 0 and part.out.endswith("\n1 run restored\n")
    assert listed(empty_store)["job"][2] == "4 imported, 3 undone"
    assert CliRunner().invoke(cli, ["undo", "job", "--restore", *place], input="n\n").exit_code == 1
    answer = ymlf("undo", "job", "--restore", "--yes", "--json", *place)
    assert answer.status == 0, answer
    assert len(answer.told[0]["done"]) == 3  # type: ignore[arg-type]
    assert {run.info.run_id for run in active(empty_store)} == before
    assert listed(empty_store)["job"][2] == "4 imported"
    assert_whole(empty_store, tree, 4)
    assert ymlf("undo", "job", "--restore", *place).out == "import job has no soft-deleted runs\n"


def test_a_run_that_was_not_complete_is_undone_and_not_restored(tree: Path, empty_store: str) -> None:
    imported(tree, "--import-id", "job", uri=empty_store)
    [left] = [run for run in active(empty_store) if run.info.run_name == "train2"]
    MlflowClient(empty_store).set_tag(left.info.run_id, "ymlf.state", "writing")
    ymlf("undo", "job", "--yes", "--tracking-uri", empty_store)
    assert active(empty_store) == []
    ymlf("undo", "job", "--restore", "--yes", "--tracking-uri", empty_store)
    assert sorted(run.info.run_name for run in active(empty_store)) == ["train", "train10", "train3"]


def test_a_training_that_was_imported_again_is_not_restored_beside_it(tree: Path, empty_store: str) -> None:
    imported(tree, "--import-id", "job", uri=empty_store)
    ymlf("undo", "job", "--yes", "--tracking-uri", empty_store)
    imported(tree / "train", tree / "train2", uri=empty_store)
    answer = ymlf("undo", "job", "--restore", "--yes", "--tracking-uri", empty_store)
    left = "2 runs restored; 2 left, for another run of the training is there by now\n"
    assert answer.status == 0 and answer.out.endswith(left)
    assert_whole(empty_store, tree, 4)


def test_imports_lists_an_import_of_one_directory_that_only_updated(
    tmp_path: Path, empty_store: str, wide: None
) -> None:
    write_unfinished(tmp_path / "train", 1, 5)
    assert ymlf("import", tmp_path / "train", "--tracking-uri", empty_store).status == 0
    grow(tmp_path / "train", 1, 5)
    assert ymlf("import", tmp_path / "train", "--tracking-uri", empty_store).status == 0
    assert sorted(counts for _, _, counts in listed(empty_store).values()) == ["1 imported", "1 updated"]
