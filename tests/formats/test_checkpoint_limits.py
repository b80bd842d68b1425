"""No checkpoint, however made, takes the memory or the time."""

from __future__ import annotations

import shutil
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from support.torch_saves import MAGIC, P2, fake_modules, finished, in_args, legacy, module_tree, pickled, text, zipped
from support.weigh import Cost, weigh

from importer.read.checkpoint import read_checkpoint

MEMORY_LIMIT_MB = 100  # above what the process had


def laughs(doublings: int) -> bytes:
    """A billion laughs: each list holds the one before twice."""
    levels = [b"]q%c(h%ch%ce" % (n, n - 1, n - 1) for n in range(1, doublings)]
    return b"]q\0K\1a" + b"".join(levels)


def deflate_bomb(megabytes: int) -> bytes:
    """A zip whose data.pkl announces little and inflates to much."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = b"}" * 1_000_000
    packed = b"".join(packer.compress(block) for _ in range(megabytes)) + packer.flush()
    return _by_hand(packed, method=8, announced=1000)


def _by_hand(content: bytes, *, method: int, announced: int, name: bytes = b"last/data.pkl") -> bytes:
    """A zip of one member, announcing any size, in 64 bits where 32 do not do."""
    wide = announced >= 0xFFFFFFFF
    size = 0xFFFFFFFF if wide else announced
    extra = struct.pack("<2HQ", 1, 8, announced) if wide else b""
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, method, 0, 0, 0, len(content), size, len(name), 0)
    head = struct.pack(
        "<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, method, 0, 0, 0, len(content), size, len(name), len(extra), 0, 0, 0, 0, 0
    )
    directory = head + name + extra
    body = local + name + content
    return body + directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(directory), len(body), 0)


def many_members(count: int) -> bytes:
    """A zip directory of empty names without end."""
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    return b"PK\3\4" + entry * count + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(entry) * count, 4, 0)


def filled(start: bytes, unit: bytes | Callable[[int], bytes], size: int, end: bytes = b".") -> bytes:
    """A pickle of at most `size` bytes that has one thing, or numbered ones, as often as fits."""
    left = size - len(start) - len(end)
    units = [unit * (left // len(unit))] if isinstance(unit, bytes) else []
    number = 0
    while callable(unit) and left >= len(numbered := unit(number)):
        units.append(numbered)
        left -= len(numbered)
        number += 1
    return b"".join([start, *units, end])


def args_filled(start: bytes, unit: bytes | Callable[[int], bytes], size: int, end: bytes = b"") -> bytes:
    """As `filled`, as the value of an argument of the training."""
    return in_args(filled(start, unit, size - 100, end))


LONG = text("x" * 60_000)
WIDE = b"X" + struct.pack("<I", 60_000) + b"x" * 59_996 + "😀".encode()
# The pickles of up to so many bytes.
SHAPES: dict[str, Callable[[int], bytes]] = {
    "stack bomb of dicts": lambda size: filled(P2, b"}", size),
    "stack bomb of dicts without end": lambda size: filled(P2, b"}", size, b""),
    "stack bomb of lists": lambda size: filled(P2, b"]", size),
    "stack bomb of sets": lambda size: filled(P2, b"\x8f", size),
    "dicts of one item": lambda size: filled(P2, b"}K\x01Ns", size),
    "lists of one item": lambda size: filled(P2, b"]Na", size),
    "marks": lambda size: filled(P2, b"(", size),
    "marks and dicts": lambda size: filled(P2, b"(}", size),
    "lists and dicts without mark": lambda size: filled(P2, b"(l(d", size),
    "memo bomb": lambda size: filled(P2 + b"]", b"\x94", size),
    "memo bomb of dicts": lambda size: P2 + b"}\x94" * 249_000 + b"}" * (size - 498_100) + b".",
    "memo bomb by distant keys": lambda size: filled(P2 + b"]", lambda n: b"r%b" % struct.pack("<I", n << 12), size),
    "memo bomb by keys that collide": lambda size: filled(P2 + b"]", lambda n: b"p%d\n" % (n * (2**61 - 1)), size),
    "memo bomb by written keys": lambda size: filled(P2 + b"]", lambda n: b"p%d\n" % n, size),
    "short texts": lambda size: filled(P2, b"X\x03\0\0\0\xe6\xa8\x99", size),
    "one long text": lambda size: P2 + text("x" * (size - 100)) + b".",
    "texts that widen": lambda size: filled(P2, WIDE, size),
    "long integers": lambda size: filled(P2, b"\x8a\xff" + b"\x7f" * 255, size),
    "one long integer": lambda size: in_args(b"\x8b" + struct.pack("<i", size - 200) + b"\x7f" * (size - 200)),
    "integers that are written out": lambda size: filled(P2, b"L" + b"9" * 500 + b"L\n", size),
    "integers that collide as keys": lambda size: filled(
        P2 + b"}(", lambda n: b"\x8a\x0a%bN" % (n * (2**61 - 1)).to_bytes(10, "little"), size, b"u."
    ),
    "floats": lambda size: filled(P2, b"G?\xf8\0\0\0\0\0\0", size),
    "classes": lambda size: filled(P2, lambda n: b"cm\n%d\n" % n, size),
    "classes of long names": lambda size: filled(P2 + text("x" * 60_000) + b"q\0", b"h\0h\0\x93", size),
    "classes of names that fit": lambda size: filled(P2 + text("x" * 256) + b"q\0", b"h\0h\0\x93", size),
    "instances": lambda size: filled(P2, b"(im\nn\n", size),
    "objects": lambda size: filled(P2 + b"cm\nn\nq\x00", b"h\x00)R", size),
    "tuples in tuples": lambda size: args_filled(b")", b"\x85", size),
    "tuples in tuples as a key": lambda size: filled(P2 + b"})", b"\x85", size, b"Ns."),
    "tuples in tuples in a frozen set": lambda size: filled(P2 + b"()", b"\x85", size, b"\x91."),
    "objects in objects": lambda size: filled(P2 + b"cm\nn\nq\0" + b")", b"\x85q\1" b"0h\0h\1R", size),
    "objects that are states": lambda size: filled(P2 + b"cm\nn\nq\0)Rq\1", b"0h\0)Rh\1bq\1", size),
    "lists in lists": lambda size: args_filled(b"]q\x00", b"]h\x00aq\x00", size),
    "billion laughs": lambda _: in_args(laughs(60)),
    "billion laughs, flat": lambda _: in_args(b"]q\0" + (b"0](" + b"h\0" * 99 + b"eq\0") * 9),
    "billion laughs in train_results": lambda _: (
        P2 + b"}" + text("train_results") + b"}" + b"]q\x00(" + b"K\x01" * 100_000 + b"e"
        b"0(" + b"".join(text(f"c{n}") + b"h\x00" for n in range(1900)) + b"us."
    ),
    "the same long text many times": lambda size: args_filled(LONG + b"q\x00](", b"h\x00", size, b"e"),
    "paths of long parts": lambda size: args_filled(
        LONG + b"q\x000cpathlib\nPosixPath\n(" + b"h\x00" * 255 + b"tRq\x01](", b"h\x01", size, b"e"
    ),
    "frames and nothing": lambda _: P2 + b"\x95" + b"\xff" * 8 + b"N.",
    "bytes announced": lambda _: P2 + b"\x96" + b"\xff" * 7 + b"\x0f.",
}  # fmt: skip
FILES: dict[str, Callable[[], bytes]] = {
    "stack bomb of dicts of 8 MB": lambda: zipped(SHAPES["stack bomb of dicts"](8_000_000)),
    "short texts of 8 MB": lambda: zipped(SHAPES["short texts"](8_000_000)),
    "10 GB announced": lambda: _by_hand(b"N.", method=0, announced=10 * 2**30),
    "2 GB announced": lambda: _by_hand(b"N.", method=0, announced=2 * 2**30),
    "deflate bomb": lambda: deflate_bomb(200),
    "a directory of 80,000 members": lambda: many_members(80_000),
    "a directory of 900,000 members": lambda: many_members(900_000),
    "legacy stack bomb": lambda: legacy(SHAPES["stack bomb of dicts"](LIMIT)),
    "legacy stack bomb of 8 MB": lambda: legacy(SHAPES["stack bomb of dicts"](8_000_000)),
    "legacy without end": lambda: pickled(MAGIC) + pickled(1001) + P2 + (b"T\xf0\x00\x01\x00" + b"x" * 65_776) * 200,
}
LIMIT = 1_000_000  # bytes of a pickle that is read at all

HARMLESS = {
    "stack bomb of dicts", "stack bomb of lists", "stack bomb of sets", "dicts of one item", "lists of one item",
    "lists and dicts without mark", "memo bomb of dicts", "memo bomb by distant keys", "memo bomb by written keys",
    "short texts", "one long text", "texts that widen", "long integers", "one long integer",
    "integers that are written out", "integers that collide as keys", "floats", "objects", "objects in objects",
    "objects that are states", "tuples in tuples as a key", "tuples in tuples in a frozen set", "frames and nothing",
}  # fmt: skip
HOSTILE = {
    "stack bomb of dicts of 8 MB", "short texts of 8 MB", "memo bomb", "classes", "classes of long names",
    "classes of names that fit", "instances", "marks and dicts", "tuples in tuples", "lists in lists", "billion laughs",
    "billion laughs, flat", "billion laughs in train_results", "10 GB announced", "deflate bomb", "legacy stack bomb",
    "legacy stack bomb of 8 MB", "legacy without end", "a directory of 900,000 members",
}  # fmt: skip


@pytest.fixture(scope="session")
def costs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Cost]:
    """What each of the heavy files costs; one that takes more than three seconds of CPU time is an error."""
    folder = tmp_path_factory.mktemp("heavy")
    for name, shape in SHAPES.items():
        assert len(shape(LIMIT)) <= LIMIT
        (folder / f"{name}.pt").write_bytes(zipped(shape(LIMIT)))
    for name, make in FILES.items():
        (folder / f"{name}.pt").write_bytes(make())
    costs = weigh("checkpoint", sorted(folder.glob("*.pt")), cpu_seconds=3)
    shutil.rmtree(folder)
    return costs


def test_no_file_takes_more_than_100_mb_or_three_seconds(costs: dict[str, Cost]) -> None:
    assert set(costs) == set(SHAPES) | set(FILES)
    assert {name: cost for name, cost in costs.items() if cost.megabytes > MEMORY_LIMIT_MB} == {}


def test_more_than_a_trainer_writes_is_called_hostile_and_what_is_harmless_is_read(costs: dict[str, Cost]) -> None:
    assert {name for name, cost in costs.items() if cost.ended == "read"} == HARMLESS
    assert {costs[name].ended for name in HOSTILE} == {"checkpoint-hostile"}


@pytest.mark.stress
def test_the_facts_of_a_checkpoint_of_115_mb_are_read_within_50_ms(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    with fake_modules() as modules:
        content = pickled({**finished(modules), "model": module_tree(modules, layers=200)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("last/data.pkl", content)
        for number in range(200):
            archive.writestr(f"last/data/{number}", bytes(575_000))
    assert path.stat().st_size > 115_000_000
    spent = []
    for _ in range(5):
        began = time.process_time()
        assert read_checkpoint(path).epoch == -1
        spent.append(time.process_time() - began)
    assert min(spent) < 0.05
