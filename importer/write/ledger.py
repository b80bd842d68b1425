"""Which imports there were: one experiment tag per import, and a tag on each run."""

from __future__ import annotations

import json
import secrets
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING

from importer.errors import UsageError
from importer.store.failures import failures, twice
from importer.store.store import Store
from importer.write.lookup import ALONE, IMPORT_ID, IMPORTED_AT, WRITER

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Run

PREFIX = "ymlf.import."
UNDONE = "undone"  # counted beside the outcomes: runs of the import that were soft-deleted
PAGE = 500
ACTIVE, ALL = 1, 3  # mlflow.entities.ViewType.ACTIVE_ONLY and ALL, without the import


@dataclass(frozen=True)
class Import:
    """One import: when, from where, and what came of it."""

    import_id: str
    experiment_names: tuple[str, ...]
    started: str
    host: str
    counts: Mapping[str, int]
    ended: bool = True  # False while it runs, and of one that was killed


def new_import_id() -> str:
    """An id that sorts by time and is not used twice."""
    return f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def check_import_id(import_id: str) -> str:
    """Errors: UsageError when an id has characters that a tag name or a filter cannot hold."""
    if not import_id or len(import_id) > 100 or not all(sign.isalnum() or sign in "-_." for sign in import_id):
        raise UsageError(f"--import-id {import_id!r}: only letters, digits, `-`, `_` and `.`", hint="such as job-42")
    return import_id


def record_import(
    store: Store, experiment_ids: Iterable[str], import_id: str, counts: Mapping[str, int], *, ended: bool = True
) -> None:
    """Write the import's tag to its experiments; a retry of the same id adds its counts. Errors: StoreError."""
    for experiment_id in sorted(experiment_ids):
        before = _entry(twice(partial(_read_tag, store, experiment_id, PREFIX + import_id)))
        known = before.get("counts")
        told = Counter({str(name): int(count) for name, count in known.items()} if isinstance(known, dict) else {})
        told.update(counts)
        started = before.get("started") or datetime.now(timezone.utc).isoformat(timespec="seconds")
        host = before.get("host") or socket.gethostname()
        entry = {"started": started, "host": host, "counts": told, "ended": ended}
        twice(partial(_write_tag, store, experiment_id, PREFIX + import_id, json.dumps(entry)))


def _read_tag(store: Store, experiment_id: str, name: str) -> str | None:
    with failures("reading the ledger"):
        value = store.client.get_experiment(experiment_id).tags.get(name)
    return str(value) if value is not None else None


def _write_tag(store: Store, experiment_id: str, name: str, value: str) -> None:
    with failures("writing the ledger"):
        store.client.set_experiment_tag(experiment_id, name, value)


def list_imports(store: Store) -> list[Import]:
    """Every import that a store remembers, oldest first. Errors: StoreError."""
    found: dict[str, Import] = {}
    with failures("reading the ledger"):
        for experiment in all_experiments(store):
            for key, value in experiment.tags.items():
                if key.startswith(PREFIX):
                    _add(found, key.removeprefix(PREFIX), experiment.name, _entry(value))
            for run in search_all(store, str(experiment.experiment_id), f"tags.`{ALONE}` = 'true'", ALL):
                import_id = run.data.tags.get(IMPORT_ID, "")
                if run.info.lifecycle_stage == "active" or found.get(import_id):  # not one that was replaced
                    _add(found, import_id, experiment.name, _entry_of(run))
    return sorted(found.values(), key=lambda told: (told.started, told.import_id))


def _entry_of(run: Run) -> dict[str, object]:
    """What the ledger would say of the import of one directory, which only its run tells of."""
    tags = run.data.tags
    host = tags.get(WRITER, "").partition(":")[0]
    return {"started": tags.get(IMPORTED_AT, ""), "host": host, "counts": {"imported": 1}}


def all_experiments(store: Store) -> Iterator[Experiment]:
    """Every active experiment of a store, page after page."""
    token = None
    while True:
        page = store.client.search_experiments(max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def search_all(store: Store, experiment_id: str, condition: str, view: int = ACTIVE) -> Iterator[Run]:
    """Every run of an experiment that meets a condition, page after page."""
    token = None
    while True:
        page = store.client.search_runs([experiment_id], condition, view, PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _entry(text: str | None) -> dict[str, object]:
    try:
        entry = json.loads(text or "{}")
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


def _add(found: dict[str, Import], import_id: str, experiment_name: str, entry: Mapping[str, object]) -> None:
    known = found.get(import_id)
    counts = dict(known.counts) if known else {}
    told = entry.get("counts")
    for name, count in told.items() if isinstance(told, Mapping) else ():
        counts[str(name)] = counts.get(str(name), 0) + int(count)
    names = (*known.experiment_names, experiment_name) if known else (experiment_name,)
    started = str(entry.get("started") or (known.started if known else ""))
    host = str(entry.get("host") or (known.host if known else ""))
    ended = entry.get("ended") is not False and (known is None or known.ended)
    found[import_id] = Import(import_id, tuple(dict.fromkeys(names)), started, host, counts, ended)
