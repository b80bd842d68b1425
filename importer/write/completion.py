"""Take a run of the live callback into ymlf's care, to complete it, and give it back; soft-delete one of ymlf's own."""

from __future__ import annotations

from collections.abc import Mapping

from importer.replay.callbacks import FORMER_EXPERIMENT
from importer.store.failures import accepted, store_errors
from importer.store.store import Store
from importer.write.live_runs import LiveCoverage
from importer.write.lookup import CONTINUED_IN, IMPORT_ID, LIVE_STATUS, NAME, RECORD, RUNNING, STATE, stored_run

NOTE = "mlflow.note.content"
BEGINS = "Completed by ymlf"  # the description of such a run


def adopt(store: Store, live: LiveCoverage, tags: Mapping[str, str]) -> bool:
    """Write ymlf's tags to the last of some live runs, and its id to the earlier ones, of which it is the resume.

    Return False when it is no longer as it was when it was looked at: another import or the callback was faster. The
    state comes last: without it the run is a live run still. Errors: StoreError.
    """
    from mlflow.entities import RunTag

    run = live.runs[-1]
    with store_errors("completing a run that was logged live"):
        now = store.client.get_run(run.run_id)
        if STATE in now.data.tags or now.info.status != run.status or now.info.lifecycle_stage != "active":
            return False
        for earlier in live.runs[:-1]:
            store.client.set_tag(earlier.run_id, CONTINUED_IN, run.run_id)
        ours = {name: text for name, text in tags.items() if name.startswith("ymlf.")}
        ordered = {LIVE_STATUS: run.status, **ours, STATE: ours[STATE]}
        store.client.log_batch(run.run_id, tags=[RunTag(*pair) for pair in _last(ordered, STATE)])
    return True


def tags_to_add(wanted: Mapping[str, str], there: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a plan that are not there, on a live run, and the description where ymlf wrote it."""
    tags = {**wanted, NOTE: wanted[NOTE].replace("Imported by ymlf", BEGINS, 1)}
    ours = {name for name in tags if name.startswith("ymlf.") or there.get(name, BEGINS).startswith(BEGINS)}
    return {name: text for name, text in tags.items() if name in ours}


def give_back(store: Store, run_id: str) -> None:
    """Remove ymlf's tags from a run of the live callback, and restore its status; MLflow keeps the rest.

    The import's id, which finds the run again, comes last but for the tag without which an undo would delete the run.

    Errors: StoreError.
    """
    with store_errors(f"giving run {run_id} back"):
        client = store.client
        run = client.get_run(run_id)
        stored = stored_run(run)
        former = store.active_experiment_id(FORMER_EXPERIMENT)
        places = [stored.experiment_id, *([former] if former is not None else [])]
        for earlier in client.search_runs(places, f"tags.`{CONTINUED_IN}` = '{run_id}'"):
            client.delete_tag(earlier.info.run_id, CONTINUED_IN)
        if stored.live_status == RUNNING:
            client.update_run(run_id, RUNNING)
        given = stored.record.options.get("tags") if stored.record is not None else None
        chosen = {str(name): str(text) for name, text in given} if isinstance(given, (list, tuple)) else {}
        for name, text in _last(run.data.tags, STATE, RECORD, IMPORT_ID, LIVE_STATUS):
            is_note = name == NOTE and text.startswith(BEGINS)
            if name.startswith("ymlf.") or is_note or (chosen.get(name) == text and name != NAME):
                client.delete_tag(run_id, name)


def discard_run(store: Store, run_id: str) -> None:
    """Soft-delete a run, or give one that the callback created back. It may be gone already. Errors: StoreError."""
    with store_errors(f"deleting run {run_id}"), accepted("RESOURCE_DOES_NOT_EXIST"):
        if stored_run(store.client.get_run(run_id)).live_status:
            give_back(store, run_id)
        else:
            delete_run(store, run_id)


def delete_run(store: Store, run_id: str) -> None:
    """Soft-delete a run, which may be gone already; `mlflow runs restore` brings it back. Errors: StoreError."""
    with store_errors(f"deleting run {run_id}"), accepted("RESOURCE_DOES_NOT_EXIST"):
        store.client.delete_run(run_id)


def _last(tags: Mapping[str, str], *names: str) -> list[tuple[str, str]]:
    """Return tags with some at the end, in the order of their names here."""
    return sorted(tags.items(), key=lambda pair: names.index(pair[0]) if pair[0] in names else -1)
