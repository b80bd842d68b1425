"""Which files of a run directory are logged, and why the others are not."""

from __future__ import annotations

import os
from collections import Counter
from fnmatch import fnmatch

from importer.errors import RunDirError
from importer.formats.text_file import LFS_POINTER_HEAD
from importer.model import Artifact, ImportOptions, Note, RunFile, TrainingRun
from importer.replay.callbacks import on_train_end

LFS_POINTER = "is a git-LFS pointer"
LFS_POINTER_BYTES = 200


def choose_files(
    run: TrainingRun, options: ImportOptions, notes: list[Note]
) -> tuple[tuple[Artifact, ...], tuple[tuple[str, str], ...]]:
    """The files that are logged, and those that are not and why."""
    chosen: list[Artifact] = []
    left_out: list[tuple[str, str]] = []
    if options.artifacts == "none" or run.segment is not None:
        return (), ()
    found = on_train_end(run.files)
    if run.results_file and run.results_file not in {file.path for file in found}:
        found += [file for file in run.files if file.path == run.results_file]  # YOLOv7's results.txt
    for file in found:
        reason = _why_left_out(file, options)
        if reason == LFS_POINTER and not any(_is_of(note, file) for note in notes):
            notes.append(Note("lfs-pointer", f"{file.path} {LFS_POINTER}, not the file; left out"))
        if reason:
            left_out.append((file.path, reason))
            continue
        if not _readable(file):
            raise RunDirError(
                f"{run.save_dir}/{file.path}: permission denied",
                hint="make it readable, or leave it out with --exclude-artifacts",
            )
        chosen.append(Artifact(file.path, file.size, file.location))
    by_option = Counter(reason for _, reason in left_out if reason.startswith("--"))
    for option, count in by_option.items():
        notes.append(Note("left-out", f"{count} {'file is' if count == 1 else 'files are'} not logged, by {option}"))
    return tuple(chosen), tuple(left_out)


def _is_of(note: Note, file: RunFile) -> bool:
    """Whether it was noted already, as its facts were wanted, that a file is an LFS pointer."""
    return note.code == "lfs-pointer" and any(f"/{file.path}{end}" in f"/{note.text}" for end in (":", " "))


def _why_left_out(file: RunFile, options: ImportOptions) -> str | None:
    if options.artifacts == "best" and file.path.startswith("weights/") and file.path != "weights/best.pt":
        return "--artifacts best"
    if options.max_artifact_size is not None and file.size > options.max_artifact_size:
        return "--max-artifact-size"
    if any(fnmatch(file.path, pattern) for pattern in options.exclude_artifacts):
        return "--exclude-artifacts"
    if file.size <= LFS_POINTER_BYTES and not file.path.endswith((".csv", ".yaml", ".txt")):
        try:
            with file.location.open("rb") as handle:
                return LFS_POINTER if handle.read(40).startswith(LFS_POINTER_HEAD) else None
        except OSError:
            return None
    return None


def _readable(file: RunFile) -> bool:
    return os.access(file.location, os.R_OK) if type(file.location).__module__.startswith("pathlib") else True
