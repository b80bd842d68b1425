"""Files of any name reach every store, each by itself, and are found there again."""

from __future__ import annotations

import random
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mlflow import MlflowClient
from support.command import ymlf
from support.stores import runs_in
from support.trees import training

from importer import plan_import, read_run
from importer.naming import artifact_path, artifact_paths

if TYPE_CHECKING:
    from support.services.mlflow_server import MlflowServer
    from support.services.s3 import S3Server

ORDINARY = [
    "weights/best.pt", "results (1).png", "a b.png", "été.png", "e\u0301te\u0301.png", "訓練.jpg", "a+b&c=d.png",
    "x,y;z.csv", "100 @home!.png", "12:30.png", "..x.png", "weights/.hidden", "A.png", "[x]{y}~'.png", "lr0=0.01.png",
    "x" * 200 + ".png",
]  # fmt: skip
ODD = [
    pytest.param("a#b.png", "a=23b.png", id="fragment"),
    pytest.param("a?b.png", "a=3Fb.png", id="query"),
    pytest.param("a%20b.png", "a=2520b.png", id="escape of an URL"),
    pytest.param("..%2f..%2fx.png", "..=252f..=252fx.png", id="a way up"),
    pytest.param(" b.png", "=20b.png", id="blank before"),
    pytest.param("weights/b ", "weights/b=20", id="blank after"),
    pytest.param("a\nb\x1b.png", "a=0Ab=1B.png", id="control characters"),
    pytest.param("=23.png", "=3D23.png", id="what looks like an escape"),
    pytest.param("file:x.png", "file=3Ax.png", id="scheme"),
    pytest.param("weights/.artifact.uploading.x", "weights/=2Eartifact.uploading.x", id="MLflow's own"),
    pytest.param("weights/weights", "weights/==weights", id="as its folder"),
    pytest.param("a\udce9.png", "a=E9.png", id="not UTF-8"),
    pytest.param("\udcc3\udca9.png", "é.png", id="UTF-8 that a locale took apart"),
    pytest.param("back\\slash.png", "back=5Cslash.png", id="separator of Windows"),
]
ALPHABET = "abCD019 ._-=#?%\\:;+&@!~'\"()[]{}<>|*$^`,\x01\n\t\x7féß訓🐦\u0301\u202e\u2028\udce9"


@pytest.mark.parametrize("path", ORDINARY)
def test_an_ordinary_name_stays(path: str) -> None:
    assert artifact_path(path) == path


@pytest.mark.parametrize(("path", "stored"), ODD)
def test_a_byte_that_some_store_loses_is_escaped(path: str, stored: str) -> None:
    assert artifact_path(path) == stored


def test_of_names_that_differ_only_in_case_or_form_one_stays_and_the_others_are_escaped() -> None:
    paths = ["weights/a.pt", "AB.png", "aB.png", "Ab.png", "weights/A.pt", "\u00e9", "e\u0301", "ab.PNG", "b.png"]
    stored = artifact_paths(paths)
    assert {path: name for path, name in stored.items() if path != name} == {
        "weights/a.pt": "weights/=61.pt", "Ab.png": "=41=62.png", "aB.png": "=61=42.png", "ab.PNG": "=61=62.PNG",
        "\u00e9": "=C3=A9",
    }  # fmt: skip
    assert len({unicodedata.normalize("NFC", name).casefold() for name in stored.values()}) == len(paths)


def odd_names(count: int) -> list[str]:
    """So many generated paths of files, which differ and of which none is a folder of another."""
    chance = random.Random(7)
    paths: list[str] = [
        f"weights/{name}" for name in ("A.png", "a.png", "\u00e9", "e\u0301", "a#1", "a#2", "a", "a=23")
    ]
    paths += ["weights/same/same", "weights/#/#", "weights/#/=23", f"weights/{'é' * 127}", f"weights/{'#' * 200}.png"]
    paths += [f"weights/{'#' * 199}1.png", f"{'x' * 251}.png", "..%2f..%2fx.png", " x.png", "=41.png", "%41.png"]
    while len(paths) < count:
        name = "".join(chance.choices(ALPHABET, k=chance.randint(1, 12)))
        folder = chance.choice(["", "weights/", "weights/", "weights/#1/", "weights/ d%41/", "weights/a?/b/"])
        path = folder + name + (".png" if not folder or chance.random() < 0.5 else "")
        if name not in (".", "..") and not name.startswith("._") and path not in paths:
            paths.append(path)
    return paths


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A training with 200 files of generated names, each with content of its own."""
    save_dir = training(1, plots=False).write(tmp_path / "odd")
    for number, path in enumerate(odd_names(200)):
        (save_dir / path).parent.mkdir(exist_ok=True, parents=True)
        (save_dir / path).write_text(f"{number:04}")
    return save_dir


def test_no_two_generated_names_become_one_and_each_can_be_read_back() -> None:
    def read_back(stored: str) -> str:
        stored = re.sub("(?<=/)==", "", stored)
        plain = re.sub(rb"=([0-9A-F]{2})", lambda found: bytes([int(found[1], 16)]), stored.encode())
        return plain.decode(errors="surrogateescape")

    paths = odd_names(5000)
    stored = {name: path for path, name in artifact_paths(paths).items()}
    assert len({unicodedata.normalize("NFC", name).casefold() for name in stored}) == len(paths)
    assert all(read_back(name) == path for name, path in stored.items() if len(path) < 60)


def assert_holds_each_file(save_dir: Path, uri: str) -> None:
    """An import into a store loses no file, and verifies to the last byte."""
    words = (save_dir, "--tracking-uri", uri, "--experiment", "odd names")
    imported = ymlf("import", *words)
    assert imported.status == 0 and imported.out.startswith("imported"), imported
    verified = ymlf("verify", *words, "--deep")
    assert verified.status == 0, verified
    plan = plan_import(read_run(save_dir))
    [run] = [run for run in runs_in(uri) if run.info.run_name == "odd"]
    folders: list[str | None] = [None]
    stored: dict[str, int] = {}
    while folders:
        for entry in MlflowClient(uri).list_artifacts(run.info.run_id, folders.pop()):
            if entry.is_dir:
                folders.append(entry.path)
            else:
                stored[entry.path] = entry.file_size
    assert stored == {artifact.artifact_path: artifact.size for artifact in plan.artifacts}
    assert len(stored) >= 200
    [note] = [text for code, text in plan.notes if code == "artifact-name"]
    assert "' is stored as '" in note and " more likewise" in note


def test_200_odd_names_are_kept_apart_beside_sqlite(odd: Path, empty_store: str) -> None:
    assert_holds_each_file(odd, empty_store)


def test_200_odd_names_are_kept_apart_through_a_server(odd: Path, http_server: MlflowServer) -> None:
    assert_holds_each_file(odd, http_server.url)


@pytest.mark.remote
def test_200_odd_names_are_kept_apart_in_s3(
    odd: Path, empty_store: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.env.items():
        monkeypatch.setenv(name, value)
    MlflowClient(empty_store).create_experiment("odd names", f"{s3_server.create_bucket('odd-names')}/artifacts")
    assert_holds_each_file(odd, empty_store)
