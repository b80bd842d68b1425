"""What a pickle may build here: plain values and inert stand-ins, within limits that bound the memory."""

from __future__ import annotations

from itertools import islice

# What an opcode can add is at most some 110 bytes, so these bound memory to below 100 MB.
MAX_BYTES = 8_000_000  # the largest data.pkl seen, of an unfinished training, has 140 kB
MAX_OPCODES = 800_000  # and 55,000 opcodes,
MAX_MEMO = 250_000  # 11,700 memo entries
MAX_NAMES = 10_000  # and 60 names of classes
MAX_TEXT = 4_000_000  # bytes of text, each text with _TEXT_COST
MAX_STRING = 65_536  # bytes; a longer one is left out
_TEXT_COST = 16
MAX_LINE = 512  # characters of a class path
MAX_KEY = 2**31

_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # as protocol 2 writes them for Python 2
# No safeguard, for nothing is called whatever its name: a trainer never writes these, so the user should hear of them.
_ATTACKS = frozenset(
    f"{module}.{name}"
    for module, names in {
        "builtins": "eval exec compile open __import__ breakpoint input",
        "os": "system popen execv execve execl execlp spawnv spawnl fork remove unlink",
        "posix": "system popen execv execve fork remove unlink",
        "nt": "system popen execv execve spawnv remove unlink",
        "subprocess": "Popen run call check_call check_output getoutput getstatusoutput",
        "pty": "spawn",
        "runpy": "run_path run_module _run_code",
        "shutil": "rmtree move",
        "socket": "socket create_connection",
        "webbrowser": "open",
    }.items()
    for name in names.split()
)

_DICTS = frozenset({"collections.OrderedDict", "builtins.dict"})
_COMPUTED = "a computed value"
_ITEM_BYTES = {"Double": 8, "Long": 8, "ComplexFloat": 8, "ComplexDouble": 16, "Float": 4, "Int": 4}
_ITEM_BYTES |= {"Half": 2, "BFloat16": 2, "Short": 2}


class PickleError(Exception):
    """The bytes are no pickle."""


class PickleCutError(PickleError):
    """The bytes end before the pickle does."""


class PickleHostileError(PickleError):
    """The pickle asks for more than a trainer writes, or for something that no trainer writes."""


class Inert:
    """Stands in for a class, when `args` is None, or else for an object of it."""

    __slots__ = ("args", "path", "state")

    def __init__(self, path: str, args: object = None) -> None:
        self.path = path
        self.args = args
        self.state: object = None


STORAGE = Inert("torch.Tensor", ())
LONG_STRING = Inert(f"text over {MAX_STRING:,} bytes", ())


class Machine:
    """What a pickle has built so far.

    Shape: only None, bool, int, float, str, bytes, list, tuple, dict and Inert; a set is a list.
    """

    __slots__ = ("data", "marks", "memo", "names", "pos", "stack", "storages", "text")

    def __init__(self, data: bytes, start: int = 0) -> None:
        self.data = data
        self.pos = start
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}
        self.names = 0
        self.text = 0
        self.storages: dict[str, int] = {}  # key -> bytes

    def take(self, count: int) -> bytes:
        end = self.pos + count
        if end > len(self.data):
            self.pos = len(self.data)
            raise PickleCutError("it ends in the middle of a value")
        taken = self.data[self.pos : end]
        self.pos = end
        return taken

    def skip(self, count: int) -> None:
        self.pos = min(self.pos + count, len(self.data))

    def line(self) -> str:
        end = self.data.find(b"\n", self.pos, self.pos + MAX_LINE)
        if end < 0:
            if self.pos + MAX_LINE < len(self.data):
                raise PickleHostileError(f"it has a line of more than {MAX_LINE} characters")
            self.pos = len(self.data)
            raise PickleCutError("it ends in the middle of a line")
        text = self.data[self.pos : end].decode("utf-8", "replace").rstrip("\r")
        self.pos = end + 1
        self.count_text(len(text))
        return text

    def count_text(self, size: int) -> None:
        self.text += size + _TEXT_COST
        if self.text > MAX_TEXT:
            raise PickleHostileError(f"it has more than {MAX_TEXT:,} bytes of text")

    def since_mark(self) -> list[object]:
        at = self.marks.pop()
        items = self.stack[at:]
        del self.stack[at:]
        return items

    def named(self, module: str, name: str) -> Inert:
        path = f"{_MODULES.get(module, module)}.{name}"
        self.names += 1
        if path in _ATTACKS:
            raise PickleHostileError(f"it names {path}, which no trainer writes; nothing was run")
        if self.names > MAX_NAMES:
            raise PickleHostileError(f"it names more than {MAX_NAMES:,} classes")
        return Inert(path)

    def keep(self, key: int) -> None:
        if len(self.memo) >= MAX_MEMO:
            raise PickleHostileError(f"it has more than {MAX_MEMO:,} memo entries")
        self.memo[key] = self.stack[-1]


def fill(target: object, items: list[object]) -> None:
    """Add keys and values in turn to a dict, and to nothing else; of the keys, those that facts need.

    A tuple nested without end as a key would overflow the stack of `hash`, and integers chosen to collide stall a dict.
    """
    if type(target) is dict:
        for key, value in zip(islice(items, 0, None, 2), islice(items, 1, None, 2), strict=False):
            if type(key) is str or (type(key) is int and -MAX_KEY <= key < MAX_KEY):
                target[key] = value


def extend(target: object, items: list[object]) -> None:
    """Add to a list, and to nothing else."""
    if type(target) is list:
        target.extend(items)


def made(callee: object, args: object) -> object:
    """What stands for the object that the callee would have made, had it been called."""
    if type(callee) is not Inert or callee.args is not None:
        return Inert(_COMPUTED, ())
    if callee.path in _DICTS and args == ():
        return {}
    if callee.path == "copyreg._reconstructor" and isinstance(args, tuple) and args and isinstance(args[0], Inert):
        return Inert(args[0].path, ())
    return Inert(callee.path, () if args is None else args)


def stored(machine: Machine, persistent_id: object) -> Inert:
    """What stands for a tensor's storage; its size in bytes is noted, for a legacy file ends with the storages.

    Source: torch/serialization.py, `persistent_id`, 1.0 to 2.8: ("storage", type, key, location, count, ...).
    """
    match persistent_id:
        case ("storage", Inert(path=path), str(key), _, int(count), *_) if 0 <= count < 2**48:
            kind = path.removeprefix("torch.").removesuffix("Storage")
            machine.storages[key] = count * _ITEM_BYTES.get(kind, 1)
    return STORAGE
