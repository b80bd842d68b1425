"""What the beginning of a file tells of whose it is, without parsing the file."""

from __future__ import annotations

import re
import stat

from importer.model import RunPath

HEAD_BYTES = 8_192  # more than the longest header, and than the part of opt.yaml that tells whose it is

_SEPARATOR = re.compile(r"[,;\t]")  # the latter two are refused later, but with what to do about it


def read_head(path: RunPath) -> str:
    """The first bytes of a file as text, without byte order mark and leading blanks; nothing of what is no file."""
    found = _head_of(path, HEAD_BYTES) or b""
    return found.decode("utf-8", "replace").lstrip("\ufeff").lstrip()


def column_names(path: RunPath) -> list[str]:
    """The names in the first line of a table."""
    return [name.strip().strip('"') for name in _SEPARATOR.split(read_head(path).split("\n", 1)[0])]


def option_names(path: RunPath) -> set[str]:
    """The names at the left margin of the beginning of a YAML file."""
    return set(re.findall(r"^(\w+):", read_head(path), re.MULTILINE))


def _head_of(path: RunPath, size: int) -> bytes | None:
    """The first bytes of a file; None where it cannot be read, or is a pipe, which would be waited for without end."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        with path.open("rb") as handle:
            return handle.read(size)
    except OSError:
        return None
