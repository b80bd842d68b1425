"""ymlf: replay finished Ultralytics YOLO trainings into MLflow, as the live callback would have logged them.

`importer.api.__all__` lists the public names. They load when first used, so that `import importer` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from importer._version import __version__ as __version__

if TYPE_CHECKING:
    from importer.api import *  # noqa: F403


def __getattr__(name: str) -> object:
    if name.startswith("__") and name != "__all__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    api = import_module("importer.api")
    if name == "__all__" or name in api.__all__:
        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
