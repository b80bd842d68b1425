"""Between the look at a directory and its import, what has changed is read again, and nothing else is parsed again."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from support.command import ymlf
from support.directories import Training, copy_fixture, fixture_names
from support.trees import active, outcomes, small_tree

from importer import ImportOptions, gather, plan_import
from importer.batch.summary import KEPT_BYTES, Survey, read_surveyed, read_trainings
from importer.model import TrainingRun
from importer.replay.fingerprint import content_fingerprint

TRAINING = Training(rows=({"train/box_loss": 1.25},))
NOW_MS = 1_800_000_000_000
OLD = {"version": "8.0.100", "train_results": None}  # whose epochs begin with 0, and which keeps no table


def looked_at(save_dir: Path) -> Survey:
    """The survey of one directory that is to be imported next."""
    (survey,) = gather([save_dir], store_follows=True).surveys
    return survey


def read(survey: Survey) -> TrainingRun:
    """The training, as an import reads it."""
    return read_surveyed(survey, ImportOptions())


def put(path: Path, content: str) -> None:
    """Other content, with the file time that the file had."""
    times = path.stat()
    path.write_text(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def without_rows(save_dir: Path, rows: int) -> Path:
    """The directory less the first rows of its results.csv."""
    place = save_dir / "results.csv"
    header, *lines = place.read_text().splitlines(keepends=True)
    put(place, header + "".join(lines[rows:]))
    return save_dir


@pytest.fixture
def save_dir(tmp_path: Path) -> Path:
    return TRAINING.write(tmp_path / "train")


def empty_results(folder: Path) -> Path:
    """The epochs are in a checkpoint only."""
    save_dir = TRAINING.write(folder)
    put(save_dir / "results.csv", "")
    return save_dir


def no_results(folder: Path) -> Path:
    """The same, and no file."""
    save_dir = TRAINING.write(folder)
    (save_dir / "results.csv").unlink()
    return save_dir


def empty_args(folder: Path) -> Path:
    """The args are in a checkpoint only."""
    save_dir = TRAINING.write(folder)
    put(save_dir / "args.yaml", "")
    return save_dir


def lost_rows(folder: Path) -> Path:
    """Only the checkpoint tells from where the epochs are counted, and the plan of 9 epochs says otherwise."""
    training = Training(epochs=8, planned=9, base=0, has_time=False, last=OLD)
    return without_rows(training.write(folder), 2)


def two_trainings(folder: Path) -> Path:
    """One file, in which an earlier training stands before the last."""
    save_dir = TRAINING.write(folder)
    place = save_dir / "results.csv"
    header, *rows = place.read_text().splitlines(keepends=True)
    place.write_text(header + "".join(rows).replace("1.25", "2.5") + "".join(rows))
    return save_dir


ODD = [empty_results, no_results, empty_args, lost_rows, two_trainings]


def assert_known_as_read(save_dir: Path, *, segments: str = "last") -> None:
    """The look knows a training by the key and the fingerprint that reading all of it gives, kept or not."""
    options = ImportOptions(segments=segments)
    plans = [plan_import(run, options, now_ms=NOW_MS) for run in read_trainings(save_dir, options)]
    expected = [(plan.key, plan.fingerprint) for plan in plans]
    for keep in (True, False):
        surveys = gather([save_dir], options, store_follows=keep).surveys
        found = [survey for survey in surveys if Path(survey.save_dir) == save_dir]
        assert [(survey.key, survey.fingerprint) for survey in found] == expected
        again = [plan_import(read_surveyed(survey, options), options, now_ms=NOW_MS) for survey in found]
        assert [(plan.key, plan.fingerprint, plan.points) for plan in again] == [
            (plan.key, plan.fingerprint, plan.points) for plan in plans
        ]


@pytest.mark.parametrize("name", fixture_names())
def test_a_look_knows_each_fixture_as_a_reading_does(name: str, tmp_path: Path) -> None:
    assert_known_as_read(copy_fixture(name, tmp_path))


@pytest.mark.parametrize("write", ODD, ids=lambda write: write.__name__)
def test_a_look_knows_an_odd_directory_as_a_reading_does(write: object, tmp_path: Path) -> None:
    assert_known_as_read(write(tmp_path / "train"), segments="all")  # type: ignore[operator]


@pytest.mark.parametrize("write", ODD, ids=lambda write: write.__name__)
def test_an_odd_directory_is_there_already_after_one_import(write: object, tmp_path: Path, empty_store: str) -> None:
    words = ("import", write(tmp_path / "train"), "--tracking-uri", empty_store, "--json")  # type: ignore[operator]
    assert outcomes(ymlf(*words)) == {"train": "imported"}
    assert outcomes(ymlf(*words)) == {"train": "already there"}
    assert len(active(empty_store)) == 1


def test_text_files_that_are_the_same_are_parsed_once(save_dir: Path) -> None:
    survey = looked_at(save_dir)
    before = read(survey)
    for name, text in (("results.csv", "1.25"), ("args.yaml", "detect")):
        place = save_dir / name
        assert text in place.read_text()
        put(place, place.read_text().replace(text, text[::-1]))  # which only a second parse would see
    again = read(survey)
    assert (again.epochs, again.args) == (before.epochs, before.args)


@pytest.mark.parametrize("changed", ["results.csv", "args.yaml", "results.png"])
def test_what_has_changed_since_the_look_is_what_is_imported(changed: str, save_dir: Path) -> None:
    survey = looked_at(save_dir)
    place = save_dir / changed
    if changed == "results.csv":
        last = place.read_text().splitlines()[-1].split(",")
        put(place, place.read_text() + ",".join([str(int(last[0]) + 1), *last[1:]]) + "\n")
    elif changed == "args.yaml":
        put(place, place.read_text() + "added: 1\n")
    else:
        place.write_bytes(b"another plot")
    run = read(survey)
    assert content_fingerprint(run) != survey.fingerprint
    assert len(run.epochs) == survey.epochs + (changed == "results.csv")
    assert ("added" in run.args) == (changed == "args.yaml")


@pytest.mark.parametrize("seconds", [1_800_000_000, 0], ids=["written later", "no file time"])
def test_a_file_of_the_same_size_is_read_again_where_its_time_does_not_say_that_it_is_the_same(
    seconds: int, save_dir: Path
) -> None:
    place = save_dir / "results.csv"
    if not seconds:
        os.utime(place, (0, 0))
    survey = looked_at(save_dir)
    place.write_text(place.read_text().replace("1.25", "5.21"))
    os.utime(place, (seconds, seconds))
    assert 5.21 in read(survey).epochs.first_row


def test_a_large_table_is_not_kept(tmp_path: Path) -> None:
    survey = looked_at(TRAINING.with_(epochs=2_000).write(tmp_path / "train"))
    assert survey.parsed == b""
    assert len(read(survey).epochs) == 2_000


def test_of_a_large_tree_the_first_part_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importer.batch.summary.CHUNK", 4)
    monkeypatch.setattr("importer.batch.summary.KEPT_CHUNKS", 3)
    surveys = gather([small_tree(tmp_path, 20, epochs=2)], store_follows=True).surveys
    assert [bool(survey.parsed) for survey in surveys] == [True] * 12 + [False] * 8


def test_what_is_kept_of_a_common_training_is_small_enough_to_be_kept(tmp_path: Path) -> None:
    survey = looked_at(TRAINING.with_(epochs=150).write(tmp_path / "train"))
    assert 0 < len(survey.parsed) <= KEPT_BYTES
    assert pickle.loads(survey.parsed)


def test_a_listing_keeps_nothing(save_dir: Path) -> None:
    (survey,) = gather([save_dir]).surveys
    assert survey.parsed == b""
