"""Where the object pickle of a torch.save file lies, zip or legacy; tensors are never read.

Source: torch/serialization.py, `_save` and `_legacy_save`, 1.0 to 2.8; APPNOTE.TXT 6.3.10 of the zip format.
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO, NamedTuple

from importer.errors import CheckpointError
from importer.formats.pickle_opcodes import load
from importer.formats.stub_unpickler import MAX_BYTES, Machine, PickleCutError

MAX_DIRECTORY = 4_000_000  # bytes; the largest seen, of 914 members, has 57 kB
_TAIL = 131_072  # bytes; more than the longest zip comment, and nearly always the whole directory
_HEAD = 1_000_000  # bytes of a legacy file that are tried first
_MAGIC = 0x1950A86A20F9469CFC6C
_ZIP = b"PK\3\4"
_LFS = b"version https://git-lfs.github.com/spec/"
_STORED, _DEFLATED = 0, 8

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")


class _Entry(NamedTuple):
    name: str
    flags: int
    method: int
    crc: int
    stored: int  # bytes
    size: int  # bytes, when inflated
    offset: int


class _Source(NamedTuple):
    handle: BinaryIO
    path: str
    size: int

    def read(self, offset: int, count: int) -> bytes:
        self.handle.seek(offset)
        found = self.handle.read(count)
        if len(found) < count:
            raise cut_short(self.path, self.size)
        return found

    def unreadable(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self.path}: {what}", hint="is it a file that torch.save wrote? else copy it again")

    def hostile(self, what: str) -> CheckpointError:
        return hostile(self.path, what)


def hostile(path: str, what: str) -> CheckpointError:
    """What is raised for a file that no trainer wrote so."""
    return CheckpointError(
        f"{path}: {what}", code="checkpoint-hostile", hint="do not load it with torch unless you trust where it is from"
    )


def cut_short(path: str, size: int) -> CheckpointError:
    """What is raised for a file that ends too early."""
    return CheckpointError(
        f"{path}: is cut short after {size:,} bytes" if size else f"{path}: is empty",
        code="checkpoint-truncated",
        hint="copy it again from where it was trained",
    )


def read_torch_file(handle: BinaryIO, path: str) -> object:
    """What torch.save was given, with stand-ins for all classes; `path` is for the messages only.

    Errors: CheckpointError when it is cut short, an LFS pointer, or no such file; PickleError for the pickle itself.
    """
    source = _Source(handle, path, handle.seek(0, 2))
    head = source.read(0, min(source.size, 64))
    if head.startswith(_LFS):
        raise CheckpointError(
            f"{path}: is a git-LFS pointer, not the checkpoint itself", code="lfs-pointer", hint="run `git lfs pull`"
        )
    if head.startswith(_ZIP) or _ZIP.startswith(head):
        return _read_zip(source)
    if head.startswith(b"\x80"):
        return _read_legacy(source)
    raise source.unreadable("is no checkpoint: neither a zip nor a pickle")


def zip_directory(handle: BinaryIO, path: str) -> bytes:
    """The zip directory of a checkpoint, which has the name, size and CRC-32 of every member; empty for other files."""
    source = _Source(handle, path, handle.seek(0, 2))
    try:
        return _directory(source) if source.read(0, min(source.size, 4)) == _ZIP else b""
    except CheckpointError:
        return b""


def _read_zip(source: _Source) -> object:
    entries = _entries(source, _directory(source))
    pickled = next((entry for entry in entries if _below_top(entry.name) == "data.pkl"), None)
    if pickled is None:
        raise source.unreadable("is a zip without data.pkl, so no checkpoint")
    return load(Machine(_member(source, pickled)))


def _below_top(name: str) -> str:
    top, slash, below = name.partition("/")
    return below if slash else top


def _directory(source: _Source) -> bytes:
    """The bytes of the zip's directory, which stands at the end of the file."""
    start = max(0, source.size - _TAIL)
    tail = source.read(start, source.size - start)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + _END.size > len(tail):
        raise cut_short(source.path, source.size)
    _, _, _, _, count, size, offset, _ = _END.unpack_from(tail, at)
    if (count == 0xFFFF or 0xFFFFFFFF in (size, offset)) and at >= _END64_LOCATOR.size:
        sign, _, where, _ = _END64_LOCATOR.unpack_from(tail, at - _END64_LOCATOR.size)
        if sign == b"PK\6\7" and where + _END64.size <= source.size:
            *_, size, offset = _END64.unpack(source.read(where, _END64.size))
    if size > MAX_DIRECTORY:
        raise source.hostile(f"its zip directory announces {size:,} bytes, more than {MAX_DIRECTORY:,}")
    if offset + size > start + at:
        raise cut_short(source.path, source.size)
    return tail[offset - start : offset - start + size] if offset >= start else source.read(offset, size)


def _entries(source: _Source, directory: bytes) -> list[_Entry]:
    entries = []
    at = 0
    while at + _ENTRY.size <= len(directory):
        fields = _ENTRY.unpack_from(directory, at)
        sign, _, _, flags, method, _, _, crc, stored, size, names, extras, comments, _, _, _, offset = fields
        if sign != b"PK\1\2":
            break
        at += _ENTRY.size
        name = directory[at : at + names].decode("utf-8", "replace")
        if 0xFFFFFFFF in (stored, size, offset):
            extra = directory[at + names : at + names + extras]
            size, stored, offset = _wide(extra, size, stored, offset)
        entries.append(_Entry(name, flags, method, crc, stored, size, offset))
        at += names + extras + comments
    if at != len(directory):
        raise source.unreadable("is damaged: its zip directory breaks off")
    return entries


def _wide(extra: bytes, *narrow: int) -> list[int]:
    """The sizes and the offset, where 32 bits did not do, from the zip64 field."""
    found = iter(())
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<2H", extra)
        if kind == 1:
            found = (number for (number,) in struct.iter_unpack("<Q", extra[4 : 4 + size][: size // 8 * 8]))
            break
        extra = extra[4 + size :]
    return [next(found, number) if number == 0xFFFFFFFF else number for number in narrow]


def _member(source: _Source, entry: _Entry) -> bytes:
    """The bytes of one member, of which no announced size is believed."""
    if max(entry.stored, entry.size) > MAX_BYTES:
        raise source.hostile(f"announces {max(entry.stored, entry.size):,} bytes for data.pkl, more than {MAX_BYTES:,}")
    if entry.flags & 1 or entry.method not in (_STORED, _DEFLATED):
        raise source.unreadable("its data.pkl is encrypted or compressed in a way that torch does not write")
    sign, *_, names, extras = _LOCAL.unpack(source.read(entry.offset, _LOCAL.size))
    if sign != _ZIP:
        raise source.unreadable("is damaged: data.pkl is not where the zip directory says")
    content = source.read(entry.offset + _LOCAL.size + names + extras, entry.stored)
    if entry.method == _DEFLATED:
        content = _inflated(source, content)
    # A CRC of 0: torch.serialization.set_crc32_options(False).
    if len(content) != entry.size or (entry.crc and zlib.crc32(content) != entry.crc):
        raise source.unreadable("is damaged: data.pkl is not what the zip directory says")
    return content


def _inflated(source: _Source, content: bytes) -> bytes:
    try:
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, MAX_BYTES + 1)
    except zlib.error as error:
        raise source.unreadable("is damaged: data.pkl cannot be inflated") from error
    if len(inflated) > MAX_BYTES:
        raise source.hostile(f"its data.pkl inflates to more than {MAX_BYTES:,} bytes")
    return inflated


def _read_legacy(source: _Source) -> object:
    for limit in (_HEAD, MAX_BYTES):
        content = source.read(0, min(limit, source.size))
        try:
            return _legacy_object(source, content)
        except PickleCutError as error:
            if len(content) == source.size:
                raise cut_short(source.path, source.size) from error
    raise source.hostile(f"its pickle has more than {MAX_BYTES:,} bytes")


def _legacy_object(source: _Source, content: bytes) -> object:
    """The fourth of five pickles: magic number, protocol, system, object, keys; the storages follow."""
    machine = Machine(content)
    if load(machine) != _MAGIC:
        raise source.unreadable("is a pickle, but none that torch.save wrote")
    for _ in ("protocol", "system"):
        machine = Machine(content, machine.pos)
        load(machine)
    machine = Machine(content, machine.pos)
    saved = load(machine)
    keys = Machine(content, machine.pos)
    load(keys)
    storages = machine.storages.values()
    if keys.pos + sum(storages) + 8 * len(storages) > source.size:
        raise cut_short(source.path, source.size)
    return saved
