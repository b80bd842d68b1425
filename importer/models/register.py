"""Register the model of a run: a version that points at its weights, with tags, and an alias."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from importer.errors import StoreError, UsageError
from importer.model import Note
from importer.models.weights import FOLDER, RunModel, read_model, write_model
from importer.naming import MAX_TAG_VALUE, dataset_name, storable
from importer.read.ranking import Wanted, rank
from importer.store.failures import accepted, retry, store_errors
from importer.store.store import Store
from importer.write.lookup import IMPORT_ID
from importer.write.stored_best import stored_best

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

SHA256, ALIASES = "sha256", "ymlf.aliases"  # tags of a version: of its best.pt; the aliases that ymlf gave it
ALIAS = re.compile(r"(?!(?i:latest|v\d+)$)[\w-]{1,255}")  # mlflow/utils/validation.py, _validate_model_alias_name
NAME = re.compile(r"(?!\.{1,2}$)(?!\s*$)[^/:]{1,256}")  # the same, _validate_model_name
NO_REGISTRY = ("FEATURE_DISABLED", "ENDPOINT_NOT_FOUND")  # error codes of a store without one


@dataclass(frozen=True)
class Target:
    """Where a model goes: its name, and the alias of its version; `force` moves an alias that is on another one."""

    name: str
    alias: str | None = None
    force: bool = False

    def __post_init__(self) -> None:
        """Check what MLflow would refuse after a part is done. Errors: UsageError."""
        if not NAME.fullmatch(self.name):
            hint = "a name has up to 256 characters, and neither / nor :"
            raise UsageError(f"model name {self.name[:40]!r}: MLflow does not take it", hint=hint)
        if self.alias is not None and not ALIAS.fullmatch(self.alias):
            hint = "an alias has letters, digits, _ and -, and is neither `latest` nor such as v1"
            raise UsageError(f"alias {self.alias!r}: MLflow does not take it", hint=hint)


@dataclass(frozen=True)
class Registered:
    """The version of a model that points at a run."""

    name: str
    version: str
    run_id: str
    run_name: str
    is_new: bool
    tags: Mapping[str, str]  # of the version: task, metric, value, best_step and more
    alias: str | None = None
    notes: tuple[Note, ...] = ()
    candidates: int = 1  # runs, of which it is the best


def get_runs(store: Store, run_ids: Iterable[str]) -> list[Run]:
    """Return active runs by their ids. Errors: UsageError for one that is not there or is deleted; StoreError."""
    from mlflow.exceptions import MlflowException

    runs = []
    for run_id in run_ids:
        with store_errors(f"reading run {run_id}"):
            try:
                run = store.client.get_run(run_id)
            except MlflowException as error:
                if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    raise
                raise UsageError(f"run {run_id}: is not in {store.shown_uri}", hint="check --tracking-uri") from error
        if run.info.lifecycle_stage != "active":
            raise UsageError(f"run {run_id}: is deleted", hint=f"`mlflow runs restore --run-id {run_id}` restores it")
        runs.append(run)
    return runs


def register_run(store: Store, run: Run, target: Target) -> Registered:
    """Register the model of a run, unless that is done; a call that was stopped anywhere is completed by the next.

    The files are there before the version, and the version with its tags before the alias.
    Errors: PlanError for a run that cannot be a model; UsageError; StoreError.
    """
    aliases = _aliases(store, target.name)
    model = read_model(store, run)
    with store_errors(f"looking for versions of model {target.name}"):
        version = _version_of(store, target.name, model)
    holder = (aliases or {}).get(target.alias or "")
    is_new = version is None
    if holder is not None and not target.force and (version is None or holder != str(version.version)):
        message = f"alias {target.alias} is on version {holder} of model {target.name}"
        raise UsageError(message, hint="--force moves it to this run")
    write_model(store, model)
    with store_errors(f"registering model {target.name}"):
        if version is None:
            if aliases is None:
                with accepted("RESOURCE_ALREADY_EXISTS"):
                    store.client.create_registered_model(target.name)
            source, tags = f"{str(run.info.artifact_uri).rstrip('/')}/{FOLDER}", _tags(store, target, model)
            created = store.client.create_model_version(target.name, source, run_id=run.info.run_id, tags=tags)
            version = _version_of(store, target.name, model) or created
            is_new = version.version == created.version
        if target.alias is not None and holder != str(version.version):
            _give_alias(store, target.alias, version)
    run_id, run_name, tags = str(run.info.run_id), str(run.info.run_name), dict(version.tags)
    return Registered(target.name, str(version.version), run_id, run_name, is_new, tags, target.alias, model.notes)


def _aliases(store: Store, name: str) -> dict[str, str] | None:
    """Return the version that each alias of a model is on; None where there is no such model."""
    from mlflow.exceptions import MlflowException

    with store_errors(f"looking for model {name!r}"):
        try:
            model = store.client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            if error.error_code in NO_REGISTRY:
                hint = "MLFLOW_REGISTRY_URI names another registry"
                raise StoreError(f"{store.shown_uri}: has no model registry", hint=hint) from error
            raise
    return {alias: str(version) for alias, version in model.aliases.items()}


def search_versions(store: Store, condition: str) -> list[ModelVersion]:
    """Return versions by name and number, read one by one: a search tells no aliases, and deleted ones for a moment."""
    versions = []
    for found in sorted(store.client.search_model_versions(condition), key=lambda each: (each.name, int(each.version))):
        with accepted("RESOURCE_DOES_NOT_EXIST"):
            versions.append(store.client.get_model_version(found.name, found.version))
    return versions


def _version_of(store: Store, name: str, model: RunModel) -> ModelVersion | None:
    """Return the version of these weights of a run: the first, where a lost answer or another process made two."""
    versions = [
        version
        for version in search_versions(store, f"run_id = '{model.run.info.run_id}'")
        if version.name == name and version.tags.get(SHA256) == model.record.weights
    ]
    for surplus in versions[1:]:
        if not surplus.aliases:
            delete_version(store, surplus)
    return versions[0] if versions else None


def _tags(store: Store, target: Target, model: RunModel) -> dict[str, str]:
    facts = model.facts
    tags = {
        "task": model.task,
        "classes": ", ".join(facts.names),
        "imgsz": facts.train_args.get("imgsz"),
        "ultralytics": facts.version,
        "dataset": dataset_name(facts.train_args.get("data")),
        SHA256: model.record.weights,
        IMPORT_ID: model.run.data.tags.get(IMPORT_ID),
        ALIASES: target.alias,
    }
    for table in rank([stored_best(store, model.run, model.task)], Wanted()).tables:
        best = table.rows[0].best
        tags |= {"metric": table.by, "value": f"{best.value(table.by):.6g}", "best_step": best.best_epoch}
    return {name: storable(str(value))[:MAX_TAG_VALUE] for name, value in tags.items() if value not in (None, "")}


def _give_alias(store: Store, alias: str, version: ModelVersion) -> None:
    """Put an alias on a version, whose tag says before that it is ours: an undo leaves aliases that others gave."""
    ours = version.tags.get(ALIASES, "").split()
    if alias not in ours:
        store.client.set_model_version_tag(version.name, version.version, ALIASES, " ".join([*ours, alias]))

    def give() -> None:
        with store_errors(f"giving alias {alias} to version {version.version} of model {version.name}"):
            store.client.set_registered_model_alias(version.name, alias, version.version)

    retry(give)  # MLflow refuses an alias that another process gives at this moment


def delete_version(store: Store, version: ModelVersion) -> None:
    """Delete a version and its aliases, which may be deleted already; its files stay with the run."""
    with accepted("RESOURCE_DOES_NOT_EXIST"):
        store.client.delete_model_version(version.name, version.version)
