"""Between the look at a directory and its import, what has changed is read again, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from directories import Training
from trees import small_tree

from importer import ImportOptions, gather
from importer.identity_key import content_fingerprint, training_key
from importer.model import TrainingRun
from importer.survey import KEPT_BYTES, Survey, read_surveyed

TRAINING = Training(rows=({"train/box_loss": 1.25},))


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


@pytest.fixture
def save_dir(tmp_path: Path) -> Path:
    return TRAINING.write(tmp_path / "train")


def test_text_files_that_are_the_same_are_parsed_once(save_dir: Path) -> None:
    survey = looked_at(save_dir)
    before = read(survey)
    for name, text in (("results.csv", "1.25"), ("args.yaml", "detect")):
        place = save_dir / name
        assert text in place.read_text()
        put(place, place.read_text().replace(text, text[::-1]))  # which only a second parse would see
    again = read(survey)
    assert (again.epochs, again.args) == (before.epochs, before.args)


def test_key_and_fingerprint_are_what_they_would_be_without_a_look(save_dir: Path) -> None:
    run = read(looked_at(save_dir))
    assert run.identity == (training_key(run), content_fingerprint(run))


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
    assert run.identity is None
    assert content_fingerprint(run) != survey.fingerprint
    assert len(run.epochs) == survey.epochs + (changed == "results.csv")
    assert ("added" in run.args) == (changed == "args.yaml")


def test_a_file_of_the_same_size_that_was_written_later_is_read_again(save_dir: Path) -> None:
    survey = looked_at(save_dir)
    place = save_dir / "results.csv"
    place.write_text(place.read_text().replace("1.25", "5.21"))
    os.utime(place, (1_800_000_000, 1_800_000_000))
    assert 5.21 in read(survey).epochs.first_row


def test_a_large_table_is_not_kept(tmp_path: Path) -> None:
    survey = looked_at(TRAINING.with_(epochs=2_000).write(tmp_path / "train"))
    assert survey.parsed == b""
    assert len(read(survey).epochs) == 2_000


def test_what_is_kept_of_a_tree_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importer.survey.KEPT_DIRECTORIES", 16)
    surveys = gather([small_tree(tmp_path, 20, epochs=2)], store_follows=True).surveys
    assert sum(bool(survey.parsed) for survey in surveys) == 16
    assert max(len(survey.parsed) for survey in surveys) < KEPT_BYTES


def test_a_listing_keeps_nothing(save_dir: Path) -> None:
    (survey,) = gather([save_dir]).surveys
    assert survey.parsed == b""
