"""What a process of ymlf's own may do to itself, and a program that imports ymlf must not have done to it."""

from __future__ import annotations

import gc
import sys
from importlib.util import find_spec

# What MLflow looks for at every request to a server, in vain: a failed import searches the whole path each time.
# Source: mlflow/utils/databricks_utils.py, is_in_databricks_notebook, get_job_id; MLflow 3.7 to 3.17.
LOOKED_FOR = ("IPython", "dbruntime", "pyspark")


_is_ours = False


def begin_own() -> None:
    """Said by a process that ymlf has started: a program that imports ymlf, or a cluster that others use, is not."""
    global _is_ours
    _is_ours = True


def is_own() -> bool:
    """Whether ymlf has started this process."""
    return _is_ours


def settle_in() -> None:
    """Take MLflow's standing costs off an import, once all is loaded.

    What is loaded by now is left out of garbage collection, which SQLAlchemy's many objects set off at every turn: a
    quarter of the CPU of an import to a database. Modules that are not installed are remembered as such: a fifth of
    the CPU of an import to a server. No collection goes before: it takes 0.15 s and finds next to nothing.
    """
    for name in LOOKED_FOR:
        if name not in sys.modules and find_spec(name) is None:
            sys.modules[name] = None  # type: ignore[assignment]  # Python's own word for a module that is not there
    gc.freeze()
