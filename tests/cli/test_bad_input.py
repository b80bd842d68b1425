"""What bad input gets: a message with what to do next, an exit status, and a store that is as it was."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import pytest
from support.command import ymlf, ymlf_process
from support.damaged import PLAIN, RESULTS, cell, damaged_run
from support.directories import Training
from support.stores import experiments_in, points_of, runs_in, untouched

LINES = RESULTS.splitlines()
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{this}: &{this} [{', '.join([f'*{last}'] * 9)}]\n" for last, this in zip("abcdefgh", "bcdefghi", strict=True)
)
CONFLICT = "task: detect\n<<<<<<< HEAD\nepochs: 3\n=======\nepochs: 4\n>>>>>>> theirs\n"
TOO_MUCH = "nested or long beyond what a trainer writes"
MEND = "mend the file, or move it away to import without it"
OBJECTS = "it asks for Python objects, which are never built from a file"
RESOLVE = "it holds the markers of a merge conflict; resolve it"
CUT = "the line was cut or joined; restore the file from a copy, or remove the line"
RESTORE = "restore the file as the trainer wrote it"


def refused(uri: str, message: str, hint: str, *words: object) -> None:
    """The import of runs/train is refused within 5 s of work, in two lines, and nothing is in the store."""
    began = time.process_time()
    answer = ymlf("import", "runs/train", "--tracking-uri", uri, *map(str, words))
    assert time.process_time() - began < 5
    assert (answer.status, answer.out) == (1, "")
    assert answer.err == f"error: {message}\n  hint: {hint}\n"
    assert untouched(uri)


@pytest.mark.parametrize(
    ("args", "message", "hint"),
    [
        pytest.param(b"task: detect\nk: " + b"x" * 50_000_000,
                     "larger than 1,000,000 bytes, which no trainer writes", "is it the right file?", id="50 MB"),
        pytest.param(f"task: detect\n{BOMB}", TOO_MUCH, "is it the right file?", id="an alias bomb"),
        pytest.param("task: detect\nx: &x [*x]\n", TOO_MUCH, "is it the right file?", id="a list in itself"),
        pytest.param("task: " + "[" * 900_000, TOO_MUCH, "is it the right file?", id="a million brackets"),
        pytest.param("task: " + "{" * 900_000, TOO_MUCH, "is it the right file?", id="a million braces"),
        pytest.param("task:\n" + "- " * 400_000, TOO_MUCH, "is it the right file?", id="a deep list"),
        pytest.param("a: 1" + ":1" * 300_000, TOO_MUCH, "is it the right file?", id="an endless number to base 60"),
        pytest.param("a: " + "9" * 900_000, TOO_MUCH, "is it the right file?", id="an endless number"),
        pytest.param("task: detect\nmode: !!python/object/apply:os.system ['touch owned']\n",
                     "line 2: could not determine a constructor for the tag "
                     "'tag:yaml.org,2002:python/object/apply:os.system'", OBJECTS, id="a Python call"),
        pytest.param("task: detect\nimgsz: !!python/tuple [1, 2]\n",
                     "line 2: could not determine a constructor for the tag 'tag:yaml.org,2002:python/tuple'",
                     OBJECTS, id="a Python tuple"),
        pytest.param("task: detect\nclasses: !!set {a, b}\n",
                     "line 2: could not determine a constructor for the tag 'tag:yaml.org,2002:set'", MEND, id="a set"),
        pytest.param(b"task: detect\nmode: tr\0in\n", "holds NUL bytes, expected text",
                     "the file is damaged; restore it from a copy", id="NUL bytes"),
        pytest.param("task: detect\n".encode("utf-16"), "is UTF-16, expected UTF-8", "save it as UTF-8", id="UTF-16"),
        pytest.param(CONFLICT, "line 3: while scanning a simple key, could not find expected ':'", RESOLVE,
                     id="a merge conflict"),
        pytest.param("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
                     "is a git-LFS pointer, not the file itself", "`git lfs pull` fetches it", id="a git-LFS pointer"),
        pytest.param("- task\n- mode\n", "holds a list, not a mapping of names to values",
                     "restore the file as the trainer wrote it, or move it away to import without it", id="a list"),
        pytest.param("task: detect\n---\nmode: train\n",
                     "line 2: expected a single document in the stream, but found another document", MEND,
                     id="two documents"),
        pytest.param("task: detect\nd: 2024-13-45\n", "a value cannot be read: month must be in 1..12",
                     "mend the value or quote it", id="a thirteenth month"),
    ],
)  # fmt: skip
def test_an_args_yaml_that_is_none_is_refused(
    args: str | bytes, message: str, hint: str, empty_store: str, tmp_path: Path
) -> None:
    damaged_run(tmp_path / "runs/train", args=args)
    refused(empty_store, f"runs/train/args.yaml: {message}", hint)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("results", "message", "hint"),
    [
        pytest.param(RESULTS.replace(cell(1, "val/cls_loss"), ",oops,"),
                     "line 3, column val/cls_loss: 'oops' is not a number", RESTORE, id="text for a number"),
        pytest.param("\n".join([*LINES[:2], LINES[2][:30], *LINES[3:], ""]),
                     f"line 3 has {LINES[2][:30].count(',') + 1} values, the header has 15", CUT,
                     id="a line cut short"),
        pytest.param(RESULTS[:-40], f"line 4 has {LINES[3][:-39].count(',') + 1} values, the header has 15", CUT,
                     id="the file cut in its last line"),
        pytest.param(RESULTS.replace("\n2,", "2,"), "line 2 has 29 values, the header has 15", CUT,
                     id="two lines in one"),
        pytest.param(RESULTS.replace("\n2,", "\n<<<<<<< HEAD\n2,"), "line 3 has 1 value, the header has 15", RESOLVE,
                     id="a merge conflict"),
        pytest.param(RESULTS.replace("epoch", "step", 1),
                     "the first line has no `epoch` column; found step, time, train/box_loss, train/cls_loss",
                     "such a file begins with a line of column names", id="no epoch column"),
        pytest.param("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
                     "is a git-LFS pointer, not the file itself", "`git lfs pull` fetches it", id="a git-LFS pointer"),
        pytest.param("<!DOCTYPE html><html>404</html>",
                     "the first line has no `epoch` column; found <!DOCTYPE html><html>404</html>",
                     "such a file begins with a line of column names", id="a web page"),
        pytest.param(RESULTS.replace("recall(B)", "precision(B)"), "two columns are called 'metrics/precision(B)'",
                     "rename one of them", id="one column twice"),
        pytest.param(RESULTS.replace("\n2,", "\n1.5,"), "row 2: epoch 1.5 is not a whole number",
                     "mend the epoch column", id="half an epoch"),
        pytest.param(RESULTS.replace("\n2,", "\n,"), "row 2: epoch None is not a whole number",
                     "mend the epoch column", id="a blank epoch"),
        pytest.param(RESULTS.replace("\n3,", f"\n{10**20},"),
                     "row 3: epoch 1e+20 is more than a trainer counts to", "mend the epoch column",
                     id="an epoch that no store can hold"),
        pytest.param(RESULTS + "\0\0", "holds NUL bytes, expected text",
                     "the file is damaged; restore it from a copy", id="NUL bytes"),
        pytest.param(RESULTS.encode("utf-16"), "is UTF-16, expected UTF-8", "save it as UTF-8", id="UTF-16"),
        pytest.param(b"epoch\n" + b"1\n" * 4_500_000, "larger than 8,000,000 bytes, which no trainer writes",
                     "is it the right file?", id="9 MB"),
    ],
)  # fmt: skip
def test_a_results_csv_that_is_damaged_is_refused(
    results: str | bytes, message: str, hint: str, empty_store: str, tmp_path: Path
) -> None:
    damaged_run(tmp_path / "runs/train", results=results)
    refused(empty_store, f"runs/train/results.csv: {message}", hint)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders here")
@pytest.mark.parametrize("name", ["args.yaml", "results.csv", "tune_results.csv", "weights/last.pt"])
def test_a_pipe_is_not_waited_for(name: str, tmp_path: Path) -> None:
    save_dir = Training().write(tmp_path / "run")
    (save_dir / name).unlink(missing_ok=True)
    os.mkfifo(save_dir / name)
    answer = ymlf_process("scan", save_dir)
    assert answer.status == 0
    assert "run" in answer.out


def test_two_columns_that_become_one_metric_are_refused(empty_store: str, tmp_path: Path) -> None:
    damaged_run(tmp_path / "runs/train", results=RESULTS.replace("metrics/recall(B)", "metrics/precisionB"))
    message = (
        "runs/train: columns 'metrics/precision(B)' and 'metrics/precisionB' both become metric 'metrics/precisionB'"
    )
    refused(empty_store, message, "rename one of them in results.csv")


def test_two_args_that_become_one_param_are_refused(empty_store: str, tmp_path: Path) -> None:
    damaged_run(tmp_path / "runs/train", args="task: detect\n'a(b': 1\n'a)b': 2\n")
    refused(empty_store, "runs/train: 'a)b' and another arg both become param 'a_b'", "rename one in args.yaml")


def test_a_project_that_is_too_long_for_an_experiment_is_refused(empty_store: str, tmp_path: Path) -> None:
    damaged_run(tmp_path / "runs/train", training=PLAIN.with_(args={"project": "p" * 600}))
    message = f"runs/train: experiment {'p' * 40}... has 600 characters, MLflow takes 500"
    refused(empty_store, message, "give a shorter one with --experiment")


def test_tags_that_leave_the_record_no_room_are_misuse(empty_store: str, tmp_path: Path) -> None:
    PLAIN.write(tmp_path / "runs/train")
    tags = ("--tag", f"a={'x' * 3000}", "--tag", f"b={'y' * 3000}")
    answer = ymlf("import", "runs/train", "--tracking-uri", empty_store, *tags)
    assert (answer.status, answer.out) == (2, "")
    told = "--tag and other options that a run keeps have 6,028 characters, 5,000 fit"
    assert answer.err == f"error: {told}\n  hint: give shorter values\n"
    assert untouched(empty_store)
    assert ymlf("import", "runs/train", "--tracking-uri", empty_store, *tags[:2]).status == 0


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        pytest.param("nope", "nope: no such file or directory", "check the spelling, or where you are", id="no path"),
        pytest.param("empty", "empty: no run directory here or below", "a run directory holds args.yaml or results.csv",
                     id="a path without runs below it"),
        pytest.param("run/weights/last.pt", "run/weights/last.pt: is a file",
                     "give the run directory that holds it, such as run", id="a checkpoint"),
        pytest.param("run/results.csv", "run/results.csv: is a file",
                     "give the run directory that holds it, such as run", id="a table"),
        pytest.param("decoys", "decoys: no run directory here or below",
                     "args.yaml is not a YOLO trainer's: it has no `task` and `mode`", id="files that look alike"),
    ],
)  # fmt: skip
def test_a_path_that_is_no_run_directory_is_refused_and_the_others_go_on(
    path: str, message: str, hint: str, empty_store: str, tmp_path: Path
) -> None:
    Training().write(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    (tmp_path / "decoys/.ipynb_checkpoints").mkdir(parents=True)
    (tmp_path / "decoys/.ipynb_checkpoints/results.csv").write_text(RESULTS)
    (tmp_path / "decoys/scores").mkdir()
    (tmp_path / "decoys/scores/results.csv").write_text("name,score\na,1\n")
    (tmp_path / "decoys/args.yaml").write_text("port: 80\n")
    alone = ymlf("import", path, "--tracking-uri", empty_store)
    assert (alone.status, alone.out) == (1, "")
    more = "note: 1 folder looks like a run and is none; -v says why\n" if path == "decoys" else ""  # decoys/scores
    assert alone.err == f"error: {message}\n  hint: {hint}\n{more}"
    assert untouched(empty_store)
    answer = ymlf("import", path, "run", "--tracking-uri", empty_store)
    assert answer.status == 1
    assert f"error: {message}\n" in answer.err
    assert "imported: run\n" in answer.out
    assert len(runs_in(empty_store)) == 1


def test_one_bad_directory_does_not_stop_the_batch_but_fails_it(empty_store: str, tmp_path: Path) -> None:
    damaged_run(tmp_path / "runs/train", results=RESULTS[:-40])
    PLAIN.with_(args={"seed": 1}).write(tmp_path / "runs/train2")
    PLAIN.with_(args={"seed": 2}).write(tmp_path / "runs/train3")
    answer = ymlf("import", "runs", "--tracking-uri", empty_store)
    assert answer.status == 1
    assert "error: runs/train/results.csv: line 4" in answer.err
    assert sorted(run.info.run_name for run in runs_in(empty_store)) == ["train2", "train3"]


@pytest.mark.parametrize(
    ("given", "note"),
    [
        pytest.param({"results": RESULTS.replace("\n", "\r\n")}, "crlf: results.csv has Windows line ends", id="CRLF"),
        pytest.param({"results": "\ufeff" + RESULTS}, "bom: results.csv begins with a byte order mark", id="BOM"),
        pytest.param({"args": ""}, "empty-args: args.yaml is empty", id="an empty args.yaml"),
        pytest.param({"files": {"args.yaml": None}}, "no-args: no args.yaml; the task is told by the columns",
                     id="no args.yaml"),
        pytest.param({"args": "task: detect\nproject: M\xfcller\n".encode("latin-1")},
                     "not-utf8: args.yaml is not UTF-8; read as Latin-1", id="Latin-1"),
        pytest.param({"results": RESULTS[:-1]},
                     "no-final-newline: the last line of results.csv has no line end; its last cell may be cut",
                     id="no last line end"),
        pytest.param({"results": RESULTS.replace(cell(1, "val/cls_loss"), ",,")},
                     "blank-cell: results.csv has blank cells; they are left out", id="a blank cell"),
        pytest.param({"results": RESULTS.replace("\n3,", "\n30,")},
                     "epoch-gap: epochs are missing between the first and the last", id="a gap"),
        pytest.param({"results": RESULTS.replace("val/box_loss", "f{val}/box")},
                     "refused-characters: column 'f{val}/box' is logged as 'f_val_/box'", id="refused characters"),
        pytest.param({"files": {"results.csv": None, "results (1).csv": RESULTS.encode()}},
                     "renamed-results: no results.csv; read results (1).csv", id="renamed by a browser"),
        pytest.param({"files": {"weights/last.pt": b"version https://git-lfs.github.com/spec/v1\nsize 5\n"}},
                     "lfs-pointer: runs/train/weights/last.pt: is a git-LFS pointer, not the checkpoint itself; "
                     "imported without its facts", id="a git-LFS pointer"),
        pytest.param({"files": {"weights/best.pt": b"no checkpoint at all"}},
                     "checkpoint-unreadable: runs/train/weights/best.pt: is no checkpoint: neither a zip nor a pickle; "
                     "imported without its facts", id="an unreadable checkpoint"),
    ],
)  # fmt: skip
def test_an_oddity_is_imported_with_a_note_and_remembered(
    given: dict[str, object], note: str, empty_store: str, tmp_path: Path
) -> None:
    damaged_run(tmp_path / "runs/train", **given)  # type: ignore[arg-type]
    answer = ymlf("import", "runs/train", "--tracking-uri", empty_store)
    assert answer.status == 0
    assert f"note: {note}\n" in answer.err
    (run,) = runs_in(empty_store)
    assert f'"{note.partition(":")[0]}"' in run.data.tags["ymlf.record"]
    assert run.data.tags["ymlf.state"] == "complete"
    assert ymlf("verify", "runs/train", "--tracking-uri", empty_store).status == 0


def test_a_short_last_line_is_left_out_and_the_lines_before_it_are_logged(empty_store: str, tmp_path: Path) -> None:
    ragged = "\n".join([*LINES[:3], ",".join(LINES[3].split(",")[:13]), ""])
    damaged_run(tmp_path / "runs/train", results=ragged)
    answer = ymlf("import", "runs/train", "--tracking-uri", empty_store)
    assert answer.status == 0
    assert "note: ragged-row: the last line of results.csv is short; left out\n" in answer.err
    (run,) = runs_in(empty_store)
    assert [step for step, _ in points_of(empty_store, run, "val/cls_loss")] == [0, 1]


def test_nan_and_infinity_are_logged_as_they_are(empty_store: str, tmp_path: Path) -> None:
    changed = RESULTS.replace(cell(0, "val/cls_loss"), ",nan,").replace(cell(1, "val/cls_loss"), ",inf,")
    damaged_run(tmp_path / "runs/train", results=changed)
    answer = ymlf("import", "runs/train", "--tracking-uri", empty_store)
    assert answer.status == 0
    assert "note: nan: 1 value is nan and stays nan\n" in answer.err
    assert "note: inf: 1 value is infinite; a database store shows 1.797e+308\n" in answer.err
    (run,) = runs_in(empty_store)
    points = dict(points_of(empty_store, run, "val/cls_loss"))
    assert math.isnan(points[0])
    assert points[1] > 1.79e308
    assert ymlf("verify", "runs/train", "--tracking-uri", empty_store).status == 0


def test_a_checkpoint_of_another_training_is_not_believed(empty_store: str, tmp_path: Path) -> None:
    other = PLAIN.with_(rows=({"val/cls_loss": 9.0},)).checkpoint({"train_args": {"lr0": 0.5}}, "runs/train")
    Training(last={"train_results": other["train_results"], "train_args": {"lr0": 0.5}}).write(tmp_path / "runs/train")
    answer = ymlf("import", "runs/train", "--tracking-uri", empty_store)
    assert answer.status == 0
    told = "last.pt belongs to another training (its val/cls_loss differs from results.csv); not believed"
    assert f"note: checkpoint-foreign: {told}\n" in answer.err
    (run,) = runs_in(empty_store)
    assert run.data.params["lr0"] == "0.01"


@pytest.mark.parametrize("count", [105, 110, 114])
def test_more_params_than_one_request_takes_are_all_logged(count: int, empty_store: str, tmp_path: Path) -> None:
    damaged_run(tmp_path / "runs/train", args="task: detect\n" + "".join(f"p{at}: {at}\n" for at in range(count - 1)))
    assert ymlf("import", "runs/train", "--tracking-uri", empty_store).status == 0
    (run,) = runs_in(empty_store)
    assert len(run.data.params) == count
    assert run.data.params[f"p{count - 2}"] == str(count - 2)


def test_a_param_over_6000_characters_is_cut_with_a_note(empty_store: str, tmp_path: Path) -> None:
    damaged_run(tmp_path / "runs/train", args=f"task: detect\nclasses: {'y' * 7000}\n")
    answer = ymlf("import", "runs/train", "--tracking-uri", empty_store)
    assert answer.status == 0
    assert "note: long-param: classes has 7,000 characters; MLflow keeps 6,000\n" in answer.err
    (run,) = runs_in(empty_store)
    assert run.data.params["classes"] == "y" * 6000
    assert ymlf("verify", "runs/train", "--tracking-uri", empty_store).status == 0


def test_a_link_out_of_the_directory_is_followed_only_when_asked(empty_store: str, tmp_path: Path) -> None:
    Training().write(tmp_path / "runs/train")
    (tmp_path / "secret").write_text("for nobody")
    (tmp_path / "runs/train/secret.png").symlink_to(tmp_path / "secret")
    words = ("import", "runs/train", "--tracking-uri", empty_store)
    answer = ymlf(*words)
    assert answer.status == 0
    assert "note: link-outside: secret.png is a link that leaves the directory; not followed\n" in answer.err
    assert not list(tmp_path.rglob("artifacts/secret.png"))
    assert ymlf(*words, "--experiment", "followed", "--follow-symlinks").status == 0
    assert [path.read_text() for path in tmp_path.rglob("artifacts/secret.png")] == ["for nobody"]


def test_a_run_that_trains_still_is_left_alone_until_asked_for(empty_store: str, tmp_path: Path) -> None:
    now_ms = int(time.time() * 1000)
    training = PLAIN.with_(planned=100, plots=False, started_ms=now_ms - 40_000)
    training.write(tmp_path / "runs/train")
    words = ("import", "runs/train", "--tracking-uri", empty_store)
    answer = ymlf(*words)
    assert answer.status == 0
    assert answer.out.startswith("still training: runs/train: ")
    assert "  hint: --unfinished takes it as it is\n" in answer.out
    assert not runs_in(empty_store)
    assert ymlf(*words, "--unfinished").status == 0
    assert len(runs_in(empty_store)) == 1


def test_a_run_without_an_epoch_is_passed_over_until_asked_for(empty_store: str, tmp_path: Path) -> None:
    damaged_run(tmp_path / "runs/train", results=LINES[0] + "\n")
    words = ("import", "runs/train", "--tracking-uri", empty_store)
    answer = ymlf(*words)
    assert answer.status == 0
    assert answer.out.startswith("no epochs: runs/train: it ended before its first epoch was over\n")
    assert "  hint: import it with --empty\n" in answer.out
    assert untouched(empty_store)
    assert ymlf(*words, "--empty").status == 0
    assert len(runs_in(empty_store)) == 1


def test_an_empty_args_yaml_alone_tells_nothing_of_how_a_training_ended(empty_store: str, tmp_path: Path) -> None:
    (tmp_path / "runs/train").mkdir(parents=True)
    (tmp_path / "runs/train/args.yaml").touch()
    answer = ymlf("import", "runs/train", "--tracking-uri", empty_store)
    assert answer.status == 0
    assert answer.out.startswith("no epochs: runs/train: its args.yaml is empty and there are no results\n")


def test_two_trainings_without_an_epoch_are_two_though_each_was_called_train(empty_store: str, tmp_path: Path) -> None:
    for data in ("birds.yaml", "fish.yaml"):
        damaged_run(tmp_path / data / "train", training=PLAIN.with_(args={"data": data}), results=LINES[0] + "\n")
    answer = ymlf("import", "birds.yaml", "fish.yaml", "--empty", "--tracking-uri", empty_store)
    assert answer.status == 0
    assert sorted(run.data.params["data"] for run in runs_in(empty_store)) == ["birds.yaml", "fish.yaml"]


def test_names_of_control_signs_do_not_write_to_the_terminal(empty_store: str, tmp_path: Path) -> None:
    args = 'task: detect\nproject: "p\\e[2Jq"\n'
    damaged_run(tmp_path / "runs/tr\x1b[31mx", args=args, results=RESULTS.replace("val/box_loss", "v\x1b[1m"))
    for words in (["plan", "runs/tr\x1b[31mx"], ["import", "runs"], ["scan", "runs"], ["verify", "runs"], ["imports"]):
        answer = ymlf(*words, *(["--tracking-uri", empty_store] if words[0] != "plan" else []))
        assert answer.status == 0
        assert "\x1b" not in answer.out + answer.err


def test_a_directory_whose_name_is_no_utf8_is_imported(empty_store: str, tmp_path: Path) -> None:
    name = os.fsdecode(b"runs/tr\xfcin")
    Training().write(tmp_path / name)
    assert ymlf("import", name, "--tracking-uri", empty_store).status == 0
    assert ymlf("verify", name, "--tracking-uri", empty_store).status == 0
    assert len(runs_in(empty_store)) == 1
    assert experiments_in(empty_store) == ["/Shared/Ultralytics"]


def test_a_pointer_is_noted_though_the_name_of_another_ends_in_its_name(empty_store: str, tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
    damaged_run(tmp_path / "runs/train", files={"BoxF1_curve.png": pointer, "F1_curve.png": pointer})
    answer = ymlf("import", "runs/train", "--tracking-uri", empty_store)
    for name in ("BoxF1_curve.png", "F1_curve.png"):
        assert f"note: lfs-pointer: {name} is a git-LFS pointer, not the file; left out\n" in answer.err
