"""The model of a run: its best.pt as the store has it, and the files that are added beside it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from importer.errors import PlanError, RunDirError
from importer.model import Artifact, CheckpointFacts, Note, RunFile, TrainingRun
from importer.models.files import FOLDER, model_files, task_of
from importer.read.checkpoint import read_checkpoint
from importer.record import ModelRecord
from importer.report import WROTE, Kind, Outcome
from importer.sources.scratch import temporary_folder
from importer.store.failures import store_errors
from importer.store.store import Store
from importer.write.artifacts import BEST, fetched, is_local, list_artifacts, log_artifact, sha256_of, spooled
from importer.write.lookup import MODEL_FILES, STATE, WRITING

if TYPE_CHECKING:
    from mlflow.entities import Run


@dataclass(frozen=True)
class RunModel:
    """What makes a run's weights a model, before it is written."""

    run: Run
    facts: CheckpointFacts
    task: str
    record: ModelRecord
    contents: dict[str, bytes]  # by file name, MLmodel last
    notes: tuple[Note, ...]
    is_there: bool  # in the run already: made of these weights, perhaps by another release


def read_model(store: Store, run: Run, local: RunFile | None = None) -> RunModel:
    """Return the model of a run, by its best.pt: `local`, where that is what was logged, else the store's.

    Nothing of the checkpoint is executed, and nothing is written.
    Errors: PlanError for a run that cannot be a model; StoreError.
    """
    run_id = str(run.info.run_id)
    try:
        if run.data.tags.get(STATE) == WRITING:
            raise PlanError("its import has not come to its end", hint="import it again, which finishes it")
        repository = _repository(store, run)
        stored = list_artifacts(repository, FOLDER)
        if BEST not in stored:
            raise PlanError(f"it has no {BEST}", hint="import it with its weights, not with --artifacts none")
        logged = None if local is None else Artifact(BEST, local.size, local.location)
        with fetched(repository, BEST) if logged is None else spooled(logged) as best:
            facts, weights = read_checkpoint(best), sha256_of(best)
        contents, notes = model_files(facts, run_id, int(run.info.start_time))
    except (PlanError, RunDirError) as error:
        raise PlanError(f"run {run_id}: {error.message}", hint=error.hint) from error
    digests = {f"{FOLDER}/{name}": hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    record, recorded = ModelRecord(weights, digests), ModelRecord.from_tag(run.data.tags.get(MODEL_FILES))
    is_there = recorded is not None and recorded.weights == weights and set(recorded.files) <= set(stored)
    return RunModel(run, facts, task_of(facts), record, contents, notes, is_there)


def write_model(store: Store, model: RunModel) -> None:
    """Add the files to the run, MLmodel last, and then the tag that lists them; a second call completes a first.

    Errors: StoreError.
    """
    if model.is_there:
        return
    repository = _repository(store, model.run)
    local = Path(repository.artifact_dir) if is_local(model.run.info.artifact_uri) else None
    with temporary_folder() as folder:
        for name, content in model.contents.items():
            path = folder / name
            path.write_bytes(content)
            log_artifact(repository, Artifact(f"{FOLDER}/{name}", len(content), path), local)
    with store_errors("recording the model's files"):
        store.client.set_tag(model.run.info.run_id, MODEL_FILES, model.record.to_tag())


def _repository(store: Store, run: Run) -> Any:
    with store_errors("opening the artifact store"):
        return store.artifact_repository(run.info.artifact_uri)


def with_model(store: Store, outcome: Outcome, run: TrainingRun | None) -> Outcome:
    """Add the model's files to a run that is in the store by now; a note says why where that cannot be.

    Errors: StoreError.
    """
    if outcome.run_id is None or outcome.kind not in WROTE | {Kind.ALREADY_THERE}:
        return outcome
    with store_errors("reading the run"):
        stored = store.client.get_run(outcome.run_id)
    try:
        model = read_model(store, stored, run.file(BEST) if run is not None and outcome.kind in WROTE else None)
        write_model(store, model)
        notes = model.notes
    except (PlanError, RunDirError) as error:
        notes = (Note("no-model", error.message),)
    return replace(outcome, notes=(*outcome.notes, *notes))
