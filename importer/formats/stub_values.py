"""Turn the stubs of a pickle into plain values, by our own code and never by what the pickle names."""

from __future__ import annotations

import struct
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import PurePosixPath, PureWindowsPath

from importer.formats.stub_unpickler import PickleHostileError, Stub

MAX_CHARACTERS = 250_000  # of all values together; those of a true checkpoint have 5,000
MAX_DEPTH = 32
_MAX_TEXT = 65_536  # bytes; a longer one is left out
_MAX_INT = 2_048  # bits; a checkpoint's random state has integers of 128
_MAX_ARRAY = 4_096  # bytes

_NAMESPACES = ("IterableSimpleNamespace", "SimpleNamespace", "Namespace")
_COLLECTIONS = frozenset({"builtins.set", "builtins.frozenset", "builtins.list", "builtins.tuple"})
_NUMPY_FORMATS = {"f8": "d", "f4": "f", "f2": "e", "b1": "?", "i8": "q", "i4": "i", "i2": "h", "i1": "b"}
_NUMPY_FORMATS |= {"u8": "Q", "u4": "I", "u2": "H", "u1": "B"}


class PlainValues:
    """Turns what a StubUnpickler built into None, bool, int, float, str, list, tuple and dict.

    Shape:  one of these per file, for `left` is how many characters its values may still have together.
    Errors: PickleHostileError beyond MAX_CHARACTERS or MAX_DEPTH, which a few references to references reach.
    """

    def __init__(self) -> None:
        self.left = MAX_CHARACTERS
        self.open: set[int] = set()  # ids of what is being turned, to notice a list that holds itself

    def __call__(self, value: object) -> object:
        if isinstance(value, str):
            text = _text(value)
            self._spend(1 + len(text))
            return text
        self._spend(1)
        if value is None or isinstance(value, float):
            return value
        if isinstance(value, int):
            return value if value.bit_length() <= _MAX_INT else "<int>"
        if isinstance(value, bytes):
            return f"<{len(value):,} bytes>"
        if id(value) in self.open:
            return "<itself>"
        if len(self.open) >= MAX_DEPTH:
            raise PickleHostileError(f"its values are nested deeper than {MAX_DEPTH}")
        self.open.add(id(value))
        try:
            if isinstance(value, list):
                return [self(item) for item in value]
            if isinstance(value, tuple):
                return tuple([self(item) for item in value])
            if isinstance(value, dict):
                return {self(key): self(item) for key, item in value.items()}
            return self._of_stub(value) if isinstance(value, Stub) else None
        finally:
            self.open.discard(id(value))

    def mapping(self, value: object) -> dict[str, object]:
        """Return the dict, or the attributes of a namespace; empty for anything else."""
        if isinstance(value, Stub) and value.path.rpartition(".")[2] in _NAMESPACES:
            value = value.state
        if not isinstance(value, dict):
            return {}
        plain = self(value)
        return {str(key): item for key, item in plain.items()} if isinstance(plain, dict) else {}

    def _of_stub(self, stub: Stub) -> object:
        if isinstance(stub.args, tuple):
            if stub.path in _COLLECTIONS:
                return self(stub.args[0]) if stub.args else []
            if (rebuilt := _rebuilt(stub)) is not None:
                return self(rebuilt)
        self._spend(len(stub.path))
        return f"<{stub.path}>"

    def _spend(self, characters: int) -> None:
        self.left -= characters
        if self.left < 0:
            raise PickleHostileError(f"its values have more than {MAX_CHARACTERS:,} characters")


def holds_stub(value: object) -> bool:
    """Return whether a plain value is, or holds, the text of a stub: `<albumentations.Blur>`."""
    if isinstance(value, str):
        return value.startswith("<") and value.endswith(">")
    if isinstance(value, (list, tuple)):
        return any(map(holds_stub, value))
    return isinstance(value, dict) and any(map(holds_stub, value.values()))


def number(value: object) -> float | None:
    """Return the plain number, or that of an array of one; None for anything else."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    with suppress(OverflowError):
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    return None


def _text(value: str) -> str:
    """Return a text that a store takes, so without a lone surrogate, and that is not too long."""
    if value.isascii() and len(value) <= _MAX_TEXT:
        return value
    raw = value.encode("utf-8", "surrogatepass")
    return raw.decode("utf-8", "replace") if len(raw) <= _MAX_TEXT else f"<text over {_MAX_TEXT:,} bytes>"


def _raw(value: object) -> bytes | None:
    """Return bytes, which protocol 2 writes as `_codecs.encode(text, "latin1")`."""
    match value:
        case Stub(path="_codecs.encode", args=(text, *_)):
            value = text
    if isinstance(value, str) and len(value) <= _MAX_ARRAY:
        with suppress(UnicodeEncodeError):
            return value.encode("latin-1")
    return value if isinstance(value, bytes) else None


def _rebuilt(stub: Stub) -> object:
    """Return what the class or function of the stub would have made, or None where it is not one of these."""
    match stub:
        case Stub(path="_codecs.encode"):
            return _raw(stub)
        case Stub(path="datetime.datetime", args=(data, *zone)):
            return _datetime(_raw(data), zone)
        case Stub(path="numpy.core.multiarray.scalar" | "numpy._core.multiarray.scalar", args=(dtype, data)):
            values = _unpacked(dtype, _raw(data))
            return values[0] if values is not None and len(values) == 1 else None
        case Stub(
            path="numpy.core.multiarray._reconstruct" | "numpy._core.multiarray._reconstruct",
            state=(_, _, dtype, _, data),
        ):
            return _unpacked(dtype, _raw(data))
        case Stub(path=path, args=(*parts,)) if path.startswith("pathlib") and path.endswith("Path"):
            texts = [part for part in parts[:256] if isinstance(part, str)]
            if len(texts) == len(parts) and sum(map(len, texts)) <= _MAX_TEXT:
                return str(PureWindowsPath(*texts) if "Windows" in path else PurePosixPath(*texts))
    return None


def _unpacked(dtype: object, raw: bytes | None) -> list[object] | None:
    match dtype:
        case Stub(path="numpy.dtype", args=(str(code), *_), state=(_, str(order), *_)) if raw is not None:
            layout = _NUMPY_FORMATS.get(code, "")
            size = struct.calcsize("<" + layout)
            if size and 0 < len(raw) <= _MAX_ARRAY and len(raw) % size == 0:
                return list(struct.unpack(f"{'>' if order == '>' else '<'}{len(raw) // size}{layout}", raw))
    return None


def _datetime(raw: bytes | None, zone: list[object]) -> str | None:
    if raw is None or len(raw) != 10:
        return None
    year, (month, day, hour, minute, second) = int.from_bytes(raw[:2], "big"), raw[2:7]
    micros = int.from_bytes(raw[7:], "big")
    tzinfo = None
    try:
        match zone:
            case [Stub(path="datetime.timezone", args=(Stub(args=(int(days), int(seconds), *_)), *_))]:
                tzinfo = timezone(timedelta(days, seconds))
        return datetime(year, month & 0x7F, day, hour, minute, second, micros, tzinfo).isoformat()
    except (ValueError, OverflowError):
        return None
