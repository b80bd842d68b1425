"""What MLflow and its transports raise, in plain words with what to do next."""

from __future__ import annotations

import pytest
from mlflow.exceptions import MlflowException, RestException
from requests.exceptions import ConnectionError, HTTPError

from importer.errors import StoreError
from importer.store.failures import LOGIN, failures

ADDRESS = "http://127.0.0.1:14401/api/2.0/mlflow/runs/get?run_id=4034010d"


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        pytest.param(MlflowException("failed with error code 401 != 200. Response body: ''"), LOGIN, id="401"),
        pytest.param(RestException({"error_code": "UNAUTHENTICATED", "message": "no"}), LOGIN, id="401 as JSON"),
        pytest.param(RestException({"message": "Unauthorized"}), LOGIN, id="401 of a gate, as JSON"),
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
    with pytest.raises(StoreError) as caught, failures("asking"):
        raise error
    assert caught.value.message.startswith("asking: ")
    assert caught.value.hint is not None and caught.value.hint.startswith(hint), caught.value.hint
