"""Begin a process of ymlf's own: the command line, a worker, or the process that workers are made from."""

from __future__ import annotations

import atexit
import gc

from importer.store.opening import quiet_mlflow

OBJECTS = 10_000  # made before Python looks for unused ones: 700 by default


def begin_own_process() -> None:
    """Keep MLflow quiet and let it load faster: with Python's defaults a short command takes half as long again.

    MLflow's modules make so many objects that looking for unused ones takes 0.4 s while they load and 0.5 s at the end.
    """
    quiet_mlflow()
    gc.set_threshold(OBJECTS)
    atexit.register(gc.freeze)
