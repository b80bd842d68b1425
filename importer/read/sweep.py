"""Which sweep or k-fold a training is part of, where the folders above it show it for certain."""

from __future__ import annotations

import re

from importer.model import RunPath, Sweep
from importer.naming import last_part, storable
from importer.sources.opening import absolute

MAX_LEVELS = 4  # <trial>/runs/detect/train is three below the trial's folder
# A trainable's name and an id: 5 hexadecimal digits and a number, or a searcher's 8 digits.
# Source: BasicVariantGenerator and Trial.generate_id of ray.tune, 2.0 to 2.49.
TRIAL = re.compile(r"(?:.*?_[0-9a-f]{5}_\d{5}|.*?_[0-9a-f]{8})(?=_|$)")
TRIAL_FILES = ("params.json", "result.json")  # of each trial, written by Ray as it starts
FOLD = re.compile(r"(?:.*[-_ ])?k?fold[-_ ]?\d+", re.IGNORECASE)


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
