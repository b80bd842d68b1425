"""What one worker does with one surveyed directory, in a store that it opens once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from importer.batch.own_process import is_own, settle_in
from importer.batch.summary import Survey, read_surveyed
from importer.errors import RunDirError, StoreError, YmlfError
from importer.model import Conduct, ImportOptions, TrainingRun
from importer.outcome import Kind, Outcome
from importer.replay.names import needs_date
from importer.replay.record import load_record, not_applied
from importer.store.failures import failures, twice
from importer.store.opening import open_store
from importer.store.store import Store
from importer.write.decision import import_read_run, imported_without, verify_read_run
from importer.write.lookup import RECORD, search_key, unchanged

if TYPE_CHECKING:
    from mlflow.entities import Run

_stores: dict[str, Store] = {}

_stores_lock = threading.Lock()

_tune: dict[str, TrainingRun] = {}  # the one whose iterations are in hand, by the name of its reading

_tune_lock = threading.Lock()


def import_one(survey: Survey, uri: str, options: ImportOptions, conduct: Conduct) -> Outcome:
    """The outcome of importing one surveyed directory, or one iteration of a tune. Nothing is raised but bugs."""
    options = replace(options, root=survey.root)
    tries = iter((conduct, replace(conduct, made=frozenset())))  # the second looks for what the first has left
    return _settled(survey, lambda: _import_or_pass(survey, uri, options, next(tries)))


def _import_or_pass(survey: Survey, uri: str, options: ImportOptions, conduct: Conduct) -> Outcome:
    began = time.monotonic()
    store = worker_store(uri)
    if survey.child is not None:
        child, below = _iteration(survey, options)
        return import_read_run(child, store, below, conduct, parent_run_id=survey.parent_run_id)
    experiment_id = store.experiment_id(survey.experiment, create=False)
    runs: list[Run] = []
    if experiment_id is not None and experiment_id not in conduct.made:
        with failures("looking the run up"):
            runs = search_key(store, experiment_id, survey.key)
    if (there := _there_already(survey, runs, options)) is not None:
        return replace(there, seconds=time.monotonic() - began)
    known = None if needs_date(options.experiment) else runs  # the survey could not tell the experiment
    return import_read_run(read_surveyed(survey, options), store, options, conduct, known)


def verify_one(survey: Survey, uri: str, options: ImportOptions, conduct: Conduct) -> Outcome:
    """How one surveyed directory, or iteration of a tune, compares with the store. Nothing is raised but bugs."""
    options = replace(options, root=survey.root)
    return _settled(survey, lambda: _verify(survey, uri, options, conduct.deep))


def _verify(survey: Survey, uri: str, options: ImportOptions, deep: bool | None) -> Outcome:
    if survey.child is not None:
        child, below = _iteration(survey, options)
        return verify_read_run(child, worker_store(uri), below, deep, parent_run_id=survey.parent_run_id)
    return verify_read_run(read_surveyed(survey, options), worker_store(uri), options, deep)


def _settled(survey: Survey, work: Callable[[], Outcome]) -> Outcome:
    try:
        return twice(work)  # identity finds what the first try left
    except StoreError as error:
        return Outcome(Kind.FAILED, survey.save_dir, error.message, error.hint, key=survey.key)
    except YmlfError as error:
        return Outcome(Kind.REFUSED, survey.save_dir, error.message, error.hint, key=survey.key)


def _iteration(survey: Survey, options: ImportOptions) -> tuple[TrainingRun, ImportOptions]:
    """An iteration of a tune, which is read once for all of them, and the options for it."""
    assert survey.child is not None  # noqa: S101  for mypy
    with _tune_lock:
        if survey.reading not in _tune:
            _tune.clear()
            _tune[survey.reading] = read_surveyed(survey, options)
        children = _tune[survey.reading].children
    if survey.child >= len(children):
        raise RunDirError(f"{survey.save_dir}: has fewer iterations than when it was looked at", hint="import it again")
    return children[survey.child], options.of_children(survey.experiment)


def _there_already(survey: Survey, runs: list[Run], options: ImportOptions) -> Outcome | None:
    """The outcome for a training that is there, whole and unchanged: nothing more needs to be read."""
    run = unchanged(runs, survey.fingerprint)
    if run is None:
        return None
    missed = not_applied(options, load_record(run.data.tags.get(RECORD)))
    if missed is not None and options.on_change == "replace":
        return None
    reason, hint = imported_without(missed) if missed is not None else (None, None)
    return Outcome(
        Kind.ALREADY_THERE,
        survey.save_dir,
        reason,
        hint,
        run_id=run.info.run_id,
        run_name=run.info.run_name,
        experiment_id=run.info.experiment_id,
        experiment_name=survey.experiment,
        key=survey.key,
    )


def worker_store(uri: str) -> Store:
    """The store at a URI, opened once per process."""
    with _stores_lock:
        if uri not in _stores:
            _stores[uri] = open_store(uri)
            if is_own():
                settle_in()
        return _stores[uri]
