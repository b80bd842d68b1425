"""Read the scalars of a TensorBoard event file, without protobuf."""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, NamedTuple

from importer.errors import RunDirError
from importer.model import RunPath

_LARGEST_PARSED = 64 * 1024  # bytes; a scalar record takes some 60, a graph or an image more than this
_MOST_SCALARS = 1_000_000  # of about 250 MB; a training of 1000 epochs writes some 25,000
_YEAR_2200_SECONDS = 7_258_118_400
_HEADER = struct.Struct("<QI")  # length of the data, masked CRC32C of those eight bytes
_CHECKSUM_BYTES = 4  # masked CRC32C of the data, behind it
_SIZES = {0: 0, 1: 8, 2: 0, 5: 4}  # bytes of a field by its wire type; 0 where a varint is the content or its size
_NO_TIME = struct.pack("<Bd", 1 << 3 | 1, float("nan"))
_FLOAT, _DOUBLE = struct.Struct("<f"), struct.Struct("<d")

# The keys of fields: the number, and the wire type in three bits.
# Source: tensorflow/core/util/event.proto and framework/summary.proto.
_WALL_TIME, _STEP, _FILE_VERSION, _SUMMARY = 1 << 3 | 1, 2 << 3, 3 << 3 | 2, 5 << 3 | 2  # of an Event
_VALUE = 1 << 3 | 2  # of a Summary
_TAG, _SIMPLE_VALUE = 1 << 3 | 2, 2 << 3 | 5  # of a Value


class Scalar(NamedTuple):
    tag: str
    value: float  # the float32 of the file, widened
    step: int  # as written
    wall_ms: int  # ms since the Unix epoch


@dataclass(frozen=True)
class EventFile:
    created_ms: int | None  # when the file was opened
    first_graph_ms: int | None  # the first graph, image or other event that is no scalar
    scalars: tuple[Scalar, ...]  # in file order
    truncated: bool  # the tail was cut or is damaged; what came before is kept


def read_event_file(path: RunPath) -> EventFile:
    """Return the scalars of an events.out.tfevents file, and its times.

    Shape:  the first damaged byte ends the file and makes it `truncated`, and so does the millionth scalar. A file
            without a byte, as a writer leaves it that was killed before its first flush, is truncated too.
            Of a record above 64 KB, which is a graph or an image, only the wall time is read, without its CRC32C.
    Units:  ms since the Unix epoch, rounded. A scalar whose wall time is no finite number from 1970 to 2199 is left
            out; any other such time is None.
    Errors: RunDirError when the file cannot be read, or its first record is not that of an event file.
    Source: torch/utils/tensorboard/writer.py, SummaryWriter.add_scalar (simple_value);
            tensorflow/core/lib/io/record_writer.h (framing).
    """
    created_ms = first_graph_ms = None
    scalars: list[Scalar] = []
    records = 0
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            truncated = size == 0
            for wall_ms, step, opens_file, numbers in map(_event, _records(file, size)):
                records += 1
                if opens_file:
                    created_ms = wall_ms if created_ms is None else created_ms
                elif not numbers:
                    first_graph_ms = wall_ms if first_graph_ms is None else first_graph_ms
                elif wall_ms is not None:
                    scalars += [Scalar(tag, number, step, wall_ms) for tag, number in numbers]
                if len(scalars) >= _MOST_SCALARS:
                    raise _CutError
    except OSError as error:
        hint = "make the file readable, or import a copy of the run directory without it"
        raise RunDirError(f"{path}: cannot be read: {error.strerror or error}", hint=hint) from error
    except _CutError as error:
        truncated = True
        if not records:
            problem = "not a TensorBoard event file: its first record is cut short or fails its checksum"
            hint = "move it out of the run directory; the run can be imported without it"
            raise RunDirError(f"{path}: {problem}", hint=hint) from error
    return EventFile(created_ms, first_graph_ms, tuple(scalars), truncated)


class _CutError(Exception):
    """From here on the bytes are no whole record."""


def _records(file: IO[bytes], size: int) -> Iterator[bytes]:
    """Yield each record; of a large one its time only, with which every known writer begins an event."""
    begin = file.seek(0)
    while begin < size:
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            raise _CutError
        length, checksum = _HEADER.unpack(header)
        begin += _HEADER.size + length + _CHECKSUM_BYTES
        if checksum != _length_crc32c(header[:8]) or begin > size:
            raise _CutError
        record = file.read(length if length <= _LARGEST_PARSED else len(_NO_TIME))
        if length > _LARGEST_PARSED:
            file.seek(begin)
            yield record if record[:1] == _NO_TIME[:1] else _NO_TIME
        # The file may have become shorter since its size was asked for; then the checksum fails as well.
        elif file.read(_CHECKSUM_BYTES) == _masked_crc32c(record).to_bytes(_CHECKSUM_BYTES, "little"):
            yield record
        else:
            raise _CutError


def _event(record: bytes) -> tuple[int | None, int, bool, list[tuple[str, float]]]:
    """Return the time in ms, the step, whether it is the opening record, and the number of each tag."""
    event = dict(_fields(record))
    (seconds,) = _DOUBLE.unpack(event.get(_WALL_TIME, bytes(8)))
    numbers = []
    for key, content in _fields(event.get(_SUMMARY, b"")):
        value = dict(_fields(content)) if key == _VALUE else {}
        if _SIMPLE_VALUE in value:
            (number,) = _FLOAT.unpack(value[_SIMPLE_VALUE])
            numbers.append((value.get(_TAG, b"").decode("utf-8", "replace"), number))
    wall_ms = round(seconds * 1000) if 0 <= seconds < _YEAR_2200_SECONDS else None
    return wall_ms, int.from_bytes(event.get(_STEP, b""), "little", signed=True), _FILE_VERSION in event, numbers


def _fields(message: bytes) -> list[tuple[int, bytes]]:
    """Return the key of each field of a protobuf message, which is its number and wire type, and its content."""
    fields = []
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        size = _SIZES.get(key & 7)
        if size is None or key < 8:
            raise _CutError
        if size == 0:
            size, at = _varint(message, at)
        if key & 7 == 0:
            fields.append((key, size.to_bytes(8, "little")))
        else:
            fields.append((key, message[at : at + size]))
            at += size
    if at > end:
        raise _CutError
    return fields


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins there, seven bits a byte, and where it ends."""
    if at < len(message) and message[at] < 0x80:  # nearly always
        return message[at], at + 1
    number = 0
    for place, byte in enumerate(message[at : at + 10]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number & 0xFFFF_FFFF_FFFF_FFFF, at + place + 1
    raise _CutError


def _crc32c_of_byte(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_CRC32C_TABLE = tuple(map(_crc32c_of_byte, range(256)))


def _masked_crc32c(content: bytes) -> int:
    """Return the CRC32C, rotated and shifted as TFRecord files hold it (tensorflow/core/lib/hash/crc32c.h, Mask)."""
    crc, table = 0xFFFFFFFF, _CRC32C_TABLE
    for byte in content:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF


_length_crc32c = functools.lru_cache(_masked_crc32c)  # records are of few lengths; saves a tenth of the time
