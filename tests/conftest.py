"""What the tests share: the fixture directories, and real services on ports and directories of their own.

A service that does not start is an error, never a skip. Under pytest-xdist each worker starts its own.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.services.mlflow_server import MlflowServer
    from support.services.postgres import PostgresServer
    from support.services.s3 import S3Server


@pytest.fixture(autouse=True)
def _only_the_test_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the developer's shell leads a test to a real store."""
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "AWS_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The small true run directories, each beside its golden plan."""
    return Path(__file__).resolve().parent.parent / "fixtures"


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with MLflow's tables and no runs: migrated once per test run, for all workers of pytest-xdist."""
    from importer.store.opening import open_store

    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    path = shared / "empty_database" / "mlflow.db"
    with (shared / "empty_database.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            path.parent.mkdir()
            open_store(f"sqlite:///{path}")
    return path


@pytest.fixture
def new_sqlite_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The tracking URI of a database that does not exist yet; the working directory is tmp_path."""
    monkeypatch.chdir(tmp_path)
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def sqlite_uri(tmp_path: Path, new_sqlite_uri: str, empty_database: Path) -> str:
    """The tracking URI of a database with MLflow's tables and nothing in them; the working directory is tmp_path."""
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    return new_sqlite_uri


@pytest.fixture
def empty_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_database: Path) -> str:
    """As sqlite_uri; the working directory is tmp_path, so that its artifacts go there."""
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(empty_database, tmp_path / "store.db")
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture(scope="session")
def http_server(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[MlflowServer]:
    """A tracking server on SQLite that hands artifacts through to a directory: one for all tests of a process.

    Each test writes to experiments of its own, and leaves the server running.
    """
    from support.services.mlflow_server import mlflow_server

    directory = tmp_path_factory.mktemp("http_server")
    shutil.copyfile(empty_database, directory / "mlflow.db")
    with mlflow_server(f"sqlite:///{directory / 'mlflow.db'}", str(directory / "artifacts")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server; a test creates databases of its own on it."""
    from support.services.postgres import postgres

    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """An S3 endpoint; a test creates buckets of its own on it."""
    from support.services.s3 import s3

    with s3() as server:
        yield server


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Four trainings: runs/train, train2, train3 and train10."""
    from support.trees import training

    for seed, name in enumerate(("train", "train2", "train3", "train10")):
        training(seed).write(tmp_path / "runs" / name)
    return tmp_path / "runs"


@pytest.fixture
def grown(tree: Path, empty_store: str) -> Path:
    """The tree, imported; since then train2 has grown by two epochs."""
    from support.trees import grow, imported, write_unfinished

    write_unfinished(tree / "train2", 1, 5)
    imported(tree, uri=empty_store)
    grow(tree / "train2", 1, 5)
    return tree


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal on which no table is folded."""
    monkeypatch.setenv("COLUMNS", "200")
