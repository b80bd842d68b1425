"""What is read from a TensorBoard event file, whole, cut or damaged."""

from __future__ import annotations

import math
import random
import struct
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

import pytest
from support.event_files import (
    STARTED,
    announced,
    block,
    crc32c,
    event,
    framed,
    opening,
    scalar,
    simple,
    single,
    summary,
    tensor,
    whole,
)
from support.torch_saves import Memory

from importer.errors import RunDirError
from importer.formats import event_file
from importer.formats.event_file import EventFile, Scalar, read_event_file

NAN = float("nan")

# The opening record and two scalars of a file by torch's SummaryWriter, from a training with Ultralytics 8.3.0.
TORCH = bytes.fromhex(
    "4800000000000000fe92489d093d8fd5c11fc1da411a0d627261696e2e4576656e743a32522e0a2c74656e736f72626f6172642e73756d6d"
    "6172792e7772697465722e6576656e745f66696c655f777269746572d2e88e491c00000000000000c8c1951d096a15dfc31fc1da4110012a"
    "0f0a0d0a066c722f70673015acc5a73765ab706a2700000000000000bbe1b14609f4f003c41fc1da4110012a1a0a180a116d657472696373"
    "2f726563616c6c2842291500000000f241a778"
)


def write(directory: Path, records: Iterable[bytes]) -> Path:
    path = directory / "events.out.tfevents.1795456775.host.1.0"
    path.write_bytes(b"".join(framed(record) for record in records))
    return path


SMALL = [
    opening(),
    event(STARTED + 1, block(4, b"graph")),
    scalar("train/box_loss", 5.5, 1, STARTED + 2),
    event(STARTED + 3, summary(1, simple("metrics/mAP50(B)", 0.25), simple("val/box_loss", 7.5))),
    scalar("metrics/mAP50(B)", 0.5, 2, STARTED + 4),
]
SMALL_SCALARS = (
    Scalar("train/box_loss", 5.5, 1, 1_795_456_777_500),
    Scalar("metrics/mAP50(B)", 0.25, 1, 1_795_456_778_500),
    Scalar("val/box_loss", 7.5, 1, 1_795_456_778_500),
    Scalar("metrics/mAP50(B)", 0.5, 2, 1_795_456_779_500),
)


def scalars_within(count: int) -> tuple[Scalar, ...]:
    """The scalars of the first `count` records of SMALL."""
    return SMALL_SCALARS[: (0, 0, 0, 1, 3, 4)[count]]


def whole_records(length: int) -> int:
    """How many records of SMALL the first `length` bytes hold."""
    ends = [sum(len(framed(record)) for record in SMALL[: i + 1]) for i in range(len(SMALL))]
    return sum(end <= length for end in ends)


def test_the_checksum_of_these_tests_is_the_published_one():
    assert crc32c(b"123456789") == 0xE3069283


def test_every_scalar_is_read_in_file_order_with_the_times_of_the_file(tmp_path):
    assert read_event_file(write(tmp_path, SMALL)) == EventFile(
        created_ms=1_795_456_775_500,
        first_graph_ms=1_795_456_776_500,
        scalars=SMALL_SCALARS,
        truncated=False,
    )


def test_what_torch_wrote_is_read(tmp_path):
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(TORCH)
    found = read_event_file(path)
    assert (found.created_ms, found.truncated) == (1_795_456_775_337, False)
    assert found.scalars == (
        Scalar("lr/pg0", struct.unpack("<f", struct.pack("<f", 2e-5))[0], 1, 1_795_456_783_486),
        Scalar("metrics/recall(B)", 0.0, 1, 1_795_456_784_062),
    )


@pytest.mark.parametrize(
    ("value", "number"),
    [
        pytest.param(simple("loss", 0.1), struct.unpack("<f", struct.pack("<f", 0.1))[0], id="a float32 is widened"),
        pytest.param(simple("loss", 0.0), 0.0, id="zero is a value"),
        pytest.param(simple("loss", math.inf), math.inf, id="inf stays inf"),
        pytest.param(simple("loss", NAN), NAN, id="nan stays nan"),
    ],
)
def test_the_number_is_that_of_the_file(tmp_path, value, number):
    found = read_event_file(write(tmp_path, [opening(), event(STARTED, summary(3, value))]))
    assert found.scalars == (Scalar("loss", pytest.approx(number, rel=0, abs=0, nan_ok=True), 3, 1_795_456_775_500),)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(block(1, b"image") + block(4, b"\x08\x01"), id="image"),
        pytest.param(tensor("text", whole(1, 7) + block(8, b"words"), "text"), id="text"),
        pytest.param(tensor("curve", whole(1, 1) + block(5, struct.pack("<2f", 1, 2)), "pr_curves"), id="curve"),
        pytest.param(tensor("loss", whole(1, 1) + single(5, 2.5)), id="TF2 tensor, which no YOLO trainer writes"),
        pytest.param(tensor("pair", whole(1, 1) + block(5, struct.pack("<2f", 1, 2))), id="tensor of two numbers"),
        pytest.param(tensor("ragged", whole(1, 1) + block(4, b"abc")), id="tensor of three bytes"),
        pytest.param(tensor("other", whole(1, 1) + single(5, 1), "hparams"), id="number of another plugin"),
        pytest.param(tensor("whole", whole(1, 3) + whole(7, 1)), id="integer tensor"),
    ],
)
def test_what_is_no_scalar_only_tells_its_time(tmp_path, value):
    found = read_event_file(write(tmp_path, [opening(), event(STARTED + 1, summary(1, value))]))
    assert (found.scalars, found.truncated, found.first_graph_ms) == ((), False, 1_795_456_776_500)


def test_a_negative_step_is_kept_as_written(tmp_path):
    assert read_event_file(write(tmp_path, [opening(), scalar("loss", 1, -1)])).scalars[0].step == -1


def test_a_tag_that_is_no_utf8_is_read_with_replacement_characters(tmp_path):
    value = block(1, b"loss\xff") + single(2, 1.0)
    found = read_event_file(write(tmp_path, [opening(), event(STARTED, summary(1, value))]))
    assert found.scalars[0].tag == "loss\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("seconds", [NAN, math.inf, -math.inf, -1.0, 7_258_118_400.0, 1e300])
def test_a_scalar_at_no_believable_time_is_left_out(tmp_path, seconds):
    records = [opening(seconds), event(seconds, b""), scalar("lost", 1, 1, seconds), scalar("kept", 1)]
    found = read_event_file(write(tmp_path, records))
    assert [scalar.tag for scalar in found.scalars] == ["kept"]
    assert (found.created_ms, found.first_graph_ms, found.truncated) == (None, None, False)


def test_the_last_second_of_2199_is_a_time(tmp_path):
    found = read_event_file(write(tmp_path, [opening(), scalar("late", 1, 1, 7_258_118_399.0)]))
    assert found.scalars[0].wall_ms == 7_258_118_399_000


def test_a_file_cut_at_any_byte_gives_the_scalars_before_the_cut():
    content = b"".join(map(framed, SMALL))
    for length in range(len(framed(SMALL[0])), len(content)):
        count = whole_records(length)
        found = read_event_file(Memory(content[:length]))
        assert found.scalars == scalars_within(count)
        assert found.truncated == (length != sum(len(framed(record)) for record in SMALL[:count]))


def test_a_flipped_bit_ends_the_file_before_its_record():
    content = b"".join(map(framed, SMALL))
    for position in range(len(framed(SMALL[0])), len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        found = read_event_file(Memory(bytes(flipped)))
        assert found.truncated
        assert found.scalars == scalars_within(whole_records(position))


def test_a_record_that_is_no_event_ends_the_file(tmp_path):
    found = read_event_file(write(tmp_path, [opening(), scalar("kept", 1), b"\xff" * 9, scalar("lost", 1)]))
    assert [scalar.tag for scalar in found.scalars] == ["kept"]
    assert found.truncated


def test_a_file_that_was_never_flushed_is_truncated(tmp_path):
    assert read_event_file(write(tmp_path, [])) == EventFile(None, None, (), True)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"epoch,time\n1,2\n" * 9, id="text"),
        pytest.param(framed(opening())[:11], id="first record cut in its header"),
        pytest.param(framed(opening())[:-1], id="first record cut in its checksum"),
        pytest.param(framed(opening(), b"\0\0\0\0"), id="first record fails its checksum"),
        pytest.param(framed(b"\xff" * 9), id="first record is no event"),
        pytest.param(announced(2**64 - 1), id="first record longer than any file"),
    ],
)
def test_what_is_no_event_file_is_refused_with_the_next_step(tmp_path, content):
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(content)
    with pytest.raises(RunDirError, match="not a TensorBoard event file: its first record") as refused:
        read_event_file(path)
    assert refused.value.message.startswith(f"{path}: ")
    assert refused.value.hint == "move it out of the run directory; the run can be imported without it"


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_file_that_cannot_be_read_is_refused_with_the_next_step(tmp_path, name):
    with pytest.raises(RunDirError, match="cannot be read") as refused:
        read_event_file(tmp_path / name)
    assert refused.value.hint == "make the file readable, or import a copy of the run directory without it"


def test_a_big_record_is_skipped_for_its_time(tmp_path):
    path = write(tmp_path, [opening()])
    graph = event(STARTED + 1, block(4, b"\xff" * 200_000))
    headless = block(4, b"\xff" * 200_000)
    with path.open("ab") as file:
        for big in (headless, graph):
            file.write(framed(big, b"\0\0\0\0"))
        file.write(framed(scalar("after", 1, 1, STARTED + 2)))
    found = read_event_file(path)
    assert [scalar.tag for scalar in found.scalars] == ["after"]
    assert (found.truncated, found.first_graph_ms) == (False, 1_795_456_776_500)
    assert found.scalars[0].wall_ms == 1_795_456_777_500


def test_a_file_of_too_many_scalars_is_read_up_to_the_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(event_file, "_MOST_SCALARS", 3)
    found = read_event_file(write(tmp_path, SMALL))
    assert (found.scalars, found.truncated) == (SMALL_SCALARS[:3], True)


def mutated(chance: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        begin = chance.randrange(len(changed) + 1)
        end = begin + chance.choice([0, 1, 1, 2, 8])
        changed[begin:end] = chance.randbytes(chance.choice([0, 1, 1, 2, 8]))
    return bytes(changed)


def test_no_bytes_do_more_than_be_refused():
    """Half of the files are damaged as a disk would; in the others every checksum holds and the events are damaged."""
    chance = random.Random(8)
    content = b"".join(map(framed, SMALL))
    refused = read = 0
    for turn in range(10_000):
        records = [*SMALL[:1], mutated(chance, chance.choice(SMALL)), *SMALL[-1:]]
        damaged = mutated(chance, content) if turn % 2 else b"".join(map(framed, records))
        try:
            found = read_event_file(Memory(damaged))
        except RunDirError:
            refused += 1
        else:
            read += 1
            assert all(0 <= scalar.wall_ms < 7_258_118_400_000 for scalar in found.scalars)
    assert refused > 100 and read > 100


def test_groups_nested_without_end_do_not_reach_the_end_of_the_stack(tmp_path):
    assert read_event_file(write(tmp_path, [opening(), b"\x63" * 60_000])).truncated


@pytest.mark.skipif(sys.platform != "linux", reason="the bound is set with RLIMIT_AS and /proc")
def test_a_record_of_any_size_is_read_within_100_mb(tmp_path):
    """10 GB are announced and not there; 1 GB is announced and there, as a hole in the file."""
    records = b"".join(framed(record) for record in SMALL)
    liar, giant = tmp_path / "liar", tmp_path / "giant"
    liar.write_bytes(records + announced(10 * 2**30))
    giant.write_bytes(records + announced(2**30))
    with giant.open("r+b") as file:
        file.seek(0, 2)
        file.truncate(file.tell() + 2**30 + 4)
    program = """
        import resource, sys
        from pathlib import Path
        from importer.formats.event_file import read_event_file
        small, liar, giant = map(Path, sys.argv[1:])
        assert len(read_event_file(small).scalars) == 4
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 100 * 2**20, resource.RLIM_INFINITY))
        for path in (liar, giant):
            event_file = read_event_file(path)
            print(len(event_file.scalars), event_file.truncated)
    """
    small = write(tmp_path, SMALL)
    command = [sys.executable, "-c", textwrap.dedent(program), str(small), str(liar), str(giant)]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert finished.stdout.splitlines() == ["4 True", "4 False"], finished.stderr


def test_importing_the_module_brings_neither_mlflow_nor_protobuf():
    program = (
        "import sys, importer.formats.event_file; print([m for m in sys.modules if m.startswith(('mlflow', 'google'))])"
    )
    command = [sys.executable, "-c", program]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True)
    assert finished.stdout.strip() == "[]"
