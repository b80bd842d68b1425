"""The first minutes with ymlf: what lies here, what to type, where the runs went, on any terminal."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import ymlf, ymlf_process
from support.directories import Training, copy_fixture
from support.stores import runs_in

from importer import __version__
from importer.cli.commands import cli

COMMANDS = sorted(cli.commands)
DATED = Training(epochs=1, plots=False)


@pytest.mark.parametrize(
    ("directories", "hint"),
    [
        pytest.param(["runs/detect/train"], "1 run directory lies below runs; type `ymlf import runs`", id="one"),
        pytest.param(
            ["runs/detect/train", "runs/pose/train"],
            "2 run directories lie below runs; type `ymlf import runs`",
            id="two",
        ),
        pytest.param(
            ["yolov5/runs/train/exp"],
            "1 run directory lies below yolov5/runs; type `ymlf import yolov5/runs`",
            id="in the clone that trained",
        ),
        pytest.param(["."], "this folder is a run directory; type `ymlf import .`", id="here"),
        pytest.param(
            ["train7"], "1 run directory lies below this folder; type `ymlf import train7`", id="one beside nothing"
        ),
        pytest.param(
            ["train7", "a b/c/train8"],
            "2 run directories lie below this folder; type `ymlf import .`",
            id="some beside nothing",
        ),
        pytest.param([], "give a run directory, or a folder that has some below it, such as runs/detect", id="none"),
    ],
)
def test_import_without_a_path_says_what_lies_here_and_what_to_type(
    tmp_path: Path, directories: list[str], hint: str
) -> None:
    for directory in directories:
        DATED.write(tmp_path / directory)
    (tmp_path / "runs").mkdir(exist_ok=True)
    answer = ymlf("import", cwd=tmp_path)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err == f"error: no PATH given\n  hint: {hint}\n"
    assert not (tmp_path / "mlflow.db").exists()


def test_another_command_without_a_path_says_its_own_name(tmp_path: Path) -> None:
    DATED.write(tmp_path / "runs" / "train")
    assert "type `ymlf scan runs`" in ymlf("scan", cwd=tmp_path).err


@pytest.mark.parametrize("command", ["plan", "show"])
@pytest.mark.parametrize(
    ("directories", "hint"),
    [
        pytest.param(
            ["runs/a b", "runs/train"],
            "2 run directories lie below runs; type `ymlf {command} 'runs/a b'`",
            id="the first of several",
        ),
        pytest.param(["."], "this folder is a run directory; type `ymlf {command} .`", id="here"),
        pytest.param([], "give a run directory", id="none"),
    ],
)
def test_a_command_for_one_run_without_a_path_names_one(
    tmp_path: Path, command: str, directories: list[str], hint: str
) -> None:
    for directory in directories:
        DATED.write(tmp_path / directory)
    answer = ymlf(command, cwd=tmp_path)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err == f"error: no PATH given\n  hint: {hint.format(command=command)}\n"


def test_the_weights_of_a_run_are_answered_with_the_run(tmp_path: Path) -> None:
    save_dir = DATED.write(tmp_path / "train7")
    answer = ymlf("import", save_dir / "weights", cwd=tmp_path)
    assert answer.status == 1 and f"  hint: give the run directory that holds it: {save_dir}\n" in answer.err


def test_the_default_store_is_explained_when_it_is_made_and_not_again(tmp_path: Path) -> None:
    DATED.write(tmp_path / "runs" / "train")
    DATED.with_(args={"seed": 1}).write(tmp_path / "runs" / "train2")
    explained = f"new store: {tmp_path / 'mlflow.db'}, MLflow's default in this folder"
    first = ymlf_process("import", "runs/train", cwd=tmp_path)
    assert first.status == 0 and explained in first.err and "`mlflow ui` shows it" in first.err
    second = ymlf_process("import", "runs", cwd=tmp_path)
    assert second.status == 0 and "new store" not in second.err + second.out


def test_a_default_store_within_a_run_directory_is_pointed_out_with_the_way_out(tmp_path: Path) -> None:
    save_dir = DATED.write(tmp_path / "train")
    inside = ymlf_process("import", ".", cwd=save_dir)
    assert "note: this folder is a run directory, and now has mlflow.db and mlruns/ in it\n" in inside.err
    command = re.search(r"delete mlflow.db and mlruns/ here and .*: `cd (\S+) && ymlf (import train)`\n", inside.err)
    assert command is not None and command[1] == str(tmp_path), inside.err
    beside = ymlf_process(*command[2].split(), cwd=tmp_path)
    assert beside.status == 0 and "new store: " in beside.err and "is a run directory" not in beside.err


def test_where_to_look_is_said_once(tmp_path: Path) -> None:
    first = ymlf_process("import", DATED.write(tmp_path / "train"), cwd=tmp_path)
    assert (first.out + first.err).count("mlflow ui") == 1
    again = ymlf_process("import", "train", cwd=tmp_path)
    assert (again.out + again.err).count("mlflow ui") == 1


def test_a_new_database_that_was_asked_for_is_told_with_the_command_that_shows_it(
    tmp_path: Path, sqlite_uri: str
) -> None:
    answer = ymlf("import", DATED.write(tmp_path / "train"), "--tracking-uri", sqlite_uri, cwd=tmp_path)
    assert f"`mlflow ui --backend-store-uri {sqlite_uri}` shows it" in answer.err
    assert "MLflow's default" not in answer.err


@pytest.mark.parametrize("quiet", ["--quiet", "--json"])
def test_a_job_that_wants_no_words_gets_none(tmp_path: Path, sqlite_uri: str, quiet: str) -> None:
    save_dir = DATED.write(tmp_path / "train")
    answer = ymlf("import", save_dir, quiet, "--tracking-uri", sqlite_uri, cwd=tmp_path)
    assert answer.status == 0 and answer.err == ""


def _file_store(path: Path) -> None:
    """A file store of one run, written by MLflow itself."""
    program = "import mlflow, sys; mlflow.set_experiment('old'); mlflow.start_run(run_name='old run')"
    env = {**os.environ, "MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_TRACKING_URI": path.as_uri()}
    subprocess.run([sys.executable, "-c", program], env=env, cwd=path.parent, check=True, capture_output=True)


def _migrate(command: str, cwd: Path) -> None:
    words = command.split()
    assert words[:2] == ["mlflow", "migrate-filestore"]
    subprocess.run([sys.executable, "-m", *words], cwd=cwd, check=True, capture_output=True)


def test_a_file_store_that_live_left_is_pointed_out_and_the_command_told_moves_it(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    _file_store(tmp_path / "runs" / "mlflow")
    DATED.write(tmp_path / "runs" / "train")
    told = ymlf_process("import", "runs", cwd=tmp_path).err
    command = re.search(r"old file store: runs/mlflow .* `(mlflow migrate-filestore [^`]+)`", told)
    assert command is not None, told
    assert "--tracking-uri sqlite:///all.db" in told
    _migrate(command[1], tmp_path)
    assert [run.info.run_name for run in runs_in(f"sqlite:///{tmp_path / 'all.db'}")] == ["old run"]


def test_a_file_store_that_mlflow_refuses_is_named_with_the_command_that_moves_it(tmp_path: Path) -> None:
    _file_store(tmp_path / "mlruns")
    answer = ymlf_process("import", DATED.write(tmp_path / "train"), cwd=tmp_path)
    assert (answer.status, answer.out) == (3, "")
    assert answer.err == (
        "error: mlruns: an old file store, which MLflow no longer opens\n"
        "  hint: copy it to a database with `mlflow migrate-filestore --source mlruns --target sqlite:///mlflow.db`, "
        "then give --tracking-uri sqlite:///mlflow.db\n"
    )


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        pytest.param(["imprt"], "did you mean `ymlf import` or `ymlf imports`?", id="a letter is missing"),
        pytest.param(["SCAN"], "did you mean `ymlf scan`?", id="capitals"),
        pytest.param(
            ["runs/train", "--tag", "team=a"],
            "type `ymlf import runs/train --tag team=a` to import it, `ymlf show runs/train` to look at it",
            id="a path without a command",
        ),
        pytest.param(["list"], f"the commands are {', '.join(COMMANDS)}", id="like none of them"),
        pytest.param(["import", "--traking-uri", "x", "runs"], "did you mean --tracking-uri?", id="an option"),
        pytest.param(["import", "--xyz"], "`ymlf import --help` shows what it takes", id="like no option"),
        pytest.param(["scan", "--jsonn=1"], "did you mean --json?", id="an option with a value"),
        pytest.param(["verify", "-j", "0", "runs"], "`ymlf verify --help` shows what it takes", id="a number"),
        pytest.param(["undo"], "`ymlf undo --help` shows what it takes", id="a word is missing"),
    ],
)
def test_a_word_that_is_none_gets_what_was_probably_meant(words: list[str], hint: str) -> None:
    answer = ymlf(*words)
    assert (answer.status, answer.out) == (2, "")
    message, told = answer.err.splitlines()
    assert re.match(r"error: [a-z]", message)
    assert told.startswith("  hint: ") and hint in told


def test_help_names_every_command_and_each_has_its_own() -> None:
    overview = ymlf("--help").out
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\S", overview, re.M), name
        help_of = ymlf(name, "--help")
        assert help_of.status == 0 and help_of.out.startswith(f"Usage: ymlf {name} ")


def test_the_readme_names_every_command() -> None:
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    assert [name for name in COMMANDS if f"`ymlf {name}" not in readme] == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_each_shell(shell: str) -> None:
    answer = ymlf("completion", shell)
    assert answer.status == 0 and f"_YMLF_COMPLETE={shell}_complete" in answer.out


def test_the_completion_of_bash_completes_a_command() -> None:
    """As the script of bash calls it, with `ymlf` on the path."""
    told = ymlf_process(env={"_YMLF_COMPLETE": "bash_complete", "COMP_WORDS": "ymlf ver", "COMP_CWORD": "1"})
    assert told.out == "plain,verify\n"


def test_the_completion_of_bash_completes_a_task() -> None:
    words = {"COMP_WORDS": "ymlf import --task de", "COMP_CWORD": "3"}
    told = ymlf_process(env={"_YMLF_COMPLETE": "bash_complete", **words})
    assert told.out == "plain,detect\nplain,depth\n"


@pytest.mark.parametrize("words", [["-V"], ["--version"]], ids=lambda words: words[0])
def test_the_module_is_the_command_and_tells_its_version(words: list[str]) -> None:
    told = subprocess.run([sys.executable, "-m", "importer", *words], capture_output=True, text=True, check=True)
    assert told.stdout == f"ymlf, version {__version__}\n"


@pytest.mark.parametrize(
    "words", [["--help"], ["plan", "{run}"], ["show", "{run}"], ["scan", "{run}"]], ids=lambda words: words[0]
)
def test_what_needs_no_store_does_without_mlflow(tmp_path: Path, words: list[str]) -> None:
    save_dir = copy_fixture("train-2", tmp_path)
    program = (
        "import sys, json\nfrom importer.cli.main import main\nsys.argv[0] = 'ymlf'\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    status = ended.code\n"
        "else:\n    status = 0\n"
        "print(json.dumps([status, sorted(name for name in sys.modules if name.split('.')[0] == 'mlflow')]))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, *(word.format(run=save_dir) for word in words)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(told.stdout.splitlines()[-1]) == [0, []], told.stderr


NAMES = {"markup": "train [/bold]", "letters of two scripts": "détection 実験", "no letter": os.fsdecode(b"bad\xff")}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize(
    "env",
    [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C.UTF-8"}],
    ids=["C", "C without UTF-8 mode", "ascii", "C.UTF-8"],
)
def test_any_name_is_listed_in_any_locale(tmp_path: Path, name: str, env: dict[str, str]) -> None:
    DATED.write(tmp_path / "runs" / name)
    command = [sys.executable, "-m", "importer", "scan", "runs"]
    env = {**os.environ, **env}
    words = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, check=False)
    assert words.returncode == 0, words.stderr
    assert b"1 run," in words.stdout
    lines = subprocess.run([*command, "--json"], cwd=tmp_path, env=env, capture_output=True, check=True)
    assert json.loads(lines.stdout.decode())["epochs"] == 1


def test_no_color_takes_the_colours_away(tmp_path: Path) -> None:
    save_dir = copy_fixture("train-2", tmp_path)
    coloured = ymlf_process("show", save_dir, env={"FORCE_COLOR": "1", "TERM": "xterm-256color"})
    plain = ymlf_process("show", save_dir, env={"FORCE_COLOR": "1", "TERM": "xterm-256color", "NO_COLOR": "1"})
    assert "\x1b[33m" in coloured.out and "\x1b[33m" not in plain.out


@pytest.mark.parametrize("columns", ["40", "80"])
def test_a_list_fits_a_narrow_terminal_with_every_fact_and_name(tmp_path: Path, columns: str) -> None:
    for name in ("train", "train2"):
        DATED.with_(args={"name": name, "seed": len(name)}).write(tmp_path / "runs" / name)
    shutil.copytree(tmp_path / "runs" / "train", tmp_path / "runs" / "train3")
    answer = ymlf_process("scan", "runs", cwd=tmp_path, env={"COLUMNS": columns})
    [copy] = [line for line in answer.out.splitlines() if "duplicate" in line]
    assert copy == "duplicate: runs/train3: is a copy of runs/train"
    assert max(len(line) for line in answer.out.splitlines() if line != copy) <= int(columns)
    for fact in ("runs/train2", "Ultralytics", "detect", "1/1", "all epochs"):
        assert fact in answer.out
