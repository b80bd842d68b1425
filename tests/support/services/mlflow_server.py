"""A real `mlflow server`, of the release under test or of another one."""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from werkzeug.security import generate_password_hash

from .certificates import Certificates
from .process import ServerProcess, answers_ok, free_port, is_free

USERNAME, PASSWORD = "ymlf-admin", "ymlf-test-password"  # MLflow wants twelve characters at least
AUTH_CONFIG = """\
[mlflow]
default_permission = READ
database_uri = sqlite:///{directory}/basic_auth.db
admin_username = {username}
admin_password = {password}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


class MlflowServer:
    """A running server."""

    def __init__(self, process: ServerProcess, url: str, client_env: Mapping[str, str]) -> None:
        self.process = process
        self.url = url
        self.client_env = dict(client_env)  # what a client needs besides the url: the admin's login, with basic-auth

    @property
    def log(self) -> str:
        """All the server has written, over all its starts."""
        return self.process.log.read_text(errors="replace")

    def kill(self) -> None:
        """The server and its workers are gone, by SIGKILL."""
        self.process.kill()

    def restart(self) -> None:
        """The server runs again, on the same port and store, whether it was killed before or not."""
        self.process.restart()


@contextmanager
def mlflow_server(
    backend_uri: str,
    artifacts_destination: str,
    serve_artifacts: bool = True,
    workers: int = 1,
    app_name: str | None = None,
    env: Mapping[str, str] | None = None,
    python: str | Path | None = None,
    certificates: Certificates | None = None,
) -> Iterator[MlflowServer]:
    """A running server.

    With `serve_artifacts` it hands artifacts through to their destination; without, clients go there themselves.
    `python` is the interpreter of another environment, whose MLflow then serves. `app_name="basic-auth"` needs
    mlflow[auth] there. With `certificates` it speaks TLS. The server sees the tests' environment less MLFLOW_*, plus
    `env`. To count its requests, put fault_proxy(server.url) before it.
    """
    with tempfile.TemporaryDirectory(prefix="ymlf-mlflow-") as name:
        directory = Path(name)
        port = free_port()
        url = f"{'https' if certificates else 'http'}://127.0.0.1:{port}"
        destination_option = "--artifacts-destination" if serve_artifacts else "--default-artifact-root"
        words = [str(python or sys.executable), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
        words += ["--workers", str(workers), "--backend-store-uri", backend_uri]
        words += ["--serve-artifacts" if serve_artifacts else "--no-serve-artifacts"]
        words += [destination_option, artifacts_destination]
        words += ["--app-name", app_name] if app_name else []
        if certificates:
            files = f"--ssl-certfile {certificates.server} --ssl-keyfile {certificates.server_key}"
            words += ["--uvicorn-opts", files]
        login = {"MLFLOW_TRACKING_USERNAME": USERNAME, "MLFLOW_TRACKING_PASSWORD": PASSWORD}
        process = ServerProcess(
            words,
            port=port,
            log=directory / "mlflow.log",
            is_ready=lambda: not is_free(port) if certificates else answers_ok(f"{url}/health"),
            env=server_environment(directory, app_name) | dict(env or {}),
        )
        process.start()
        if app_name == "basic-auth":
            hash_cheaply(directory)
        try:
            yield MlflowServer(process, url, login if app_name == "basic-auth" else {})
        finally:
            process.kill()


def hash_cheaply(directory: Path) -> None:
    """The admin's password is the same, hashed in one round: MLflow checks it with every request, for 0.2 s."""
    with closing(sqlite3.connect(directory / "basic_auth.db")) as database, database:
        cheap = generate_password_hash(PASSWORD, "pbkdf2:sha256:1")
        changed = database.execute("UPDATE users SET password_hash = ? WHERE username = ?", (cheap, USERNAME))
        assert changed.rowcount == 1


def server_environment(directory: Path, app_name: str | None) -> dict[str, str]:
    """The tests' environment without what is meant for clients, or for this interpreter only."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "PYTHONPATH"))}
    kept["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # eight more processes and two seconds, for GenAI's jobs
    if app_name == "basic-auth":
        config = directory / "basic_auth.ini"
        config.write_text(AUTH_CONFIG.format(directory=directory, username=USERNAME, password=PASSWORD))
        kept["MLFLOW_AUTH_CONFIG_PATH"] = str(config)
        kept["MLFLOW_FLASK_SERVER_SECRET_KEY"] = "ymlf-test-secret-key"
    return kept
