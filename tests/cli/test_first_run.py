"""The first minutes with ymlf: what lies here, what to type, where the runs went, on any terminal."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow.cli
import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from support.command import ymlf, ymlf_process
from support.directories import Training, copy_fixture
from support.stores import runs_in
from support.trees import training

from importer import __version__
from importer.cli.closing import explain_new_store
from importer.cli.commands import cli
from importer.cli.reporter import Terminal
from importer.store.opening import open_store

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


def test_the_default_store_is_explained_when_it_is_made_and_where_to_look_is_said_once(tmp_path: Path) -> None:
    """In processes of their own: MLflow keeps a database open by its relative path for as long as a process runs."""
    DATED.write(tmp_path / "runs" / "train")
    first = ymlf_process("import", "runs/train", cwd=tmp_path)
    assert first.status == 0 and f"{tmp_path / 'mlflow.db'}, MLflow's default in this folder" in first.err
    second = ymlf_process("import", "runs/train", cwd=tmp_path)
    assert second.status == 0 and "MLflow's default" not in second.err + second.out
    assert [(told.out + told.err).count("mlflow ui") for told in (first, second)] == [1, 1]


def test_a_new_database_that_was_asked_for_is_named_with_the_command_that_shows_it(
    tmp_path: Path, new_sqlite_uri: str
) -> None:
    answer = ymlf("import", DATED.write(tmp_path / "train"), "--tracking-uri", new_sqlite_uri, cwd=tmp_path)
    assert f"look at it with: mlflow ui --backend-store-uri {new_sqlite_uri}\n" in answer.out
    assert "MLflow's default" not in answer.err


@pytest.mark.parametrize("quiet", ["--quiet", "--json"])
def test_a_job_that_wants_no_words_gets_none(
    tmp_path: Path, sqlite_uri: str, quiet: str, capsys: pytest.CaptureFixture[str]
) -> None:
    save_dir = DATED.write(tmp_path / "train")
    answer = ymlf("import", save_dir, quiet, "--tracking-uri", sqlite_uri, cwd=tmp_path)
    assert answer.status == 0 and answer.err == ""
    store = open_store(sqlite_uri)
    store.is_new = True  # which it is where an import has just made it
    explain_new_store(Terminal(as_json=quiet == "--json", quiet=quiet == "--quiet"), store, is_default=True)
    assert capsys.readouterr() == ("", "")


def _file_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file store of one run, written by MLflow itself."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = MlflowClient(folder.as_uri())
    client.create_run(client.create_experiment("old"), run_name="old run")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")


def test_a_file_store_that_live_left_is_pointed_out_and_the_command_told_moves_it(
    tmp_path: Path, sqlite_uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").mkdir()
    _file_store(tmp_path / "runs" / "mlflow", monkeypatch)
    store = open_store(sqlite_uri)
    store.is_new = True  # which it is where an import has just made it
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    explain_new_store(Terminal(), store, is_default=True)
    told = capsys.readouterr().err
    [command] = re.findall(r"runs/mlflow .*`mlflow (migrate-filestore [^`]+)`", told)
    assert "--tracking-uri sqlite:///all.db" in told
    moved = CliRunner().invoke(mlflow.cli.cli, shlex.split(command))
    assert moved.exit_code == 0, moved.output
    assert [run.info.run_name for run in runs_in(f"sqlite:///{tmp_path / 'all.db'}")] == ["old run"]


def test_a_file_store_that_mlflow_refuses_is_named_with_the_command_that_moves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _file_store(tmp_path / "made", monkeypatch)
    (tmp_path / "made").rename(tmp_path / "mlruns")  # which this process has not opened
    answer = ymlf("import", DATED.write(tmp_path / "train"), cwd=tmp_path)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith("error: mlruns: an old file store")
    assert "`mlflow migrate-filestore --source mlruns --target sqlite:///mlflow.db`" in answer.err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        pytest.param(["imprt"], "did you mean `ymlf import`?", id="a letter is missing"),
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


def test_the_reference_names_every_command() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/reference.md").read_text()
    assert [name for name in COMMANDS if f"`ymlf {name}" not in page] == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_each_shell(shell: str) -> None:
    answer = ymlf("completion", shell)
    assert answer.status == 0 and f"_YMLF_COMPLETE={shell}_complete" in answer.out


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        pytest.param("ymlf ver", ["verify"], id="a command"),
        pytest.param("ymlf import --task de", ["detect", "depth"], id="a task"),
    ],
)
def test_the_completion_of_bash_completes_a_word(words: str, completions: list[str]) -> None:
    """As the script of bash calls it."""
    env = {"_YMLF_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    told = CliRunner().invoke(cli, env=env, prog_name="ymlf", standalone_mode=False)
    assert told.output == "".join(f"plain,{word}\n" for word in completions)


def test_the_module_is_the_command_and_tells_its_version() -> None:
    told = f"ymlf, version {__version__}\n"
    assert ymlf_process("--version") == ymlf("-V") == (0, told, "")


LOADED = """
import json, sys
from importer.cli.main import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["ymlf", *words]
    status = 0
    try:
        main()
    except SystemExit as ended:
        status = ended.code or 0
    loaded = [name for name in sys.modules if name.partition(".")[0] == "mlflow"]
    print(json.dumps([words[0], status, loaded]), file=sys.stderr)
"""


def test_what_needs_no_store_does_without_mlflow(tmp_path: Path) -> None:
    save_dir = str(copy_fixture("classify", tmp_path))
    commands = [["--help"], ["plan", save_dir], ["show", save_dir], ["scan", save_dir]]
    program = [sys.executable, "-c", LOADED, json.dumps(commands)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    told = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("[")]
    assert told == [[words[0], 0, []] for words in commands], done.stderr


NAMES = ["train [/bold]", "détection 実験", os.fsdecode(b"bad\xff")]  # markup, letters of two scripts, no letter


@pytest.mark.parametrize(
    "env",
    [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "ascii"}],
    ids=["C", "C without UTF-8 mode", "ascii"],
)
def test_any_name_is_listed_in_any_locale(tmp_path: Path, env: dict[str, str]) -> None:
    for seed, name in enumerate(NAMES):
        training(seed, epochs=1, plots=False).write(tmp_path / "runs" / name)
    command = [sys.executable, "-m", "importer", "scan", "runs"]
    env = {**os.environ, **env}
    words = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, check=False)
    assert words.returncode == 0, words.stderr
    assert b"3 directories: 3 trainings; " in words.stdout and b"train [/bold]" in words.stdout
    if "PYTHONIOENCODING" in env:
        lines = subprocess.run([*command, "--json"], cwd=tmp_path, env=env, capture_output=True, check=True)
        told = [json.loads(line) for line in lines.stdout.decode("ascii").splitlines()]
        assert sorted(line["source"] for line in told) == sorted(f"runs/{name}" for name in NAMES)


def test_of_a_run_that_is_left_alone_no_note_says_what_was_done(tmp_path: Path, empty_store: str) -> None:
    save_dir = Training(epochs=0, planned=3, last=None).write(tmp_path / "train")
    assert "note: time-unknown: " in ymlf("plan", save_dir).out
    answer = ymlf("import", save_dir, "--tracking-uri", empty_store)
    assert answer.out.startswith("no epochs: ") and answer.err == ""


def test_no_color_takes_the_colours_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_dir = copy_fixture("crashed", tmp_path)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[33m" in ymlf("show", save_dir).out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[33m" not in ymlf("show", save_dir).out


@pytest.mark.parametrize("columns", ["40", "80"])
def test_a_list_fits_a_narrow_terminal_with_every_fact_and_name(
    tmp_path: Path, columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, name in enumerate(("train", "train2")):
        training(seed, epochs=1, plots=False).write(tmp_path / "runs" / name)
    shutil.copytree(tmp_path / "runs" / "train", tmp_path / "runs" / "train3")
    monkeypatch.setenv("COLUMNS", columns)
    lines = ymlf("scan", "runs", cwd=tmp_path).out.splitlines()
    [copy] = [line for line in lines if "runs/train3" in line]
    assert "runs/train3" in copy and copy.endswith("runs/train")
    assert max(len(line) for line in lines[:-1] if line != copy) <= int(columns)
    for fact in ("runs/train2", "Ultralytics", "detect", "1/1", "all epochs"):
        assert fact in "\n".join(lines)
