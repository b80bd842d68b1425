"""Checkpoints as torch.save writes them, made by hand: tests need no torch and run no stranger's bytes."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import types
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

P2 = b"\x80\x02"
MAGIC = 0x1950A86A20F9469CFC6C
FAKES = {
    "torch": ("FloatStorage", "HalfStorage"),
    "torch._utils": ("_rebuild_tensor_v2",),
    "torch.nn.modules.conv": ("Conv2d",),
    "ultralytics": (),
    "ultralytics.utils": ("IterableSimpleNamespace",),
    "ultralytics.nn.tasks": ("DetectionModel",),
    "albumentations": ("Blur",),
}


class Memory:
    """A path whose file is in memory; like a remote one it can be opened, sought in and read, and no more."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def open(self, mode: str) -> io.BytesIO:
        assert mode == "rb"
        return io.BytesIO(self.raw)

    def __str__(self) -> str:
        return "weights/last.pt"


class Storage:
    """A tensor's storage, which torch.save writes as a persistent id."""

    def __init__(self, key: str, count: int) -> None:
        self.key = key
        self.count = count


class Tensor:
    """A tensor of 32-bit floats."""

    def __init__(self, key: str, count: int) -> None:
        self.storage = Storage(key, count)

    def __reduce__(self) -> tuple[object, ...]:
        size = self.storage.count
        return sys.modules["torch._utils"]._rebuild_tensor_v2, (self.storage, 0, (size,), (1,), False, {})


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: object) -> object:
        if isinstance(value, Storage):
            return ("storage", sys.modules["torch"].FloatStorage, value.key, "cpu", value.count)
        return None


@contextmanager
def fake_modules() -> Iterator[dict[str, types.ModuleType]]:
    """Modules with the classes that a checkpoint names, for as long as it is being written."""
    made = {}
    for module, names in FAKES.items():
        made[module] = types.ModuleType(module)
        for name in names:
            setattr(made[module], name, type(name, (), {"__module__": module}))
    kept = {name: sys.modules.get(name) for name in made}
    sys.modules.update(made)
    try:
        yield made
    finally:
        for name, module in kept.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def pickled(value: object, protocol: int = 2) -> bytes:
    """The pickle of a value, tensors by persistent id."""
    written = io.BytesIO()
    _Pickler(written, protocol).dump(value)
    return written.getvalue()


def module_tree(modules: dict[str, types.ModuleType], layers: int = 3) -> object:
    """A model: objects with state, which hold objects and tensors."""
    model = modules["ultralytics.nn.tasks"].DetectionModel()
    for number in range(layers):
        layer = modules["torch.nn.modules.conv"].Conv2d()
        layer.__dict__ |= {"training": False, "_parameters": {"weight": Tensor(str(number), 8)}, "stride": (1, 1)}
        model.__dict__[f"layer{number}"] = layer
    return model


def finished(modules: dict[str, types.ModuleType]) -> dict[str, object]:
    """What last.pt of a finished training of Ultralytics 8.4.120 holds, and a little more."""
    return {
        "epoch": -1,
        "best_fitness": None,
        "model": module_tree(modules),
        "ema": None,
        "train_args": {"task": "detect", "epochs": 2, "lr0": 0.01, "amp": True, "data": None, "classes": [0, 2]},
        "train_metrics": {"metrics/mAP50(B)": 0.25, "fitness": 0.125},
        "train_results": {"epoch": [1, 2], "          train/box_loss": [1.5, float("inf")], "lr/pg0": [0.01, 0.02]},
        "date": "2026-11-23T17:47:29.161563+00:00",
        "version": "8.4.120",
        "git": {"root": "/home/x", "branch": "main", "commit": None},
    }


def _entry(name: str, method: int) -> zipfile.ZipInfo:
    """An entry with the date that torch gives to all of them."""
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.compress_type = method
    return entry


def zipped(pickle_bytes: bytes, top: str = "last", method: int = zipfile.ZIP_STORED, tensors: int = 3) -> bytes:
    """The zip that torch.save writes around the pickle."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", method) as archive:
        archive.writestr(_entry(f"{top}/data.pkl", method), pickle_bytes)
        archive.writestr(_entry(f"{top}/byteorder", method), "little")
        for number in range(tensors):
            archive.writestr(_entry(f"{top}/data/{number}", method), struct.pack("<8f", *[float(number)] * 8))
        archive.writestr(_entry(f"{top}/version", method), "3\n")
    return written.getvalue()


def legacy(pickle_bytes: bytes, tensors: int = 3) -> bytes:
    """The file that torch.save wrote before 1.6: five pickles and the storages."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [pickled(MAGIC), pickled(1001), pickled(system), pickle_bytes, pickled([str(n) for n in range(tensors)])]
    storages = [struct.pack("<q8f", 8, *[float(number)] * 8) for number in range(tensors)]
    return b"".join([*parts, *storages])


def without_crc(raw: bytes) -> bytes:
    """The zip with no CRCs in its directory, so that a changed pickle is read all the same."""
    changed = bytearray(raw)
    at = raw.find(b"PK\1\2")
    while at >= 0:
        changed[at + 16 : at + 20] = b"\0\0\0\0"
        at = raw.find(b"PK\1\2", at + 4)
    return bytes(changed)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def in_args(value: bytes) -> bytes:
    """A pickle of {"train_args": {"x": value}}."""
    return P2 + value + b"r\xff\xff\0\0}" + text("train_args") + b"}" + text("x") + b"j\xff\xff\0\0ss."
