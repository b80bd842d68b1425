"""Two imports of one tree at the same time end with one run per training, on SQLite and on PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from services.postgres import PostgresServer
from trees import assert_whole, small_tree

RUNS = 16


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_two_imports_at_once_end_with_one_run_per_training(
    store: str, tmp_path: Path, sqlite_uri: str, request: pytest.FixtureRequest
) -> None:
    tree = small_tree(tmp_path / "tree", RUNS)
    uri = sqlite_uri
    if store == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        uri = server.create_database("twice")
    words = ["import", str(tree), "--tracking-uri", uri, "--artifact-location", str(tmp_path / "artifacts"), "-j", "2"]
    command = [sys.executable, "-m", "importer.cli", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    both = [subprocess.Popen(command, cwd=tmp_path, **pipes) for _ in range(2)]  # type: ignore[call-overload]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert_whole(uri, tree, RUNS)
