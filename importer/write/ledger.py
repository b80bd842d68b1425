"""Which imports there were: experiment tags that a batch writes with its first run, and a tag on each run."""

from __future__ import annotations

import json
import secrets
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING

from importer.errors import UsageError
from importer.report import Kind
from importer.store.failures import retry, store_errors
from importer.store.store import Store
from importer.write import lookup
from importer.write.lookup import IMPORT_ID, UPDATE_ID, search_runs, stored_run

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Run

PREFIX = "ymlf.import."
SINGLE = "-one-"  # in the id of an import of one directory, whose run is its own entry
UNDONE = "undone"  # counted beside the outcomes: runs of the import that were soft-deleted
EXPERIMENTS_PAGE = 500


@dataclass(frozen=True)
class LedgerEntry:
    """What one process of an import tells of it in one experiment; shards and restarts each have their own."""

    started: str = ""  # ISO 8601, UTC
    host: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    ended: bool = False

    def to_tag(self) -> str:
        """Return the entry as JSON."""
        return json.dumps({**vars(self), "counts": dict(self.counts)})

    @classmethod
    def from_tag(cls, text: str) -> LedgerEntry:
        """Return what to_tag wrote; of what a person wrote into the tag, as much as can be read."""
        try:
            facts = json.loads(text)
        except (ValueError, RecursionError):
            facts = None
        if not isinstance(facts, dict):
            return cls()
        counts = facts["counts"] if isinstance(facts.get("counts"), dict) else {}
        numbers = {name: count for name, count in counts.items() if isinstance(count, int)}
        return cls(str(facts.get("started") or ""), str(facts.get("host") or ""), numbers, facts.get("ended") is True)


@dataclass(frozen=True)
class Import(LedgerEntry):
    """One import: when, from where, and what came of it; not ended while it runs, nor when it was killed."""

    import_id: str = ""
    experiment_names: tuple[str, ...] = ()


class Ledger:
    """The entries of one process of an import: written with its first run in an experiment, counted at its end.

    An import that writes nothing leaves nothing. A store that fails here costs the counts, not the runs.
    """

    def __init__(self, store: Store, import_id: str) -> None:
        self.store = store
        self.tag = f"{PREFIX}{import_id}.{secrets.token_hex(3)}"
        self.started = _now()
        self._counts: dict[str, Counter[str]] = {}

    def count(self, experiment_id: str, outcome: str, number: int = 1) -> None:
        """Count a run that was written."""
        self._counts.setdefault(experiment_id, Counter())[outcome] += number

    def end(self) -> None:
        """Write the counts. Errors: StoreError."""
        for experiment_id, counts in self._counts.items():
            entry = LedgerEntry(self.started, socket.gethostname(), counts, ended=True)
            retry(partial(_set, self.store, experiment_id, self.tag, entry))


def begin_entry(store: Store, experiment_id: str, tag: str | None) -> None:
    """Write the entry of a batch to an experiment, once for each worker, before its first run. Errors: StoreError.

    The import of one directory has no tag: its run is its entry.
    """
    if tag is not None and (experiment_id, tag) not in store.begun_entries:
        _set(store, experiment_id, tag, LedgerEntry(_now(), socket.gethostname()))
        store.begun_entries.add((experiment_id, tag))


def _set(store: Store, experiment_id: str, tag: str, entry: LedgerEntry) -> None:
    with store_errors("writing the ledger"):
        store.client.set_experiment_tag(experiment_id, tag, entry.to_tag())


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def new_import_id(*, single: bool = False) -> str:
    """Return an id that sorts by time and is not used twice; `single` for the import of one directory."""
    return f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}{SINGLE if single else '-'}{secrets.token_hex(2)}"


def check_import_id(import_id: str) -> str:
    """Errors: UsageError when an id has characters that a tag name or a filter cannot hold."""
    if not import_id or len(import_id) > 100 or not all(sign.isalnum() or sign in "-_." for sign in import_id):
        raise UsageError(f"--import-id {import_id!r}: only letters, digits, `-`, `_` and `.`", hint="such as job-42")
    return import_id


def list_imports(store: Store) -> list[Import]:
    """Return every import that a store remembers, oldest first. Errors: StoreError."""
    found: dict[str, list[tuple[str, LedgerEntry]]] = {}
    with store_errors("reading the ledger"):
        for experiment in all_experiments(store):
            experiment_id, name = str(experiment.experiment_id), str(experiment.name)
            for import_id, entries in _entries(experiment).items():
                found.setdefault(import_id, []).append((name, _counted(store, experiment_id, import_id, entries)))
            for tag, outcome in ((IMPORT_ID, Kind.IMPORTED), (UPDATE_ID, Kind.UPDATED)):
                for run in search_runs(store, [experiment_id], f"tags.`{tag}` LIKE '%{SINGLE}%'", lookup.ALL):
                    import_id = run.data.tags[tag]
                    if run.info.lifecycle_stage == "active" or import_id in found:  # not one that was replaced
                        found.setdefault(import_id, []).append((name, _entry_of(run, outcome, import_id)))
    imports = []
    for import_id, named in found.items():
        names = tuple(dict.fromkeys(name for name, _ in named))
        whole = _sum([entry for _, entry in named])
        imports.append(Import(import_id=import_id, experiment_names=names, **vars(whole)))
    return sorted(imports, key=lambda entry: (entry.started, entry.import_id))


def _entries(experiment: Experiment) -> dict[str, list[LedgerEntry]]:
    """Return the entries of an experiment's tags by import id, which the tag's name has before its last point."""
    entries: dict[str, list[LedgerEntry]] = {}
    for key, value in sorted(experiment.tags.items()):
        if key.startswith(PREFIX):
            import_id = key.removeprefix(PREFIX).rpartition(".")[0]
            entries.setdefault(import_id, []).append(LedgerEntry.from_tag(str(value)))
    return entries


def _counted(store: Store, experiment_id: str, import_id: str, entries: list[LedgerEntry]) -> LedgerEntry:
    """Return the entries of an import as one. Where a process did not come to its end, the runs are counted."""
    whole = _sum(entries)
    if whole.ended:
        return whole
    condition = f"= '{import_id}' and tags.`{lookup.STATE}` = '{lookup.COMPLETE}'"
    created, updated = (
        sum(1 for _ in search_runs(store, [experiment_id], f"tags.`{tag}` {condition}", view))
        for tag, view in ((IMPORT_ID, lookup.ALL), (UPDATE_ID, lookup.ACTIVE))
    )
    counts = {Kind.IMPORTED.value: created, Kind.UPDATED.value: updated, UNDONE: whole.counts.get(UNDONE, 0)}
    return replace(whole, counts={name: count for name, count in counts.items() if count})


def _sum(entries: Sequence[LedgerEntry]) -> LedgerEntry:
    counts: Counter[str] = Counter()
    for entry in entries:
        counts.update(entry.counts)
    return LedgerEntry(
        started=min((entry.started for entry in entries if entry.started), default=""),
        host=next((entry.host for entry in entries if entry.host), ""),
        counts={name: count for name, count in counts.items() if count},
        ended=all(entry.ended for entry in entries),
    )


def _entry_of(run: Run, outcome: Kind, import_id: str) -> LedgerEntry:
    """Return the entry of the import of one directory, which has no other than its run."""
    stamp = import_id.partition("Z")[0]
    with suppress(ValueError):
        stamp = datetime.strptime(stamp, "%Y%m%dT%H%M%S").replace(tzinfo=timezone.utc).isoformat()
    return LedgerEntry(stamp, stored_run(run).writer.partition(":")[0], {outcome.value: 1}, ended=True)


def all_experiments(store: Store) -> Iterator[Experiment]:
    """Yield every active experiment of a store, page after page."""
    search = store.client.search_experiments
    return lookup.pages(lambda token: search(max_results=EXPERIMENTS_PAGE, page_token=token))


def is_in_ledger(experiments: Iterable[Experiment], import_id: str) -> bool:
    """Whether an import has an entry in one of some experiments."""
    return any(import_id in _entries(experiment) for experiment in experiments)


def count_undone(store: Store, import_id: str, undone: Mapping[str, int]) -> None:
    """Add runs that were soft-deleted, or with negative numbers brought back, to an import's entries.

    Errors: StoreError.
    """
    ledger = Ledger(store, import_id)
    for experiment_id, number in undone.items():
        ledger.count(experiment_id, UNDONE, number)
    ledger.end()
