"""What lies in a run directory: one listing, made once, that all else is decided from; and the sweep it lies in."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Set
from dataclasses import dataclass
from functools import cached_property

from importer.errors import RunDirError
from importer.model import Note, RunFile, RunPath, Sweep, TrainingRun
from importer.naming import last_part, storable
from importer.sources.archive import UnpackedPath
from importer.sources.opening import absolute, is_within

# `._*` beside each file is what macOS leaves on a disk of another system.
NEVER = {".ipynb_checkpoints", "__pycache__", ".git", ".DS_Store", "Thumbs.db", "desktop.ini"}
MAX_WEIGHTS_DEPTH = 4
FAULTS: dict[type[OSError], tuple[object, str]] = {
    FileNotFoundError: ("no such file or directory", "check the spelling, or where you are"),
    NotADirectoryError: ("is a file", "give the run directory that holds it"),
}
MAX_LEVELS = 4  # <trial>/runs/detect/train is three below the trial's folder
# A trainable's name and an id: 5 hexadecimal digits and a number, or a searcher's 8 digits.
# Source: BasicVariantGenerator and Trial.generate_id of ray.tune, 2.0 to 2.49.
TRIAL = re.compile(r"(?:.*?_[0-9a-f]{5}_\d{5}|.*?_[0-9a-f]{8})(?=_|$)")
TRIAL_FILES = ("params.json", "result.json")  # of each trial, written by Ray as it starts
FOLD = re.compile(r"(?:.*[-_ ])?k?fold[-_ ]?\d+", re.IGNORECASE)


ReadChild = Callable[[RunPath], TrainingRun]


@dataclass(frozen=True)
class RunDirectory:
    """A run directory with its listing, and how to read others: `read_child` as this one, `summarize` for a look."""

    save_dir: RunPath
    files: tuple[RunFile, ...]
    notes: tuple[Note, ...]  # of the listing
    read_child: ReadChild
    summarize: ReadChild
    follow_symlinks: bool = False
    segment: int | None = None
    is_summary: bool = False  # event files are not read, and checkpoints only where it cannot do without

    @property
    def name(self) -> str:
        """Return the directory's own name, also where it was given as `.`."""
        return storable(self.save_dir.name or self.save_dir.resolve().name)

    @cached_property
    def by_path(self) -> dict[str, RunFile]:
        """Return the files by their paths below the directory."""
        return {file.path: file for file in self.files}


def list_names(folder: RunPath) -> set[str]:
    """Return the names in a folder. Errors: RunDirError when it cannot be listed."""
    try:
        return {entry.name for entry in folder.iterdir()}
    except OSError as error:
        fault, hint = FAULTS.get(type(error), (error.strerror or error, "check the directory's permissions"))
        raise RunDirError(f"{folder}: {fault}", hint=hint) from error


def list_files(
    save_dir: RunPath, names: Set[str], *, follow_symlinks: bool = False
) -> tuple[tuple[RunFile, ...], tuple[Note, ...]]:
    """Return the top-level files, of which `names` has the names, and all in weights/; and notes on links left out.

    Errors: RunDirError when weights/ cannot be listed.
    """
    files: list[RunFile] = []
    notes: list[Note] = save_dir.notes() if isinstance(save_dir, UnpackedPath) else []
    waiting = [(save_dir, names, "")]
    while waiting:
        folder, names, prefix = waiting.pop()
        for name in sorted(name for name in names - NEVER if not name.startswith("._")):
            entry, path = folder / name, prefix + name
            if not follow_symlinks and entry.is_symlink() and not is_within(entry, save_dir):
                notes.append(Note("link-outside", f"{path} is a link that leaves the directory; not followed"))
                continue
            try:
                facts = entry.stat()
            except OSError:
                notes.append(Note("broken-link", f"{path} leads nowhere; left out"))
                continue
            depth = prefix.count("/")
            if stat.S_ISREG(facts.st_mode):
                files.append(RunFile(path, facts.st_size, int(facts.st_mtime * 1000), entry))
            elif stat.S_ISDIR(facts.st_mode) and (depth or name == "weights") and depth <= MAX_WEIGHTS_DEPTH:
                waiting.append((entry, list_names(entry), f"{path}/"))
    return tuple(sorted(files)), tuple(notes)


def find_sweep(save_dir: RunPath) -> Sweep | None:
    """Return the sweep of a trial of Ray Tune or of a fold, by the nearest folder that is one; None without any."""
    folder = absolute(save_dir)
    for levels in range(1, MAX_LEVELS + 1):
        above = folder.parent
        name = storable(above.name if above.parent != above else last_part(str(above)))  # an archive's is its own
        trial = TRIAL.match(folder.name)
        if trial is not None and all((folder / file).is_file() for file in TRIAL_FILES):
            return Sweep(name, levels, storable(trial[0]))
        if FOLD.fullmatch(folder.name):
            return Sweep(name, levels)
        folder = above
    return None
