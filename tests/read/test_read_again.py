"""The look at a directory before its import knows the training as a full reading does, and nothing is kept of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.directories import Training, copy_fixture, fixture_names

from importer import ImportOptions, TrainingRun
from importer.batch.gather import gather
from importer.batch.summary import read_summarized, read_trainings
from importer.replay.identity import content_fingerprint
from importer.replay.plan import plan_import

TRAINING = Training(rows=({"train/box_loss": 1.25},))
NOW_MS = 1_800_000_000_000
OLD = {"version": "8.0.100", "train_results": None}  # whose epochs begin with 0, and which keeps no table


def put(path: Path, content: str) -> None:
    """Write other content, and keep the file time."""
    times = path.stat()
    path.write_text(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def empty_results(folder: Path) -> Path:
    """The epochs are in a checkpoint only."""
    save_dir = TRAINING.write(folder)
    put(save_dir / "results.csv", "")
    return save_dir


def no_results(folder: Path) -> Path:
    """The same, without the file."""
    save_dir = TRAINING.write(folder)
    (save_dir / "results.csv").unlink()
    return save_dir


def empty_args(folder: Path) -> Path:
    """The args are in a checkpoint only."""
    save_dir = TRAINING.write(folder)
    put(save_dir / "args.yaml", "")
    return save_dir


def lost_rows(folder: Path) -> Path:
    """Two rows are lost; only the checkpoint has the base of the epochs, and the plan of 9 epochs says otherwise."""
    save_dir = Training(epochs=8, planned=9, base=0, has_time=False, last=OLD).write(folder)
    header, *rows = (save_dir / "results.csv").read_text().splitlines(keepends=True)
    put(save_dir / "results.csv", header + "".join(rows[2:]))
    return save_dir


def two_trainings(folder: Path) -> Path:
    """One file, in which an earlier training stands before the last."""
    save_dir = TRAINING.write(folder)
    path = save_dir / "results.csv"
    header, *rows = path.read_text().splitlines(keepends=True)
    path.write_text(header + "".join(rows).replace("1.25", "2.5") + "".join(rows))
    return save_dir


ODD = [empty_results, no_results, empty_args, lost_rows, two_trainings]


def assert_known_as_read(save_dir: Path, *, segments: str = "last") -> None:
    """The look finds the key and the fingerprint that reading all of the directory gives."""
    options = ImportOptions(segments=segments)
    plans = [plan_import(run, options, now_ms=NOW_MS) for run in read_trainings(save_dir, options)]
    summaries = [summary for summary in gather([save_dir], options).summaries if Path(summary.save_dir) == save_dir]
    assert [(summary.key, summary.fingerprint) for summary in summaries] == [
        (plan.key, plan.fingerprint) for plan in plans
    ]
    read = [plan_import(read_summarized(summary, options), options, now_ms=NOW_MS) for summary in summaries]
    assert [plan.points for plan in read] == [plan.points for plan in plans]


@pytest.mark.parametrize("name", fixture_names())
def test_a_look_knows_each_fixture_as_a_reading_does(name: str, tmp_path: Path) -> None:
    assert_known_as_read(copy_fixture(name, tmp_path))


@pytest.mark.parametrize("write", ODD, ids=lambda write: write.__name__)
def test_a_look_knows_an_odd_directory_as_a_reading_does(write: Callable[[Path], Path], tmp_path: Path) -> None:
    assert_known_as_read(write(tmp_path / "train"), segments="all")


@pytest.mark.parametrize(
    ("name", "old", "new", "is_seen"),
    [
        pytest.param("results.csv", "1.25", "5.21", lambda run: 5.21 in run.epochs.written[0].values,
                     id="results.csv, of the same size and time"),
        pytest.param("args.yaml", "detect", "tedect", lambda run: run.args["task"] == "tedect",
                     id="args.yaml, of the same size and time"),
        pytest.param("args.yaml", "task:", "added: 1\ntask:", lambda run: run.args["added"] == 1,
                     id="args.yaml, which has grown"),
        pytest.param("results.png", "curves", "another plot", lambda run: run.file("results.png").size == 12,
                     id="a plot"),
    ],
)  # fmt: skip
def test_a_file_that_changed_between_the_look_and_the_import_is_imported_as_it_is_now(
    name: str, old: str, new: str, is_seen: Callable[[TrainingRun], bool], tmp_path: Path
) -> None:
    save_dir = TRAINING.write(tmp_path / "train")
    [summary] = gather([save_dir]).summaries
    put(save_dir / name, (save_dir / name).read_text().replace(old, new))
    run = read_summarized(summary, ImportOptions())
    assert is_seen(run)
    assert content_fingerprint(run) != summary.fingerprint
