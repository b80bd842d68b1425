"""Names of MLflow that its documentation lacks are there, and do what ymlf takes them to do.

In the group `releases` this runs at the oldest MLflow, too.
"""

from __future__ import annotations

import re
from pathlib import Path

import sqlalchemy
from support.services.mlflow_server import MlflowServer

from importer.store import undocumented


def test_a_repository_writes_lists_and_reads_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    repository = undocumented.artifact_repository((tmp_path / "artifacts").as_uri())
    repository.log_artifact(str(tmp_path / "a.txt"), "folder")
    [folder] = repository.list_artifacts(None)
    [file] = repository.list_artifacts(folder.path)
    assert (folder.is_dir, file.path, file.file_size) == (True, "folder/a.txt", 1)
    assert Path(repository.download_artifacts("folder/a.txt", str(tmp_path))).read_text() == "a"
    assert Path(repository.artifact_dir) == tmp_path / "artifacts"


def test_a_server_that_takes_files_itself_is_asked_without_harm(http_server: MlflowServer) -> None:
    repository = undocumented.artifact_repository("mlflow-artifacts:/", http_server.url)
    assert undocumented.wants_presigned_urls(repository) is False


def test_what_opens_databases_can_be_imported() -> None:
    undocumented.import_database_store()


def test_the_newest_revision_is_that_of_a_new_database(empty_store: str) -> None:
    newest, known = undocumented.revisions()
    with sqlalchemy.create_engine(empty_store).connect() as connection:
        found = set(connection.execute(sqlalchemy.text("SELECT version_num FROM alembic_version")).scalars())
    assert found == newest
    assert newest < known


def test_no_other_module_imports_such_names() -> None:
    package = Path(undocumented.__file__).parents[1]
    imports = re.compile(r"(from|import) mlflow\.(?!entities|environment_variables|exceptions|pyfunc)")
    found = {path.name for path in package.rglob("*.py") if imports.search(path.read_text())}
    assert found == {"undocumented.py"}
