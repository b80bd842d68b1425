"""What a process of ymlf's own may do to itself, and a program that imports ymlf must not have done to it."""

from __future__ import annotations

import gc

_is_ours = False


def begin_own() -> None:
    """Said by a process that ymlf has started: a program that imports ymlf, or a cluster that others use, is not."""
    global _is_ours
    _is_ours = True


def is_own() -> bool:
    """Whether ymlf has started this process."""
    return _is_ours


def settle_in() -> None:
    """Leave what is loaded by now out of garbage collection, which SQLAlchemy's many objects set off at every turn."""
    gc.freeze()
