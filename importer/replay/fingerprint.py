"""Which training is this, and what is in it: two hashes that hold when the directory is moved, copied or cloned."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from importer.formats.torch_file import zip_directory
from importer.model import RunFile, TrainingRun
from importer.replay.callbacks import on_train_end

CHECKPOINTS = ("weights/last.pt", "weights/best.pt", "last.pt", "best.pt")
TEXTS = (".csv", ".yaml", ".txt")  # hashed by what they say, for a clone may change their line ends


def training_key(run: TrainingRun) -> str:
    """SHA-256, in hex, of what a training was from its first epoch on: it does not change as the directory grows."""
    recorded = run.args.get("save_dir")
    facts: list[object] = [
        run.family,
        str(recorded).replace("\\", "/") if recorded is not None else None,
        _text(run.args.get("name")),
        _text(run.args.get("seed")),
        list(run.epochs.first_row),
    ]
    if not len(run.epochs):  # a relative save_dir and a seed of 0 are those of many: all args stand in for a row
        facts.append(_args(run))
    if not run.args and not len(run.epochs):
        # An empty directory is known by its place only.
        facts.append(run.save_dir if "://" in run.save_dir else str(Path(run.save_dir).resolve()))
    return _sha256(facts)


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


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _sha256(facts: list[object]) -> str:
    return hashlib.sha256(json.dumps(facts, ensure_ascii=True).encode()).hexdigest()
