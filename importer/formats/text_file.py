"""Read text files: the beginning of one, to see whose it is, or the whole."""

from __future__ import annotations

import re
import stat

from importer.errors import RunDirError
from importer.model import Note, RunPath

HEAD_BYTES = 8_192  # more than the longest header, and than the part of opt.yaml that shows whose it is
LFS_POINTER_HEAD = b"version https://git-lfs"
# GBK and its like write a character as two bytes, Latin-1 an accented letter as one, mostly between letters of ASCII.
_NOT_LATIN = re.compile(rb"[\x80-\xbf]|[\x80-\xff]{2}")
_SEPARATOR = re.compile(r"[,;\t]")  # the latter two are refused later, but with what to do about it


def read_head(path: RunPath) -> str:
    """Return the first bytes as text, without byte order mark and leading blanks; empty for what cannot be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait without end
            return ""
        with path.open("rb") as handle:
            head = handle.read(HEAD_BYTES)
    except OSError:
        return ""
    return head.decode("utf-8", "replace").lstrip("\ufeff").lstrip()


def column_names(path: RunPath) -> list[str]:
    """Return the names in the first line of a table."""
    return [name.strip().strip('"') for name in _SEPARATOR.split(read_head(path).split("\n", 1)[0])]


def option_names(path: RunPath) -> set[str]:
    """Return the names at the left margin of the beginning of a YAML file."""
    return set(re.findall(r"^(\w+):", read_head(path), re.MULTILINE))


def read_text(path: RunPath, limit: int) -> tuple[str, list[Note]]:
    """Return the text of a file without BOM and carriage returns, and notes on what was taken away.

    Errors: RunDirError when it cannot be opened, is larger than `limit` bytes, is binary, UTF-16 or in an encoding that
            cannot be known, or an LFS pointer.
    """
    try:
        with path.open("rb") as handle:
            raw = handle.read(limit + 1)
    except OSError as error:
        raise RunDirError(f"{path}: {error.strerror or error}", hint="check the file's permissions") from error
    if len(raw) > limit:
        raise RunDirError(f"{path}: larger than {limit:,} bytes, which no trainer writes", hint="is it the right file?")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise RunDirError(f"{path}: is UTF-16, expected UTF-8", hint="save it as UTF-8")
    notes = []
    if raw.startswith(b"\xef\xbb\xbf"):
        raw = raw[3:]
        notes.append(Note("bom", f"{path.name} begins with a byte order mark"))
    if raw.startswith(LFS_POINTER_HEAD):
        raise RunDirError(f"{path}: is a git-LFS pointer, not the file itself", hint="`git lfs pull` fetches it")
    if b"\0" in raw:
        raise RunDirError(f"{path}: holds NUL bytes, expected text", hint="the file is damaged; restore it from a copy")
    if b"\r" in raw:
        raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        notes.append(Note("crlf", f"{path.name} has Windows line ends"))
    try:
        return raw.decode("utf-8"), notes
    except UnicodeDecodeError as error:
        if _NOT_LATIN.search(raw):
            hint = "save it as UTF-8; `iconv -f GBK -t UTF-8` converts Chinese text, for one"
            raise RunDirError(f"{path}: is neither UTF-8 nor Latin-1", hint=hint) from error
        return raw.decode("latin-1"), [*notes, Note("not-utf8", f"{path.name} is not UTF-8; read as Latin-1")]
