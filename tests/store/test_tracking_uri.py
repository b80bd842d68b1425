"""A tracking URI that cannot be meant is a misuse, told with the URI that was probably meant."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.command import ymlf
from support.directories import Training

from importer.redaction import redact, remember_login
from importer.store.store import EmptyStore


@pytest.mark.parametrize(
    ("uri", "what", "meant"),
    [
        pytest.param("mlflow.db", "is a file, not the URI of a store", "sqlite:///mlflow.db", id="a database's path"),
        pytest.param("nosuch", "no such store", "sqlite:///mlflow.db or http://host:5000", id="nothing"),
        pytest.param("sqlite://x.db", "names a host, which SQLite has not", "sqlite:///x.db", id="two slashes"),
        pytest.param("postgres://me@host/x", "is called postgresql by now", "postgresql://", id="postgres"),
        pytest.param("localhost:5066", "has no scheme", "http://localhost:5066", id="host and port"),
        pytest.param("htp://host", "MLflow knows no store of the scheme htp", "http://host", id="a letter is missing"),
        pytest.param("ftp://host", "MLflow knows no store of the scheme ftp", "http://host:5000", id="no such scheme"),
        pytest.param("sqlite:///no/such/x.db", "no such folder", "make the folder no/such", id="a folder is missing"),
        pytest.param("postgresql://host:port/x", "is no URL of a database", "HOST:PORT", id="a port that is a word"),
        pytest.param("mysql://host/x", "No module named 'MySQLdb'", "pip install pymysql", id="a driver is missing"),
        pytest.param("me:secret@host:5066", "***@host:5066: has no scheme", "http://***@host:5066", id="a login, too"),
    ],
)
@pytest.mark.parametrize("command", ["import", "verify", "history"])
def test_a_uri_that_cannot_be_meant_is_a_misuse(
    command: str, uri: str, what: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Training().write(tmp_path / "train")
    (tmp_path / "mlflow.db").write_bytes(b"")
    before = sorted(tmp_path.iterdir())
    words = [command] if command == "history" else [command, "train"]
    answer = ymlf(*words, "--tracking-uri", uri)
    assert answer.status == 2, answer.err
    error, hint = answer.err.splitlines()
    assert error.startswith("error: --tracking-uri ") and error.endswith(what)
    assert meant in hint and "secret" not in answer.err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("status", [200, 404, 405, 501])
def test_a_web_server_that_is_not_mlflow_is_a_misuse(status: int, tmp_path: Path) -> None:
    save_dir = Training().write(tmp_path / "train")
    with web_server(status) as url:
        for words in (["import", save_dir], ["import", save_dir, "--dry-run"], ["verify", save_dir], ["history"]):
            answer = ymlf(*words, "--tracking-uri", url)
            assert answer.err == (
                f"error: {url}: is no MLflow server: it answers {status} with text/html\n"
                "  hint: check the host, the port and the path of --tracking-uri\n"
            )
            assert (answer.status, answer.out) == (2, "")


@contextmanager
def web_server(status: int) -> Iterator[str]:
    """A web server that answers every request with a page."""

    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *words: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_database_that_is_not_there_is_a_misuse_of_verify(tmp_path: Path, new_sqlite_uri: str) -> None:
    answer = ymlf("verify", Training().write(tmp_path / "train"), "--tracking-uri", new_sqlite_uri)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith(f"error: {new_sqlite_uri}: no such file\n  hint: ")
    assert not (tmp_path / "mlflow.db").exists()


def test_what_is_no_login_is_not_taken_for_a_secret() -> None:
    for uri in (
        "postgresql+psycopg://me:hunter2@host/db",
        "sqlite:///a@b.db",
        "me:pass2@host:1",
    ):
        remember_login(uri)
    told = "postgresql+psycopg://other http://host:5000 sqlite:///mlflow.db hunter2? me:hunter2 me:pass2"
    assert redact(told) == "postgresql+psycopg://other http://host:5000 sqlite:///mlflow.db hunter2? *** ***"


def test_scan_looks_into_the_store_that_the_environment_names(
    tmp_path: Path, empty_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_dir = Training().write(tmp_path / "train")
    assert ymlf("import", save_dir, "--tracking-uri", empty_store).status == 0
    assert "already there" not in ymlf("scan", save_dir).out
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty_store)
    assert "already there" in ymlf("scan", save_dir).out
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    missing = ymlf("scan", save_dir)
    assert missing.status == 0 and "would be" in missing.out
    assert missing.err == f"note: sqlite:///{tmp_path}/none.db is not there yet\n"


@pytest.mark.parametrize(
    ("uri", "is_database"),
    [("sqlite:///a.db", True), ("postgresql+psycopg://host/db", True), ("databricks://profile", False),
     ("http://host", False)],
)  # fmt: skip
def test_a_store_of_databricks_is_no_database(uri: str, is_database: bool) -> None:
    assert EmptyStore(uri).is_database is is_database
