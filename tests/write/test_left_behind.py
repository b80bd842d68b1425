"""What a killed import leaves behind is removed by the next one; what a running one uses is not."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.command import ymlf
from support.directories import Training
from support.fork_server import ForkServer

from importer.sources.scratch import PREFIX, temporary_folder

HOLD = (
    "import sys, time; from pathlib import Path; from importer.sources.scratch import *\n{}\n"
    "print(flush=True); time.sleep(60)"
)


@contextmanager
def running(script: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has run a script, and goes on."""
    with subprocess.Popen([sys.executable, "-c", HOLD.format(script)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files of this test and of what it starts."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def test_a_file_that_was_copied_but_not_renamed_is_removed_by_the_next_import(
    forks: ForkServer, tmp_path: Path, empty_store: str
) -> None:
    Training().write(tmp_path / "train")
    words = ("import", tmp_path / "train", "--tracking-uri", empty_store)
    left: list[Path] = []
    kill_at = 1
    while not left:
        ended = forks.run(*words, cwd=tmp_path, kill_at=kill_at)
        assert ended.signal == signal.SIGKILL, "no step was between a copy and its renaming"
        left = list(tmp_path.rglob("mlruns/**/.artifact.uploading.*"))
        kill_at += 1
    in_use = left[0].with_name(".artifact.uploading.in_use")
    in_use.touch()
    with running(f"lock = locked(Path({str(in_use)!r})); lock.__enter__()"):
        assert ymlf(*words).out.startswith("resumed")
        assert list(tmp_path.rglob("mlruns/**/.artifact.uploading.*")) == [in_use]
    assert ymlf("verify", *words[1:], "--deep").status == 0


def test_what_a_killed_import_unpacked_is_removed_by_the_next_and_what_a_running_one_uses_is_not(
    tmp_path: Path, temporary: Path, empty_store: str
) -> None:
    Training().write(tmp_path / "tree" / "train")
    with running("new_folder()") as killed, running("new_folder()") as goes_on:
        assert len(list(temporary.glob(f"{PREFIX}*"))) == 2
        killed.kill()
        killed.wait()
        answer = ymlf("import", tmp_path / "tree", "--tracking-uri", empty_store)
        assert answer.status == 0, answer
        assert len(list(temporary.glob(f"{PREFIX}*"))) == 1
        goes_on.kill()
        goes_on.wait()
    archive = shutil.make_archive(str(tmp_path / "kept"), "zip", tmp_path / "tree")
    assert ymlf("plan", archive).status == 0
    assert list(temporary.glob(f"*{PREFIX}*")) == []


def test_a_folder_is_removed_that_another_user_cannot_have_put_there(temporary: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (temporary / f"{PREFIX}link").symlink_to(precious)
    with temporary_folder() as folder:
        assert folder.is_dir()
    assert precious.is_dir() and not folder.exists()
