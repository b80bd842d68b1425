"""An S3 endpoint: moto's server, which keeps its buckets in memory."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .needs import needed
from .process import ServerProcess, answers_ok, free_port

EXTRA = "test-remote"
REGION = "us-east-1"
KEY_ID, SECRET_KEY = "ymlf-test", "ymlf-test-secret"


class S3Server:
    """A running endpoint; every key is let in."""

    def __init__(self, process: ServerProcess, url: str) -> None:
        self.process = process
        self.url = url

    @property
    def env(self) -> dict[str, str]:
        """The variables with which boto3, s3fs and MLflow find this endpoint."""
        return {
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.url,
            "MLFLOW_S3_ENDPOINT_URL": self.url,
        }

    def client(self) -> Any:
        """A boto3 client of this endpoint; boto3 makes its classes at run time, so there is none to name."""
        return needed("boto3", EXTRA).client(
            "s3",
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET_KEY,
        )

    def create_bucket(self, bucket: str) -> str:
        """The s3:// URI of a new, empty bucket."""
        self.client().create_bucket(Bucket=bucket)
        return f"s3://{bucket}"

    def kill(self) -> None:
        """The endpoint is gone, and its buckets with it."""
        self.process.kill()

    def restart(self) -> None:
        """The endpoint is back, empty."""
        self.process.restart()


@contextmanager
def s3() -> Iterator[S3Server]:
    """A running S3 endpoint."""
    needed("moto", EXTRA)
    with tempfile.TemporaryDirectory(prefix="ymlf-s3-") as name:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        process = ServerProcess(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            port=port,
            log=Path(name) / "moto.log",
            is_ready=lambda: answers_ok(f"{url}/moto-api/"),
            env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        )
        process.start()
        try:
            yield S3Server(process, url)
        finally:
            process.kill()
