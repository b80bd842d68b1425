"""The scalars of a TensorBoard event file, read with the protobuf package that mlflow brings."""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

from importer.errors import RunDirError
from importer.model import RunPath

# A scalar record takes some 60 bytes; a graph or an image takes more than this.
_LARGEST_PARSED = 64 * 1024
# A training of 1000 epochs writes some 25,000; this many take about 250 MB of memory.
_MOST_SCALARS = 1_000_000
_YEAR_2200_SECONDS = 7_258_118_400

_HEADER = struct.Struct("<QI")  # length of the data, masked CRC32C of those eight bytes
_CHECKSUM = struct.Struct("<I")  # masked CRC32C of the data, behind it
_WALL_TIME = struct.Struct("<Bd")  # how every known writer begins an event: field 1, a double
_WALL_TIME_KEY = 1 << 3 | 1

# TensorFlow's event.proto, summary.proto and tensor.proto, less what is not read. Enums stand as int32 and
# strings as bytes, the same on the wire, so that an unknown number or a broken UTF-8 does not stop the parser.
_SCHEMA = {
    "Event": ["wall_time double 1", "step int64 2", "file_version bytes 3", "summary Summary 5"],
    "Summary": ["value Value* 1"],
    "Value": ["tag bytes 1", "simple_value float 2", "tensor Tensor 8", "metadata Metadata 9"],
    "Tensor": ["dtype int32 1", "tensor_content bytes 4", "float_val float* 5", "double_val double* 6"],
    "Metadata": ["plugin_data PluginData 1"],
    "PluginData": ["plugin_name bytes 1"],
}
_DT_FLOAT, _DT_DOUBLE = 1, 2  # tensorflow/core/framework/types.proto


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
    last_ms: int | None  # the last whole record


def read_event_file(path: RunPath) -> EventFile:
    """The scalars of an events.out.tfevents file, and the times that it tells.

    Shape:  one Scalar per number, in file order; the first damaged byte ends the file and makes it `truncated`, and so
            does the millionth scalar. A file without a byte, as a writer leaves it that was killed before its first
            flush, is truncated too.
            The length of every record is held against its CRC32C. The data of a record above 64 KB, which is a graph or
            an image and no scalar, is neither held against its CRC32C nor parsed, only its wall time is read.
    Units:  ms since the Unix epoch, rounded. A scalar whose wall time is no finite number from 1970 to 2199 is left
            out; any other such time is None.
    Errors: RunDirError when the file cannot be read, or its first record is not that of an event file.
    Source: torch/utils/tensorboard/writer.py, SummaryWriter.add_scalar (simple_value); tensorboard/plugins/scalar,
            summary_v2.py (tensor); tensorflow/core/lib/io/record_writer.h (framing).
    """
    try:
        with path.open("rb") as file:
            event_file = _read(file)
    except OSError as error:
        raise RunDirError(
            f"{path}: cannot be read: {error.strerror or error}",
            hint="make the file readable, or import a copy of the run directory without it",
        ) from error
    if event_file is None:
        raise RunDirError(
            f"{path}: not a TensorBoard event file: its first record is cut short or fails its checksum",
            hint="move it out of the run directory; the run can be imported without it",
        )
    return event_file


class _Event(NamedTuple):
    wall_ms: int | None
    opens_file: bool
    scalars: list[Scalar]
    other: bool  # neither the opening record nor one of scalars


class _CutError(Exception):
    """From here on the bytes are no whole record."""


def _read(file: IO[bytes]) -> EventFile | None:
    """The event file, or None when its first record is broken."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    created_ms = first_graph_ms = last_ms = None
    scalars: list[Scalar] = []
    records, truncated = 0, size == 0
    try:
        for event in _events(file, size):
            if event.opens_file and created_ms is None:
                created_ms = event.wall_ms
            if event.other and first_graph_ms is None:
                first_graph_ms = event.wall_ms
            if event.wall_ms is not None:
                last_ms = event.wall_ms
            scalars += event.scalars
            records += 1
            if len(scalars) >= _MOST_SCALARS:
                raise _CutError
    except _CutError:
        if not records:
            return None
        truncated = True
    return EventFile(created_ms, first_graph_ms, tuple(scalars), truncated, last_ms)


def _events(file: IO[bytes], size: int) -> Iterator[_Event]:
    begin = 0
    while begin < size:
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            raise _CutError
        length, checksum = _HEADER.unpack(header)
        end = begin + _HEADER.size + length + _CHECKSUM.size
        if checksum != _masked_crc32c(header[:8]) or end > size:
            raise _CutError
        if length > _LARGEST_PARSED:
            yield _big_event(file.read(_WALL_TIME.size))
            file.seek(end)
        else:
            yield _event(_checked(file.read(length), file.read(_CHECKSUM.size)))
        begin = end


def _checked(record: bytes, checksum: bytes) -> bytes:
    # The file may have become shorter since its size was asked for; then the checksum fails as well.
    if checksum != _CHECKSUM.pack(_masked_crc32c(record)):
        raise _CutError
    return record


def _big_event(head: bytes) -> _Event:
    """The event of a record that is too big for scalars, from its first bytes."""
    key, seconds = _WALL_TIME.unpack(head) if len(head) == _WALL_TIME.size else (0, 0.0)
    return _Event(_wall_ms(seconds) if key == _WALL_TIME_KEY else None, False, [], True)


def _event(record: bytes) -> _Event:
    parse, decode_error = _parser()
    try:
        event = parse(record)
    # The pure Python protobuf before 4.25.8 follows nested groups until the stack ends.
    except (decode_error, RecursionError) as error:
        raise _CutError from error
    wall_ms = _wall_ms(event.wall_time)
    numbers = [(value.tag, number) for value in event.summary.value if (number := _number(value)) is not None]
    scalars = [
        Scalar(tag.decode("utf-8", "replace"), number, event.step, wall_ms)
        for tag, number in numbers
        if wall_ms is not None
    ]
    opens_file = event.HasField("file_version")
    return _Event(wall_ms, opens_file, scalars, not opens_file and not numbers)


def _number(value: Any) -> float | None:
    """The number of one summary value: a simple_value as torch writes it, or a tensor of one number as TensorFlow 2."""
    if value.HasField("simple_value"):
        return float(value.simple_value)
    if not value.HasField("tensor") or value.metadata.plugin_data.plugin_name not in (b"", b"scalars"):
        return None
    tensor = value.tensor
    if tensor.dtype == _DT_FLOAT:
        numbers, code = tensor.float_val, "<f"
    elif tensor.dtype == _DT_DOUBLE:
        numbers, code = tensor.double_val, "<d"
    else:
        return None
    if len(tensor.tensor_content) == struct.calcsize(code):
        numbers = struct.unpack(code, tensor.tensor_content)
    return float(numbers[0]) if len(numbers) == 1 else None


def _wall_ms(seconds: float) -> int | None:
    return round(seconds * 1000) if 0 <= seconds < _YEAR_2200_SECONDS else None


@functools.cache
def _parser() -> tuple[Callable[[bytes], Any], type[Exception]]:
    """What parses an Event, and what it raises.

    The pool is private: a process that has tensorboard or tensorflow loaded knows the same messages in full.
    """
    from google.protobuf import (  # type: ignore[import-untyped,unused-ignore]
        descriptor_pb2,
        descriptor_pool,
        message,
        message_factory,
    )

    field_type = descriptor_pb2.FieldDescriptorProto
    schema = descriptor_pb2.FileDescriptorProto(name="ymlf/event.proto", package="ymlf", syntax="proto2")
    for message_name, fields in _SCHEMA.items():
        message_type = schema.message_type.add(name=message_name)
        for name, kind, number in map(str.split, fields):
            label = field_type.LABEL_REPEATED if kind.endswith("*") else field_type.LABEL_OPTIONAL
            field = message_type.field.add(name=name, number=int(number), label=label)
            if kind.rstrip("*") in _SCHEMA:
                field.type, field.type_name = field_type.TYPE_MESSAGE, f".ymlf.{kind.rstrip('*')}"
            else:
                field.type = field_type.Type.Value(f"TYPE_{kind.rstrip('*').upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(schema)
    descriptor = pool.FindMessageTypeByName("ymlf.Event")
    if hasattr(message_factory, "GetMessageClass"):
        event_class = message_factory.GetMessageClass(descriptor)
    else:  # protobuf before 4.22
        event_class = message_factory.MessageFactory(pool).GetPrototype(descriptor)
    return event_class.FromString, message.DecodeError


def _crc32c_table() -> tuple[int, ...]:
    table = []
    for crc in range(256):
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_CRC32C_TABLE = _crc32c_table()


def _masked_crc32c(content: bytes) -> int:
    """CRC32C, rotated and shifted as TFRecord files hold it (tensorflow/core/lib/hash/crc32c.h, Mask)."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = crc >> 8 ^ _CRC32C_TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF
