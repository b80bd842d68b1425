"""TensorBoard event files as torch's SummaryWriter writes them, made by hand: tests need no torch."""

from __future__ import annotations

import struct

STARTED = 1_795_456_775.5  # s since the Unix epoch


def crc32c(content: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 if crc & 1 else crc >> 1
    return crc ^ 0xFFFFFFFF


def masked(content: bytes) -> bytes:
    crc = crc32c(content)
    rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)


def announced(length: int) -> bytes:
    header = struct.pack("<Q", length)
    return header + masked(header)


def framed(record: bytes, checksum: bytes | None = None) -> bytes:
    return announced(len(record)) + record + (masked(record) if checksum is None else checksum)


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    encoded = b""
    while number > 0x7F:
        encoded += bytes([number & 0x7F | 0x80])
        number >>= 7
    return encoded + bytes([number])


def block(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def whole(field: int, number: int) -> bytes:
    return varint(field << 3) + varint(number)


def single(field: int, number: float) -> bytes:
    return varint(field << 3 | 5) + struct.pack("<f", number)


def event(seconds: float, content: bytes) -> bytes:
    return varint(1 << 3 | 1) + struct.pack("<d", seconds) + content


def opening(seconds: float = STARTED) -> bytes:
    return event(seconds, block(3, b"brain.Event:2"))


def summary(step: int, *values: bytes) -> bytes:
    return whole(2, step) + block(5, b"".join(block(1, value) for value in values))


def simple(tag: str, number: float) -> bytes:
    return block(1, tag.encode()) + single(2, number)


def tensor(tag: str, content: bytes, plugin: str | None = "scalars") -> bytes:
    metadata = b"" if plugin is None else block(9, block(1, block(1, plugin.encode())))
    return block(1, tag.encode()) + block(8, content) + metadata


def scalar(tag: str, number: float, step: int = 1, seconds: float = STARTED) -> bytes:
    return event(seconds, summary(step, simple(tag, number)))
