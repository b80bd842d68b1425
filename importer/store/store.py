"""An opened MLflow store: its client, its experiments, and what was asked of it once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from importer.errors import StoreError, UsageError
from importer.redaction import redact
from importer.store import undocumented
from importer.store.failures import accepted, store_errors
from importer.store.uri import is_database, why_not_writable

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Answer = TypeVar("Answer")
NO_LOCATION = "give --artifact-location, such as s3://bucket/path; MLflow's default is ./mlruns of this host"


class Store:
    """A tracking store that answers. Errors of every call made under `store_errors` are StoreErrors."""

    def __init__(self, client: Any, uri: str) -> None:
        self.client: MlflowClient = client
        self.uri = uri
        self.shown_uri = redact(uri)  # without credentials, for people to read
        self.is_server = uri.startswith(("http://", "https://"))
        self.is_sqlite = uri.startswith("sqlite")
        self.is_database = is_database(uri)
        self.allows_bulk = True  # False under --no-bulk
        self.is_new = False  # a SQLite file that was made just now
        self.begun_entries: set[tuple[str, str]] = set()  # of the ledger: experiment id and tag
        self._experiments: dict[str, tuple[str, str]] = {}  # by name: id and artifact location
        self._answers: dict[tuple[str, str], Any] = {}
        self._knows_null = True
        self._lock = threading.Lock()

    def experiment_id(self, name: str, artifact_location: str | None = None, *, create: bool = True) -> str | None:
        """Return the id of an experiment, which is made if need be; None if it is missing and `create` is False.

        Errors: StoreError when an experiment of that name was deleted, or needs an artifact location.
        """
        with self._lock, store_errors(f"experiment {name!r}"):
            if self._experiment(name) is None and create:
                if self.is_database and not self.is_sqlite and artifact_location is None:
                    problem = f"experiment {name!r} is new, and a database does not say where artifacts belong"
                    raise StoreError(f"{self.shown_uri}: {problem}", hint=NO_LOCATION)
                with accepted("RESOURCE_ALREADY_EXISTS"):
                    return str(self.client.create_experiment(name, artifact_location))
            experiment = self._experiment(name)
            return experiment[0] if experiment is not None else None

    def check_artifacts(self, name: str) -> None:
        """Check that the artifacts of an experiment, if there is one, can be written from here.

        Errors: UsageError; StoreError when the experiment was deleted.
        """
        location = self._location(name) or ""
        if (reason := why_not_writable(location, is_server=self.is_server)) is not None:
            problem, hint = reason
            hint = f"{hint}, or choose another --experiment, or leave the files out with --artifacts none"
            raise UsageError(f"experiment {name!r}: its artifacts {problem}: {location}", hint=hint)

    def check_uploads(self, name: str, artifact_location: str | None) -> None:
        """Check that a server, where it stores the files of an experiment itself, takes them from this MLflow.

        Errors: UsageError where it hands out presigned URLs only; StoreError.
        """
        location = self._location(name)
        location = artifact_location or "mlflow-artifacts:/" if location is None else location
        if not self.is_server or not location.startswith("mlflow-artifacts:"):
            return

        def ask() -> bool:
            return undocumented.wants_presigned_urls(self.artifact_repository(location))

        with store_errors("asking the artifact server"):
            is_refused = self.ask_once("presigned", location, ask)
        if is_refused:
            message = f"{self.shown_uri}: takes files by presigned URLs only, which this MLflow does not know"
            raise UsageError(message, hint="pip install 'mlflow>=3.18', or leave the files out with --artifacts none")

    def _location(self, name: str) -> str | None:
        """Return where the artifacts of an experiment lie; None if it is missing. Errors: StoreError."""
        with self._lock, store_errors(f"experiment {name!r}"):
            experiment = self._experiment(name)
        return experiment[1] if experiment is not None else None

    def _experiment(self, name: str) -> tuple[str, str] | None:
        """Return the id and artifact location of an experiment, asked until it is there. Errors: StoreError."""
        if name not in self._experiments and (found := self.client.get_experiment_by_name(name)) is not None:
            if found.lifecycle_stage != "active":
                restore = f"`mlflow experiments restore --experiment-id {found.experiment_id}`"
                hint = f"{restore}, or choose another with --experiment"
                raise StoreError(f"{self.shown_uri}: experiment {name!r} was deleted", hint=hint)
            self._experiments[name] = (str(found.experiment_id), str(found.artifact_location or ""))
        return self._experiments.get(name)

    def active_experiment_id(self, name: str) -> str | None:
        """Return the id of an experiment that is not deleted, if there is one; asked once."""

        def ask() -> str | None:
            experiment = self.client.get_experiment_by_name(name)
            is_active = experiment is not None and experiment.lifecycle_stage == "active"
            return str(experiment.experiment_id) if is_active else None

        return self.ask_once("active", name, ask)

    def may_hold_live_runs(self, experiment_id: str) -> bool:
        """Return whether an experiment had runs that ymlf did not write when this was first asked."""
        return self.ask_once("live", experiment_id, lambda: bool(self.search_foreign(experiment_id, max_results=1)))

    def may_hold_empty_runs(self, experiment_id: str) -> bool:
        """Return whether an experiment had runs of directories without epochs when this was first asked."""
        condition = "tags.`ymlf.key.empty` != ''"
        return self.ask_once(
            "empty", experiment_id, lambda: bool(self.client.search_runs([experiment_id], condition, max_results=1))
        )

    def ask_once(self, question: str, of: str, ask: Callable[[], Answer]) -> Answer:
        """Return what `ask` answered when this question was first asked."""
        with self._lock:
            if (question, of) not in self._answers:
                self._answers[question, of] = ask()
            answer: Answer = self._answers[question, of]
            return answer

    def search_foreign(self, experiment_id: str, condition: str | None = None, *, max_results: int = 200) -> list[Run]:
        """Return the runs that ymlf did not write, by their lack of its state; of an older server, by their source.

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
        """Return MLflow's repository for a run's artifacts."""
        return undocumented.artifact_repository(artifact_uri, self.uri)


class EmptyStore(Store):
    """A SQLite store whose file does not exist yet: it holds nothing, and a look makes no file."""

    def __init__(self, uri: str) -> None:
        super().__init__(None, uri)

    def experiment_id(self, name: str, artifact_location: str | None = None, *, create: bool = True) -> str | None:
        """Return None: there is no experiment."""
        return None

    def active_experiment_id(self, name: str) -> str | None:
        """Return None: there is no experiment."""
        return None
