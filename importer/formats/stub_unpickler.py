"""Read a pickle as data: its classes become stubs, and nothing that it names is imported or called."""

from __future__ import annotations

import io
import pickle
import re
import struct
from collections.abc import Callable
from itertools import chain, islice
from typing import Any, ClassVar

MAX_BYTES = 1_000_000  # the largest data.pkl seen, of an unfinished training, has 140 kB
MAX_MEMO = 250_000  # entries; the largest seen has 11,700
MAX_NAMES = 10_000  # of classes; the largest seen has 60
MAX_MARKS = 10_000  # open at once; each takes the memory of a list
MAX_LINE = 512  # characters of a class path, or of a number that is written out
MAX_KEY = 2**31

_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # as protocol 2 writes them for Python 2
# No safeguard, for nothing is called whatever its name: a trainer never writes these, so the user should hear of them.
_ATTACKS = frozenset(
    f"{module}.{name}"
    for modules, names in (
        ("builtins", "eval exec compile open __import__ breakpoint input"),
        ("os posix nt", "system popen execv execve execl execlp spawnv spawnl fork remove unlink"),
        ("subprocess", "Popen run call check_call check_output getoutput getstatusoutput"),
        ("pty runpy shutil", "spawn run_path run_module _run_code rmtree move"),
        ("socket webbrowser", "socket create_connection open"),
    )
    for module in modules.split()
    for name in names.split()
)
_DICTS = frozenset({"collections.OrderedDict", "builtins.dict"})
_ITEM_BYTES = {"Double": 8, "Long": 8, "ComplexFloat": 8, "ComplexDouble": 16, "Float": 4, "Int": 4}
_ITEM_BYTES |= {"Half": 2, "BFloat16": 2, "Short": 2}

Handler = Callable[[Any], None]
_THEIRS: dict[int, Handler] = pickle._Unpickler.dispatch
# The opcodes whose handlers only push, pop, and read bytes that are there, or call the methods overridden below.
_INHERITED = b"012FIJKLMNPQSTUVXBC)]}ltghjqrcio\x80\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x93"
_FLOATS = re.compile(rb"(?:G.{8}){1,1000}", re.DOTALL)
_DAMAGE = (pickle.UnpicklingError, struct.error, EOFError, LookupError, ValueError, TypeError, OverflowError)


class PickleError(Exception):
    """The bytes are no pickle."""


class PickleCutError(PickleError):
    """The bytes end before the pickle does."""


class PickleHostileError(PickleError):
    """The pickle asks for more than a trainer writes, or for something that no trainer writes."""


class Stub:
    """Takes the place of a class, when `args` is None, or else of an object of it."""

    __slots__ = ("args", "path", "state")

    def __init__(self, path: str, args: object = None) -> None:
        self.path = path
        self.args = args
        self.state: object = None


STORAGE = Stub("torch.Tensor", ())


class PickleBytes(io.BytesIO):
    """The bytes of one or more pickles, whose lines have an end."""

    def readline(self, size: int | None = MAX_LINE, /) -> bytes:
        line = super().readline(size)
        if len(line) == size and not line.endswith(b"\n"):
            raise PickleHostileError(f"it has a line of more than {MAX_LINE} characters")
        return line


class StubUnpickler(pickle._Unpickler):
    """Builds None, bool, int, float, str, bytes, list, tuple, dict and Stub only; a set is a list.

    Source: Lib/pickle.py, _Unpickler, Python 3.10 to 3.14; Lib/pickletools.py for what each opcode does.
    """

    memo: dict[int, object]
    pop_mark: Callable[[], list[object]]

    def __init__(self, content: PickleBytes) -> None:
        super().__init__(content, encoding="latin-1")
        self.content = content
        self.data = content.getvalue()
        self.names = 0
        self.storages: dict[str, int] = {}  # key -> bytes

    def load(self) -> object:
        self.read, self.readline = self.content.read, self.content.readline  # past frames, which need not be there
        self.metastack: list[list[object]] = []
        self.stack: list[object] = []
        self.append = self.stack.append
        dispatch = self.dispatch
        while (opcode := self.content.read(1)) != pickle.STOP:
            dispatch[opcode[0]](self)
        return self.stack.pop()

    def find_class(self, module: str, name: str) -> Stub:
        self.names += 1
        if self.names > MAX_NAMES or len(module) + len(name) > MAX_LINE:
            raise PickleHostileError(f"it names more than {MAX_NAMES:,} classes, or one by over {MAX_LINE} characters")
        path = f"{_MODULES.get(module, module)}.{name}"
        if path in _ATTACKS:
            raise PickleHostileError(f"it names {path}, which no trainer writes; nothing was run")
        return Stub(path)

    def _instantiate(self, klass: object, args: object) -> None:
        self.append(_made(klass, args))

    def persistent_load(self, pid: object) -> Stub:
        """Return the stub of a tensor's storage, and keep its size, for a legacy file ends with the storages.

        Source: torch/serialization.py, `persistent_id`, 1.0 to 2.8: ("storage", type, key, location, count, ...).
        """
        match pid:
            case ("storage", Stub(path=path), str(key), _, int(count), *_) if 0 <= count < 2**48:
                kind = path.removeprefix("torch.").removesuffix("Storage")
                self.storages[key] = count * _ITEM_BYTES.get(kind, 1)
        return STORAGE

    def refuse(self, _code: int = 0) -> None:
        raise PickleHostileError("it asks for extension codes or buffers, which no trainer writes")

    get_extension = refuse

    def unknown(self) -> None:
        raise PickleError(f"it is no pickle at byte {self.content.tell() - 1:,}")

    def frame(self) -> None:
        self.read(8)  # its size only helps to read ahead

    def floats(self) -> None:
        """Push a number and those that follow it at once: of 300 epochs, that saves a sixth of the time."""
        run = _FLOATS.match(self.data, self.content.tell() - 1)
        if run is None:
            self.content.seek(0, io.SEEK_END)
            raise EOFError
        self.stack.extend(chain.from_iterable(struct.iter_unpack(">xd", run[0])))
        self.content.seek(run.end())

    def mark(self) -> None:
        if len(self.metastack) >= MAX_MARKS:
            raise PickleHostileError(f"it has more than {MAX_MARKS:,} open marks")
        _THEIRS[ord(pickle.MARK)](self)

    def memoize(self) -> None:
        if len(self.memo) >= MAX_MEMO:
            raise PickleHostileError(f"it has more than {MAX_MEMO:,} memo entries")
        _THEIRS[ord(pickle.MEMOIZE)](self)

    def put(self) -> None:
        key = int(self.readline())
        if not 0 <= key < MAX_KEY:  # long integers can be chosen to collide
            raise PickleError("it has a memo entry that has no number")
        self.memo[key] = self.stack[-1]

    def fill(self) -> None:
        items = self.pop_mark()
        _fill(self.stack[-1], items)

    def fill_one(self) -> None:
        item = self.stack.pop()
        _fill(self.stack[-1], [item])

    def fill_pair(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _fill(self.stack[-1], [key, value])

    def new_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        _fill(self.stack[-1], items)

    def reduce(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = _made(self.stack[-1], args)

    def newobj_ex(self) -> None:
        self.stack.pop()  # the keywords
        self.reduce()

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if type(target) is Stub and target.args is not None and target is not STORAGE:
            target.state = state

    dispatch: ClassVar[dict[int, Handler]] = {
        **dict.fromkeys(range(256), unknown),
        **{opcode: _THEIRS[opcode] for opcode in _INHERITED},
        **{ord(pickle.FRAME): frame, ord(pickle.BINFLOAT): floats, ord(pickle.MARK): mark},
        **{ord(pickle.MEMOIZE): memoize, ord(pickle.PUT): put, ord(pickle.BUILD): build},
        **{ord(pickle.APPEND): fill_one, ord(pickle.APPENDS): fill, ord(pickle.ADDITEMS): fill},
        **{ord(pickle.DICT): new_dict, ord(pickle.SETITEM): fill_pair, ord(pickle.SETITEMS): fill},
        **{ord(pickle.REDUCE): reduce, ord(pickle.NEWOBJ): reduce, ord(pickle.NEWOBJ_EX): newobj_ex},
        **{ord(pickle.NEXT_BUFFER): refuse, ord(pickle.READONLY_BUFFER): refuse},
        **{ord(pickle.EMPTY_SET): _THEIRS[ord(pickle.EMPTY_LIST)], ord(pickle.FROZENSET): _THEIRS[ord(pickle.LIST)]},
        ord(pickle.BYTEARRAY8): _THEIRS[ord(pickle.BINBYTES8)],
    }


def load(content: PickleBytes) -> tuple[object, dict[str, int]]:
    """Return the value of the pickle at the position of `content`, and the bytes of each tensor storage by its key.

    Errors: PickleCutError when the bytes end first, PickleHostileError beyond a limit, else PickleError.
    """
    unpickler = StubUnpickler(content)
    try:
        return unpickler.load(), unpickler.storages
    except _DAMAGE as error:
        at = content.tell()
        if not content.read(1):
            raise PickleCutError("it ends in the middle") from error
        problem = "it takes a value that is not there," if isinstance(error, IndexError) else "it is damaged"
        raise PickleError(f"{problem} at byte {at:,}") from error


def _fill(target: object, items: list[object]) -> None:
    """Add items to a list, and keys and values in turn to a dict; of the keys, those that facts need.

    A tuple nested without end as a key would overflow the stack of `hash`, and integers chosen to collide stall a dict.
    """
    if type(target) is list:
        target.extend(items)
    elif type(target) is dict:
        for key, value in zip(islice(items, 0, None, 2), islice(items, 1, None, 2), strict=False):
            if type(key) is str or (type(key) is int and -MAX_KEY <= key < MAX_KEY):
                target[key] = value


def _made(callee: object, args: object) -> object:
    """Return the stub of the object that the callee would have made, had it been called."""
    if type(callee) is not Stub or callee.args is not None:
        return Stub("a computed value", ())
    if callee.path in _DICTS and args == ():
        return {}
    if callee.path == "copyreg._reconstructor" and isinstance(args, tuple) and args and isinstance(args[0], Stub):
        return Stub(args[0].path, ())
    return Stub(callee.path, () if args is None else args)
