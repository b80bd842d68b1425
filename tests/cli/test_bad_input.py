"""What bad input gets: a message with what to do next, an exit status, and a store that is as it was."""

from __future__ import annotations

import math
import os
import re
import time
from pathlib import Path

import pytest
import yaml
from support.command import Answer, ymlf
from support.damaged import PLAIN, RESULTS, cell, damaged_run
from support.directories import Training
from support.stores import points_of, runs_in, untouched
from support.trees import imported, outcomes, summary, training, write_unfinished

from importer import ImportOptions, ImportPlan, PlanError, RunDirError, YmlfError, plan_import, read_run

LINES = RESULTS.splitlines()
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{this}: &{this} [{', '.join([f'*{last}'] * 9)}]\n" for last, this in zip("abcdefgh", "bcdefghi", strict=True)
)
CONFLICT = "task: detect\n<<<<<<< HEAD\nepochs: 3\n=======\nepochs: 4\n>>>>>>> theirs\n"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
RIGHT_FILE = "is it the right file?"


def planned(save_dir: Path) -> ImportPlan:
    """Return what an import of a directory would log."""
    return plan_import(read_run(save_dir), ImportOptions())


def noted(plan: ImportPlan) -> dict[str, str]:
    """Return the text of each note by its code."""
    return {note.code: note.text for note in plan.notes}


def assert_refused(error: YmlfError, place: str, facts: list[str], hint: str) -> None:
    """The error names the place, the facts and what to do next."""
    assert error.message.startswith(f"{place}: ")
    assert [fact for fact in facts if fact not in error.message] == [], error.message
    assert error.hint is not None and hint in error.hint


@pytest.mark.parametrize(
    ("args", "facts", "hint"),
    [
        pytest.param(b"task: detect\nk: " + b"x" * 50_000_000, ["1,000,000 bytes"], RIGHT_FILE, id="50 MB"),
        pytest.param(f"task: detect\n{BOMB}", [], RIGHT_FILE, id="an alias bomb"),
        pytest.param("task: detect\nx: &x [*x]\n", [], RIGHT_FILE, id="a list in itself"),
        pytest.param("task: " + "[" * 900_000, [], RIGHT_FILE, id="a million brackets"),
        pytest.param("task: " + "{" * 900_000, [], RIGHT_FILE, id="a million braces"),
        pytest.param("task:\n" + "- " * 400_000, [], RIGHT_FILE, id="a deep list"),
        pytest.param("a: 1" + ":1" * 300_000, [], RIGHT_FILE, id="an endless number to base 60"),
        pytest.param("a: " + "9" * 900_000, [], RIGHT_FILE, id="an endless number"),
        pytest.param("task: detect\nmode: !!python/object/apply:os.system ['touch owned']\n",
                     ["line 2", "python/object/apply:os.system"], "never built from a file", id="a Python call"),
        pytest.param("task: detect\nimgsz: !!python/tuple [1, 2]\n", ["line 2", "python/tuple"],
                     "never built from a file", id="a Python tuple"),
        pytest.param("task: detect\nclasses: !!set {a, b}\n", ["line 2", "set"], "mend the file", id="a set"),
        pytest.param(b"task: detect\nmode: tr\0in\n", ["NUL"], "restore it", id="NUL bytes"),
        pytest.param("task: detect\n".encode("utf-16"), ["UTF-16"], "UTF-8", id="UTF-16"),
        *(
            pytest.param(f"task: detect\nproject: {text}\n".encode(encoding), ["neither UTF-8 nor Latin-1"], "UTF-8",
                         id=encoding)
            for text, encoding in (
                ("火灾检测", "gbk"), ("火災偵測", "big5"), ("火災データ", "shift-jis"), ("Пожар", "cp1251")
            )
        ),
        pytest.param(CONFLICT, ["line 3"], "merge conflict", id="a merge conflict"),
        pytest.param(POINTER, ["git-LFS pointer"], "git lfs pull", id="a git-LFS pointer"),
        pytest.param("- task\n- mode\n", ["a list"], "restore the file", id="a list"),
        pytest.param("task: detect\n---\nmode: train\n", ["line 2", "document"], "mend the file", id="two documents"),
        pytest.param("task: detect\nd: 2024-13-45\n", ["month must be in 1..12"], "mend the value",
                     id="a thirteenth month"),
    ],
)  # fmt: skip
def test_an_args_yaml_that_cannot_be_meant_is_refused(
    args: str | bytes, facts: list[str], hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunDirError) as caught:
        planned(damaged_run(Path("runs/train"), args=args))
    assert_refused(caught.value, "runs/train/args.yaml", facts, hint)
    assert not Path("owned").exists()


@pytest.mark.parametrize(
    ("results", "facts", "hint"),
    [
        pytest.param(RESULTS.replace(cell(1, "val/cls_loss"), ",oops,"), ["line 3", "column val/cls_loss", "'oops'"],
                     "restore the file", id="text for a number"),
        pytest.param(f"{LINES[0]}\n{LINES[1][:30]}", ["line 2", f"{LINES[1][:30].count(',') + 1} values", "15"],
                     "restore the file", id="no row that fits"),
        pytest.param(RESULTS.replace("\n2,", "\n<<<<<<< HEAD\n2,"), ["line 3", "1 value", "15"], "merge conflict",
                     id="a merge conflict"),
        pytest.param(RESULTS.replace("epoch", "step", 1), ["`epoch`", "step, time, train/box_loss, train/cls_loss"],
                     "column names", id="no epoch column"),
        pytest.param(POINTER, ["git-LFS pointer"], "git lfs pull", id="a git-LFS pointer"),
        pytest.param("<!DOCTYPE html><html>404</html>", ["`epoch`", "<!DOCTYPE html><html>404</html>"],
                     "column names", id="a web page"),
        pytest.param(RESULTS.replace("train/box_loss", "epoch"), ["'epoch'"], "rename one", id="the epoch twice"),
        pytest.param(RESULTS.replace("\n2,", "\n1.5,"), ["row 2", "1.5"], "mend the epoch column",
                     id="half an epoch"),
        pytest.param(RESULTS.replace("\n2,", "\n,"), ["row 2"], "mend the epoch column", id="a blank epoch"),
        pytest.param(RESULTS.replace("\n3,", f"\n{10**20},"), ["row 3", "1e+20"], "mend the epoch column",
                     id="an epoch that no store can hold"),
        pytest.param(RESULTS + "\0\0", ["NUL"], "restore it", id="NUL bytes"),
        pytest.param(RESULTS.encode("utf-16"), ["UTF-16"], "UTF-8", id="UTF-16"),
        pytest.param(b"epoch\n" + b"1\n" * 4_500_000, ["8,000,000 bytes"], RIGHT_FILE, id="9 MB"),
    ],
)  # fmt: skip
def test_a_results_csv_that_is_damaged_is_refused_with_the_place(
    results: str | bytes, facts: list[str], hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunDirError) as caught:
        planned(damaged_run(Path("runs/train"), results=results))
    assert_refused(caught.value, "runs/train/results.csv", facts, hint)


@pytest.mark.parametrize(
    ("changes", "facts", "hint"),
    [
        pytest.param({"args": "task: detect\n'a(b': 1\n'a)b': 2\n"}, ["'a)b'", "'a_b'"], "in args.yaml",
                     id="two args, one param"),
        pytest.param({"training": PLAIN.with_(args={"project": "p" * 600})}, ["p" * 40, "600", "500"],
                     "--experiment", id="a project of 600 characters"),
    ],
)  # fmt: skip
def test_what_mlflow_cannot_hold_is_refused_before_anything_is_written(
    changes: dict[str, object], facts: list[str], hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PlanError) as caught:
        planned(damaged_run(Path("runs/train"), **changes))  # type: ignore[arg-type]
    assert_refused(caught.value, "runs/train", facts, hint)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"args": "- task\n"}, id="args.yaml"),
        pytest.param({"results": f"{LINES[0]}\n{LINES[1][:30]}"}, id="results.csv"),
        pytest.param({"args": "task: detect\n'a(b': 1\n'a)b': 2\n"}, id="the plan"),
    ],
)
def test_a_refused_directory_is_told_in_two_lines_with_status_1_by_every_command(
    changes: dict[str, object], empty_store: str, tmp_path: Path
) -> None:
    save_dir = damaged_run(tmp_path / "runs/train", **changes)  # type: ignore[arg-type]
    with pytest.raises(YmlfError) as caught:
        planned(save_dir)
    store = ("--tracking-uri", empty_store)
    for words in (("import", *store), ("import", "--dry-run", *store), ("verify", *store), ("plan",), ("show",)):
        answer = ymlf(*words, save_dir)
        assert (answer.status, answer.out) == (1, ""), words
        assert answer.err == f"error: {caught.value.message}\n  hint: {caught.value.hint}\n"
    assert untouched(empty_store)


def test_tags_that_leave_the_record_no_room_are_misuse(empty_store: str, tmp_path: Path) -> None:
    PLAIN.write(tmp_path / "runs/train")
    tags = ("--tag", f"a={'x' * 2900}", "--tag", f"b={'y' * 3100}")
    answer = ymlf("import", "runs/train", "--tracking-uri", empty_store, *tags)
    assert (answer.status, answer.out) == (2, "")
    assert "6,028" in answer.err and "3,000" in answer.err and "\n  hint: " in answer.err
    assert untouched(empty_store)
    assert ymlf("import", "runs/train", "--tracking-uri", empty_store, *tags[:2]).status == 0


NO_RUNS = {
    "nope": ("no such file or directory", "check the spelling"),
    "empty": ("no run directory here or below", "a run directory holds args.yaml or results.csv"),
    "run/weights/last.pt": ("is a file", "such as run"),
    "run/results.csv": ("is a file", "such as run"),
    "decoys": ("no run directory here or below", "args.yaml is not a YOLO trainer's"),
}


def test_a_path_that_is_no_run_directory_is_refused_and_the_others_go_on(empty_store: str, tmp_path: Path) -> None:
    training(1).write(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    for name, text in ((".ipynb_checkpoints", RESULTS), ("scores", "name,score\na,1\n")):
        (tmp_path / "decoys" / name).mkdir(parents=True)
        (tmp_path / "decoys" / name / "results.csv").write_text(text)
    (tmp_path / "decoys/args.yaml").write_text("port: 80\n")
    damaged_run(tmp_path / "damaged", results=f"{LINES[0]}\n{LINES[1][:30]}")
    alone = ymlf("import", "decoys", "--tracking-uri", empty_store)
    assert (alone.status, alone.out) == (1, "") and untouched(empty_store)
    answer = ymlf("import", *NO_RUNS, "damaged", "run", "--tracking-uri", empty_store, "-v")
    assert answer.status == 1
    for path, (message, hint) in NO_RUNS.items():
        [(told, then)] = [
            (line, after)
            for line, after in zip(answer.err.splitlines(), answer.err.splitlines()[1:], strict=False)
            if line.startswith(f"error: {path}: ")
        ]
        assert message in told and then.startswith("  hint: ") and hint in then
    assert "error: damaged/results.csv: line 2" in answer.err
    assert "imported: run\n" in answer.out
    assert len(runs_in(empty_store)) == 1


@pytest.mark.parametrize(
    ("given", "code", "fact"),
    [
        pytest.param({"results": RESULTS.replace("\n", "\r\n")}, "crlf", "results.csv", id="CRLF"),
        pytest.param({"results": "\ufeff" + RESULTS}, "bom", "results.csv", id="BOM"),
        pytest.param({"results": f"{RESULTS}4,40,0.1"}, "no-final-newline", "results.csv", id="a cut last line"),
        pytest.param({"results": f"{RESULTS}4,40,0.1\n5,{','.join(LINES[3].split(',')[1:])}\n"}, "rows-left-out",
                     "1 row of results.csv", id="a short line"),
        pytest.param({"results": RESULTS.replace("metrics/recall(B)", "metrics/precisionB")}, "same-key",
                     "'metrics/precision(B)' and 'metrics/precisionB'", id="two columns, one metric"),
        pytest.param({"results": RESULTS.replace("recall(B)", "precision(B)")}, "same-key",
                     "2 columns called 'metrics/precision(B)'", id="one column twice"),
        pytest.param({"args": ""}, "empty-args", "args.yaml", id="an empty args.yaml"),
        pytest.param({"files": {"args.yaml": None}}, "no-args", "args.yaml", id="no args.yaml"),
        pytest.param({"args": "task: detect\nproject: M\xfcller\n".encode("latin-1")}, "not-utf8", "Latin-1",
                     id="Latin-1"),
        pytest.param({"results": RESULTS[:-1]}, "no-final-newline", "results.csv", id="no last line end"),
        pytest.param({"results": RESULTS.replace(cell(1, "val/cls_loss"), ",,")}, "blank-cell", "results.csv",
                     id="a blank cell"),
        pytest.param({"results": "\n".join([*LINES[:3], ",".join(LINES[3].split(",")[:13]), ""])}, "ragged-row",
                     "results.csv", id="a short last line"),
        pytest.param({"results": RESULTS.replace("\n3,", "\n30,")}, "epoch-gap", "epochs", id="a gap"),
        pytest.param({"results": RESULTS.replace("val/box_loss", "f{val}/box")}, "refused-characters", "'f_val_/box'",
                     id="refused characters"),
        pytest.param({"files": {"results.csv": None, "results (1).csv": RESULTS.encode()}}, "renamed-results",
                     "results (1).csv", id="renamed by a browser"),
        pytest.param({"files": {"weights/last.pt": POINTER}}, "lfs-pointer", "runs/train/weights/last.pt",
                     id="a git-LFS pointer"),
        pytest.param({"files": {"weights/best.pt": b"no checkpoint at all"}}, "checkpoint-unreadable",
                     "runs/train/weights/best.pt", id="an unreadable checkpoint"),
    ],
)  # fmt: skip
def test_an_oddity_is_planned_with_a_note(
    given: dict[str, object], code: str, fact: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = planned(damaged_run(Path("runs/train"), **given))  # type: ignore[arg-type]
    assert fact in noted(plan)[code]
    assert "".join(noted(planned(PLAIN.write(Path("runs/plain"))))).find(code) == -1, "a plain one has no such note"
    assert {point.step for point in plan.points if point.key == "val/cls_loss"} == {
        "blank-cell": {0, 2}, "ragged-row": {0, 1}, "epoch-gap": {0, 1, 29}, "rows-left-out": {0, 1, 2, 4},
        "no-final-newline": {0, 1, 2} if "4,40,0.1" in str(given) else {0, 1},
    }.get(code, {0, 1, 2})  # fmt: skip


def test_a_note_is_told_and_remembered_in_the_record_of_the_run(empty_store: str, tmp_path: Path) -> None:
    damaged_run(tmp_path / "runs/train", results=RESULTS.replace("\n", "\r\n")[:-2])
    answer = ymlf("import", "runs/train", "--tracking-uri", empty_store)
    (run,) = runs_in(empty_store)
    for code in ("crlf", "no-final-newline"):
        assert f"note: {code}: " in answer.err
        assert f'"{code}"' in run.data.tags["ymlf.record"]
    assert (answer.status, run.data.tags["ymlf.state"]) == (0, "complete")
    assert ymlf("verify", "runs/train", "--tracking-uri", empty_store).status == 0


@pytest.mark.parametrize("cut", [1, 9, 60], ids=["line end", "cell", "line"])
def test_a_line_that_is_being_written_is_left_for_the_next_import(cut: int, empty_store: str, tmp_path: Path) -> None:
    write_unfinished(tmp_path / "runs/train", 1, planned=9)
    path = tmp_path / "runs/train/results.csv"
    text = path.read_text()
    (tmp_path / "runs/train/weights/last.pt").unlink()
    for content, outcome, steps in ((text[:-cut], "imported", {0, 1}), (text, "updated", {0, 1, 2})):
        path.write_text(content)
        answer = imported("runs/train", "--also", "unfinished", uri=empty_store)
        assert (answer.status, outcomes(answer)) == (0, {"train": outcome})
        (run,) = runs_in(empty_store)
        assert dict(points_of(empty_store, run, "val/cls_loss")).keys() == steps
    assert ymlf("verify", "runs/train", "--tracking-uri", empty_store).status == 0


def test_nan_and_infinity_are_logged_as_they_are(empty_store: str, tmp_path: Path) -> None:
    changed = RESULTS.replace(cell(0, "val/cls_loss"), ",nan,").replace(cell(1, "val/cls_loss"), ",inf,")
    damaged_run(tmp_path / "runs/train", results=changed)
    answer = ymlf("import", "runs/train", "--tracking-uri", empty_store)
    assert answer.status == 0
    assert "note: nan: 1 value" in answer.err and "note: inf: 1 value" in answer.err
    (run,) = runs_in(empty_store)
    points = dict(points_of(empty_store, run, "val/cls_loss"))
    assert math.isnan(points[0])
    assert points[1] > 1.79e308
    assert ymlf("verify", "runs/train", "--tracking-uri", empty_store).status == 0


def test_a_checkpoint_of_another_training_is_not_believed(tmp_path: Path) -> None:
    other = PLAIN.with_(rows=({"val/cls_loss": 9.0},)).checkpoint({"train_args": {"lr0": 0.5}}, "runs/train")
    Training(last={"train_results": other["train_results"], "train_args": {"lr0": 0.5}}).write(tmp_path / "train")
    plan = planned(tmp_path / "train")
    assert "last.pt" in noted(plan)["checkpoint-foreign"] and "val/cls_loss" in noted(plan)["checkpoint-foreign"]
    assert dict(plan.params)["lr0"] == "0.01"


def test_params_of_any_number_and_length_are_logged_and_verified(empty_store: str, tmp_path: Path) -> None:
    counts = (105, 110, 114)  # a request takes 100
    for count in counts:
        args = "task: detect\n" + "".join(f"p{at}: {at}\n" for at in range(count - 2)) + f"seed: {count}\n"
        rows = ({"train/box_loss": count / 100},)
        damaged_run(tmp_path / f"runs/train{count}", args=args, training=PLAIN.with_(rows=rows))
    damaged_run(tmp_path / "runs/long", args=f"task: detect\nclasses: {'y' * 7000}\n")
    answer = ymlf("import", "runs", "--tracking-uri", empty_store, "-v", "-j", "1")
    assert answer.status == 0
    [note] = [line for line in answer.err.splitlines() if "long-param: " in line]
    assert "classes" in note and "7,000" in note and "6,000" in note
    params = {run.info.run_name: run.data.params for run in runs_in(empty_store)}
    assert params.pop("long")["classes"] == "y" * 6000
    assert {name: len(found) for name, found in params.items()} == {f"train{count}": count for count in counts}
    assert all(params[f"train{count}"][f"p{count - 3}"] == str(count - 3) for count in counts)
    verified = ymlf("verify", "runs", "--tracking-uri", empty_store, "--json", "-j", "1")
    assert (verified.status, summary(verified)) == (0, {"verified": 4})


def test_a_link_out_of_the_directory_is_followed_only_when_asked(empty_store: str, tmp_path: Path) -> None:
    Training().write(tmp_path / "runs/train")
    (tmp_path / "secret").write_text("for one reader")
    (tmp_path / "runs/train/secret.png").symlink_to(tmp_path / "secret")
    words = ("import", "runs/train", "--tracking-uri", empty_store)
    answer = ymlf(*words)
    assert answer.status == 0
    assert "note: link-outside: secret.png" in answer.err
    assert not list(tmp_path.rglob("artifacts/secret.png"))
    assert ymlf(*words, "--experiment", "followed", "--follow-symlinks").status == 0
    assert [path.read_text() for path in tmp_path.rglob("artifacts/secret.png")] == ["for one reader"]


def test_epochs_that_are_behind_a_link_are_not_taken_for_none(empty_store: str, tmp_path: Path) -> None:
    Training().write(tmp_path / "cache")
    run_dir = tmp_path / "runs/train"
    run_dir.mkdir(parents=True)
    (run_dir / "args.yaml").write_bytes((tmp_path / "cache/args.yaml").read_bytes())
    (run_dir / "results.csv").symlink_to(tmp_path / "cache/results.csv")
    words = ("import", "runs/train", "--tracking-uri", empty_store)
    answer = ymlf(*words)
    assert (answer.status, runs_in(empty_store)) == (1, [])
    assert "its files are links that leave the directory" in answer.err and "--follow-symlinks" in answer.err
    (tmp_path / "cache/results.csv").rename(tmp_path / "cache/moved.csv")
    answer = ymlf(*words, "--follow-symlinks")
    assert (answer.status, runs_in(empty_store)) == (1, [])
    assert "links that lead nowhere" in answer.err and "dvc pull" in answer.err
    (tmp_path / "cache/moved.csv").rename(tmp_path / "cache/results.csv")
    assert ymlf(*words, "--follow-symlinks").out.startswith("imported")


def test_what_has_no_epoch_or_trains_still_is_passed_over_until_asked_for(empty_store: str, tmp_path: Path) -> None:
    damaged_run(tmp_path / "runs/dead", results=LINES[0] + "\n")
    started_ms = int(time.time() * 1000) - 40_000
    PLAIN.with_(args={"seed": 7}, planned=100, plots=False, started_ms=started_ms).write(tmp_path / "runs/running")
    (tmp_path / "runs/blank").mkdir()
    (tmp_path / "runs/blank/args.yaml").touch()
    words = ("--tracking-uri", empty_store, "-j", "1")
    none = ymlf("import", "runs/dead", "runs/blank", *words)
    told = {line.split(": ")[1]: line for line in none.out.splitlines() if ": runs/" in line}
    assert none.status == 0
    assert told["runs/dead"].startswith("no epochs: ") and "before its first epoch" in told["runs/dead"]
    assert told["runs/blank"].startswith("no epochs: ") and "args.yaml is empty" in told["runs/blank"]
    assert "  hint: " in none.out and "--also", "empty" in none.out
    assert untouched(empty_store)
    running = ymlf("import", "runs/running", *words)
    assert (running.status, running.out.split(": ")[:2]) == (0, ["still training", "runs/running"])
    assert "  hint: " in running.out and "--also", "unfinished" in running.out
    assert not runs_in(empty_store)
    asked = ymlf("import", "runs", *words, "--also", "empty", "--also", "unfinished", "--json")
    assert (asked.status, outcomes(asked)) == (0, dict.fromkeys(("blank", "dead", "running"), "imported"))


def test_two_trainings_without_an_epoch_are_two_though_each_was_called_train(tmp_path: Path) -> None:
    keys = {
        planned(damaged_run(tmp_path / data / "train", training=PLAIN.with_(args={"data": data}), results=LINES[0])).key
        for data in ("birds.yaml", "fish.yaml")
    }
    assert len(keys) == 2


def test_names_of_control_signs_do_not_write_to_the_terminal(empty_store: str, tmp_path: Path) -> None:
    args = 'task: detect\nproject: "p\\e[2Jq"\n'
    damaged_run(tmp_path / "runs/tr\x1b[31mx", args=args, results=RESULTS.replace("val/box_loss", "v\x1b[1m"))
    for words in (["plan", "runs/tr\x1b[31mx"], ["import", "runs"], ["scan", "runs"], ["verify", "runs"], ["history"]):
        answer = ymlf(*words, *(["--tracking-uri", empty_store] if words[0] != "plan" else []))
        assert answer.status == 0
        assert "\x1b" not in answer.out + answer.err


HIDDEN = "a\nfake: all is well\r\x1b[2J\x9b1m\u202egnp.exe\u2066\u200f\u2028z"  # of a name: lines, escapes, turned text
TURNING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def assert_lines_are_ours(answer: Answer) -> None:
    """No name has begun a line of its own or reached the terminal as it is."""
    said = answer.out + answer.err
    assert not TURNING.search(said), said
    assert not [line for line in said.splitlines() if line.startswith("fake")], said


@pytest.mark.parametrize("more", [[], ["-v"], ["--json"]], ids=["words", "verbose", "JSON"])
def test_no_name_begins_a_line_or_turns_one_around(more: list[str], empty_store: str, tmp_path: Path) -> None:
    args = {"task": "detect", "seed": 3, "epochs": 3, "project": f"p{HIDDEN}", HIDDEN: "1", "data": f"{HIDDEN}.yaml"}
    results = RESULTS.replace("val/box_loss", "v\u202ex")
    damaged_run(tmp_path / "runs" / HIDDEN, args=yaml.safe_dump(args), results=results, files={f"{HIDDEN}.png": b"x"})
    damaged_run(tmp_path / "runs" / f"{HIDDEN}-copy", args=yaml.safe_dump(args), results=results)
    damaged_run(tmp_path / "runs" / f"{HIDDEN}-bad", args="- task\n")
    written = tmp_path / "runs" / f"{HIDDEN}-alike" / "args.yaml"
    written.parent.mkdir()
    written.write_text("port: 80\n")
    store, one = ("--tracking-uri", empty_store), f"runs/{HIDDEN}"
    for words in (
        ["plan", one], ["show", one], ["plan", f"{one}-bad"], ["plan", f"{one}-none"], ["scan", "runs"],
        ["import", "runs", "--dry-run", *store], ["import", "runs", "--import-id", "job", *store],
        ["import", one, *store], ["scan", "runs", *store], ["verify", "runs", *store],
        ["verify", one, "--tag", f"a={HIDDEN}", *store], ["history", *store], ["undo", "job", "--yes", *store],
        ["import", one, "--run-name", f"{HIDDEN}{{x}}", *store], ["plan", one, "--tag", HIDDEN],
        ["scan", one, "--task", HIDDEN], [HIDDEN], ["scan", f"--{HIDDEN}"], ["scan", "--from-file", HIDDEN],
    ):  # fmt: skip
        takes_more = words[0] not in (HIDDEN,)
        assert_lines_are_ours(ymlf(*words, *(more if takes_more else [])))


def test_a_directory_whose_name_is_no_utf8_is_imported(empty_store: str, tmp_path: Path) -> None:
    name = os.fsdecode(b"runs/tr\xfcin")
    Training().write(tmp_path / name)
    assert ymlf("import", name, "--tracking-uri", empty_store).status == 0
    assert ymlf("verify", name, "--tracking-uri", empty_store).status == 0
    assert [run.data.tags["ymlf.state"] for run in runs_in(empty_store)] == ["complete"]


def test_a_pointer_is_noted_though_the_name_of_another_ends_in_its_name(tmp_path: Path) -> None:
    files = dict.fromkeys(("BoxF1_curve.png", "F1_curve.png"), POINTER)
    notes = planned(damaged_run(tmp_path / "train", files=files)).notes
    assert sorted(note.text.split()[0] for note in notes if note.code == "lfs-pointer") == sorted(files)
