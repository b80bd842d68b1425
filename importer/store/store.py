"""An opened MLflow store: its client and its experiments."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, cast

from importer.errors import StoreError
from importer.redaction import redact
from importer.store.failures import store_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


DATABASES = ("sqlite", "postgresql", "mysql", "mssql")  # mlflow/store/db/db_types.py


class Store:
    """A tracking store that answers. Errors of every call made under `store_errors` are StoreErrors."""

    def __init__(self, client: MlflowClient, uri: str) -> None:
        self.uri = uri
        self.is_server = uri.startswith(("http://", "https://"))
        self.client = client
        self.is_sqlite = uri.startswith("sqlite")
        self.is_database = uri.startswith(DATABASES)
        self.is_new = False  # a SQLite file that was made just now
        self._experiments: dict[str, str] = {}
        self._foreign: dict[str, bool] = {}
        self._empty: dict[str, bool] = {}
        self._former: dict[str, str | None] = {}
        self.begun_entries: set[tuple[str, str]] = set()  # of the ledger: experiment id and tag
        self._knows_null = True
        self._lock = threading.Lock()

    @property
    def shown_uri(self) -> str:
        """The URI without credentials, for people to read."""
        return redact(self.uri)

    def experiment_id(self, name: str, artifact_location: str | None = None, *, create: bool = True) -> str | None:
        """The id of an experiment, made if there is none; None where there is none and `create` is False.

        Errors: StoreError when an experiment of that name was deleted, or needs an artifact location.
        """
        from mlflow.exceptions import MlflowException

        with self._lock:
            if name in self._experiments:
                return self._experiments[name]
            with store_errors(f"experiment {name!r}"):
                found = self.client.get_experiment_by_name(name)
                if found is None and create:
                    self._require_location(name, artifact_location)
                    try:
                        self._experiments[name] = self.client.create_experiment(name, artifact_location)
                        return self._experiments[name]
                    except MlflowException as error:
                        if error.error_code != "RESOURCE_ALREADY_EXISTS":
                            raise
                        found = self.client.get_experiment_by_name(name)  # another importer was first
            if found is None:
                return None
            if found.lifecycle_stage != "active":
                raise StoreError(
                    f"{self.shown_uri}: experiment {name!r} was deleted",
                    hint=f"`mlflow experiments restore --experiment-id {found.experiment_id}`, or choose another "
                    "with --experiment",
                )
            self._experiments[name] = str(found.experiment_id)
            return self._experiments[name]

    def _require_location(self, name: str, artifact_location: str | None) -> None:
        if self.is_database and not self.is_sqlite and artifact_location is None:
            raise StoreError(
                f"{self.shown_uri}: experiment {name!r} is new, and a database does not say where artifacts belong",
                hint="give --artifact-location, such as s3://bucket/path; MLflow's default is ./mlruns of this host",
            )

    def active_experiment_id(self, name: str) -> str | None:
        """Return the id of an experiment that is not deleted, if there is one; asked once."""
        with self._lock:
            if name not in self._former:
                found = self.client.get_experiment_by_name(name)
                is_active = found is not None and found.lifecycle_stage == "active"
                self._former[name] = str(found.experiment_id) if is_active else None
            return self._former[name]

    def may_hold_live_runs(self, experiment_id: str) -> bool:
        """Whether an experiment had runs that ymlf did not write when this was first asked."""
        with self._lock:
            if experiment_id not in self._foreign:
                self._foreign[experiment_id] = bool(self.search_foreign(experiment_id, max_results=1))
            return self._foreign[experiment_id]

    def may_hold_empty_runs(self, experiment_id: str) -> bool:
        """Whether an experiment had runs of directories without epochs when this was first asked."""
        with self._lock:
            if experiment_id not in self._empty:
                found = self.client.search_runs([experiment_id], "tags.`ymlf.key.empty` != ''", max_results=1)
                self._empty[experiment_id] = bool(found)
            return self._empty[experiment_id]

    def search_foreign(self, experiment_id: str, condition: str | None = None, *, max_results: int = 200) -> list[Run]:
        """The runs that ymlf did not write, by their lack of its state; of an older server, by their source.

        Source: MLflow 2.22.4 and 3.7.0 refuse IS NULL on tags, 3.17.2 takes it.
        """
        from mlflow.exceptions import MlflowException

        also = f"{condition} and " if condition else ""
        if self._knows_null:
            try:
                by_state = f"{also}tags.`ymlf.state` IS NULL"
                return list(self.client.search_runs([experiment_id], by_state, max_results=max_results))
            except MlflowException as error:
                if error.error_code not in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST"):
                    raise
            self._knows_null = False
        by_source = f"{also}tags.`mlflow.source.name` != 'ymlf'"  # which the fluent API sets on every run
        return list(self.client.search_runs([experiment_id], by_source, max_results=max_results))

    def artifact_repository(self, artifact_uri: str) -> Any:
        """MLflow's repository for a run's artifacts."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(artifact_uri, tracking_uri=self.uri)


class EmptyStore(Store):
    """A SQLite store whose file is not there yet: nothing is in it, and a look makes no file."""

    def __init__(self, uri: str) -> None:
        super().__init__(cast("MlflowClient", None), uri)

    def experiment_id(self, name: str, artifact_location: str | None = None, *, create: bool = True) -> str | None:
        """None: there is no experiment."""
        return None

    def active_experiment_id(self, name: str) -> str | None:
        """None: there is no experiment."""
        return None
