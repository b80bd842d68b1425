"""The functions of the library: what they take, what they return, and that they leave their process alone."""

from __future__ import annotations

import multiprocessing
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.services.mlflow_server import MlflowServer
from support.stores import runs_in
from support.trees import training

import importer
from importer import (
    ImportOptions,
    Kind,
    Mismatch,
    RunDirError,
    Selection,
    UsageError,
    import_many,
    import_run,
    plan_import,
    preview,
    read_run,
    scan,
    undo_import,
    verify_run,
)


def test_what_scan_returns_can_be_imported_and_verified(tree: Path, empty_store: str) -> None:
    summaries = scan([tree, tree / "nowhere"])
    refused = [summary for summary in summaries if summary.refused is not None]
    assert [Path(summary.save_dir) for summary in refused] == [tree / "nowhere"]
    first, *rest = (summary for summary in summaries if summary.refused is None)
    assert import_run(first, tracking_uri=empty_store).kind is Kind.IMPORTED
    outcomes = import_many(rest, tracking_uri=empty_store)
    assert {outcome.kind for outcome in outcomes} == {Kind.IMPORTED} and len(outcomes) == len(rest)
    assert verify_run([first, *rest], tracking_uri=empty_store) == []


def test_a_copy_is_refused_by_scan_with_the_directory_that_it_is_a_copy_of(tmp_path: Path) -> None:
    for name in ("a", "b"):
        training(1).write(tmp_path / name / "train")
    assert sorted(str(summary.refused) for summary in scan(tmp_path)) == ["None", f"a copy of {tmp_path / 'a/train'}"]


def test_a_preview_has_a_plan_and_writes_nothing(tree: Path, empty_store: str) -> None:
    previews = preview(tree, tracking_uri=empty_store)
    assert {each.outcome.kind for each in previews} == {Kind.IMPORTED}
    assert all(each.plan is not None and each.plan.points for each in previews)
    assert runs_in(empty_store) == []


def test_outcomes_are_reported_as_they_come_and_bad_arguments_are_raised_at_the_call(
    tree: Path, empty_store: str
) -> None:
    reported: list[object] = []
    assert import_many(tree, tracking_uri=empty_store, on_outcome=reported.append) == reported
    with pytest.raises(UsageError):
        import_many(tree, tracking_uri=empty_store, options=ImportOptions(experiment="{color}"))
    with pytest.raises(RunDirError):
        verify_run([tree / "train", tree / "nowhere"], tracking_uri=empty_store)
    pose = import_many(tree, tracking_uri=empty_store, selection=Selection(tasks=("pose",)))
    assert pose == []


def test_a_script_without_a_main_guard_imports_many_runs_by_threads(tmp_path: Path, empty_store: str) -> None:
    for seed in range(9):
        training(seed).write(tmp_path / "runs" / f"train{seed}")
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, multiprocessing\n"
        "from importer import import_many\n"
        "print(len(import_many(sys.argv[1], tracking_uri=sys.argv[2])), multiprocessing.active_children())\n"
    )
    words = [sys.executable, str(script), str(tmp_path / "runs"), empty_store]
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    assert ended.stdout == "9 []\n"
    assert multiprocessing.active_children() == []


def test_a_path_and_what_was_read_from_it_are_taken_alike(tree: Path, empty_store: str) -> None:
    run = read_run(tree / "train")
    [summary] = scan(tree / "train")
    sources = (tree / "train", str(tree / "train"), run, summary)
    assert len({plan_import(source).fingerprint for source in sources}) == 1
    missing = Mismatch("run", "train", "a training", "no run of it in /Shared/Ultralytics", str(tree / "train"))
    assert verify_run(run, tracking_uri=empty_store) == [missing]
    assert str(missing) == "run train: directory has a training, store has no run of it in /Shared/Ultralytics"
    kinds = [import_run(source, tracking_uri=empty_store).kind for source in sources]
    assert kinds == [Kind.IMPORTED, *[Kind.ALREADY_THERE] * 3]
    for source in sources:
        assert verify_run(source, tracking_uri=empty_store) == []


@pytest.mark.parametrize("source", [None, 7, b"runs/train", [["runs/train"]], {"a": 1}, object()])
def test_a_source_of_a_wrong_type_is_a_misuse(source: Any, empty_store: str) -> None:
    calls = (read_run, plan_import, import_run, import_many, scan, preview, verify_run)
    for call in calls:
        if isinstance(source, dict) and call in (import_many, scan, preview, verify_run):
            continue  # which take any iterable of paths
        with pytest.raises(UsageError):
            call(source)
    with pytest.raises(UsageError, match="options of type dict"):
        plan_import("fixtures/event-file", {"experiment": "a"})  # type: ignore[arg-type]
    assert runs_in(empty_store) == []


def test_verify_and_undo_make_no_database(tree: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/none.db"
    with pytest.raises(UsageError, match="no such file"):
        verify_run(tree / "train", tracking_uri=uri)
    with pytest.raises(UsageError, match="no such file"):
        undo_import("job", tracking_uri=uri)
    assert not (tmp_path / "none.db").exists()


def test_a_run_and_its_plan_are_data_frames_with_named_columns(fixtures: Path) -> None:
    run = read_run(fixtures / "event-file")
    plan = plan_import(run)
    epochs, points = run.to_pandas(), plan.to_pandas()
    assert list(epochs.columns) == ["step", "seconds", *run.epochs.columns]
    assert epochs["step"].tolist() == [0, 1, 2, 3, 4] and epochs["train/box_loss"].dtype == "float64"
    assert list(points.columns) == ["key", "value", "timestamp", "step"] and len(points) == len(plan.points)
    column = "metrics/mAP50-95(P)"
    assert plan.best_epoch is not None
    assert plan.best["metrics/mAP50-95P"] == epochs.set_index("step")[column][plan.best_epoch]
    assert plan_import(run, ImportOptions(best_metrics=True)).best == plan.best
    empty = read_run(fixtures / "without-time-column").to_pandas()
    assert empty["seconds"].isna().all() and empty["seconds"].dtype == "float64"


def test_what_a_notebook_shows_of_a_result_is_one_short_line(fixtures: Path, empty_store: str) -> None:
    run = read_run(fixtures / "event-file")
    plan, outcome = plan_import(run), import_run(run, tracking_uri=empty_store)
    [seen] = preview(fixtures / "event-file", tracking_uri=empty_store)
    for shown in (run, plan, outcome):
        assert "event-file" in repr(shown) and len(repr(shown)) < 100 + len(str(fixtures)), repr(shown)
    assert len(repr(seen)) < 250 + 2 * len(str(fixtures))


def test_an_outcome_of_a_server_has_the_page_of_its_run(
    tree: Path, http_server: MlflowServer, empty_store: str
) -> None:
    named = ImportOptions(experiment="the page of a run")
    outcome = import_run(tree / "train", tracking_uri=http_server.url, options=named)
    page = f"experiments/{outcome.experiment_id}/runs/{outcome.run_id}"
    assert outcome.url == f"{http_server.url}/#/{page}?workflowType=machine_learning"
    assert import_many(tree / "train", tracking_uri=http_server.url, options=named)[0].url == outcome.url
    assert import_run(tree / "train", tracking_uri=empty_store).url is None


def test_the_public_names_are_those_of_the_page_on_the_library() -> None:
    page = (Path(__file__).parents[2] / "docs/reference.md").read_text()
    documented = set(re.findall(r"^#### `importer\.(\w+)`$", page, re.MULTILINE))
    assert documented == set(importer.__all__)


GUEST = """
import gc, json, logging, os, signal, sys, warnings
from pathlib import Path

import mlflow
from mlflow import MlflowClient

runs, uri = Path(sys.argv[1]), sys.argv[2]
MlflowClient(uri).search_experiments()  # what MLflow itself changes in its host is no matter of ours


def state():
    loggers = {name: logging.getLogger(name).level for name in list(logging.root.manager.loggerDict)}
    return {
        "environment": dict(os.environ),
        "levels": {name: level for name, level in loggers.items() if name.startswith(("mlflow", "alembic", "urllib3"))},
        "root": [logging.root.level, len(logging.root.handlers)],
        "filters": [repr(found) for found in warnings.filters],
        "signals": [repr(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)],
        "gc": [gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()],
        "excepthook": repr(sys.excepthook),
    }


before = state()
import importer

importer.import_many(runs, tracking_uri=uri)
importer.scan(runs)
importer.preview(runs, tracking_uri=uri)
importer.verify_run(runs / "train", tracking_uri=uri)
importer.import_run(runs / "train", tracking_uri=uri)
after = state()
print(json.dumps([name for name in before if before[name] != after[name]]))
"""


def test_the_library_changes_nothing_in_its_host_process(tree: Path, sqlite_uri: str, tmp_path: Path) -> None:
    script = tmp_path / "guest.py"
    script.write_text(GUEST)
    done = subprocess.run(
        [sys.executable, script, tree, sqlite_uri],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout
