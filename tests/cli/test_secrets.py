"""No secret of a URL or of the environment is in anything that ymlf says, writes or raises."""

from __future__ import annotations

import logging
import sys
import traceback
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType
from support.command import ymlf, ymlf_process
from support.services.fault_proxy import fault_proxy
from support.services.mlflow_server import PASSWORD, USERNAME, MlflowServer
from support.services.process import free_port
from support.stores import runs_in
from support.trees import training

from importer import ImportOptions, StoreError, UsageError, YmlfError, import_run, verify_run
from importer.redaction import RedactingFormatter, redact, tell_a_bug

if TYPE_CHECKING:
    from support.services.postgres import PostgresServer

SECRET = "hunter2-hunter2"
VARIABLES = (
    "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PGPASSWORD",
)  # fmt: skip
SECRETS = (SECRET, PASSWORD, *(f"{name.lower()}-value" for name in VARIABLES))
COMMANDS = (
    ("import", "-vv"),
    ("import", "--json"),
    ("import", "--dry-run"),
    ("import", "--dry-run", "--json"),
    ("verify", "-vv", "--deep"),
    ("verify", "--json"),
    ("scan",),
    ("scan", "--json"),
)


@pytest.fixture(autouse=True)
def _secrets_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        if not name.startswith("MLFLOW_"):  # which would be sent in place of a URL's login
            monkeypatch.setenv(name, f"{name.lower()}-value")
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "AWS_MAX_ATTEMPTS"):
        monkeypatch.setenv(name, "1")


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here waits for a store that is not there to come back."""
    monkeypatch.setattr("importer.store.failures.PAUSE_SECONDS", (0.01, 0.02))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of a small training."""
    training(1, plots=False).write(tmp_path / "runs" / "train")
    return tmp_path / "runs"


def with_login(url: str, user: str = "user", password: str = SECRET) -> str:
    """The URL with a login in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{user}:{password}@{parts.hostname}:{parts.port}{parts.path}"


def assert_clean(text: str) -> None:
    """Nothing secret is in the text."""
    for secret in SECRETS:
        at = text.find(secret)
        assert at < 0, f"{secret} in ...{text[max(0, at - 200) : at + 40]}"
    assert SECRET[:8] not in text and PASSWORD[:8] not in text  # nor half of one


def everything_said(runs: Path, uri: str, *more: str) -> tuple[str, set[int]]:
    """All output of all commands on a store, the report among it, and the exit statuses."""
    told, statuses = [], set()
    report = runs.parent / "report.jsonl"
    for command, *words in COMMANDS:
        reported = ["--report", str(report)] if command != "scan" else []
        options = more if command == "import" else ()
        answer = ymlf(command, runs, "--tracking-uri", uri, *words, *reported, *options)
        told += [answer.out, answer.err, report.read_text() if report.exists() else ""]
        statuses.add(answer.status)
    for words in (("history",), ("history", "--json"), ("undo", "no-such-import", "--yes")):
        answer = ymlf(*words, "--tracking-uri", uri)
        told += [answer.out, answer.err]
    return "\n".join(told), statuses


def everything_kept(uri: str) -> str:
    """All that a store holds in words: of its experiments, runs, tags, params and datasets."""
    client = MlflowClient(uri)
    experiments = client.search_experiments(view_type=ViewType.ALL)
    runs = [client.get_run(run.info.run_id).to_dictionary() for run in runs_in(uri)]
    assert runs
    return repr([dict(experiment) for experiment in experiments]) + repr(runs)


def everything_raised(save_dir: Path, uri: str, kind: type[YmlfError] = StoreError) -> str:
    """The tracebacks of the library's functions on a store, with all that led to them."""
    told = []
    for function in (import_run, verify_run):
        with pytest.raises(kind) as caught:
            function(save_dir, tracking_uri=uri)
        told += traceback.format_exception(caught.value)
        told.append(repr(caught.value))
    return "".join(told)


def test_a_login_in_the_url_of_a_server_is_nowhere_else(
    http_server: MlflowServer, runs: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = with_login(http_server.url)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "secrets in the url")
    said, statuses = everything_said(runs, uri)
    assert statuses == {0}, said
    assert f"http://***@{urlsplit(http_server.url).netloc}/#/experiments/" in said
    assert_clean(said + caplog.text + everything_kept(uri))


def test_a_login_in_the_environment_is_nowhere_else(
    http_server: MlflowServer, runs: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USERNAME)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "secrets in the environment")
    said, statuses = everything_said(runs, http_server.url)
    assert statuses == {0}, said
    assert_clean(said + caplog.text + everything_kept(http_server.url))


@pytest.mark.parametrize("let_in", [True, False], ids=["let in", "not let in"])
def test_a_token_in_the_environment_is_nowhere_else(
    let_in: bool,
    http_server: MlflowServer,
    runs: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token = "mlflow_tracking_token-value"
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", token)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "secrets in the token")
    with fault_proxy(http_server.url) as gate:
        gate.token = token if let_in else "another"
        said, statuses = everything_said(runs, gate.url)
        told = everything_kept(gate.url) if let_in else everything_raised(runs / "train", gate.url)
    assert statuses == ({0} if let_in else {3}), said
    assert_clean(said + caplog.text + told)


@pytest.mark.postgres
def test_a_login_in_the_uri_of_a_database_is_nowhere_else(
    postgres_server: PostgresServer, runs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    uri = with_login(postgres_server.create_database("secrets"), "postgres")
    said, statuses = everything_said(runs, uri, "--artifact-location", str(tmp_path / "artifacts"))
    assert statuses == {0}, said
    assert_clean(said + caplog.text + everything_kept(uri))


@pytest.mark.postgres
def test_a_database_that_is_not_there_gives_no_login_away(
    postgres_server: PostgresServer, runs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert_refused(with_login(postgres_server.uri("nothing"), "postgres"), 3, runs, caplog)


NOBODY = "127.0.0.1:9"  # the port of the discard service, which no host of today has
REFUSING = {
    "a server that is not there": f"http://user:{SECRET}@{NOBODY}",
    "a server without a host": f"http://user:{SECRET}@",
    "a port that is a word": f"http://user:{SECRET}@127.0.0.1:port",
    "a token in the query": f"http://{NOBODY}/?token={SECRET}",
    "SQLite with a host": f"sqlite://user:{SECRET}@host/mlflow.db",
    "PostgreSQL that is not there": f"postgresql://user:{SECRET}@{NOBODY}/mlflow",
    "PostgreSQL, with the login in the query": f"postgresql://{NOBODY}/mlflow?user=user&password={SECRET}",
    "MySQL without its driver": f"mysql://user:{SECRET}@{NOBODY}/mlflow",
    "a scheme of no store": f"nonsense://user:{SECRET}@{NOBODY}/mlflow",
}
MISUSED = (
    "a server without a host", "a port that is a word", "SQLite with a host", "MySQL without its driver",
    "a scheme of no store",
)  # fmt: skip
LOGINS = {
    "a wrong password": f"user:{SECRET}",
    "a password with a slash": f"user:{SECRET}/{SECRET}",
    "a password with an at sign": f"user:{SECRET}@{SECRET}",
    "a user without a password": SECRET,
}


def assert_refused(uri: str, status: int, runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No command opens the store, each says so with this status, and no secret is said or raised."""
    report = runs.parent / "report.jsonl"
    told = []
    for words in (
        ("import", runs, "-vv", "--report", report), ("import", runs, "--json"), ("import", runs, "--dry-run"),
        ("verify", runs), ("scan", runs), ("history",), ("undo", "job", "--yes"),
    ):  # fmt: skip
        answer = ymlf(*words, "--tracking-uri", uri)
        assert answer.status == status and answer.err.startswith("error: "), answer
        told += [answer.out, answer.err]
    kind = UsageError if status == 2 else StoreError
    assert_clean("".join(told) + report.read_text() + caplog.text + everything_raised(runs / "train", uri, kind))


@pytest.mark.parametrize("store", REFUSING)
def test_a_store_that_cannot_be_opened_gives_no_login_away(
    store: str, runs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lacks_driver = store.startswith("PostgreSQL") and find_spec("psycopg") is None
    assert_refused(REFUSING[store], 2 if lacks_driver or store in MISUSED else 3, runs, caplog)


@pytest.mark.parametrize("login", LOGINS)
def test_a_server_that_lets_nobody_in_gives_no_login_away(
    login: str, http_server: MlflowServer, runs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with fault_proxy(http_server.url) as gate:
        gate.token = "another"
        status = 2 if login == "a password with a slash" else 3  # which makes it no URL
        assert_refused(gate.url.replace("://", f"://{LOGINS[login]}@"), status, runs, caplog)


def test_a_store_that_refuses_one_experiment_gives_no_login_away(http_server: MlflowServer, runs: Path) -> None:
    client = MlflowClient(http_server.url)
    client.delete_experiment(client.create_experiment("secrets deleted"))
    options = ImportOptions(experiment="secrets deleted")
    with pytest.raises(StoreError, match="secrets deleted") as caught:
        import_run(runs / "train", tracking_uri=with_login(http_server.url), options=options)
    assert_clean("".join(traceback.format_exception(caught.value)))


@pytest.mark.parametrize("fault", ["drop", "503", "400"])
def test_a_server_that_fails_in_the_middle_gives_no_login_away(
    fault: str, http_server: MlflowServer, runs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    report = runs.parent / "report.jsonl"
    with fault_proxy(http_server.url) as proxy:
        proxy.script = lambda method, path, index: fault if path.endswith("log-batch") else None
        words = ("import", runs, "--tracking-uri", with_login(proxy.url), "--experiment", f"secrets {fault}")
        answer = ymlf(*words, "-vv", "--json", "--report", report)
    assert answer.status == 3 and proxy.faulted[fault] > 0, answer
    assert_clean(answer.out + answer.err + caplog.text + report.read_text())
    assert_clean(everything_kept(http_server.url))


def test_an_artifact_store_that_fails_gives_no_key_away(
    runs: Path, empty_store: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key-id")
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", with_login(f"http://127.0.0.1:{free_port()}"))
    said, statuses = everything_said(runs, empty_store, "--artifact-location", "s3://bucket/artifacts")
    assert 3 in statuses, said
    assert_clean(said + caplog.text + everything_kept(empty_store))


def test_a_source_that_cannot_be_read_gives_no_login_away(empty_store: str, caplog: pytest.LogCaptureFixture) -> None:
    for source in (f"s3://key:{SECRET}@bucket/runs", f"http://user:{SECRET}@127.0.0.1:{free_port()}/runs.zip"):
        answer = ymlf("import", source, "--tracking-uri", empty_store, "-vv")
        assert answer.status in (1, 2, 3) and answer.err, answer
        assert_clean(answer.out + answer.err + caplog.text)


def test_a_secret_in_the_path_of_a_directory_is_in_no_tag_no_report_and_no_error(
    tmp_path: Path, empty_store: str, caplog: pytest.LogCaptureFixture
) -> None:
    runs, report = tmp_path / "pgpassword-value" / "runs", tmp_path / "report.jsonl"
    training(1, plots=False).write(runs / "train")
    (training(2, plots=False).write(runs / "refused") / "args.yaml").write_text("- a list\n")
    told = []
    for command in ("import", "verify"):
        answer = ymlf(command, runs, "--tracking-uri", empty_store, "-vv", "--report", report)
        assert answer.status == 1, answer
        told += [answer.out, answer.err, report.read_text()]
    assert f"{tmp_path}/***/runs/train" in told[0] and f"{tmp_path}/***/runs/refused" in told[1]
    assert_clean("".join(told) + caplog.text + everything_kept(empty_store))


JSON_OF_A_LOOK = (("plan",), ("show",), ("scan",), ("import", "--dry-run"))


@pytest.mark.parametrize("words", JSON_OF_A_LOOK, ids=" ".join)
def test_a_secret_in_a_path_is_nowhere_in_a_line_of_json(
    words: tuple[str, ...], tmp_path: Path, empty_store: str
) -> None:
    place = tmp_path / "pgpassword-value" / "train"
    training(1, args={"save_dir": str(place), "model": f"http://user:{SECRET}@host/yolo.pt"}).write(place)
    tags = ("--tag", "from=pgpassword-value") if words[0] != "scan" else ()
    store = ("--tracking-uri", empty_store) if words[0] in ("scan", "import") else ()
    answer = ymlf(*words, place, *tags, *store, "--json")
    assert answer.status == 0 and answer.told[0]["source"] == f"{tmp_path}/***/train"
    assert_clean(answer.out + answer.err)


def test_a_secret_of_digits_breaks_no_number_of_the_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_dir = training(1).write(tmp_path / "train")
    [plan] = ymlf("plan", save_dir, "--json").told
    monkeypatch.setenv("PGPASSWORD", str(plan["start_time"]))
    assert ymlf("plan", save_dir, "--json").told == [plan]


def test_a_login_in_a_word_that_is_refused_is_not_said(runs: Path, empty_store: str) -> None:
    url = f"http://user:{SECRET}@host/runs.zip"
    training(2, plots=False).write(runs / "train2")
    report = runs.parent / "report.jsonl"
    words = ("import", runs, "--run-name", url, "--tracking-uri", empty_store, "--json", "--report", report)
    for answer in (ymlf(url), ymlf(*words)):
        assert answer.status == 2 and "http://***@host/runs.zip" in answer.err
        assert_clean(answer.out + answer.err)
    assert "http://***@host/runs.zip" in report.read_text()
    assert_clean(report.read_text())


def test_what_a_process_logs_of_a_broken_connection_holds_no_login(http_server: MlflowServer, runs: Path) -> None:
    with fault_proxy(http_server.url) as proxy:
        proxy.script = lambda method, path, index: "drop" if path.endswith("log-batch") else None
        words = ("import", runs, "--tracking-uri", with_login(proxy.url), "--experiment", "secrets of a process", "-vv")
        answer = ymlf_process(*words, env={"MLFLOW_LOGGING_LEVEL": "DEBUG"})
    assert answer.status == 3 and "log-batch" in answer.err and "DEBUG: " in answer.err, answer
    assert_clean(answer.out + answer.err)


def test_the_log_and_the_traceback_of_a_bug_hold_no_secret(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = "mlflow_tracking_token-value"
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", token)
    try:
        try:
            raise KeyError(f"http://user:{SECRET}@host")
        except KeyError as error:
            raise RuntimeError(f"it is {token}") from error
    except RuntimeError:
        record = logging.LogRecord("ymlf", logging.ERROR, "", 0, f"at http://u:{SECRET}@host", (), sys.exc_info())
        assert_clean(RedactingFormatter().format(record))
        tell_a_bug(*sys.exc_info())  # type: ignore[arg-type]
    told = capsys.readouterr().err
    assert "RuntimeError: it is ***" in told and "KeyError: 'http://***@host'" in told
    assert_clean(told)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("http://user:pass@host:5000/x", "http://***@host:5000/x", id="user and password"),
        pytest.param("'postgresql+psycopg://u:p%40ss@host/db'", "'postgresql+psycopg://***@host/db'", id="quoted"),
        pytest.param("http://token@host", "http://***@host", id="user alone"),
        pytest.param("http://user:pa@ss@host", "http://***@host", id="password with an at sign"),
        pytest.param("http://user:pa/ss@host", "http://***@host", id="password with a slash"),
        pytest.param("postgresql://u:12/34@host/db", "postgresql://u:12/34@host/db", id="a port, it seems"),
        pytest.param("s3://bucket/me@home/train", "s3://bucket/me@home/train", id="a path with an at sign"),
        pytest.param("http://host:5000/me@home", "http://host:5000/me@home", id="a port and a path with an at sign"),
        pytest.param("s3://a/b and me@home", "s3://a/b and me@home", id="an address in the same sentence"),
        pytest.param("file:///C:/me@home", "file:///C:/me@home", id="a drive"),
        pytest.param("db?password=abcd&x=1", "db?password=***&x=1", id="in a query"),
    ],
)
def test_the_login_of_a_url_is_not_shown_and_all_else_is(text: str, shown: str) -> None:
    assert redact(text) == shown
