"""Packages and programs that only some tests need: one that is missing is an error that says how to install it."""

from __future__ import annotations

import shutil
from importlib import import_module
from types import ModuleType

from .process import ServiceError


def needed(module: str, extra: str) -> ModuleType:
    """Return an imported module. Errors: ServiceError that names the extra which brings it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ServiceError(f"no module {module}\n  hint: pip install '.[{extra}]'") from error


def needed_program(name: str, package: str) -> str:
    """Return the path of a program. Errors: ServiceError that names the Debian package which brings it."""
    path = shutil.which(name)
    if path is None:
        raise ServiceError(f"no program {name}\n  hint: apt-get install {package}")
    return path
