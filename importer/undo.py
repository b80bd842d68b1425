"""An import taken back, whole or in part, by soft-deleting the runs that it created; and those brought back."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from importer.batch.selection import Selection, is_named
from importer.errors import StoreError, UsageError
from importer.store.failures import failures
from importer.store.store import Store
from importer.write.import_run import delete_run
from importer.write.ledger import PREFIX, UNDONE, all_experiments, check_import_id, record_import, search_all
from importer.write.lookup import IMPORT_ID, KEY, SOURCE, UPDATE_ID, search_key

if TYPE_CHECKING:
    from mlflow.entities import Run

log = logging.getLogger(__name__)


class ImportedRun(NamedTuple):
    """A run of an import."""

    run_id: str
    run_name: str
    source: str  # the directory that it was imported from, as given then
    experiment_id: str
    key: str


@dataclass(frozen=True)
class Undo:
    """What undoing an import would soft-delete and what it would keep; and what restoring it would bring back."""

    import_id: str
    created: tuple[ImportedRun, ...]
    updated: tuple[ImportedRun, ...]
    deleted: tuple[ImportedRun, ...] = ()  # that it created, and that are soft-deleted already
    others: int = 0  # runs that it created and that are not among those selected


def plan_undo(store: Store, import_id: str, selection: Selection | None = None) -> Undo:
    """The runs that an import created, to be soft-deleted, and those that it only updated.

    Of a selection its globs count: they are held against the directory that a run was imported from, and its name.

    Errors: StoreError; UsageError when the id cannot be one, or no import of the store has it.
    """
    from mlflow.entities import ViewType

    check_import_id(import_id)
    known = False
    created: list[ImportedRun] = []
    deleted: list[ImportedRun] = []
    updated: list[ImportedRun] = []
    with failures("looking for the import's runs"):
        for experiment in all_experiments(store):
            experiment_id = str(experiment.experiment_id)
            created += map(_imported, search_all(store, experiment_id, f"tags.`{IMPORT_ID}` = '{import_id}'"))
            updated += map(_imported, search_all(store, experiment_id, f"tags.`{UPDATE_ID}` = '{import_id}'"))
            by_id = f"tags.`{IMPORT_ID}` = '{import_id}'"
            deleted += map(_imported, search_all(store, experiment_id, by_id, ViewType.DELETED_ONLY))
            known = known or PREFIX + import_id in experiment.tags
    if not (known or created or updated or deleted):
        raise UsageError(f"{import_id}: no import of this store", hint="`ymlf imports` lists them")
    mine = {run.run_id for run in created}
    selection = selection or Selection()
    meant, kept, gone = (_named(runs, selection) for runs in (created, updated, deleted))
    kept = tuple(run for run in kept if run.run_id not in mine)
    return Undo(import_id, meant, kept, gone, len(created) - len(meant))


def _named(runs: Iterable[ImportedRun], selection: Selection) -> tuple[ImportedRun, ...]:
    return tuple(run for run in runs if is_named((run.source, run.run_name), selection))


def carry_out_undo(store: Store, undo: Undo) -> None:
    """Soft-delete what was planned; `restore_undone` brings it back. Errors: StoreError.

    The ledger counts it as undone; where it cannot, that is logged.
    """
    done: Counter[str] = Counter()
    try:
        for run in undo.created:
            delete_run(store, run.run_id)
            done[run.experiment_id] += 1
    finally:
        _count(store, undo.import_id, done)


def restore_undone(store: Store, undo: Undo) -> list[ImportedRun]:
    """The runs that were brought back: all that are soft-deleted, but where another run stands for a training by now.

    Errors: StoreError.
    """
    restored: list[ImportedRun] = []
    done: Counter[str] = Counter()
    try:
        for run in undo.deleted:
            with failures(f"restoring run {run.run_id}"):
                if search_key(store, run.experiment_id, run.key):
                    continue
                store.client.restore_run(run.run_id)
            restored.append(run)
            done[run.experiment_id] -= 1
    finally:
        _count(store, undo.import_id, done)
    return restored


def _count(store: Store, import_id: str, undone: Mapping[str, int]) -> None:
    for experiment_id, count in undone.items():
        try:
            record_import(store, [experiment_id], import_id, {UNDONE: count})
        except StoreError as error:
            log.warning("%s: `ymlf imports` will not tell that this was undone or restored", error.message)


def _imported(run: Run) -> ImportedRun:
    info = run.info
    return ImportedRun(
        str(info.run_id),
        str(info.run_name),
        run.data.tags.get(SOURCE, ""),
        str(info.experiment_id),
        run.data.tags.get(KEY, ""),
    )
