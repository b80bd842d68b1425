"""Pictures for run directories, and the images that a run of a store has."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from PIL import Image

from importer.write.images import images_in

PICTURES = ("confusion_matrix.png", "BoxPR_curve.png", "val_batch0_pred.jpg")
KEYS = {Path(name).stem for name in PICTURES}


def draw(save_dir: Path, *names: str, colour: str = "red") -> None:
    """Small pictures in a run directory, by default those of PICTURES."""
    for name in names or PICTURES:
        Image.new("RGB", (24, 16), colour).save(save_dir / name)


def image_files(uri: str, run: Run) -> list[str]:
    """The paths of the images of a run among its artifacts."""
    return [found.path for found in MlflowClient(uri).list_artifacts(run.info.run_id, "images")]


def whole_images(uri: str, run: Run) -> Counter[tuple[str, int]]:
    """How often each image is there in whole, by key and timestamp; nothing else is in the folder."""
    found = images_in(paths := image_files(uri, run))
    stored = [(key, image) for key, images in found.items() for image in images]
    assert sum(len(image.paths) for _, image in stored) == len(paths), paths
    assert all(image.is_whole for _, image in stored), paths
    return Counter((key, image.timestamp) for key, image in stored)
