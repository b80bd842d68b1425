"""Run directories in a bucket of Google's, by an emulator of its API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
from support.command import ymlf, ymlf_process
from support.services.needs import needed
from support.services.process import free_port
from support.trees import assert_whole, small_tree, summary

pytestmark = pytest.mark.remote

BUCKET = "archive"


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an emulator with an empty bucket, and an environment that leads to it."""
    port = free_port()
    emulator = needed("gcp_storage_emulator.server", "test-remote")
    needed("gcsfs", "test-remote")
    server = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET)
    server.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()


def upload(tree: Path, endpoint: str) -> None:
    """Put all files of a tree below `runs/` of the bucket."""
    for path in sorted(tree.rglob("*")):
        if path.is_file():
            name = quote(f"runs/{path.relative_to(tree).as_posix()}", safe="")
            url = f"{endpoint}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={name}"
            requests.post(url, path.read_bytes(), timeout=10).raise_for_status()


def test_a_tree_in_a_bucket_of_google_is_imported_and_is_what_is_on_disk(
    tmp_path: Path, endpoint: str, sqlite_uri: str
) -> None:
    tree = small_tree(tmp_path / "tree", 3, epochs=2)
    upload(tree, endpoint)
    answer = ymlf_process("import", f"gs://{BUCKET}/runs", "--tracking-uri", sqlite_uri, "--json", "-j", "2")
    assert (answer.status, summary(answer)) == (0, {"imported": 3}), answer
    assert "bucket type" not in answer.err  # what gcsfs says to itself
    assert_whole(sqlite_uri, tree, 3)


def test_a_bucket_of_google_that_is_not_there_is_refused(endpoint: str) -> None:
    answer = ymlf("scan", "gs://nowhere/runs", "--json")
    assert answer.status == 1
    assert answer.told[0]["reason"] == "gs://nowhere/runs: no such file or directory"
