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
    """SHA-256, in hex, of what is in the directory: never file times, never whole weights."""
    epochs = run.epochs
    facts: list[object] = [
        _args(run),
        list(epochs.columns),
        list(epochs.steps),
        list(epochs.rows),
        list(epochs.seconds or ()),
        [(found.path, None if found.path.endswith(TEXTS) else found.size) for found in _told_files(run)],
        [_zip_digest(found) for path in CHECKPOINTS if (found := run.file(path)) is not None],
    ]
    return _sha256(facts)


def _told_files(run: TrainingRun) -> list[RunFile]:
    """What is logged, and the event files, which tell when."""
    return [*on_train_end(run.files), *(found for found in run.files if found.path.startswith("events.out.tfevents."))]


def _zip_digest(found: RunFile) -> str:
    """SHA-256 of a checkpoint's zip directory, which has the CRC-32 of every tensor; no tensor is read."""
    try:
        with found.location.open("rb") as handle:
            return hashlib.sha256(zip_directory(handle, found.path)).hexdigest()
    except OSError:
        return ""


def _args(run: TrainingRun) -> list[tuple[str, str]]:
    return sorted((str(key), str(value)) for key, value in run.args.items())


def _sha256(facts: list[object]) -> str:
    return hashlib.sha256(json.dumps(facts, ensure_ascii=True).encode()).hexdigest()
