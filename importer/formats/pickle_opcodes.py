"""A pickle read as data: every class becomes an inert stand-in, and nothing that the file names is imported or called.

Source: Lib/pickletools.py, protocols 0 to 5, which says what each opcode does to the stack.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import chain

from importer.formats.stub_unpickler import (
    LONG_STRING,
    MAX_KEY,
    MAX_LINE,
    MAX_OPCODES,
    MAX_STRING,
    STORAGE,
    Inert,
    Machine,
    PickleCutError,
    PickleError,
    PickleHostileError,
    extend,
    fill,
    made,
    stored,
)

_MAX_LONG = 256  # bytes; a checkpoint's random state has integers of 16
_STOP = ord(".")
_Handler = Callable[[Machine], None]


def load(machine: Machine) -> object:
    """The value of the pickle at the machine's `pos`, which is then behind it.

    Errors: PickleCutError when the bytes end first, PickleHostileError beyond a limit, PickleError when it is none.
    """
    data, handlers = machine.data, _HANDLERS
    try:
        for _ in range(MAX_OPCODES):
            code = data[machine.pos]
            machine.pos += 1
            if code == _STOP:
                return machine.stack.pop()
            handlers[code](machine)
    except (IndexError, struct.error) as error:
        if machine.pos >= len(data) or isinstance(error, struct.error):
            raise PickleCutError("it ends in the middle") from error
        raise PickleError(f"it takes a value that is not there, at byte {machine.pos:,}") from error
    except (KeyError, ValueError, OverflowError) as error:
        raise PickleError(f"it is damaged at byte {machine.pos:,}") from error
    raise PickleHostileError(f"it has more than {MAX_OPCODES:,} opcodes")


def _unknown(machine: Machine) -> None:
    raise PickleError(f"it is no pickle at byte {machine.pos - 1:,}")


def _refused(machine: Machine) -> None:
    raise PickleHostileError("it asks for extension codes or buffers, which no trainer writes")


def _nothing(machine: Machine) -> None:
    pass


def _pushes(value: object) -> _Handler:
    return lambda machine: machine.stack.append(value)


def _number(layout: str) -> _Handler:
    size, unpack = struct.calcsize(layout), struct.Struct(layout).unpack_from

    def handler(machine: Machine) -> None:
        machine.stack.append(unpack(machine.data, machine.pos)[0])
        machine.pos += size

    return handler


def _floats(machine: Machine) -> None:
    """A number and those that follow it at once, for a checkpoint holds its whole table of results."""
    data, start = machine.data, machine.pos - 1  # of its opcode
    end = start + 9
    while data[end : end + 1] == b"G":
        end += 9
    machine.stack.extend(chain.from_iterable(struct.iter_unpack(">xd", data[start:end])))
    machine.pos = end


def _read_size(machine: Machine, layout: str) -> int:
    size: int = struct.unpack_from(layout, machine.data, machine.pos)[0]
    machine.pos += struct.calcsize(layout)
    if size < 0:
        raise PickleError("it has a value of negative size")
    return size


def _string(layout: str, encoding: str | None) -> _Handler:
    def handler(machine: Machine) -> None:
        size = _read_size(machine, layout)
        if size > MAX_STRING:
            if machine.pos + size > len(machine.data):
                machine.pos = len(machine.data)
                raise PickleCutError("it ends in the middle of a value")
            machine.pos += size
            machine.stack.append(LONG_STRING)
            return
        raw = machine.take(size)
        machine.count_text(size)
        # A lone surrogate would fail later, in the store; what cannot be text is replaced here.
        machine.stack.append(raw if encoding is None else raw.decode(encoding, "replace"))

    return handler


def _long(layout: str) -> _Handler:
    def handler(machine: Machine) -> None:
        raw = machine.take(_read_size(machine, layout))
        machine.count_text(len(raw))
        value = int.from_bytes(raw, "little", signed=True) if len(raw) <= _MAX_LONG else Inert("int", ())
        machine.stack.append(value)

    return handler


def _int_line(machine: Machine) -> None:
    text = machine.line()
    machine.stack.append({"00": False, "01": True}[text] if text in ("00", "01") else int(text.rstrip("L")))


def _float_line(machine: Machine) -> None:
    machine.stack.append(float(machine.line()))


def _text_line(machine: Machine) -> None:
    machine.stack.append(machine.line().strip("'\""))


def _memo_get(layout: str) -> _Handler:
    size, unpack = struct.calcsize(layout), struct.Struct(layout).unpack_from

    def handler(machine: Machine) -> None:
        machine.stack.append(machine.memo[unpack(machine.data, machine.pos)[0]])
        machine.pos += size

    return handler


def _memo_put(layout: str) -> _Handler:
    return lambda machine: machine.keep(_read_size(machine, layout))


def _put_line(machine: Machine) -> None:
    key = int(machine.line())
    if not 0 <= key < MAX_KEY:
        raise PickleError("it has a memo entry that has no number")
    machine.keep(key)


def _mark(machine: Machine) -> None:
    machine.marks.append(len(machine.stack))


def _pop(machine: Machine) -> None:
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.stack.pop()


def _tuple(count: int) -> _Handler:
    def handler(machine: Machine) -> None:
        stack = machine.stack
        stack[-count] = tuple(stack[-count:])
        if count > 1:
            del stack[1 - count :]

    return handler


def _dict(machine: Machine) -> None:
    built: dict[object, object] = {}
    fill(built, machine.since_mark())
    machine.stack.append(built)


def _set_item(machine: Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    fill(machine.stack[-1], [key, value])


def _set_items(machine: Machine) -> None:
    items = machine.since_mark()
    fill(machine.stack[-1], items)


def _append(machine: Machine) -> None:
    value = machine.stack.pop()
    extend(machine.stack[-1], [value])


def _appends(machine: Machine) -> None:
    items = machine.since_mark()
    extend(machine.stack[-1], items)


def _stack_global(machine: Machine) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    if type(name) is not str or type(module) is not str or len(name) + len(module) > MAX_LINE:
        raise PickleError("it names a class by something that is no name")
    machine.stack.append(machine.named(module, name))


def _reduce(machine: Machine) -> None:
    args = machine.stack.pop()
    machine.stack[-1] = made(machine.stack[-1], args)


def _newobj_ex(machine: Machine) -> None:
    machine.stack.pop()
    _reduce(machine)


def _inst(machine: Machine) -> None:
    callee = machine.named(machine.line(), machine.line())
    machine.stack.append(made(callee, tuple(machine.since_mark())))


def _obj(machine: Machine) -> None:
    items = machine.since_mark()
    machine.stack.append(made(items[0], tuple(items[1:])))


def _build(machine: Machine) -> None:
    state = machine.stack.pop()
    made = machine.stack[-1]
    if type(made) is Inert and made.args is not None and made is not STORAGE and made is not LONG_STRING:
        made.state = state


def _persid_line(machine: Machine) -> None:
    machine.line()
    machine.stack.append(STORAGE)


def _table() -> list[_Handler]:
    # fmt: off
    handlers: dict[bytes, _Handler] = {
        b"N": _pushes(None), b"\x88": _pushes(True), b"\x89": _pushes(False), b")": _pushes(()),
        b"}": lambda machine: machine.stack.append({}),
        b"]": lambda machine: machine.stack.append([]),
        b"\x8f": lambda machine: machine.stack.append([]),
        b"K": _number("B"), b"M": _number("<H"), b"J": _number("<i"), b"G": _floats,
        b"\x8a": _long("B"), b"\x8b": _long("<i"), b"I": _int_line, b"L": _int_line, b"F": _float_line,
        b"X": _string("<I", "utf-8"), b"\x8c": _string("B", "utf-8"), b"\x8d": _string("<Q", "utf-8"),
        b"U": _string("B", "latin-1"), b"T": _string("<i", "latin-1"), b"S": _text_line, b"V": _text_line,
        b"C": _string("B", None), b"B": _string("<I", None), b"\x8e": _string("<Q", None), b"\x96": _string("<Q", None),
        b"h": _memo_get("B"), b"j": _memo_get("<I"), b"q": _memo_put("B"), b"r": _memo_put("<I"),
        b"g": lambda machine: machine.stack.append(machine.memo[int(machine.line())]),
        b"p": _put_line,
        b"\x94": lambda machine: machine.keep(len(machine.memo)),
        b"(": _mark, b"0": _pop, b"1": lambda machine: machine.since_mark().clear(),
        b"2": lambda machine: machine.stack.append(machine.stack[-1]),
        b"t": lambda machine: machine.stack.append(tuple(machine.since_mark())),
        b"\x85": _tuple(1), b"\x86": _tuple(2), b"\x87": _tuple(3),
        b"l": lambda machine: machine.stack.append(machine.since_mark()),
        b"\x91": lambda machine: machine.stack.append(machine.since_mark()),
        b"d": _dict, b"s": _set_item, b"u": _set_items, b"a": _append, b"e": _appends, b"\x90": _appends,
        b"c": lambda machine: machine.stack.append(machine.named(machine.line(), machine.line())),
        b"\x93": _stack_global, b"R": _reduce, b"\x81": _reduce, b"\x92": _newobj_ex, b"i": _inst, b"o": _obj,
        b"b": _build, b"P": _persid_line,
        b"Q": lambda machine: machine.stack.append(stored(machine, machine.stack.pop())),
        b"\x80": lambda machine: machine.skip(1), b"\x95": lambda machine: machine.skip(8),
        b"\x82": _refused, b"\x83": _refused, b"\x84": _refused, b"\x97": _refused, b"\x98": _refused,
    }
    # fmt: on
    return [handlers.get(bytes([code]), _unknown) for code in range(256)]


_HANDLERS = _table()
