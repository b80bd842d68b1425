"""What a stranger's words, a full disk, missing permissions and a silent store get: plain words, and no secret."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from support.command import Answer, ymlf
from support.damaged import PLAIN, RESULTS, damaged_run
from support.directories import Training
from support.stores import runs_in, untouched

ROOT = os.geteuid() == 0
POWERLESS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if ROOT else []
OWN_MOUNTS = ["unshare", "--mount"] if ROOT else ["unshare", "--mount", "--map-root-user"]
MB = 1_000_000


def without_powers(*words: object) -> Answer:
    """The answer of a process that may read and write only what file permissions allow, also where root runs it."""
    command = [*POWERLESS, sys.executable, "-m", "importer", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return Answer(done.returncode, done.stdout, done.stderr)


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
                     "there are {project}, {task}, {model}, {name}, {parent}, {relpath}, {dataset}, {date}",
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
@pytest.mark.parametrize("command", ["plan", "import"])
def test_an_option_that_cannot_be_meant_is_misuse(
    command: str, words: list[str], message: str, hint: str | None, empty_store: str, tmp_path: Path
) -> None:
    Training().write(tmp_path / "run")
    answer = ymlf(command, "run", *words, *(["--tracking-uri", empty_store] if command == "import" else []))
    assert (answer.status, answer.out) == (2, "")
    assert answer.err == f"error: {message}\n" + (f"  hint: {hint}\n" if hint else "")
    assert untouched(empty_store)


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


def test_a_selection_that_leaves_nothing_says_so(empty_store: str, tmp_path: Path) -> None:
    Training().write(tmp_path / "run")
    answer = ymlf("import", "run", "--task", "poze", "--tracking-uri", empty_store)
    assert answer.status == 0
    assert answer.err == "nothing to do: no run of task poze; there are detect 1\n"


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


def test_what_may_not_be_read_is_refused_before_anything_is_written(empty_store: str, tmp_path: Path) -> None:
    for name, locked in (("table", "results.csv"), ("plot", "labels.jpg"), ("folder", ".")):
        PLAIN.with_(args={"name": name}).write(tmp_path / "runs" / name)
        (tmp_path / "runs" / name / locked).chmod(0)
    answer = without_powers("import", tmp_path / "runs", "--tracking-uri", empty_store)
    (tmp_path / "runs/folder").chmod(0o755)
    assert answer.status == 1
    assert f"error: {tmp_path}/runs/table/results.csv: Permission denied\n" in answer.err
    assert "  hint: check the file's permissions\n" in answer.err
    assert f"error: {tmp_path}/runs/plot/labels.jpg: permission denied\n" in answer.err
    assert "  hint: make it readable, or leave it out with --exclude-artifacts\n" in answer.err
    assert f"{tmp_path}/runs/folder: Permission denied; not searched\n" in answer.err
    assert not runs_in(empty_store)


def test_a_path_that_may_not_be_listed_is_refused(empty_store: str, tmp_path: Path) -> None:
    PLAIN.write(tmp_path / "run").chmod(0)
    answer = without_powers("import", tmp_path / "run", "--tracking-uri", empty_store)
    (tmp_path / "run").chmod(0o755)
    assert answer.status == 1
    assert answer.err == f"error: {tmp_path}/run: Permission denied\n  hint: check the path and its permissions\n"
    assert untouched(empty_store)


def test_artifacts_that_may_not_be_created_leave_a_run_that_the_next_import_finishes(
    empty_store: str, tmp_path: Path
) -> None:
    Training().write(tmp_path / "run")
    (tmp_path / "locked").mkdir(mode=0o555)
    words = ("import", tmp_path / "run", "--tracking-uri", empty_store, "--artifact-location", tmp_path / "locked")
    answer = without_powers(*words)
    assert answer.status == 3
    assert "Permission denied" in answer.err
    assert [run.data.tags["ymlf.state"] for run in runs_in(empty_store)] == ["writing"]
    (tmp_path / "locked").chmod(0o755)
    assert without_powers(*words).out.startswith("finished: ")
    assert ymlf("verify", tmp_path / "run", "--tracking-uri", empty_store).status == 0
    assert [run.data.tags["ymlf.state"] for run in runs_in(empty_store)] == ["complete"]


def test_a_database_that_may_not_be_created_is_named(tmp_path: Path) -> None:
    Training().write(tmp_path / "run")
    (tmp_path / "locked").mkdir(mode=0o555)
    began = time.monotonic()
    answer = without_powers("import", tmp_path / "run", "--tracking-uri", f"sqlite:///{tmp_path}/locked/mlflow.db")
    assert time.monotonic() - began < 30  # MLflow would try for 100 s
    assert (answer.status, answer.out) == (3, "")
    message = f"opening the tracking store: {tmp_path}/locked/mlflow.db: Permission denied"
    assert answer.err == f"error: {message}\n  hint: does the folder exist, and may you read and write there?\n"


def test_a_disk_that_is_full_in_mid_artifact_leaves_a_run_that_the_next_import_finishes(
    empty_store: str, tmp_path: Path
) -> None:
    damaged_run(tmp_path / "run", files={"weights/epoch5.pt": os.urandom(3 * MB)})
    (tmp_path / "disk").mkdir()
    script = f"""
        mount -t tmpfs -o size=1m ymlf '{tmp_path}/disk' || exit 99
        ymlf() {{ '{sys.executable}' -m importer.cli.commands "$@" --tracking-uri '{empty_store}'; echo "status $?"; }}
        ymlf import run --artifact-location '{tmp_path}/disk'
        mount -o remount,size=16m '{tmp_path}/disk'
        ymlf import run
        ymlf verify run --deep
    """
    done = subprocess.run(
        [*OWN_MOUNTS, "sh", "-c", script], capture_output=True, text=True, timeout=180, check=False, cwd=tmp_path
    )
    first, second, third, _ = done.stdout.split("status ")
    assert first == ""
    assert "error: failed: run: artifact weights/epoch5.pt: No space left on device" in done.stderr
    assert "  hint: free some space, then run the same command again: it goes on where it stopped\n" in done.stderr
    assert second.startswith("3\nfinished: run")
    assert third.startswith("0\nverified: run")
    assert done.stdout.endswith("status 0\n")
    assert "Traceback" not in done.stderr
    (run,) = runs_in(empty_store)
    assert run.data.tags["ymlf.state"] == "complete"


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("http://me:s3cr3t@127.0.0.1:9/", id="a server"),
        pytest.param("http://me:s3cr3t@", id="a server without a host"),
        pytest.param("http://127.0.0.1:9/?token=s3cr3t", id="a token in the query"),
        pytest.param("sqlite://me:s3cr3t@host/mlflow.db", id="SQLite"),
        pytest.param("postgresql://me:s3cr3t@127.0.0.1:9/x", id="PostgreSQL"),
        pytest.param("postgresql://127.0.0.1:9/x?user=me&password=s3cr3t", id="PostgreSQL, in the query"),
        pytest.param("mysql://me:s3cr3t@127.0.0.1:9/x", id="MySQL without its driver"),
        pytest.param("nonsense://me:s3cr3t@host/x", id="no kind of store"),
    ],
)
@pytest.mark.parametrize(
    "words",
    [["import", "run", "--report", "report.json", "-vv"], ["import", "run", "--dry-run", "--json"],
     ["verify", "run"], ["scan", "run"], ["imports"], ["undo", "job", "--yes"]],
    ids=lambda words: "-".join(words[:1] + words[2:3]),
)  # fmt: skip
def test_a_store_that_does_not_answer_is_told_without_its_login(
    words: list[str], uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "pa55word")
    Training().write(tmp_path / "run")
    answer = ymlf(*words, "--tracking-uri", uri)
    assert answer.status == (2 if uri.startswith("sqlite") else 3)  # no SQLite store has a login
    assert answer.err.startswith("error: ")
    written = "".join(path.read_text() for path in tmp_path.glob("*.json"))
    for secret in ("s3cr3t", "pa55word"):
        assert secret not in answer.out + answer.err + written


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    Training().write(tmp_path / "run")
    (tmp_path / "notes.db").write_text(RESULTS)
    answer = ymlf("import", tmp_path / "run", "--tracking-uri", f"sqlite:///{tmp_path}/notes.db")
    assert (answer.status, answer.out) == (3, "")
    assert "file is not a database" in answer.err
    assert "  hint: that file is no SQLite database; give another with --tracking-uri\n" in answer.err
    assert (tmp_path / "notes.db").read_text() == RESULTS
