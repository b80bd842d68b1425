"""Imports into servers as teams have them: a database, an object store and a login behind MLflow's own server."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
from support.command import ymlf, ymlf_process
from support.directories import copy_fixture, fixture_names
from support.services.certificates import Certificates, make_certificates
from support.services.fault_proxy import FaultProxy, fault_proxy
from support.services.mlflow_server import MlflowServer, mlflow_server
from support.services.postgres import PostgresServer
from support.services.s3 import S3Server
from support.stores import runs_in
from support.trees import small_tree, summary

from importer.store.failures import NO_LOGIN, NOT_KNOWN, WRONG_LOGIN

TOKEN = "ymlf-test-token"


@pytest.fixture(scope="session")
def training_dirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all fixtures."""
    folder = tmp_path_factory.mktemp("training_dirs")
    for name in fixture_names():
        copy_fixture(name, folder)
    return folder


@pytest.fixture(scope="session")
def proxied(postgres_server: PostgresServer, s3_server: S3Server) -> Iterator[MlflowServer]:
    """A server on PostgreSQL that hands artifacts through to a bucket."""
    backend_uri, bucket = postgres_server.create_database("proxied"), s3_server.create_bucket("proxied")
    with mlflow_server(backend_uri, bucket, env=s3_server.env) as server:
        yield server


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A server that lets in only who logs in."""
    directory = tmp_path_factory.mktemp("guarded")
    uri, artifacts = f"sqlite:///{directory / 'mlflow.db'}", str(directory / "artifacts")
    with mlflow_server(uri, artifacts, app_name="basic-auth") as server:
        yield server


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Of a CA that this host does not know."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def with_own_ca(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A server that speaks TLS, and whose certificate is from that CA."""
    directory = tmp_path_factory.mktemp("with_own_ca")
    uri, artifacts = f"sqlite:///{directory / 'mlflow.db'}", str(directory / "artifacts")
    with mlflow_server(uri, artifacts, certificates=certificates) as server:
        yield server


@pytest.fixture
def gate(http_server: MlflowServer) -> Iterator[FaultProxy]:
    """Before a server: lets in only who brings the token."""
    with fault_proxy(http_server.url) as proxy:
        proxy.token = TOKEN
        yield proxy


@pytest.fixture
def bucket_login(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The endpoint of the object store and a key to it, in the environment."""
    for variable, value in s3_server.env.items():
        monkeypatch.setenv(variable, value)


def assert_comes_through(source: Path | str, *words: str, names: Collection[str]) -> None:
    """What is imported verifies to the last byte, and is there already the second time."""
    imported = ymlf("import", source, *words, "--json")
    assert (imported.status, summary(imported)) == (0, {"imported": len(names)}), imported
    verified = ymlf("verify", source, *words, "--json", "--deep")
    assert (verified.status, summary(verified)) == (0, {"verified": len(names)}), verified
    again = ymlf("import", source, *words, "--json")
    assert (again.status, summary(again)) == (0, {"already there": len(names)}), again


def objects(s3_server: S3Server, bucket: str) -> dict[str, int]:
    """The size of each object of a bucket, by its key."""
    listed = s3_server.client().list_objects_v2(Bucket=bucket)
    return {entry["Key"]: entry["Size"] for entry in listed.get("Contents", [])}


@pytest.mark.postgres
@pytest.mark.remote
def test_artifacts_go_through_a_server_into_its_bucket(
    proxied: MlflowServer, training_dirs: Path, s3_server: S3Server
) -> None:
    assert_comes_through(training_dirs, "--tracking-uri", proxied.url, "--experiment", "through", names=fixture_names())
    [run] = [run for run in runs_in(proxied.url) if run.info.run_name == "crashed"]
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
    below = f"/{run.info.run_id}/artifacts/"
    stored = {key.partition(below)[2]: size for key, size in objects(s3_server, "proxied").items() if below in key}
    logged = [path for path in (training_dirs / "crashed").rglob("*") if path.is_file()]
    assert stored == {path.relative_to(training_dirs / "crashed").as_posix(): path.stat().st_size for path in logged}


@pytest.mark.postgres
@pytest.mark.remote
@pytest.mark.usefixtures("bucket_login")
def test_artifacts_go_into_the_bucket_directly_where_the_server_does_not_serve_them(
    postgres_server: PostgresServer, s3_server: S3Server, training_dirs: Path
) -> None:
    backend_uri, bucket = postgres_server.create_database("direct"), s3_server.create_bucket("direct")
    with mlflow_server(backend_uri, bucket, serve_artifacts=False) as server:  # which has no key to the bucket
        assert_comes_through(training_dirs, "--tracking-uri", server.url, names=fixture_names())
        assert {run.info.artifact_uri.partition("/direct/")[0] for run in runs_in(server.url)} == {"s3:/"}


@pytest.mark.postgres
@pytest.mark.remote
@pytest.mark.usefixtures("bucket_login")
def test_run_directories_of_a_bucket_are_imported_through_a_server(
    proxied: MlflowServer, training_dirs: Path, s3_server: S3Server
) -> None:
    s3_server.create_bucket("archive")
    for name in ("train-2", "classify"):
        for path in (training_dirs / name).rglob("*"):
            if path.is_file():
                key = path.relative_to(training_dirs).as_posix()
                s3_server.client().put_object(Bucket="archive", Key=f"runs/{key}", Body=path.read_bytes())
    words = ("--tracking-uri", proxied.url, "--experiment", "of a bucket")
    assert_comes_through("s3://archive/runs", *words, names=("train-2", "classify"))


@pytest.mark.postgres
@pytest.mark.remote
def test_run_directories_of_a_zip_are_imported_through_a_server(
    proxied: MlflowServer, training_dirs: Path, tmp_path: Path
) -> None:
    archive = shutil.make_archive(str(tmp_path / "runs"), "zip", training_dirs)
    words = ("--tracking-uri", proxied.url, "--experiment", "of a zip")
    assert_comes_through(Path(archive), *words, names=fixture_names())


@pytest.mark.stress
def test_who_logs_in_is_let_in(guarded: MlflowServer, training_dirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in guarded.client_env.items():
        monkeypatch.setenv(variable, value)
    assert_comes_through(training_dirs, "--tracking-uri", guarded.url, names=fixture_names())


@pytest.mark.stress
@pytest.mark.parametrize("command", ["import", "verify"])
@pytest.mark.parametrize("login", ["none", "wrong password"])
def test_a_missing_or_wrong_login_is_an_error_that_names_the_variables_to_set(
    login: str, command: str, guarded: MlflowServer, training_dirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if login == "wrong password":
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", guarded.client_env["MLFLOW_TRACKING_USERNAME"])
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "guessed-wrong")
    answer = ymlf(command, training_dirs, "--tracking-uri", guarded.url)
    assert (answer.status, answer.out) == (3, ""), answer
    error, hint = answer.err.splitlines()
    assert error.startswith("error: opening the tracking store: ") and "401" in error
    assert hint == f"  hint: {WRONG_LOGIN if login == 'wrong password' else NO_LOGIN}"


@pytest.mark.parametrize(
    ("command", "token", "hint"), [("import", None, NO_LOGIN), ("verify", "guessed-wrong", NOT_KNOWN)]
)
def test_a_missing_or_wrong_token_is_an_error_after_one_request(
    command: str, token: str | None, hint: str, gate: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if token is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", token)
    answer = ymlf(command, copy_fixture("train-2", tmp_path), "--tracking-uri", gate.url)
    assert (answer.status, answer.out) == (3, ""), answer
    error, hinted = answer.err.splitlines()
    assert error.startswith("error: opening the tracking store: ") and "401" in error
    assert hinted == f"  hint: {hint}"
    assert gate.counts.total() == gate.faulted["401"] == 1


def test_each_request_of_an_import_has_the_token(
    gate: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", TOKEN)
    save_dir = copy_fixture("train-2", tmp_path)
    assert_comes_through(save_dir, "--tracking-uri", gate.url, "--experiment", "token", names=["train-2"])
    assert not gate.faulted


@pytest.mark.stress
@pytest.mark.parametrize("command", ["import", "verify"])
@pytest.mark.parametrize("variable", ["none", "another CA"])
def test_a_server_whose_ca_is_unknown_is_not_trusted_and_the_variable_is_named(
    variable: str,
    command: str,
    with_own_ca: MlflowServer,
    training_dirs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if variable == "another CA":
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(make_certificates(tmp_path).ca))
    answer = ymlf(command, training_dirs, "--tracking-uri", with_own_ca.url)
    assert (answer.status, answer.out) == (3, ""), answer
    error, hint = answer.err.splitlines()
    assert error.startswith("error: opening the tracking store: ") and "certificate" in error
    assert hint == "  hint: set MLFLOW_TRACKING_SERVER_CERT_PATH to the CA's certificate"


@pytest.mark.stress
@pytest.mark.parametrize("trust", ["the CA", "anybody"])
def test_a_server_with_a_ca_of_its_own_is_imported_to(
    trust: str,
    with_own_ca: MlflowServer,
    certificates: Certificates,
    training_dirs: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if trust == "the CA":
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(certificates.ca))
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
    words = ("--tracking-uri", with_own_ca.url, "--experiment", trust)
    assert_comes_through(training_dirs, *words, names=fixture_names())
    assert len(runs_in(with_own_ca.url)) >= len(fixture_names())


@pytest.mark.stress
def test_tls_that_is_not_checked_is_told_once(
    with_own_ca: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = small_tree(tmp_path / "tree", 4, epochs=1)
    words = (tree, "--tracking-uri", with_own_ca.url, "--experiment", "unchecked")
    answer = ymlf_process("import", *words, env={"MLFLOW_TRACKING_INSECURE_TLS": "true"})
    told = "WARNING: MLFLOW_TRACKING_INSECURE_TLS: the server's certificate is not checked"
    assert answer.status == 0 and answer.err.splitlines()[0] == told, answer.err
    assert "InsecureRequestWarning" not in answer.err and answer.err.count("WARNING") == 1


@pytest.mark.postgres
@pytest.mark.remote
def test_runs_of_one_dataset_that_are_imported_at_once_all_come_through(proxied: MlflowServer, tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree", 16, epochs=1)
    words = (tree, "--tracking-uri", proxied.url, "--experiment", "one dataset", "--artifacts", "none")
    imported = ymlf("import", *words, "-j", "16", "--json")
    assert (imported.status, summary(imported)) == (0, {"imported": 16}), imported
    again = ymlf("import", *words, "--json")
    assert (again.status, summary(again)) == (0, {"already there": 16}), again


@pytest.mark.postgres
@pytest.mark.remote
def test_many_threads_do_not_make_the_transport_speak(proxied: MlflowServer, tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree", 8, epochs=1)
    answer = ymlf_process("import", tree, "--tracking-uri", proxied.url, "--experiment", "silent", "-j", "8")
    assert (answer.status, "WARNING" in answer.err) == (0, False), answer.err
