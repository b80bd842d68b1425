"""A run remembers what it was imported with: an update and a verify without those options use them again."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient
from support.command import ymlf
from support.directories import Training, copy_fixture
from support.stores import points_of, runs_in

CRASHED = Training(planned=10, plots=False, last={"epoch": 2})
GROWN = CRASHED.with_(epochs=5, last={"epoch": 4})
OPTIONS = (
    ("--run-name", "mine"), ("--tag", "team=birds"), ("--start-time", "2020-01-01T00:00Z"), ("--best-metrics",),
    ("--timezone", "Asia/Tokyo"), ("--artifacts", "best"), ("--max-artifact-size", "1kB"),
    ("--exclude-artifacts", "*.csv"), ("--images",),
)  # fmt: skip
TOGETHER = [  # as many at a time as do not hide one another
    pytest.param(
        ("--run-name", "mine", "--tag", "team=birds", "--start-time", "2020-01-01T00:00Z", "--artifacts", "best",
         "--best-metrics"),
        {"name": "mine", "team": "birds", "artifacts": ["args.yaml", "results.csv"]},
        id="name, tag, start time, artifacts, best metrics",
    ),
    pytest.param(
        ("--timezone", "Asia/Tokyo", "--max-artifact-size", "1kB", "--exclude-artifacts", "*.csv"),
        {"name": None, "team": None, "artifacts": ["args.yaml"]},
        id="time zone, artifacts by size and name",
    ),
]  # fmt: skip


def outcome(command: str, save_dir: Path, uri: str, *more: str) -> str:
    told = ymlf(command, save_dir, "--tracking-uri", uri, *more)
    assert told.status == 0, told.err
    return told.out.split(":")[0]


def timed_points(uri: str) -> set[tuple[str, int, int]]:
    [run] = runs_in(uri)
    points = [point for key in run.data.metrics for point in MlflowClient(uri).get_metric_history(run.info.run_id, key)]
    return {(point.key, point.step, point.timestamp) for point in points}


def shown(uri: str) -> dict[str, object]:
    """What a store holds of its only run that an option chose; the name where it is not the directory's."""
    [run] = runs_in(uri)
    artifacts = sorted(found.path for found in MlflowClient(uri).list_artifacts(run.info.run_id))
    name = run.info.run_name if run.info.run_name != "train" else None
    return {"name": name, "team": run.data.tags.get("team"), "artifacts": artifacts}


@pytest.mark.parametrize(("words", "expected"), TOGETHER)
def test_a_training_that_goes_on_is_updated_by_the_options_that_are_kept(
    words: tuple[str, ...], expected: dict[str, object], tmp_path: Path, empty_store: str
) -> None:
    save_dir = CRASHED.write(tmp_path / "train")
    assert outcome("import", save_dir, empty_store, *words) == "imported"
    before = timed_points(empty_store)
    GROWN.write(save_dir)
    assert outcome("import", save_dir, empty_store) == "updated"
    assert before <= timed_points(empty_store)
    assert outcome("verify", save_dir, empty_store) == "verified"
    assert outcome("import", save_dir, empty_store) == "already there"
    assert shown(empty_store) == expected


@pytest.mark.parametrize("words", [pytest.param(case.values[0], id=case.id) for case in TOGETHER])
def test_a_training_with_an_event_file_is_updated_by_the_options_that_are_kept(
    words: tuple[str, ...], tmp_path: Path, empty_store: str
) -> None:
    save_dir = copy_fixture("event-file", tmp_path)
    assert outcome("import", save_dir, empty_store, *words) == "imported"
    before = timed_points(empty_store)
    (save_dir / "later.png").write_bytes(b"a plot that was drawn later")
    assert outcome("import", save_dir, empty_store) == "updated"
    assert timed_points(empty_store) == before
    assert outcome("verify", save_dir, empty_store) == "verified"


def test_the_best_epoch_may_become_a_later_one(tmp_path: Path, empty_store: str) -> None:
    save_dir = CRASHED.write(tmp_path / "train")
    outcome("import", save_dir, empty_store, "--best-metrics")
    GROWN.write(save_dir)
    outcome("import", save_dir, empty_store)
    [run] = runs_in(empty_store)
    shown = run.data.metrics["best/mAP50B"]
    assert [step for step, _ in points_of(empty_store, run, "best/mAP50B")] == [0, 0]
    assert run.data.metrics["best/epoch"] == 4
    assert outcome("verify", save_dir, empty_store) == "verified"
    assert outcome("import", save_dir, empty_store) == "already there"
    assert shown == run.data.metrics["metrics/mAP50B"]


def test_a_former_best_that_the_directory_does_not_say_is_a_mismatch(tmp_path: Path, empty_store: str) -> None:
    save_dir = CRASHED.write(tmp_path / "train")
    outcome("import", save_dir, empty_store, "--best-metrics")
    [run] = runs_in(empty_store)
    MlflowClient(empty_store).log_metric(run.info.run_id, "best/mAP50B", 0.9, timestamp=1, step=1)
    told = ymlf("verify", save_dir, "--tracking-uri", empty_store)
    assert told.status == 1
    assert "mismatch: metric best/mAP50B step 1: directory has no point, store has 0.9\n" in told.err


def test_an_option_that_a_run_was_imported_without_is_named(tmp_path: Path, empty_store: str) -> None:
    save_dir = CRASHED.write(tmp_path / "train")
    assert outcome("import", save_dir, empty_store) == "imported"
    for words in OPTIONS:
        again = ymlf("import", save_dir, "--tracking-uri", empty_store, *words)
        assert again.status == 0
        assert again.out.startswith(f"already there: {save_dir}: imported without {words[0]}\n")
        assert "  hint: --on-change replace imports it again" in again.out
    assert len(runs_in(empty_store)) == 1


@pytest.mark.parametrize("words", [pytest.param(case.values[0], id=case.id) for case in TOGETHER])
def test_replace_applies_options_that_a_run_was_imported_without_once(
    words: tuple[str, ...], tmp_path: Path, empty_store: str
) -> None:
    save_dir = CRASHED.write(tmp_path / "train")
    assert outcome("import", save_dir, empty_store) == "imported"
    assert outcome("import", save_dir, empty_store, *words, "--on-change", "replace") == "replaced"
    assert outcome("verify", save_dir, empty_store) == "verified"
    assert outcome("import", save_dir, empty_store, *words, "--on-change", "replace") == "already there"
    assert [run.info.lifecycle_stage for run in runs_in(empty_store)].count("active") == 1


def test_files_that_an_option_leaves_out_are_told(tmp_path: Path, empty_store: str) -> None:
    save_dir = CRASHED.write(tmp_path / "train")
    told = ymlf("import", save_dir, "--tracking-uri", empty_store, "--max-artifact-size", "1kB")
    assert "note: left-out: 1 file is not logged, by --max-artifact-size\n" in told.err
    [run] = runs_in(empty_store)
    assert "**left-out**" in run.data.tags["mlflow.note.content"]
