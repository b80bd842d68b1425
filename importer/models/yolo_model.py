"""Serve a best.pt of Ultralytics as an MLflow model; ymlf lays this file beside the weights.

Loading it loads best.pt by torch, which executes what the checkpoint says.
"""

from __future__ import annotations

import base64
import threading
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel


class YoloModel(PythonModel):
    """Predict by `YOLO(best.pt)`, one image after the other, so that no image changes what another gets."""

    def load_context(self, context: Any) -> None:
        """Load the weights."""
        from ultralytics import YOLO

        self.yolo = YOLO(context.artifacts["best"])
        self.lock = threading.Lock()

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return a list of predictions for each image of the column `image`.

        An image is the bytes of a file, these in base64, a pathlib.Path, a PIL image, or an array as OpenCV has it:
        rows, columns, BGR. A text is never taken for a path, for over HTTP it comes from a stranger.
        Errors: ValueError for an image that cannot be read.
        """
        chosen = {name: value for name, value in (params or {}).items() if value not in (None, "")}
        rows = []
        for at, image in enumerate(model_input["image"]):
            with self.lock:
                [result] = self.yolo.predict(_pixels(image, at), verbose=False, save=False, **chosen)
            rows.append(_predictions(result))
        return pd.DataFrame({"predictions": rows})


def _pixels(image: Any, at: int) -> Any:
    """Return what Ultralytics takes, decoded as it decodes files; of a list or a text it would open what they name."""
    import cv2
    import numpy as np
    from PIL import Image

    if isinstance(image, Image.Image) or (isinstance(image, np.ndarray) and image.dtype.kind in "uif"):
        return image
    try:
        content = image.read_bytes() if isinstance(image, Path) else image
        content = base64.b64decode(content, validate=True) if isinstance(content, str) else content
    except ValueError as error:
        raise ValueError(f"image {at}: a text that is no base64; give a path as pathlib.Path") from error
    decoded = None
    if isinstance(content, bytes) and content:
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if decoded is None:
        raise ValueError(f"image {at}: no picture, but {type(image).__name__}")
    return decoded


def _predictions(result: Any) -> list[dict[str, Any]]:
    """Return the predictions of one image as plain values; positions are in its pixels."""
    names = result.names
    if result.probs is not None:
        return [_named(names, at, result.probs.data[at]) for at in result.probs.top5]
    boxes = result.boxes if result.obb is None else result.obb
    more = {
        "box": boxes.xyxy.tolist(),
        "polygon": result.masks and [polygon.tolist() for polygon in result.masks.xy],
        "keypoints": result.keypoints and result.keypoints.data.tolist(),
        "corners": result.obb and result.obb.xyxyxyxy.tolist(),
    }
    return [
        _named(names, boxes.cls[at], boxes.conf[at]) | {field: values[at] for field, values in more.items() if values}
        for at in range(len(boxes))
    ]


def _named(names: dict[int, str], at: Any, confidence: Any) -> dict[str, Any]:
    return {"name": names[int(at)], "class": int(at), "confidence": float(confidence)}


mlflow.models.set_model(YoloModel())
