"""Plots and batches of pictures: PNG and JPEG."""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import TYPE_CHECKING

from importer.errors import StoreError
from importer.model import RunPath

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BYTES = 64_000_000  # of a file; a plot of Ultralytics has at most 4 MB
MAX_RATIO = 256  # of the sides: MLflow scales the longer one to 256 pixels, and refuses a shorter one of 0


def read_picture(location: RunPath, size: int) -> Image | None:
    """Return a picture in RGB or RGBA, or None where the file of `size` bytes is not one, is cut or is too large.

    Errors: StoreError when a remote file cannot be fetched.
    """
    from PIL import Image

    if size > MAX_BYTES:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(location.read_bytes()), formats=("PNG", "JPEG")) as picture:
                if max(picture.size) > MAX_RATIO * min(picture.size):
                    return None
                return picture.convert("RGB" if picture.mode == "RGB" else "RGBA")
    except (StoreError, MemoryError):
        raise
    except Exception:  # noqa: BLE001  Pillow raises a dozen classes for a broken file
        return None
