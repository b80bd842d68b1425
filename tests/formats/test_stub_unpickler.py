"""What the reader of pickles takes from this Python's own, which has private names."""

from __future__ import annotations

import pickle
import pickletools

from importer.formats.stub_unpickler import PickleBytes, StubUnpickler, load

# What imports, calls, gives state, hashes, or takes memory that the bytes do not pay for.
OURS = (
    "REDUCE NEWOBJ NEWOBJ_EX BUILD NEXT_BUFFER READONLY_BUFFER APPEND APPENDS ADDITEMS DICT SETITEM SETITEMS FROZENSET "
    "EMPTY_SET BYTEARRAY8 FRAME MARK MEMOIZE PUT STOP"
)
METHODS = ("find_class", "get_extension", "persistent_load", "_instantiate", "pop_mark", "load")


def test_the_opcodes_of_this_python_are_those_that_were_looked_at() -> None:
    theirs = pickle._Unpickler.dispatch  # type: ignore[attr-defined]
    assert set(theirs) == {ord(opcode.code) for opcode in pickletools.opcodes}
    assert len(theirs) == 68
    inherited = {code for code in theirs if StubUnpickler.dispatch[code] is theirs[code]}
    assert inherited.isdisjoint(ord(opcode.code) for opcode in pickletools.opcodes if opcode.name in OURS.split())
    unknown = StubUnpickler.dispatch[0]
    assert {code for code in range(256) if StubUnpickler.dispatch[code] is not unknown} == set(theirs) - {ord(".")}


def test_the_methods_that_inherited_opcodes_call_are_there_to_be_overridden() -> None:
    for name in METHODS:
        assert hasattr(pickle._Unpickler, name)  # type: ignore[attr-defined]


def test_pickles_one_after_the_other_are_read_in_turn() -> None:
    content = PickleBytes(
        b"".join(pickle.dumps(value, protocol) for protocol in range(6) for value in ({"a": [1.5, 2.5]}, -7))
    )
    assert [load(content)[0] for _ in range(12)] == [{"a": [1.5, 2.5]}, -7] * 6
