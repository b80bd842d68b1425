"""Temporary folders and half-written files, locked while they are used: those of a killed process have no lock."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

PREFIX = "ymlf-tmp-"
_held: dict[Path, ExitStack] = {}  # the locks of this process' temporary folders


def new_folder() -> Path:
    """Make a temporary folder, which is there until `remove_folder`; those that killed processes left are removed."""
    remove_left_folders()
    making = Path(tempfile.mkdtemp(prefix=f".{PREFIX}"))  # under a name that nobody removes while it has no lock
    with ExitStack() as stack:
        stack.enter_context(locked(making))
        folder = making.rename(making.with_name(making.name[1:]))
        _held[folder] = stack.pop_all()
    return folder


def remove_folder(folder: Path) -> None:
    """Remove a folder of `new_folder` with all in it."""
    shutil.rmtree(folder, ignore_errors=True)
    if (lock := _held.pop(folder, None)) is not None:
        lock.close()


def remove_folders() -> None:
    """Remove all folders of `new_folder`, where the process is about to end without its own ending."""
    for folder in list(_held):
        remove_folder(folder)


def remove_left_folders() -> None:
    """Remove the temporary folders of processes that were killed."""
    remove_left(Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a temporary folder for a while."""
    folder = new_folder()
    try:
        yield folder
    finally:
        remove_folder(folder)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock a file or folder for as long as this process uses it; a killed process keeps no lock.

    Errors: OSError, BlockingIOError where another process has it. Windows, and some network disks, have no such locks.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(path, (os.O_RDONLY if path.is_dir() else os.O_RDWR) | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def remove_left(paths: Iterable[Path]) -> None:
    """Remove those of this user's files and folders that no process has locked; where there are no locks, none."""
    if os.name != "posix":
        return
    for path in paths:
        with suppress(OSError), locked(path):
            if path.lstat().st_uid != os.getuid():
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
