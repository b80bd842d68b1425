"""What MLflow and its transports raise, in plain words with what to do next."""

from __future__ import annotations

import pytest
from mlflow.exceptions import MlflowException, RestException
from requests.exceptions import ConnectionError, HTTPError

from importer.errors import StoreError
from importer.store.failures import NO_LOGIN, NOT_KNOWN, WRONG_LOGIN, store_errors

ADDRESS = "http://127.0.0.1:14401/api/2.0/mlflow/runs/get?run_id=4034010d"


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        pytest.param(MlflowException("failed with error code 401 != 200. Response body: ''"), NO_LOGIN, id="401"),
        pytest.param(RestException({"error_code": "UNAUTHENTICATED", "message": "no"}), NO_LOGIN, id="401 as JSON"),
        pytest.param(RestException({"message": "Unauthorized"}), NO_LOGIN, id="401 of a gate, as JSON"),
        pytest.param(HTTPError(f"403 Client Error: Forbidden for url: {ADDRESS}"), "this login may not", id="403"),
        pytest.param(RestException({"error_code": "PERMISSION_DENIED"}), "this login may not", id="403 as JSON"),
        pytest.param(OSError("An error occurred (AccessDenied) when calling PutObject"), "this login may", id="bucket"),
        pytest.param(ConnectionError(f"Max retries exceeded: {ADDRESS}"), "is the server up?", id="a port with 401 in"),
        pytest.param(ConnectionError("Max retries exceeded: http://h:401/403"), "is the server up?", id="port 401"),
        pytest.param(OSError("Could not find a suitable TLS CA certificate bundle, invalid path: ca.pem"),
                     "set MLFLOW_TRACKING_SERVER_CERT_PATH", id="no file of a CA"),
    ],
)  # fmt: skip
def test_the_hint_is_of_what_went_wrong(error: Exception, hint: str) -> None:
    with pytest.raises(StoreError) as caught, store_errors("asking"):
        raise error
    assert caught.value.message.startswith("asking: ")
    assert caught.value.hint is not None and caught.value.hint.startswith(hint), caught.value.hint


REFUSED = "Failed to establish a new connection: [Errno 111] Connection refused"
RETRIED = "HTTPConnectionPool(host='h', port=9): Max retries exceeded with url: /x (Caused by "


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        pytest.param(
            f"NewConnectionError(\"HTTPConnection(host='h', port=9): {REFUSED}\"))", "Connection refused", id="refused"
        ),
        pytest.param(
            f"NewConnectionError('<urllib3.connection.HTTPConnection object at 0x7f>: {REFUSED}'))",
            "Connection refused",
            id="refused, by urllib3 1",
        ),
        pytest.param(
            "NameResolutionError(\"HTTPConnection(host='h', port=9): Failed to resolve 'h' ([Errno -2] not known)\"))",
            "Failed to resolve 'h' ([Errno -2] not known)",
            id="no such host",
        ),
    ],
)
def test_a_server_that_cannot_be_reached_is_named_without_the_words_of_the_transport(cause: str, words: str) -> None:
    with pytest.raises(StoreError) as caught, store_errors("asking"):
        raise ConnectionError(RETRIED + cause)
    assert caught.value.message == f"asking: h:9: {words}"
    assert caught.value.hint is not None and caught.value.hint.startswith("is the server up?")


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        pytest.param((), NO_LOGIN, id="none"),
        pytest.param(("USERNAME", "PASSWORD"), WRONG_LOGIN, id="a name and a password"),
        pytest.param(("USERNAME", "PASSWORD", "TOKEN"), WRONG_LOGIN, id="both, of which MLflow sends the password"),
        pytest.param(("TOKEN",), NOT_KNOWN, id="a token"),
    ],
)
def test_a_401_tells_a_login_that_is_missing_from_one_that_is_wrong(
    names: tuple[str, ...], hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in names:
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "secret")
    with pytest.raises(StoreError) as caught, store_errors("asking"):
        raise MlflowException("failed with error code 401 != 200. Response body: ''")
    assert caught.value.hint == hint
