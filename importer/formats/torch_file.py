"""Find the object pickle of a torch.save file, zip or legacy; tensors are never read.

Source: torch/serialization.py, `_save` and `_legacy_save`, 1.0 to 2.8; APPNOTE.TXT 6.3.10 of the zip format.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import BinaryIO, NamedTuple

from importer.errors import CheckpointError
from importer.formats.stub_unpickler import MAX_BYTES, PickleBytes, PickleCutError, load
from importer.formats.text_file import LFS_POINTER_HEAD

MAX_DIRECTORY = 4_000_000  # bytes; the largest seen, of 914 members, has 57 kB
_TAIL = 131_072  # bytes; more than the longest zip comment, and nearly always the whole directory
_MAGIC = 0x1950A86A20F9469CFC6C
_ZIP = b"PK\3\4"
_END, _LOCAL = struct.Struct("<4s4H2LH"), struct.Struct("<4s5H3L2H")
_END64, _END64_LOCATOR = struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")

_HINTS = {
    "checkpoint-hostile": "do not load it with torch unless you trust where it is from",
    "checkpoint-truncated": "copy it again from where it was trained",
    "checkpoint-unreadable": "is it a file that torch.save wrote? else copy it again",
    "lfs-pointer": "run `git lfs pull`",
}


class _Source(NamedTuple):
    handle: BinaryIO
    path: str
    size: int

    def read(self, offset: int, count: int) -> bytes:
        if offset + count <= self.size:
            self.handle.seek(offset)
            if len(content := self.handle.read(count)) == count:
                return content
        raise self.cut_short()

    def cut_short(self) -> CheckpointError:
        problem = f"is cut short after {self.size:,} bytes" if self.size else "is empty"
        return refusal(self.path, problem, "checkpoint-truncated")

    def unreadable(self, problem: str) -> CheckpointError:
        return refusal(self.path, problem, "checkpoint-unreadable")


def refusal(path: str, problem: str, code: str = "checkpoint-hostile") -> CheckpointError:
    """Return the error of a file that is not read, by default as no trainer writes it so."""
    return CheckpointError(f"{path}: {problem}", code=code, hint=_HINTS[code])


def read_torch_file(handle: BinaryIO, path: str) -> object:
    """Return what torch.save was given, with stubs for all classes; `path` is for the messages only.

    Errors: CheckpointError when it is cut short, an LFS pointer, or no such file; PickleError for the pickle itself.
    """
    source = _Source(handle, path, handle.seek(0, io.SEEK_END))
    head = source.read(0, min(source.size, 64))
    if head.startswith(LFS_POINTER_HEAD):
        raise refusal(path, "is a git-LFS pointer, not the checkpoint itself", "lfs-pointer")
    if head.startswith(_ZIP) or _ZIP.startswith(head):
        return load(PickleBytes(_data_pkl(source)))[0]
    if head.startswith(b"\x80"):
        return _read_legacy(source)
    raise source.unreadable("is no checkpoint: neither a zip nor a pickle")


def zip_directory(handle: BinaryIO, path: str) -> bytes:
    """Return a checkpoint's zip directory: the name, size and CRC-32 of every member; empty for other files."""
    source = _Source(handle, path, handle.seek(0, io.SEEK_END))
    try:
        return _directory(source) if source.read(0, min(source.size, 4)) == _ZIP else b""
    except CheckpointError:
        return b""


def _directory(source: _Source) -> bytes:
    """Return the bytes of the zip's directory, which is at the end of the file, nearly always by one read."""
    start = max(0, source.size - _TAIL)
    tail = source.read(start, source.size - start)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + _END.size > len(tail):
        raise source.cut_short()
    _, _, _, _, count, size, offset, _ = _END.unpack_from(tail, at)
    if (count == 0xFFFF or 0xFFFFFFFF in (size, offset)) and at >= _END64_LOCATOR.size:
        sign, _, where, _ = _END64_LOCATOR.unpack_from(tail, at - _END64_LOCATOR.size)
        if sign == b"PK\6\7" and where + _END64.size <= source.size:
            *_, size, offset = _END64.unpack(source.read(where, _END64.size))
    if size > MAX_DIRECTORY:
        raise refusal(source.path, f"its zip directory announces {size:,} bytes, more than {MAX_DIRECTORY:,}")
    if offset + size > start + at:
        raise source.cut_short()
    return tail[offset - start : offset - start + size] if offset >= start else source.read(offset, size)


def _data_pkl(source: _Source) -> bytes:
    """Return the bytes of data.pkl, of which no announced size is believed."""
    directory = _directory(source)
    end = _END.pack(b"PK\5\6", 0, 0, 0, 0, len(directory), 0, 0)
    try:  # the directory is parsed as a zip without content
        members = zipfile.ZipFile(io.BytesIO(directory + end)).infolist()
    except (zipfile.BadZipFile, ValueError, RuntimeError, struct.error) as error:
        raise source.unreadable("is damaged: its zip directory breaks off") from error
    member = next((member for member in members if member.filename.partition("/")[2] == "data.pkl"), None)
    if member is None:
        raise source.unreadable("is a zip without data.pkl, so no checkpoint")
    announced = max(member.compress_size, member.file_size)
    if announced > MAX_BYTES:
        raise refusal(source.path, f"announces {announced:,} bytes for data.pkl, more than {MAX_BYTES:,}")
    if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise source.unreadable("its data.pkl is encrypted or compressed in a way that torch does not write")
    sign, *_, names, extras = _LOCAL.unpack(source.read(member.header_offset, _LOCAL.size))
    if sign != _ZIP:
        raise source.unreadable("is damaged: data.pkl is not where the zip directory says")
    content = source.read(member.header_offset + _LOCAL.size + names + extras, member.compress_size)
    if member.compress_type == zipfile.ZIP_DEFLATED:
        try:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, MAX_BYTES + 1)
        except zlib.error as error:
            raise source.unreadable("is damaged: data.pkl cannot be inflated") from error
        if len(content) > MAX_BYTES:
            raise refusal(source.path, f"its data.pkl inflates to more than {MAX_BYTES:,} bytes")
    # A CRC of 0: torch.serialization.set_crc32_options(False).
    if len(content) != member.file_size or (member.CRC and zlib.crc32(content) != member.CRC):
        raise source.unreadable("is damaged: data.pkl is not what the zip directory says")
    return content


def _read_legacy(source: _Source) -> object:
    """Return the fourth of five pickles: magic number, protocol, system, object, keys; the storages follow."""
    content = PickleBytes(source.read(0, min(MAX_BYTES, source.size)))
    try:
        if load(content)[0] != _MAGIC:
            raise source.unreadable("is a pickle, but none that torch.save wrote")
        for _ in ("protocol", "system"):
            load(content)
        saved, storages = load(content)
        load(content)
    except PickleCutError as error:
        if source.size <= MAX_BYTES:
            raise source.cut_short() from error
        raise refusal(source.path, f"its pickle has more than {MAX_BYTES:,} bytes") from error
    if content.tell() + sum(storages.values()) + 8 * len(storages) > source.size:
        raise source.cut_short()
    return saved
