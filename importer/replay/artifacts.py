"""Which files of a run directory are logged, and why the others are not."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from importer.errors import RunDirError
from importer.formats.picture import read_picture
from importer.formats.text_file import LFS_POINTER_HEAD
from importer.model import Artifact, ImportOptions, LoggedImage, Note, RunFile, TrainingRun
from importer.naming import artifact_paths, storable
from importer.replay.callbacks import on_train_end

LFS_POINTER_BYTES = 200
SHOWN_NAMES = 10  # of files that are stored under another name
# Source: ultralytics/utils/metrics.py and models/*/val.py, 8.0.0 to 8.4.190; yolov5/val.py; yolov7/test.py.
IMAGE = re.compile(
    r"(confusion_matrix(_normalized)?|(Box|Mask|Pose)?(PR|F1)_curve|labels|(val|test)_batch\d+_(labels|pred))\.(png|jpg)"
)


Chosen = tuple[tuple[Artifact, ...], tuple[tuple[str, str], ...]]  # what is logged; (path, reason) of what is not


def choose_files(run: TrainingRun, options: ImportOptions) -> tuple[Chosen, tuple[Note, ...]]:
    """Return what is logged of the files that live would have logged. Errors: RunDirError when one is unreadable."""
    if options.artifacts == "none" or run.segment is not None:
        return ((), ()), ()
    files = on_train_end(run.files)
    if run.results_file and run.results_file not in {file.path for file in files}:
        files += [file for file in run.files if file.path == run.results_file]  # YOLOv7's results.txt
    notes: list[Note] = []
    by_option = {file: option for file in files if (option := _excluding_option(file, options))}
    pointers = {file for file in files if file not in by_option and _is_lfs_pointer(file)}
    for file in files:
        if file in pointers and not _opened_by_reader(run, file):  # of which the reader has made a note
            notes.append(Note("lfs-pointer", f"{file.path} is a git-LFS pointer, not the file; left out"))
    for option, count in Counter(by_option.values()).items():
        notes.append(Note("left-out", f"{count} {'file is' if count == 1 else 'files are'} not logged, by {option}"))
    reasons = {**by_option, **dict.fromkeys(pointers, "is a git-LFS pointer")}
    names = artifact_paths(file.path for file in files if file not in reasons)
    artifacts = tuple(_artifact(run, file, names[file.path]) for file in files if file not in reasons)
    left_out = tuple((file.path, reasons[file]) for file in files if file in reasons)
    return (artifacts, left_out), (*notes, *_name_notes(names))


def choose_images(run: TrainingRun, options: ImportOptions) -> tuple[tuple[LoggedImage, ...], tuple[Note, ...]]:
    """Return the pictures of `--images`, less those that an option leaves out or that cannot be read."""
    if not options.images or run.segment is not None:
        return (), ()
    images: dict[str, LoggedImage] = {}
    notes: list[Note] = []
    for file in run.files:
        if IMAGE.fullmatch(file.path) is None or _excluding_option(file, options):
            continue
        if read_picture(file.location, file.size) is None:
            notes.append(Note("broken-picture", f"{file.path} cannot be read as a picture; it is no image of the run"))
            continue
        key = PurePosixPath(file.path).stem
        images.setdefault(key, LoggedImage(key, file.size, file.location))
    return tuple(images.values()), tuple(notes)


def _artifact(run: TrainingRun, file: RunFile, stored: str) -> Artifact:
    if isinstance(file.location, Path) and not os.access(file.location, os.R_OK):
        hint = "make it readable, or leave it out with --exclude-artifacts"
        raise RunDirError(f"{run.save_dir}/{file.path}: permission denied", hint=hint)
    return Artifact(stored, file.size, file.location)


def _name_notes(names: Mapping[str, str]) -> list[Note]:
    """Return a note that says which files are called otherwise in the store: the first few by both names."""
    renamed = [f"{storable(path)!r} is stored as {stored!r}" for path, stored in names.items() if stored != path]
    if len(renamed) > SHOWN_NAMES:
        renamed[SHOWN_NAMES:] = [f"{len(renamed) - SHOWN_NAMES} more likewise"]
    return [Note("artifact-name", "; ".join(renamed))] if renamed else []


def _opened_by_reader(run: TrainingRun, file: RunFile) -> bool:
    """Whether it is a checkpoint that the reader opened for its facts."""
    name = file.path.removeprefix("weights/")
    is_checkpoint = run.family != "tune" and name in ("last.pt", "best.pt")
    return is_checkpoint and file == (run.file(f"weights/{name}") or run.file(name))


def _excluding_option(file: RunFile, options: ImportOptions) -> str | None:
    if options.artifacts == "best" and file.path.startswith("weights/") and file.path != "weights/best.pt":
        return "--artifacts best"
    if options.max_artifact_size is not None and file.size > options.max_artifact_size:
        return "--max-artifact-size"
    return "--exclude-artifacts" if any(fnmatch(file.path, glob) for glob in options.exclude_artifacts) else None


def _is_lfs_pointer(file: RunFile) -> bool:
    if file.size > LFS_POINTER_BYTES or file.path.endswith((".csv", ".yaml", ".txt")):
        return False
    try:
        with file.location.open("rb") as handle:
            return handle.read(40).startswith(LFS_POINTER_HEAD)
    except OSError:
        return False
