"""ymlf: replay finished Ultralytics YOLO trainings into MLflow, as the live callback would have logged them.

The names below are the library. They are loaded when first asked for, so that `import importer` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from importer._version import __version__

_HOMES = {
    "find_runs": "importer.discover",
    "read_run": "importer.api",
    "plan_import": "importer.replay.plan",
    "import_run": "importer.api",
    "import_many": "importer.api",
    "verify_run": "importer.api",
    "undo_import": "importer.api",
    "carry_out_undo": "importer.undo",
    "gather": "importer.batch.gather",
    "check_import": "importer.batch.run",
    "import_work": "importer.batch.run",
    "verify_work": "importer.batch.run",
    "list_imports": "importer.write.ledger",
    "plan_undo": "importer.undo",
    "restore_undone": "importer.undo",
    "open_store": "importer.store.opening",
    "open_existing_store": "importer.store.opening",
    "ImportOptions": "importer.model",
    "ImportPlan": "importer.model",
    "MetricPoint": "importer.model",
    "Note": "importer.model",
    "TrainingRun": "importer.model",
    "Selection": "importer.batch.selection",
    "Progress": "importer.batch.summary",
    "Workers": "importer.batch.executors",
    "Outcome": "importer.report",
    "Kind": "importer.report",
    "YmlfError": "importer.errors",
    "RunDirError": "importer.errors",
    "PlanError": "importer.errors",
    "StoreError": "importer.errors",
    "UsageError": "importer.errors",
}
__all__ = [
    "ImportOptions",
    "ImportPlan",
    "Kind",
    "MetricPoint",
    "Note",
    "Outcome",
    "PlanError",
    "Progress",
    "RunDirError",
    "Selection",
    "StoreError",
    "TrainingRun",
    "UsageError",
    "Workers",
    "YmlfError",
    "__version__",
    "carry_out_undo",
    "check_import",
    "find_runs",
    "gather",
    "import_many",
    "import_run",
    "import_work",
    "list_imports",
    "open_existing_store",
    "open_store",
    "plan_import",
    "plan_undo",
    "read_run",
    "restore_undone",
    "undo_import",
    "verify_run",
    "verify_work",
]

if TYPE_CHECKING:
    from importer.api import import_many, import_run, read_run, undo_import, verify_run
    from importer.batch.executors import Workers
    from importer.batch.gather import gather
    from importer.batch.run import check_import, import_work, verify_work
    from importer.batch.selection import Selection
    from importer.batch.summary import Progress
    from importer.discover import find_runs
    from importer.errors import PlanError, RunDirError, StoreError, UsageError, YmlfError
    from importer.model import ImportOptions, ImportPlan, MetricPoint, Note, TrainingRun
    from importer.replay.plan import plan_import
    from importer.report import Kind, Outcome
    from importer.store.opening import open_existing_store, open_store
    from importer.undo import carry_out_undo, plan_undo, restore_undone
    from importer.write.ledger import list_imports


def __getattr__(name: str) -> object:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
