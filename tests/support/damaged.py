"""A training's directory with something wrong in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from support.directories import Training, place

PLAIN = Training(last=None)  # no checkpoint, whose facts would have to agree with what is damaged
RESULTS = PLAIN.csv()


def damaged_run(
    save_dir: Path,
    *,
    args: str | bytes | None = None,
    results: str | bytes | None = None,
    files: Mapping[str, bytes | None] | None = None,
    training: Training = PLAIN,
) -> Path:
    """The directory with another args.yaml or results.csv, or with files added or, for None, taken away.

    A file keeps the time of the one that it takes the place of; a new one has that of results.csv.
    """
    training.write(save_dir)
    ended_ms = training.fit_ms(training.epochs - 1)
    given = {"args.yaml": args, "results.csv": results}
    for path, content in {**{name: told for name, told in given.items() if told is not None}, **(files or {})}.items():
        if content is None:
            (save_dir / path).unlink()
            continue
        (save_dir / path).parent.mkdir(parents=True, exist_ok=True)
        place(save_dir / path, content, training.started_ms if path == "args.yaml" else ended_ms)
    return save_dir


def cell(row: int, column: str) -> str:
    """The text of a cell of RESULTS, with the commas around it where it has two."""
    lines = [line.split(",") for line in RESULTS.splitlines()]
    return f",{lines[row + 1][lines[0].index(column)]},"
