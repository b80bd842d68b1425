"""Run directories in archives on disk are what they are in a folder, and are named as they were given."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.command import ymlf
from support.trees import small_tree, summary, training

import importer
from importer.batch.executors import Workers
from importer.batch.gather import gather
from importer.batch.summary import read_summarized
from importer.errors import RunDirError
from importer.read.discover import find_runs
from importer.replay.plan import plan_import
from importer.sources.opening import fresh, open_source


def test_a_directory_is_one_training_in_a_folder_and_in_archives(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    training(1).write(tree / "runs" / "train")
    archives = [shutil.make_archive(str(tmp_path / "kept"), kind, tree) for kind in ("zip", "gztar", "xztar")]
    plans = []
    for place in (str(tree), *archives):
        work = gather([place])
        [summary] = work.summaries
        plans.append(plan_import(read_summarized(summary, work.options)))
        assert (summary.key, summary.fingerprint) == (plans[0].key, plans[0].fingerprint)
        assert (plans[-1].key, plans[-1].fingerprint) == (plans[0].key, plans[0].fingerprint)
        assert plans[-1].points == plans[0].points


def test_what_was_imported_from_an_archive_is_verified_against_the_folder_and_leaves_nothing_unpacked(
    tmp_path: Path, sqlite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    training(1).write(tmp_path / "tree" / "train")
    archive = shutil.make_archive(str(tmp_path / "kept"), "zip", tmp_path / "tree")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    assert ymlf("import", archive, "--tracking-uri", sqlite_uri).status == 0
    for place in (archive, tmp_path / "tree"):
        answer = ymlf("verify", place, "--deep", "--tracking-uri", sqlite_uri, "--json")
        assert (answer.status, summary(answer)) == (0, {"verified": 1}), place
    assert [path.name for path in (tmp_path / "tmp").iterdir() if path.suffix != ".lock"] == []


def test_the_source_in_an_archive_is_shown_as_it_was_given(tmp_path: Path) -> None:
    training(1).write(tmp_path / "tree" / "runs" / "train")
    shutil.make_archive(str(tmp_path / "kept"), "zip", tmp_path / "tree")
    words = ("--dry-run", "--experiment", "{parent}: {relpath}", "--json")
    planned = ymlf("import", "kept.zip", *words, cwd=tmp_path).told[0]
    assert (planned["source"], planned["experiment_name"]) == ("kept.zip!runs/train", "runs: runs/train")


def test_an_archive_of_the_files_of_a_run_is_called_after_the_archive(tmp_path: Path) -> None:
    save_dir = training(1).write(tmp_path / "train7")
    shutil.make_archive(str(tmp_path / "train7"), "gztar", save_dir)
    planned = ymlf("plan", "train7.tar.gz", "--json", cwd=tmp_path).told[0]
    assert (planned["source"], planned["run_name"]) == ("train7.tar.gz", "train7")


def test_errors_name_the_member_of_the_archive(tmp_path: Path) -> None:
    (training(1).write(tmp_path / "tree" / "train") / "results.csv").write_text("epoch,a\n1,x\n")
    shutil.make_archive(str(tmp_path / "kept"), "zip", tmp_path / "tree")
    answer = ymlf("plan", "kept.zip", cwd=tmp_path)
    assert answer.err.startswith("error: kept.zip!train/results.csv: line 2, column a: 'x' is not a number\n")


def test_an_archive_stays_unpacked_for_as_long_as_the_work_of_importing_it(tmp_path: Path) -> None:
    """Of many runs, which are surveyed by other processes."""
    tree = small_tree(tmp_path / "tree", 65, epochs=1)
    work = gather([shutil.make_archive(str(tmp_path / "kept"), "zip", tree)], workers=Workers(2))
    assert len(work.summaries) == 65
    read_summarized(work.summaries[-1], work.options)
    unpacked = Path(os.fspath(work.roots[0]))
    del work
    assert not unpacked.exists()


def test_without_the_package_for_a_scheme_the_extra_to_install_is_named(tmp_path: Path) -> None:
    program = "import sys; sys.modules['s3fs'] = None; from importer.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "scan", "s3://runs"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install fsspec s3fs gcsfs" in done.stderr


def test_an_archive_that_another_host_unpacked_is_refused(tmp_path: Path) -> None:
    training(1).write(tmp_path / "tree" / "train")
    archive = shutil.make_archive(str(tmp_path / "kept"), "zip", tmp_path / "tree")
    place = open_source(archive)
    sent = pickle.dumps(place / "train")
    assert str(fresh(pickle.loads(sent))) == f"{archive}!train"
    del place
    with pytest.raises(RunDirError, match="was unpacked on another host"):
        fresh(pickle.loads(sent))


def test_the_library_takes_archives(tmp_path: Path) -> None:
    training(1).write(tmp_path / "tree" / "train")
    archive = shutil.make_archive(str(tmp_path / "kept"), "zip", tmp_path / "tree")
    assert [str(run.save_dir) for run in find_runs([archive])] == [f"{archive}!train"]
    assert importer.read_run(archive).save_dir == f"{archive}!train"
