"""No command changes the schema of a database: an older and a newer one are refused, with the way out."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
from alembic.script import ScriptDirectory
from support.command import ymlf
from support.directories import copy_fixture
from support.stores import untouched

from importer import UsageError, verify_run

COMMANDS = [
    pytest.param(("import", "train-2"), id="import"),
    pytest.param(("import", "train-2", "--dry-run"), id="dry run"),
    pytest.param(("verify", "train-2"), id="verify"),
    pytest.param(("scan", "train-2"), id="scan"),
    pytest.param(("history",), id="history"),
    pytest.param(("undo", "an-id", "--yes"), id="undo"),
]
SCRIPT = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
PREVIOUS = str(SCRIPT.get_revision(SCRIPT.get_heads()[0]).down_revision)  # type: ignore[union-attr]


@pytest.fixture
def database(tmp_path: Path, empty_store: str) -> Path:
    """A SQLite store; the working directory has a training beside it."""
    copy_fixture("train-2", tmp_path)
    return tmp_path / "store.db"


def change(database: Path, *statements: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def refused(database: Path, *words: str) -> str:
    """What an answer with exit status 2 says, which has left the database as it was."""
    before = database.read_bytes()
    answer = ymlf(*words, "--tracking-uri", f"sqlite:///{database}")
    assert (answer.status, answer.out) == (2, ""), answer
    assert database.read_bytes() == before
    return answer.err


@pytest.mark.parametrize("words", COMMANDS)
def test_no_command_upgrades_an_older_database(words: tuple[str, ...], database: Path) -> None:
    change(database, f"UPDATE alembic_version SET version_num = '{PREVIOUS}'", "DROP TABLE webhook_events")
    message = refused(database, *words)
    assert f"has the schema of an older MLflow ({PREVIOUS}), which MLflow {mlflow.__version__} would upgrade" in message
    assert f"run `mlflow db upgrade sqlite:///{database}`" in message


def test_an_older_database_that_mlflow_would_refuse_has_the_same_way_out(database: Path) -> None:
    change(database, f"UPDATE alembic_version SET version_num = '{PREVIOUS}'")
    assert f"`mlflow db upgrade sqlite:///{database}`" in refused(database, "import", "train-2")


@pytest.mark.parametrize("missing", ["", "DROP TABLE webhook_events"])
def test_a_database_of_a_newer_mlflow_is_refused_with_the_newer_mlflow_as_the_way_out(
    missing: str, database: Path
) -> None:
    change(database, "UPDATE alembic_version SET version_num = 'f00f00f00f00'", *filter(None, [missing]))
    message = refused(database, "import", "train-2")
    assert f"has a schema (f00f00f00f00) that MLflow {mlflow.__version__} does not know; a newer MLflow" in message
    assert "pip install --upgrade mlflow" in message


def test_a_database_of_something_else_gets_no_tables(tmp_path: Path, database: Path) -> None:
    database.unlink()
    change(database, "CREATE TABLE addresses (street TEXT)")
    assert "a database of other tables" in refused(database, "import", "train-2")


def test_a_look_at_an_empty_database_makes_no_tables(tmp_path: Path, database: Path) -> None:
    database.write_bytes(b"")
    words = ("train-2", "--tracking-uri", f"sqlite:///{database}")
    assert ymlf("import", *words, "--dry-run").status == 0
    for command in ("verify", "scan"):
        assert "holds no tables yet" in refused(database, command, "train-2")
    assert database.read_bytes() == b""
    assert ymlf("import", *words).status == 0


def test_the_library_verifies_against_no_store_that_it_would_have_to_make(tmp_path: Path) -> None:
    save_dir = copy_fixture("train-2", tmp_path)
    with pytest.raises(UsageError, match="no such file"):
        verify_run(save_dir, tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    assert not (tmp_path / "mlflow.db").exists()


def test_a_locked_database_is_said_in_words(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"sqlite:///{database}"
    with closing(sqlite3.connect(database)) as other:
        other.execute("BEGIN EXCLUSIVE")
        answer = ymlf("import", "train-2", "--tracking-uri", f"{uri}?timeout=0.1")
    assert (answer.status, answer.out) == (3, "")
    assert "error: opening the tracking store: database is locked\n" in answer.err
    assert "hint: another program writes to it" in answer.err
    assert untouched(uri)
