"""What a checkpoint tells, and what is said of one that tells nothing."""

from __future__ import annotations

import argparse
import datetime
import io
import pathlib
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.torch_saves import MAGIC, Memory, fake_modules, finished, legacy, module_tree, pickled, zipped

from importer.errors import CheckpointError
from importer.model import CheckpointFacts
from importer.read.checkpoint import read_checkpoint


def read(raw: bytes) -> CheckpointFacts:
    return read_checkpoint(Memory(raw))  # type: ignore[arg-type]


def refusal(raw: bytes) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        read(raw)
    assert caught.value.message.startswith("weights/last.pt: ")
    assert caught.value.hint
    return caught.value


def saved(**changes: object) -> bytes:
    with fake_modules() as modules:
        return pickled({**finished(modules), **changes})


LAYOUTS = [
    pytest.param(zipped, id="zip"),
    pytest.param(legacy, id="legacy"),
    pytest.param(lambda raw: zipped(raw, method=zipfile.ZIP_DEFLATED), id="zip repacked with compression"),
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_finished_training_tells_its_facts(layout: Callable[[bytes], bytes]) -> None:
    facts = read(layout(saved()))
    assert facts.version == "8.4.120"
    assert facts.date == "2026-11-23T17:47:29.161563+00:00"
    assert facts.epoch == -1
    assert facts.best_fitness is None
    assert facts.train_args == {
        "task": "detect",
        "epochs": 2,
        "lr0": 0.01,
        "amp": True,
        "data": None,
        "classes": [0, 2],
    }
    assert type(facts.train_args["amp"]) is bool
    assert facts.opt == {}
    assert facts.train_metrics == {"metrics/mAP50(B)": 0.25, "fitness": 0.125}
    assert facts.train_results == {
        "epoch": (1.0, 2.0),
        "train/box_loss": (1.5, float("inf")),
        "lr/pg0": (0.01, 0.02),
    }
    assert facts.git == {"root": "/home/x", "branch": "main"}


def test_a_broken_off_training_tells_the_epoch_that_it_was_saved_at() -> None:
    with fake_modules() as modules:
        state = {"state": {0: {"exp_avg": module_tree(modules)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
        raw = pickled({**finished(modules), "epoch": 4, "best_fitness": 0.5, "ema": state["state"], "optimizer": state})
    facts = read(zipped(raw))
    assert (facts.epoch, facts.best_fitness) == (4, 0.5)


def test_a_zip64_directory_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = read(zipped(saved()))
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 0)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 0)
    raw = zipped(saved())
    at = raw.rfind(b"PK\5\6")
    wide = raw[: at + 8] + struct.pack("<2H2L", 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF) + raw[at + 20 :]
    assert b"PK\6\6" in wide
    assert read(wide) == plain


def test_facts_can_be_sent_to_another_process_and_hold_builtin_types_only() -> None:
    with fake_modules() as modules:
        args = {"where": pathlib.PurePosixPath("/a/b"), "blur": modules["albumentations"].Blur(), "kept": (1, [2.0])}
        raw = pickled({**finished(modules), "train_args": args})
    facts = read(zipped(raw))
    assert facts.train_args == {"where": "/a/b", "blur": "<albumentations.Blur>", "kept": (1, [2.0])}
    blob = pickle.dumps(facts)
    assert pickle.loads(blob) == facts
    assert re.findall(rb"importer[.\w]+", blob) == [b"importer.model"]
    with pytest.raises(AttributeError):
        facts.epoch = 3  # type: ignore[misc]


VALUES = [
    pytest.param(pathlib.PurePosixPath("/data/coco8.yaml"), "/data/coco8.yaml", id="a path is its text"),
    pytest.param(pathlib.PureWindowsPath("D:/runs/x"), "D:\\runs\\x", id="a Windows path keeps its backslashes"),
    pytest.param({"b"}, ["b"], id="a set is a list"),
    pytest.param(frozenset({3}), [3], id="so is a frozenset"),
    pytest.param((0, (1,)), (0, (1,)), id="a tuple stays a tuple"),
    pytest.param(OrderedDict(a=OrderedDict(b=1)), {"a": {"b": 1}}, id="an OrderedDict is a dict"),
    pytest.param({1: "x"}, {1: "x"}, id="integers are keys"),
    pytest.param({(1, 2): "x", "k": 1}, {"k": 1}, id="a key that is neither text nor integer is left out"),
    pytest.param(2**100, 2**100, id="a long integer"),
    pytest.param("Fuß 標 😀", "Fuß 標 😀", id="text beyond ASCII"),
    pytest.param(np.float64(0.5), 0.5, id="a numpy scalar"),
    pytest.param(np.float32(0.5), 0.5, id="a numpy scalar of 32 bits"),
    pytest.param(np.int64(-3), -3, id="a numpy integer"),
    pytest.param(np.bool_(True), True, id="a numpy bool"),
    pytest.param(np.array([0.25, 0.5]), [0.25, 0.5], id="a small numpy array is a list"),
    pytest.param(np.zeros(5000), f"<{np.zeros(1).__reduce__()[0].__module__}._reconstruct>", id="a large one is named"),
    pytest.param(b"\x00\xff", "<2 bytes>", id="bytes are only described"),
    pytest.param(datetime.timedelta(1), "<datetime.timedelta>", id="any other object is only named"),
    pytest.param(len, "<builtins.len>", id="a function too"),
    pytest.param("x" * 70_000, "<text over 65,536 bytes>", id="a long text is left out"),
    pytest.param(
        datetime.datetime(2024, 2, 29, 23, 59, 58, 7), "2024-02-29T23:59:58.000007", id="a datetime is its ISO text"
    ),
    pytest.param(
        datetime.datetime(2024, 2, 29, tzinfo=datetime.timezone(datetime.timedelta(hours=-3))),
        "2024-02-29T00:00:00-03:00",
        id="and keeps its zone",
    ),
]


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize(("value", "expected"), VALUES)
def test_a_value_of_train_args_is_plain(value: object, expected: object, protocol: int) -> None:
    found = read(zipped(pickled({"train_args": {"x": value}}, protocol))).train_args["x"]
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize("protocol", [2, 4])
def test_arguments_in_a_namespace_are_its_attributes(protocol: int) -> None:
    with fake_modules() as modules:
        namespace = modules["ultralytics.utils"].IterableSimpleNamespace()
        namespace.__dict__ |= {"epochs": 3}
        raw = pickled({"train_args": namespace, "opt": argparse.Namespace(weights="yolov5s.pt")}, protocol)
    facts = read(zipped(raw))
    assert facts.train_args == {"epochs": 3}
    assert facts.opt == {"weights": "yolov5s.pt"}


@pytest.mark.parametrize("protocol", [0, 1])
def test_the_oldest_protocols_are_read_too(protocol: int) -> None:
    raw = pickled({"epoch": 3, "opt": argparse.Namespace(lr=0.5, name="exp", adam=False, big=2**70)}, protocol)
    facts = read(zipped(raw))
    assert facts.epoch == 3
    assert facts.opt == {"lr": 0.5, "name": "exp", "adam": False, "big": 2**70}


FITNESS = [
    pytest.param(0.5, 0.5, id="a float"),
    pytest.param(np.float64(0.5), 0.5, id="a numpy scalar"),
    pytest.param(np.array([0.5]), 0.5, id="YOLOv5's array of one"),
    pytest.param("0.5", None, id="a text is none"),
    pytest.param(10**400, None, id="an integer beyond floats is none"),
    pytest.param([0.1, 0.2], None, id="two numbers are none"),
]


@pytest.mark.parametrize(("value", "expected"), FITNESS)
def test_best_fitness_is_a_number_or_absent(value: object, expected: float | None) -> None:
    assert read(zipped(saved(best_fitness=value))).best_fitness == expected


ODD: list[Any] = [
    pytest.param({"epoch": True}, "epoch", None, id="a bool is no epoch"),
    pytest.param({"epoch": 2**60}, "epoch", None, id="nor is a number that nobody reaches"),
    pytest.param({"version": 8}, "version", None, id="a number is no version"),
    pytest.param({"train_args": [1]}, "train_args", {}, id="a list is no arguments"),
    pytest.param({"train_args": {5: 1}}, "train_args", {"5": 1}, id="arguments are named by text"),
    pytest.param({"train_metrics": {"a": "x", "b": 1}}, "train_metrics", {"b": 1.0}, id="a text is no metric"),
    pytest.param({"train_results": {"a": [1], "b": ["x"], "c": 3}}, "train_results", {"a": (1.0,)}, id="nor a column"),
    pytest.param({"date": datetime.datetime(2024, 1, 1)}, "date", "2024-01-01T00:00:00", id="a date may be an object"),
    pytest.param({"git": None}, "git", {}, id="no repository"),
]


@pytest.mark.parametrize(("changes", "name", "expected"), ODD)
def test_an_odd_fact_is_absent_and_the_others_are_told(changes: dict[str, object], name: str, expected: object) -> None:
    facts = read(zipped(saved(**changes)))
    assert getattr(facts, name) == expected
    assert facts.best_fitness is None
    other = "date" if name == "version" else "version"
    assert getattr(facts, other) == getattr(read(zipped(saved())), other)


def test_a_blank_cell_of_train_results_is_nan() -> None:
    column = read(zipped(saved(train_results={"a": [1.0, None]}))).train_results["a"]
    assert column[0] == 1.0 and column[1] != column[1]


@pytest.mark.parametrize("top", [[1, 2], "text", None, Path])
def test_a_file_that_holds_no_dict_tells_nothing(top: object) -> None:
    assert read(zipped(pickled(top))) == CheckpointFacts()


def test_tensors_are_not_read() -> None:
    counted = []

    class Counting(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            counted.append(len(found := super().read(size)))
            return found

    class Remote(Memory):
        def open(self, mode: str) -> Counting:
            return Counting(self.raw)

    written = io.BytesIO(zipped(saved()))
    with zipfile.ZipFile(written, "a") as archive:
        archive.writestr("last/data/9", bytes(20_000_000))
    assert read_checkpoint(Remote(written.getvalue())).epoch == -1  # type: ignore[arg-type]
    assert sum(counted) < 200_000


@pytest.mark.parametrize("twentieth", range(20))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_that_was_cut_short_is_called_so(layout: Callable[[bytes], bytes], twentieth: int) -> None:
    raw = layout(saved())
    error = refusal(raw[: len(raw) * twentieth // 20])
    assert error.code == "checkpoint-truncated"
    assert error.message.endswith("is cut short after " + f"{len(raw) * twentieth // 20:,} bytes") or not twentieth


def test_a_legacy_file_that_lacks_one_byte_of_its_storages_is_cut_short() -> None:
    raw = legacy(saved())
    assert read(raw).epoch == -1
    assert refusal(raw[:-1]).code == "checkpoint-truncated"


def test_a_git_lfs_pointer_is_called_so() -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:77d3\nsize 123\n"
    error = refusal(pointer)
    assert error.code == "lfs-pointer"
    assert "git lfs pull" in str(error.hint)


def no_pickle_zip() -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("last/version", "3\n")
    return written.getvalue()


UNREADABLE = [
    pytest.param(b"epoch,train/box_loss\n1,2\n", "neither a zip nor a pickle", id="text"),
    pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(500), "neither a zip nor a pickle", id="a picture"),
    pytest.param(bytes(5000), "neither a zip nor a pickle", id="zeros"),
    pytest.param(no_pickle_zip(), "without data.pkl", id="a zip without data.pkl"),
    pytest.param(pickle.dumps([1, 2, 3]), "none that torch.save wrote", id="a pickle that torch did not write"),
    pytest.param(pickle.dumps(MAGIC + 1), "none that torch.save wrote", id="another magic number"),
    pytest.param(zipped(b"\xff\xff"), "is no pickle at byte 0", id="no pickle in the zip"),
    pytest.param(zipped(b""), "ends in the middle", id="an empty data.pkl"),
    pytest.param(zipped(b"\x80\x02h\x07."), "damaged", id="a memo entry that is not there"),
    pytest.param(zipped(b"\x80\x02}."[:2] + b"0."), "not there", id="a value that is not there"),
    pytest.param(zipped(pickled({"a": "bcd"})).replace(b"bcd", b"bxd"), "not what the zip directory", id="a bit flip"),
    pytest.param(zipped(b"N.", method=zipfile.ZIP_BZIP2), "compressed in a way", id="a compression of others"),
]


@pytest.mark.parametrize(("raw", "said"), UNREADABLE)
def test_what_is_no_checkpoint_is_refused_in_a_sentence(raw: bytes, said: str) -> None:
    error = refusal(raw)
    assert error.code == "checkpoint-unreadable"
    assert said in error.message


def test_what_cannot_be_opened_is_refused_in_a_sentence(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.pt", tmp_path):
        with pytest.raises(CheckpointError, match="cannot be read") as caught:
            read_checkpoint(path)
        assert isinstance(caught.value.__cause__, OSError)
