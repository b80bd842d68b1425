"""MLflow's own variables of the environment, read before it reads them."""

from __future__ import annotations

import logging
import os

from importer.errors import UsageError

WANTED = {int: "a whole number", float: "a number", bool: "true or false"}
LOGGING_LEVEL = "MLFLOW_LOGGING_LEVEL"
OURS = {  # MLflow's own words, bars and beacons stay out of our output
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_HTTP_POOL_MAXSIZE": "64",  # connections kept open; MLflow's 10 are fewer than an import's threads use
    LOGGING_LEVEL: "ERROR",
}


def set_variables() -> None:
    """Set what MLflow reads as it is imported, where the environment has not."""
    for name, value in OURS.items():
        os.environ.setdefault(name, value)


def check_variables() -> None:
    """MLflow can read each of its variables that is set; it would raise a bare ValueError amid the work.

    Errors: UsageError that names the first one that it cannot read.
    Source: mlflow/environment_variables.py, _EnvironmentVariable.get.
    """
    level = os.environ.get(LOGGING_LEVEL, "ERROR")
    if not isinstance(logging.getLevelName(level.upper()), int):  # which `import mlflow` would stumble over
        raise _wrong(LOGGING_LEVEL, level, "DEBUG, INFO, WARNING, ERROR or CRITICAL")
    try:
        from mlflow import environment_variables as known
    except ValueError as error:
        raise UsageError(str(error), hint="set that variable right, or unset it") from error
    for variable in vars(known).values():
        if not isinstance(variable, known._EnvironmentVariable) or not variable.is_set():
            continue
        try:
            variable.get()
        except ValueError as error:
            wanted = WANTED.get(variable.type, "what MLflow's documentation asks for")
            raise _wrong(variable.name, str(variable.get_raw()), wanted) from error


def _wrong(name: str, value: str, wanted: str) -> UsageError:
    return UsageError(f"{name}={value}: MLflow cannot read that", hint=f"give {wanted}, or unset the variable")
