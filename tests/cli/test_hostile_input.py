"""What a stranger's words, a full disk, missing permissions and a broken store get: a status and plain words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from support.command import ymlf
from support.damaged import PLAIN, RESULTS, damaged_run
from support.directories import Training
from support.permissions import permissions_hold
from support.stores import runs_in, untouched

OWN_MOUNTS = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
MB = 1_000_000
TESTS = Path(__file__).resolve().parents[1]


def peak_bytes(*words: object) -> int:
    """The most memory that a process of `ymlf WORDS` held, by VmHWM: getrusage would tell that of this process, too."""
    code = """
from pathlib import Path
from importer.cli.main import main
try:
    main()
finally:
    print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, timeout=120, check=False
    )
    return int(done.stdout.split()[-1]) * 1024


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        pytest.param(["--start-time", "yesterday"], "--start-time 'yesterday': is no date",
                     "write 2024-03-01 or 2024-03-01T12:30+01:00", id="a start in words"),
        pytest.param(["--start-time", "0001-01-01"], "--start-time '0001-01-01': is no date",
                     "write 2024-03-01 or 2024-03-01T12:30+01:00", id="a start before all zones"),
        pytest.param(["--start-time", "9" * 20], f"--start-time '{'9' * 20}': is no date",
                     "write 2024-03-01 or 2024-03-01T12:30+01:00", id="a start after the calendar"),
        pytest.param(["--start-time", "\u00b2" * 12], f"--start-time '{chr(0xb2) * 12}': is no date",
                     "write 2024-03-01 or 2024-03-01T12:30+01:00", id="a start in superscript"),
        pytest.param(["--start-time", "1969-01-01"],
                     "--start-time '1969-01-01': is before 1970, which MLflow cannot hold", None, id="before 1970"),
        pytest.param(["--timezone", "Mars/Phobos"], "'Mars/Phobos' is no time zone",
                     "give a name such as Europe/Berlin, or an offset such as +05:30", id="a zone elsewhere"),
        pytest.param(["--timezone", "/etc/passwd"], "'/etc/passwd' is no time zone",
                     "give a name such as Europe/Berlin, or an offset such as +05:30", id="a zone that is a file"),
        pytest.param(["--timezone", "+25:00"], "'+25:00' is no time zone",
                     "give a name such as Europe/Berlin, or an offset such as +05:30", id="a zone of 25 hours"),
        pytest.param(["--tag", "x"], "--tag 'x': has no name and value", "write --tag name=value", id="half a tag"),
        pytest.param(["--tag", "=x"], "--tag '=x': has no name and value", "write --tag name=value",
                     id="a nameless tag"),
        pytest.param(["--tag", "mlflow.note.content=1"], "--tag mlflow.note.content: that name is taken",
                     "choose a name of your own", id="the tag that is the description"),
        pytest.param(["--tag", "ymlf.key=1"], "--tag ymlf.key: that name is taken", "choose a name of your own",
                     id="a tag of ours"),
        pytest.param(["--tag", "a/../b=1"], "--tag 'a/../b': MLflow refuses that name",
                     "letters, digits, `_`, `-`, `.`, `/`, `:` and blanks, 250 at most", id="a tag that climbs"),
        pytest.param(["--max-artifact-size", "big"], "--max-artifact-size big: is no size", "write 200MB or 1.5GB",
                     id="a size in words"),
        pytest.param(["--max-artifact-size", "-5"], "--max-artifact-size -5: is no size", "write 200MB or 1.5GB",
                     id="a size below nothing"),
        pytest.param(["--max-artifact-size", "9" * 40], f"--max-artifact-size {'9' * 40}: is no size",
                     "write 200MB or 1.5GB", id="a size beyond all disks"),
        pytest.param(["--experiment", "{projekt}"], "'{projekt}': no field {projekt}",
                     "there are {project}, {task}, {model}, {name}, {group}, {parent}, {relpath}, {dataset}, {date}",
                     id="a field misspelt"),
        pytest.param(["--run-name", "{"], "'{': Single '{' encountered in format string", "write {{ for a brace",
                     id="half a field"),
        pytest.param(["--experiment", "{name:>99999999999}"], "'{name:>99999999999}': a field takes no `:` and no `!`",
                     "write the field alone, such as {name}", id="a field of 100 GB"),
        pytest.param(["--experiment", "{name!x}"], "'{name!x}': a field takes no `:` and no `!`",
                     "write the field alone, such as {name}", id="a field with a conversion"),
        pytest.param(["--experiment", " "], "' ': a name of blanks only", "give a name, or leave the option out",
                     id="a blank name"),
    ],
)  # fmt: skip
def test_an_option_that_cannot_be_meant_is_misuse(
    words: list[str], message: str, hint: str | None, tmp_path: Path, new_sqlite_uri: str
) -> None:
    save_dir = Training().write(tmp_path / "run")
    told = f"error: {message}\n" + (f"  hint: {hint}\n" if hint else "")
    assert ymlf("plan", save_dir, *words) == (2, "", told)
    assert ymlf("import", save_dir, *words, "--tracking-uri", new_sqlite_uri) == (2, "", told)
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["run", "--shard", "0/3"], "--shard 0/3: is no i/n", id="part nought"),
        pytest.param(["run", "--shard", "4/3"], "--shard 4/3: is no i/n", id="the fourth of three"),
        pytest.param(["run", "--shard", "half"], "--shard half: is no i/n", id="a part in words"),
        pytest.param(["run", "--since", "tomorrow"], "--since 'tomorrow': is no date", id="a date in words"),
        pytest.param(["run", "--import-id", "a b"], "--import-id 'a b': only letters, digits, `-`, `_` and `.`",
                     id="an id with a blank"),
        pytest.param(["run", "--report", "missing/x.json"], "--report missing/x.json: No such file or directory",
                     id="a report to nowhere"),
        pytest.param(["run", "--dask", "local:x"], "--dask local:x: no number of workers", id="workers in words"),
        pytest.param(["--from-file", "missing.txt"], "--from-file missing.txt: No such file or directory",
                     id="no list"),
        pytest.param(["--from-file", "run"], "--from-file run: Is a directory", id="a list that is a directory"),
        pytest.param(["--from-file", "latin.txt"], "--from-file latin.txt: is no UTF-8 text", id="a list in Latin-1"),
        pytest.param(["--from-file", "none.txt"], "no PATH given", id="an empty list"),
        pytest.param([""], "an empty PATH", id="an unset variable"),
        pytest.param([], "no PATH given", id="nothing"),
    ],
)  # fmt: skip
def test_words_of_a_batch_that_cannot_be_meant_are_misuse(
    words: list[str], message: str, empty_store: str, tmp_path: Path
) -> None:
    Training().write(tmp_path / "run")
    (tmp_path / "latin.txt").write_bytes(b"r\xfcn\n")
    (tmp_path / "none.txt").write_text("\n\n")
    answer = ymlf("import", *words, "--tracking-uri", empty_store)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith(f"error: {message}\n")
    assert "\n  hint: " in answer.err
    assert untouched(empty_store)


@pytest.mark.parametrize(
    "words", [("plan", "RUN"), ("scan", "RUN"), ("scan", "RUN", "--json"), ("--help",)], ids=" ".join
)
@pytest.mark.parametrize("err", ["kept", "closed"])
def test_a_reader_who_went_away_gets_no_traceback(words: tuple[str, ...], err: str, tmp_path: Path) -> None:
    save_dir = Training().write(tmp_path / "run")
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "importer", *(str(save_dir) if word == "RUN" else word for word in words)]
    stderr = writer if err == "closed" else subprocess.PIPE
    done = subprocess.run(command, stdout=writer, stderr=stderr, timeout=120, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr or b"") == (141, b"")


def test_a_reader_who_went_away_leaves_a_report_that_is_closed(tmp_path: Path, empty_store: str) -> None:
    save_dir, report = Training().write(tmp_path / "run"), tmp_path / "report.jsonl"
    reader, writer = os.pipe()
    os.close(reader)
    words = ("import", str(save_dir), "--report", str(report), "--tracking-uri", empty_store)
    command = [sys.executable, "-m", "importer", *words]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=120, check=False)
    os.close(writer)
    imported, closing = map(json.loads, report.read_text().splitlines())
    assert (done.returncode, done.stderr) == (141, b"")
    assert (imported["outcome"], closing["summary"], closing["exit_status"]) == ("imported", {"imported": 1}, 141)


def test_a_tree_of_bombs_is_refused_in_little_memory(tmp_path: Path) -> None:
    bombs: dict[str, str | bytes] = {
        "large": b"task: detect\nk: " + b"x" * 50 * MB,
        "brackets": "task: " + "[" * 900_000,
        "dashes": "task:\n" + "- " * 400_000,
        "questions": "task:\n" + "? " * 400_000,
        "scalars": "task: x\nk: [" + "a," * 400_000 + "]",
    }
    plain = peak_bytes("plan", PLAIN.write(tmp_path / "plain"))
    for name, args in bombs.items():
        damaged_run(tmp_path / "bombs" / name, args=args)
    damaged_run(tmp_path / "bombs/cells", results="epoch\n" + "1\n" * 3_900_000)
    damaged_run(tmp_path / "bombs/wide", results="epoch," + ",".join(f"c{at}" for at in range(900_000)) + "\n")
    assert peak_bytes("scan", tmp_path / "bombs") - plain < 120 * MB


def test_an_experiment_that_was_deleted_is_named_with_the_way_to_restore_it(empty_store: str, tmp_path: Path) -> None:
    Training().write(tmp_path / "run")
    client = MlflowClient(empty_store)
    experiment_id = client.create_experiment("gone")
    client.delete_experiment(experiment_id)
    words = ("import", "run", "--experiment", "gone", "--tracking-uri", empty_store)
    answer = ymlf(*words)
    assert answer.status == 3
    assert f"{empty_store}: experiment 'gone' was deleted\n" in answer.err
    restore = f"`mlflow experiments restore --experiment-id {experiment_id}`, or choose another with --experiment"
    assert f"  hint: {restore}\n" in answer.err
    assert not runs_in(empty_store)
    client.restore_experiment(experiment_id)
    assert ymlf(*words).status == 0


def test_what_may_not_be_read_is_refused_before_anything_is_written(
    empty_store: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, locked in (("table", "results.csv"), ("plot", "labels.jpg"), ("folder", ".")):
        PLAIN.with_(args={"name": name}).write(tmp_path / "runs" / name)
        (tmp_path / "runs" / name / locked).chmod(0)
    with permissions_hold():
        answer = ymlf("import", "runs", "--tracking-uri", empty_store, "-j", "1")
        alone = ymlf("import", "runs/folder", "--tracking-uri", empty_store)
    (tmp_path / "runs/folder").chmod(0o755)
    assert answer.status == 1
    assert "error: runs/table/results.csv: Permission denied\n  hint: " in answer.err
    assert "error: runs/plot/labels.jpg: permission denied\n  hint: " in answer.err
    assert "--exclude-artifacts" in answer.err
    assert "runs/folder: Permission denied" in caplog.text
    assert (alone.status, alone.out) == (1, "")
    assert alone.err.startswith("error: runs/folder: Permission denied\n  hint: ") and alone.err.count("\n") == 2
    assert not runs_in(empty_store)


def test_a_folder_of_artifacts_that_may_not_be_written_to_is_refused_before_a_run_is_made(
    empty_store: str, tmp_path: Path
) -> None:
    Training().write(tmp_path / "run")
    (tmp_path / "locked").mkdir(mode=0o555)
    words = ("import", "run", "--tracking-uri", empty_store, "--artifact-location", tmp_path / "locked")
    with permissions_hold():
        answer = ymlf(*words)
    assert (answer.status, runs_in(empty_store)) == (1, [])
    assert "a folder that may not be written to" in answer.err
    (tmp_path / "locked").chmod(0o755)
    assert ymlf(*words).out.startswith("imported: ")
    assert ymlf("verify", "run", "--tracking-uri", empty_store).status == 0


def test_a_database_that_may_not_be_created_is_named(tmp_path: Path) -> None:
    save_dir = Training().write(tmp_path / "run")
    (tmp_path / "locked").mkdir(mode=0o555)
    with permissions_hold():
        answer = ymlf("import", save_dir, "--tracking-uri", f"sqlite:///{tmp_path}/locked/mlflow.db")
    assert (answer.status, answer.out) == (3, "")
    assert f"{tmp_path}/locked/mlflow.db: Permission denied\n  hint: " in answer.err


DISK_FULL = """
import subprocess
from support.command import ymlf

def disk(options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "ymlf", "disk"], check=True)

disk("size=1m")
for words in (["import", "run", "--artifact-location", "disk"], ["import", "run"], ["verify", "run", "--deep"]):
    answer = ymlf(*words, "--tracking-uri", "sqlite:///store.db")
    print(answer.status, answer.out.partition(":")[0], answer.err, sep="|", end="\\0")
    if words[-1] == "disk":
        disk("remount,size=16m")
"""


def test_a_disk_that_is_full_in_mid_artifact_leaves_a_run_that_the_next_import_finishes(
    empty_store: str, tmp_path: Path
) -> None:
    damaged_run(tmp_path / "run", files={"weights/epoch5.pt": os.urandom(3 * MB)})
    (tmp_path / "disk").mkdir()
    done = subprocess.run(
        [*OWN_MOUNTS, sys.executable, "-c", DISK_FULL],
        capture_output=True, text=True, timeout=180, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second, third, _ = done.stdout.split("\0")
    assert first.startswith("3||error: failed: run: artifact weights/epoch5.pt: No space left on device\n")
    assert "  hint: free some space" in first
    assert second.startswith("0|resumed|") and third.startswith("0|verified|")
    (run,) = runs_in(empty_store)
    assert run.data.tags["ymlf.state"] == "complete"


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    Training().write(tmp_path / "run")
    (tmp_path / "notes.db").write_text(RESULTS)
    answer = ymlf("import", tmp_path / "run", "--tracking-uri", f"sqlite:///{tmp_path}/notes.db")
    assert (answer.status, answer.out) == (2, "")
    assert "file is not a database" in answer.err
    assert "  hint: " in answer.err and "--tracking-uri" in answer.err
    assert (tmp_path / "notes.db").read_text() == RESULTS
