"""Models that are loaded and served by Ultralytics and torch predict what `YOLO(best.pt).predict` does."""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw
from support.command import ymlf
from support.directories import FIXTURES, copy_fixture
from support.services.mlflow_server import MlflowServer
from support.services.needs import needed
from support.services.process import ServerProcess, answers_ok, free_port

pytestmark = pytest.mark.models

PICTURE = FIXTURES / "runs/detect/train-2/val_batch0_labels.jpg"
UNTRAINED = {"conf": 1e-6, "max_det": 4}  # one epoch finds nothing that is likely
SKELETON = 3  # keypoints


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ultralytics has settings of its own and asks nobody."""
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    needed("ultralytics", "test-models")


def trained(task: str, below: Path) -> Path:
    """The run directory of a training: of the demo runs for detect and segment, of one epoch for the others."""
    if task == "detect":
        return copy_fixture("train-2", below)
    if task == "segment":
        save_dir = copy_fixture("segment/train", below)
        (save_dir / "weights").mkdir()
        shutil.copyfile(FIXTURES / "segment-best.pt", save_dir / "weights/best.pt")
        return save_dir
    from ultralytics import YOLO
    from ultralytics.utils import SETTINGS

    SETTINGS["mlflow"] = False
    data = write_dataset(task, below / "data")
    suffix = {"classify": "cls"}.get(task, task)
    YOLO(f"yolo11n-{suffix}.yaml").train(
        data=str(data), epochs=1, imgsz=64, batch=4, workers=0, device="cpu", plots=False, amp=False,
        project=str(below / "runs"), name=task, verbose=False,
    )  # fmt: skip
    return below / "runs" / task


def write_dataset(task: str, folder: Path) -> Path:
    """Eight drawn squares, four to train on; the file or folder that Ultralytics takes as `data`."""
    box = [(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)]
    corners = " ".join(f"{x} {y}" for x, y in box)
    label = f"0 {corners}" if task == "obb" else "0 0.5 0.5 0.5 0.5" + " 0.3 0.3 2" * SKELETON
    for split in ("train", "val"):
        for number in range(4):
            name = ("red", "green")[number % 2]
            images = folder / split / name if task == "classify" else folder / "images" / split
            images.mkdir(parents=True, exist_ok=True)
            picture = Image.new("RGB", (64, 64), "grey")
            ImageDraw.Draw(picture).rectangle((16, 16, 48, 48), fill=name)
            picture.save(images / f"{number}.png")
            if task != "classify":
                labels = folder / "labels" / split
                labels.mkdir(parents=True, exist_ok=True)
                (labels / f"{number}.txt").write_text(f"{label}\n")
    if task == "classify":
        return folder
    pose = f"kpt_shape: [{SKELETON}, 3]\n" if task == "pose" else ""
    (folder / "data.yaml").write_text(
        f"path: {folder}\ntrain: images/train\nval: images/val\nnames: {{0: square}}\n{pose}"
    )
    return folder / "data.yaml"


def register(save_dir: Path, uri: str) -> None:
    for words in (("import", save_dir), ("register", "plates", save_dir, "--alias", "champion")):
        answer = ymlf(*words, "--tracking-uri", uri)
        assert answer.status == 0, answer.err


def expected(best: Path, params: dict[str, float]) -> list[dict[str, Any]]:
    """What Ultralytics itself predicts for the picture, in the words of the model."""
    from ultralytics import YOLO

    [result] = YOLO(best).predict(str(PICTURE), verbose=False, **params)
    if result.probs is not None:
        return [
            {"name": result.names[at], "class": at, "confidence": float(result.probs.data[at])}
            for at in result.probs.top5
        ]
    boxes = result.obb if result.obb is not None else result.boxes
    rows: list[dict[str, Any]] = []
    for at in range(len(boxes)):
        row = {"name": result.names[int(boxes.cls[at])], "class": int(boxes.cls[at])}
        row |= {"confidence": float(boxes.conf[at]), "box": boxes.xyxy[at].tolist()}
        if result.masks is not None:
            row["polygon"] = result.masks.xy[at].tolist()
        if result.keypoints is not None:
            row["keypoints"] = result.keypoints.data[at].tolist()
        if result.obb is not None:
            row["corners"] = result.obb.xyxyxyxy[at].tolist()
        rows.append(row)
    return rows


def flat(value: Any) -> list[Any]:
    """The names and numbers of nested lists and dicts, in one order."""
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in (key, *flat(value[key]))]
    return [leaf for item in value for leaf in flat(item)] if isinstance(value, list) else [value]


def assert_same(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    assert wanted and len(found) == len(wanted)
    for one, other in zip(flat(found), flat(wanted), strict=True):
        assert one == (pytest.approx(other, rel=1e-5, abs=1e-5) if isinstance(other, float) else other)


@pytest.mark.parametrize("task", ["detect", "segment", "pose", "obb", "classify"])
def test_a_model_predicts_what_ultralytics_does_loaded_by_alias_and_over_http(
    task: str, tmp_path: Path, empty_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_dir = trained(task, tmp_path)
    register(save_dir, empty_store)
    params = {} if task in ("detect", "segment") else UNTRAINED
    wanted = expected(save_dir / "weights/best.pt", params)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty_store)
    model = mlflow.pyfunc.load_model("models:/plates@champion")
    assert set(model.metadata.metadata["classes"]) >= {prediction["name"] for prediction in wanted}
    picture = PICTURE.read_bytes()
    images = [picture, PICTURE, base64.b64encode(picture).decode()]
    for found in model.predict(pd.DataFrame({"image": pd.Series(images, dtype=object)}), params=params)["predictions"]:
        assert_same(found, wanted)
    fields = set(model.metadata.signature.outputs.to_dict()[0]["items"]["properties"])
    assert all(set(prediction) == fields for prediction in wanted)
    with served("models:/plates@champion", tmp_path) as url:
        answer = ask(url, {"dataframe_records": [{"image": images[2]}], "params": params})
    assert_same(answer["predictions"][0]["predictions"], wanted)
    assert ymlf("verify", save_dir, "--tracking-uri", empty_store).status == 0


@contextmanager
def served(model: str, folder: Path) -> Iterator[str]:
    """The address of `mlflow models serve`, without an environment of its own."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    words = [sys.executable, "-m", "mlflow", "models", "serve", "-m", model, "-p", str(port), "--env-manager", "local"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = ServerProcess(
        words, port=port, log=folder / "serve.log", is_ready=lambda: answers_ok(f"{url}/ping"),
        env={**os.environ, "PATH": path},
    )  # fmt: skip
    process.start()
    try:
        yield url
    finally:
        process.kill()


def ask(url: str, body: object, kind: str = "application/json") -> Any:
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/invocations", data, {"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_pictures_of_pillow_and_opencv_and_the_params_are_taken(
    tmp_path: Path, empty_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(trained("detect", tmp_path), empty_store)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty_store)
    model = mlflow.pyfunc.load_model("models:/plates@champion")
    pillow = Image.open(PICTURE)
    opencv = np.asarray(pillow)[..., ::-1]
    images = pd.DataFrame({"image": pd.Series([pillow, opencv], dtype=object)})
    all_found, few, none = (
        model.predict(images, params=params)["predictions"] for params in ({}, {"max_det": 1}, {"conf": 0.999})
    )
    assert_same(all_found[0], all_found[1])
    assert all(len(found) > 1 for found in all_found)
    assert [len(found) for found in few] == [1, 1]
    assert [len(found) for found in none] == [0, 0]
    with pytest.raises(ValueError, match="image 0: no picture, but bytes"):
        model.predict(pd.DataFrame({"image": [b"none"]}))


def test_a_text_over_http_is_never_taken_for_a_path(
    tmp_path: Path, empty_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(trained("detect", tmp_path), empty_store)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty_store)
    path = str(PICTURE)
    bodies: list[tuple[object, str]] = [
        (body, "application/json")
        for body in (
            {"dataframe_records": [{"image": path}]},
            {"dataframe_split": {"columns": ["image"], "data": [[path]]}},
            {"instances": [{"image": path}]},
            {"inputs": {"image": [path]}},
            {"inputs": {"image": path}},
            {"inputs": {"image": [[path]]}},
            {"instances": [{"image": [path]}]},
            {"dataframe_records": [{"image": [path]}]},
            {"dataframe_records": [{"image": {"path": path}}]},
        )
    ]
    with served("models:/plates@champion", tmp_path) as url:
        for body, kind in [*bodies, (f"image\n{path}\n", "text/csv")]:
            with pytest.raises(HTTPError) as refused:
                ask(url, body, kind)
            assert refused.value.code in (400, 500), body
        picture = base64.b64encode(PICTURE.read_bytes()).decode()
        assert ask(url, f"image\n{picture}\n", "text/csv")["predictions"][0]["predictions"]


def test_what_a_server_hands_out_to_a_load(
    tmp_path: Path, http_server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from support.services.fault_proxy import fault_proxy

    save_dir = trained("detect", tmp_path)
    weights = save_dir / "weights"
    with fault_proxy(http_server.url) as proxy:
        for number, words in enumerate(((), ("--artifacts", "best"))):
            where = ("--experiment", f"loads {number}", "--tracking-uri", http_server.url)
            assert ymlf("import", save_dir, *words, *where).status == 0
            assert ymlf("register", f"load{number}", save_dir, *where).status == 0
            proxy.reset()
            before = proxy.answered_bytes()
            monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.url)
            mlflow.pyfunc.load_model(f"models:/load{number}/1")
            names = [path.rsplit("/", 1)[-1] for _, path in proxy.counts]
            assert ("last.pt" in names) == (not words)
            print(words, proxy.answered_bytes() - before, "bytes; best.pt has", (weights / "best.pt").stat().st_size)
