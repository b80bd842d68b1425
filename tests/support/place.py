"""A folder with a store, for commands that are killed."""

from __future__ import annotations

import shutil
from pathlib import Path


class Place:
    """A folder with a store, as it is before a command, brought back as often as it is wanted.

    The database has another name each time, for MLflow keeps what it has open.
    """

    def __init__(self, here: Path) -> None:
        self.here, self.saved = here / "place", here / "saved"
        self.here.mkdir()
        self.times = 0

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.here}/{self.times}.db"

    def save(self) -> None:
        shutil.copytree(self.here, self.saved)

    def restore(self) -> None:
        shutil.rmtree(self.here)
        shutil.copytree(self.saved, self.here)
        self.times += 1
        (self.here / "0.db").rename(self.here / f"{self.times}.db")
