"""Undo an import, whole or in part, by soft-deleting the runs that it created; and restore them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from importer.batch.selection import Selection, is_named
from importer.errors import StoreError, UsageError
from importer.models.register import ALIASES, NO_REGISTRY, delete_version, search_versions
from importer.store.failures import store_errors
from importer.store.store import Store
from importer.write import lookup
from importer.write.completion import delete_run, give_back
from importer.write.decision import Facts, match_run
from importer.write.ledger import all_experiments, check_import_id, count_undone, is_in_ledger
from importer.write.lookup import IMPORT_ID, StoredRun, find_runs_of, search_runs, stored_run

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Undo:
    """The runs that undoing an import soft-deletes and keeps, and those that restoring it brings back."""

    import_id: str
    created: tuple[StoredRun, ...]
    updated: tuple[StoredRun, ...]
    deleted: tuple[StoredRun, ...] = ()  # that it created, and that are soft-deleted already
    others: int = 0  # runs that it created and that are not among those selected
    completed: tuple[StoredRun, ...] = ()  # runs of the live callback, which get their status back
    versions: tuple[ModelVersion, ...] = ()  # of models, that ymlf made of the runs created: they are deleted
    kept_versions: tuple[ModelVersion, ...] = ()  # that carry an alias which ymlf did not give


def plan_undo(store: Store, import_id: str, selection: Selection | None = None) -> Undo:
    """Return the runs that an import created, to be soft-deleted, and those that it only updated.

    Of a selection its globs count: they are held against the directory that a run was imported from, and its name.

    Errors: StoreError; UsageError when the id cannot be one, or no import of the store has it.
    """
    check_import_id(import_id)
    created: list[StoredRun] = []
    updated: list[StoredRun] = []
    deleted: list[StoredRun] = []
    with store_errors("looking for the import's runs"):
        experiments = list(all_experiments(store))
        for experiment_id in (str(experiment.experiment_id) for experiment in experiments):
            by_id, by_update = (f"tags.`{tag}` = '{import_id}'" for tag in (IMPORT_ID, lookup.UPDATE_ID))
            created += map(stored_run, search_runs(store, [experiment_id], by_id))
            updated += map(stored_run, search_runs(store, [experiment_id], by_update))
            gone = map(stored_run, search_runs(store, [experiment_id], by_id, lookup.DELETED))
            deleted += (run for run in gone if run.state == lookup.COMPLETE)
    if not (created or updated or deleted or is_in_ledger(experiments, import_id)):
        raise UsageError(f"{import_id}: no import of this store", hint="`ymlf history` lists them")
    mine = {run.run_id for run in created}
    wanted = selection or Selection()
    selected, kept, restorable = (
        tuple(run for run in runs if is_named((*_paths(run.source), run.run_name), wanted))
        for runs in (created, updated, deleted)
    )
    ids = {run.run_id for run in selected}
    versions = [version for version in _versions_of(store, import_id) if version.run_id in ids]
    return Undo(
        import_id,
        created=tuple(run for run in selected if not run.live_status),
        updated=tuple(run for run in kept if run.run_id not in mine),
        deleted=restorable,
        others=len(created) - len(selected),
        completed=tuple(run for run in selected if run.live_status),
        versions=tuple(version for version in versions if not _foreign_aliases(version)),
        kept_versions=tuple(version for version in versions if _foreign_aliases(version)),
    )


def _versions_of(store: Store, import_id: str) -> list[ModelVersion]:
    """Return the versions that ymlf made of the runs of an import; none where there is no registry."""
    from mlflow.exceptions import MlflowException

    with store_errors("looking for versions of models"):
        try:
            return search_versions(store, f"tags.`{IMPORT_ID}` = '{import_id}'")
        except MlflowException as error:
            if error.error_code in NO_REGISTRY:
                return []
            raise


def _foreign_aliases(version: ModelVersion) -> set[str]:
    """Return the aliases of a version that ymlf did not give it."""
    return set(version.aliases) - set(version.tags.get(ALIASES, "").split())


def _paths(source: str) -> list[str]:
    """Return the path of a source and each of its ends: /data/runs/train, runs/train, train."""
    path = source if "://" in source else source.partition(":")[2]
    parts = path.split("/")
    return ["/".join(parts[at:]) for at in range(len(parts))]


def carry_out_undo(store: Store, undo: Undo) -> None:
    """Delete the versions and soft-delete the runs, which `restore_undone` brings back, and give live runs back.

    Errors: StoreError.

    The ledger counts it as undone; a failure to count is logged.
    """
    done: Counter[str] = Counter()
    for version in undo.versions:
        with store_errors(f"deleting version {version.version} of model {version.name}"):
            delete_version(store, version)
    try:
        for run in undo.created:
            delete_run(store, run.run_id)
            done[run.experiment_id] += 1
        for run in undo.completed:
            give_back(store, run.run_id)
            done[run.experiment_id] += 1
    finally:
        _count(store, undo.import_id, done)


def restore_undone(store: Store, undo: Undo) -> list[StoredRun]:
    """Restore what is soft-deleted, but not beside another run of the same training; return it. Errors: StoreError."""
    restored: list[StoredRun] = []
    done: Counter[str] = Counter()
    try:
        for run in undo.deleted:
            with store_errors(f"restoring run {run.run_id}"):
                if _is_there_again(store, run):
                    continue
                store.client.restore_run(run.run_id)
            restored.append(run)
            done[run.experiment_id] -= 1
    finally:
        _count(store, undo.import_id, done)
    return restored


def _is_there_again(store: Store, run: StoredRun) -> bool:
    """Return whether another run of the same training is active by now."""
    runs = find_runs_of(store, run.experiment_id, run.key, has_epochs=run.has_epochs)
    if run.record is None:
        return bool(runs)
    evidence = run.record.evidence
    is_iteration = run.parent_run_id is not None and evidence.is_tune
    facts = Facts(run.source, run.fingerprint, evidence, (run.parent_run_id or "",), is_iteration)
    return match_run(facts, runs) is not None


def _count(store: Store, import_id: str, undone: Mapping[str, int]) -> None:
    try:
        count_undone(store, import_id, undone)
    except StoreError as error:
        log.warning("%s: `ymlf history` does not count what was undone or restored", error.message)
