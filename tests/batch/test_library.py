"""The functions of the library: what they take, what they return, and that they leave their process alone."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest
from support.stores import runs_in
from support.trees import training

from importer import Kind, RunDirError, Selection, UsageError, import_many, import_run, preview, scan, verify_run
from importer.model import ImportOptions


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
