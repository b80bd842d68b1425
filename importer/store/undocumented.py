"""Use names of MLflow that its documentation lacks: all are here, and each is tested at the oldest and newest MLflow.

The tables of its databases are in write/bulk.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

PRESIGNED = (3, 18)  # the first MLflow that uploads every file to a presigned URL, where its server wants that


def artifact_repository(artifact_uri: str, tracking_uri: str | None = None) -> Any:
    """Return what lists, writes and reads the files at a location: an `ArtifactRepository`, as plugins define one.

    Errors: MlflowException for a kind of location that no repository is for.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(artifact_uri, tracking_uri=tracking_uri)


def wants_presigned_urls(repository: Any) -> bool:
    """Return whether a server lets no file pass through it, and this MLflow has no other way. One request at most.

    Such a server answers even the question for a file with 409. Where MLflow lacks the names, the first upload tells.
    Source: mlflow/mlflow, pull request 25513, of MLflow 3.18.
    """
    import mlflow

    if tuple(map(int, mlflow.__version__.split(".")[:2])) >= PRESIGNED:
        return False
    try:
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request
    except ImportError:
        return False
    creds = get_default_host_creds(repository.artifact_uri)
    answer = http_request(creds, "/ymlf.probe", "GET", max_retries=0, raise_on_status=False)
    return int(answer.status_code) == 409


def send_batch(tracking_uri: str, batch: Mapping[str, Any]) -> bool:
    """Send one log_batch to a server, as its documented JSON; return False where this MLflow lacks the names for it.

    MLflow's client makes protobuf, JSON, objects and JSON again of each batch: a third of the CPU of an import.

    Errors: MlflowException, with the retries of MLflow's client before.
    Source: mlflow/store/tracking/rest_store.py, RestStore.log_batch; MLflow's REST API, Log Batch.
    """
    try:
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request, verify_rest_response
    except ImportError:
        return False
    endpoint = "/api/2.0/mlflow/runs/log-batch"
    verify_rest_response(http_request(get_default_host_creds(tracking_uri), endpoint, "POST", json=batch), endpoint)
    return True


def import_database_store() -> None:
    """Import what MLflow opens databases with. Errors: ImportError where it does not go with this SQLAlchemy."""
    try:
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("mlflow"):
            raise  # else it has another name by now, and MLflow itself tells


@cache
def revisions() -> tuple[frozenset[str], frozenset[str]]:
    """Return the newest revisions of this MLflow's schema, and all of them; nothing where they lie elsewhere by now."""
    import mlflow
    from alembic.script import ScriptDirectory

    folder = Path(mlflow.__file__).parent / "store" / "db_migrations"
    if not folder.is_dir():
        return frozenset(), frozenset()
    script = ScriptDirectory(str(folder))
    return frozenset(script.get_heads()), frozenset(revision.revision for revision in script.walk_revisions())
