"""A checkpoint from strangers: nothing in it is run, and only CheckpointError comes out."""

from __future__ import annotations

import copyreg
import os
import pickle
import random
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.directories import Training
from support.torch_saves import P2, Memory, fake_modules, finished, in_args, legacy, pickled, text, without_crc, zipped

from importer.errors import CheckpointError, YmlfError
from importer.model import ImportOptions
from importer.read.checkpoint import CheckpointFacts, read_checkpoint
from importer.read.registry import read_run
from importer.record import ImportRecord
from importer.replay.plan import plan_import


class FiredError(Exception):
    """Something from the file was called."""


@pytest.fixture
def trap() -> Iterator[None]:
    """A module whose every name raises when called, made, or given state."""

    class Trap:
        def __new__(cls, *args: object, **kwargs: object) -> Trap:
            raise FiredError

        @classmethod
        def make(cls) -> None:
            raise FiredError

    class StateTrap:
        def __setstate__(self, state: object) -> None:
            raise FiredError

    module = types.ModuleType("trap")
    module.fire = Trap  # type: ignore[attr-defined]
    module.state = StateTrap  # type: ignore[attr-defined]
    Trap.__module__ = StateTrap.__module__ = "trap"
    Trap.__qualname__ = Trap.__name__ = "fire"
    sys.modules["trap"] = module
    copyreg.add_extension("trap", "fire", 240)
    yield
    copyreg.remove_extension("trap", "fire", 240)
    del sys.modules["trap"]


def read(raw: bytes) -> CheckpointFacts:
    return read_checkpoint(Memory(raw))  # type: ignore[arg-type]


def code_of(raw: bytes) -> str | None:
    """The code of the refusal, None when there are facts."""
    try:
        read(raw)
    except CheckpointError as error:
        return error.code
    return None


FIRE = b"ctrap\nfire\n"
CALLS = [
    pytest.param(FIRE + b")R", id="REDUCE"),
    pytest.param(FIRE + FIRE + b")R\x85R", id="REDUCE of what a REDUCE made"),
    pytest.param(FIRE + b"q\x00)Rq\x01h\x01b", id="REDUCE and BUILD with itself"),
    pytest.param(b"cbuiltins\ngetattr\n" + FIRE + text("make") + b"\x86R)R", id="a method through getattr"),
    pytest.param(b"cfunctools\npartial\n" + FIRE + b"\x85R)R", id="through functools.partial"),
    pytest.param(b"cbuiltins\nmap\n" + FIRE + b"](K\x01e\x86Rq\x00cbuiltins\nlist\nh\x00\x85R", id="through map"),
    pytest.param(FIRE + b")\x81", id="NEWOBJ"),
    pytest.param(FIRE + b")}\x92", id="NEWOBJ_EX"),
    pytest.param(b"(itrap\nfire\n", id="INST"),
    pytest.param(b"(" + FIRE + b"o", id="OBJ"),
    pytest.param(b"ctrap\nstate\n)\x81}b", id="BUILD with __setstate__"),
    pytest.param(text("trap") + text("fire") + b"\x93)R", id="STACK_GLOBAL"),
    pytest.param(b"\x82\xf0)R", id="EXT1"),
    pytest.param(b"\x83\xf0\x00)R", id="EXT2"),
    pytest.param(b"\x84\xf0\x00\x00\x00)R", id="EXT4"),
]  # fmt: skip


@pytest.mark.usefixtures("trap")
@pytest.mark.parametrize("layout", [zipped, legacy])
@pytest.mark.parametrize("call", CALLS)
def test_what_pickle_would_call_is_not_called(call: bytes, layout: Callable[[bytes], bytes]) -> None:
    with pytest.raises(FiredError):
        pickle.loads(in_args(call))
    assert code_of(layout(in_args(call))) in (None, "checkpoint-hostile")
    assert code_of(layout(P2 + call + b".")) in (None, "checkpoint-hostile")


@pytest.mark.usefixtures("trap")
@pytest.mark.parametrize("index", range(12))
def test_what_is_not_called_becomes_a_text(index: int) -> None:
    call = CALLS[index].values[0]
    assert isinstance(call, bytes)
    found = read(zipped(in_args(call))).train_args["x"]
    assert isinstance(found, str) and found.startswith("<")


def attack(module: str, name: str, *args: str) -> bytes:
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(text(arg) for arg in args) + b"tR"


KNOWN = [
    pytest.param("os", "system", "touch {}", id="os.system"),
    pytest.param("posix", "system", "touch {}", id="posix.system"),
    pytest.param("builtins", "eval", "open('{}', 'w')", id="eval"),
    pytest.param("__builtin__", "exec", "open('{}', 'w')", id="exec"),
    pytest.param("subprocess", "getoutput", "touch {}", id="subprocess"),
]


@pytest.mark.skipif(os.name == "nt", reason="the commands are those of a POSIX shell")
@pytest.mark.parametrize(("module", "name", "command"), KNOWN)
def test_a_known_attack_is_not_run_and_the_user_hears_of_it(
    module: str, name: str, command: str, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    call = attack(module, name, command.format(canary))
    with pytest.raises(CheckpointError, match="nothing was run") as caught:
        read(zipped(in_args(call)))
    assert caught.value.code == "checkpoint-hostile"
    assert not canary.exists()
    pickle.loads(P2 + call + b".")
    assert canary.exists(), "the attack itself does not work"


def test_eval_got_by_getattr_is_not_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    get = b"cbuiltins\ngetattr\n"
    module = b"cimportlib\nimport_module\n" + text("builtins") + b"\x85R"
    call = get + module + text("eval") + b"\x86R" + text(f"open({str(canary)!r}, 'w')") + b"\x85R"
    assert read(zipped(in_args(call))).train_args == {"x": "<a computed value>"}
    assert not canary.exists()
    pickle.loads(P2 + call + b".").close()
    assert canary.exists(), "the attack itself does not work"


SELF = [
    pytest.param(b"]q\x00h\x00a", ["<itself>"], id="a list in itself"),
    pytest.param(b"}q\x00" + text("k") + b"h\x00s", {"k": "<itself>"}, id="a dict in itself"),
    pytest.param(b"]q\x00(h\x00h\x00e", ["<itself>", "<itself>"], id="a list twice in itself"),
    pytest.param(b"]q\x00h\x00\x85a", [("<itself>",)], id="a list in a tuple in it"),
    pytest.param(b"cargparse\nNamespace\n)\x81q\x00h\x00b", "<argparse.Namespace>", id="an object that is its state"),
    pytest.param(b"cbuiltins\nset\n]q\x00h\x00a\x85R", ["<itself>"], id="a set of a list in itself"),
]


@pytest.mark.parametrize(("value", "expected"), SELF)
def test_what_holds_itself_ends(value: bytes, expected: object) -> None:
    assert read(zipped(in_args(value))).train_args == {"x": expected}


def test_train_args_that_are_their_own_state_are_empty() -> None:
    raw = P2 + b"}" + text("train_args") + b"cargparse\nNamespace\n)\x81q\x00h\x00bs."
    assert read(zipped(raw)).train_args == {}


def test_names_that_lead_out_of_the_zip_are_only_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("evil.pt", "w") as archive:
        archive.writestr("../../../escaped", "x")
        archive.writestr("/etc/escaped", "x")
        archive.writestr("last/data.pkl", pickled({"epoch": 3}))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("last/data.pkl", pickled({"epoch": 4}))
    assert read_checkpoint(Path("evil.pt")).epoch == 3
    assert list(tmp_path.iterdir()) == [tmp_path / "evil.pt"]


PERSISTENT = [
    pytest.param(b"Pos.system\n", id="by line"),
    pytest.param(attack("m", "n", "x") + b"Q", id="of an object"),
    pytest.param(b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"J\xff\xff\xff\xfftQ",
                 id="of a storage of negative size"),
]  # fmt: skip


@pytest.mark.parametrize("value", PERSISTENT)
def test_a_persistent_id_loads_nothing(value: bytes) -> None:
    assert read(zipped(in_args(value))).train_args == {"x": "<torch.Tensor>"}


def every_opcode() -> bytes:
    """A pickle that has nearly every opcode once and is whole."""
    parts = [
        b"\x80\x04\x95\0\0\0\0\0\0\0\0}", text("train_args"), b"}(",
        text("a"), b"(K\x01M\x01\x00J\x01\0\0\0I01\nI7\nL7L\nF1.5\nG?\xf8\0\0\0\0\0\0\x8a\x01\x05\x8b\x01\0\0\0\x05t",
        text("b"), b"](S'x'\nU\x01xT\x01\0\0\0xVx\n\x8c\x01x\x8d\x01\0\0\0\0\0\0\0xe",
        text("c"), b"(C\x01xB\x01\0\0\0x\x8e\x01\0\0\0\0\0\0\0x\x96\x01\0\0\0\0\0\0\0xl",
        text("d"), b"(K\x01Nd", text("e"), b"\x8f(K\x01\x90", text("f"), b"(K\x01\x91",
        text("g"), b"N\x88\x89\x87q\x010h\x01r\x02\0\0\0" b"0j\x02\0\0\0p3\n0g3\n\x940",
        text("h"), b"N2\x86", text("i"), b"N\x85", text("j"), b"(NN1N", text("k"), b"(0]Na",
        text("l"), b"cm\nn\n)R}b", text("m"), b"cm\nn\n)\x81", text("n"), b"cm\nn\n)}\x92", text("o"), b"(im\nn\n",
        text("p"), b"(cm\nn\no", text("q"), text("m"), text("n"), b"\x93", text("r"), b"Px\n", text("s"), b")Qus.",
    ]  # fmt: skip
    return b"".join(parts)


def test_every_opcode_does_what_the_pickle_format_says() -> None:
    raw = every_opcode()
    assert read(zipped(raw)).train_args["a"] == (1, 1, 1, True, 7, 7, 1.5, 1.5, 5, 5)


def test_opcodes_cut_at_every_offset_are_refused() -> None:
    raw = every_opcode()
    assert code_of(zipped(raw)) is None
    assert {code_of(zipped(raw[:length])) for length in range(len(raw))} == {"checkpoint-unreadable"}


def test_legacy_opcodes_cut_at_every_offset_are_refused() -> None:
    raw = legacy(every_opcode(), tensors=0)
    assert code_of(raw) is None
    assert {code_of(raw[:length]) for length in range(len(raw))} == {"checkpoint-truncated"}


def _mutated(raw: bytes, dice: random.Random) -> bytes:
    changed = bytearray(raw)
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        at, end = sorted((dice.randrange(len(changed) + 1), dice.randrange(len(changed) + 1)))
        end = min(end, at + dice.choice((0, 1, 1, 4, 40)))
        match dice.randrange(4):
            case 0 if at < len(changed):
                changed[at] = dice.randrange(256)
            case 1:
                del changed[at:end]
            case 2:
                changed[at:at] = dice.choice((dice.randbytes(4), changed[at:end], b"\xff" * 4, b"."))
            case 3:
                changed[at:end] = dice.randbytes(end - at)
    return bytes(changed)


def test_four_thousand_mutations_give_facts_or_a_checkpoint_error() -> None:
    dice = random.Random(0)
    with fake_modules() as modules:
        true = [pickled(finished(modules)), every_opcode()]
    whole = [layout(raw) for raw in true for layout in (zipped, legacy)]
    codes = set()
    for _ in range(2_000):
        codes.add(code_of(_mutated(dice.choice(whole), dice)))
        codes.add(code_of(without_crc(zipped(_mutated(dice.choice(true), dice), tensors=0))))
    assert codes <= {None, "checkpoint-unreadable", "checkpoint-truncated", "checkpoint-hostile"}
    assert {None, "checkpoint-unreadable", "checkpoint-truncated"} <= codes


NAN, INF = float("nan"), float("inf")
ODD = [
    None, True, -1, 2**63, 10**400, 1.5, NAN, INF, "", "8.\u00b2", "9" * 5000, "\0", "\ud800", "2024-02-30",
    "0001-01-01T00:00:00", "9999-12-31T23:59:59.999999", "2024-01-01T00:00:00+23:59", "2023-11-14T22:13:54", [], (1, 2),
    {}, {None: None}, {"seed": [NAN], "epochs": INF, "data": {}, "batch": True, "save_dir": 5, "": "", "a(b": 1},
    {"epoch": []}, {"epoch": ["a"]}, {"epoch": [NAN, INF, -1]}, {"epoch": [1, 2, 3], "time": [NAN, 5, 3]},
    {"epoch": [1, 2, 3], "train/box_loss": [1], "metrics/mAP50(B)": [NAN] * 3}, {"metrics/mAP50(B)": INF},
]  # fmt: skip


@pytest.mark.parametrize("fact", ["version", "date", "epoch", "train_args", "train_metrics", "train_results", "git"])
@pytest.mark.parametrize("lost", ["", "args.yaml", "results.csv"], ids=["", "no args.yaml", "no results.csv"])
def test_whatever_a_checkpoint_tells_the_run_is_planned_or_refused(fact: str, lost: str, tmp_path: Path) -> None:
    training = Training(best={})
    save_dir = training.write(tmp_path / "train")
    if lost:
        (save_dir / lost).unlink()
    for value in ODD:
        (save_dir / "weights/last.pt").write_bytes(zipped(pickled(training.checkpoint({fact: value}, save_dir))))
        try:
            plan = plan_import(read_run(save_dir), ImportOptions(best_metrics=True))
        except YmlfError:
            continue
        again = plan_import(read_run(save_dir), recorded=ImportRecord.from_tag(plan.record.to_tag()))
        assert repr(again.points) == repr(plan.points), value
