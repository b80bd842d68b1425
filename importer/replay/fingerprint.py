"""What is in a run directory: a hash that holds when the directory is moved, copied or cloned."""

from __future__ import annotations

import hashlib
import json

from importer.formats.torch_file import zip_directory
from importer.model import RunFile, TrainingRun
from importer.replay.callbacks import on_train_end

CHECKPOINTS = ("weights/last.pt", "weights/best.pt", "last.pt", "best.pt")
TEXTS = (".csv", ".yaml", ".txt")  # hashed by what they say, for a clone may change their line ends


def content_fingerprint(run: TrainingRun) -> str:
    """Return SHA-256, in hex, of what is in the directory: never file times, never whole weights."""
    epochs = run.epochs
    logged = on_train_end(run.files)
    event_files = [file for file in run.files if file.path.startswith("events.out.tfevents.")]
    facts = [
        sorted((str(key), str(value)) for key, value in run.args.items()),
        epochs.columns,
        epochs.steps,
        epochs.rows,
        epochs.seconds or (),
        [(file.path, None if file.path.endswith(TEXTS) else file.size) for file in (*logged, *event_files)],
        [_zip_digest(file) for path in CHECKPOINTS if (file := run.file(path)) is not None],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _zip_digest(file: RunFile) -> str:
    """Return SHA-256 of a checkpoint's zip directory, which has the CRC-32 of every tensor; no tensor is read."""
    try:
        with file.location.open("rb") as handle:
            return hashlib.sha256(zip_directory(handle, file.path)).hexdigest()
    except OSError:
        return ""
