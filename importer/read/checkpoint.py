"""The facts inside a .pt, without torch and without executing a byte of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

from importer.errors import CheckpointError
from importer.formats.stub_unpickler import PickleError, PickleHostileError, Stub
from importer.formats.stub_values import PlainValues, number
from importer.formats.torch_file import read_torch_file, refusal
from importer.model import CheckpointFacts, RunPath

MAX_COLUMNS = 2_000  # of train_results, as of a results.csv
MAX_CELLS = 500_000
_MAX_EPOCH = 2**31


def read_checkpoint(path: RunPath) -> CheckpointFacts:
    """Return the facts of a .pt that torch.save wrote; all are absent where it saved no dict.

    Shape:  a value that only executing the file would give is the text `<class path>`, and left out of the numbers.
    Errors: CheckpointError with the code lfs-pointer, checkpoint-truncated, checkpoint-hostile or
            checkpoint-unreadable, whatever the bytes.
    Source: torch/serialization.py, 1.0 to 2.8.
    """
    try:
        with path.open("rb") as handle:
            saved = read_torch_file(handle, str(path))
        return _facts(saved)
    except OSError as error:
        hint = "check that it is a file and its permissions"
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}", hint=hint) from error
    except PickleHostileError as error:
        raise refusal(str(path), f"no trainer wrote its pickle: {error}") from error
    except PickleError as error:
        hint = "is it a checkpoint? else copy it again from where it was trained"
        raise CheckpointError(f"{path}: its pickle cannot be read: {error}", hint=hint) from error


def _facts(saved: object) -> CheckpointFacts:
    if not isinstance(saved, dict):
        return CheckpointFacts()
    plain = PlainValues()
    model_class, names = _network(plain, saved)
    version, date, epoch = (plain(saved.get(key)) for key in ("version", "date", "epoch"))
    metrics = {key: number(value) for key, value in plain.mapping(saved.get("train_metrics")).items()}
    git = plain.mapping(saved.get("git"))  # with `None` as a text where the code lay in no repository
    return CheckpointFacts(
        version=version if isinstance(version, str) and not version.startswith("<") else None,
        date=date if isinstance(date, str) and not date.startswith("<") else None,
        epoch=epoch if type(epoch) is int and -1 <= epoch < _MAX_EPOCH else None,
        train_args=plain.mapping(saved.get("train_args")),
        opt=plain.mapping(saved.get("opt")),
        train_metrics={key: value for key, value in metrics.items() if value is not None},
        train_results=_results(plain, saved.get("train_results")),
        best_fitness=number(plain(saved.get("best_fitness"))),
        git={key: text for key, text in git.items() if isinstance(text, str) and text != "None"},
        model_class=model_class,
        names=names,
    )


def _network(plain: PlainValues, saved: Mapping[object, object]) -> tuple[str | None, tuple[str, ...]]:
    """Return the class of the network, and the names of its classes by their index."""
    network = next((saved[key] for key in ("ema", "model") if isinstance(saved.get(key), Stub)), None)
    if not isinstance(network, Stub):
        return None, ()
    names = plain(network.state.get("names")) if isinstance(network.state, dict) else None
    values = list(names.values()) if isinstance(names, dict) else names
    return network.path, tuple(map(str, values)) if isinstance(values, list) else ()


def _results(plain: PlainValues, value: object) -> dict[str, tuple[float, ...]]:
    """Return the columns that hold numbers only; a blank cell is nan, as in the table that the trainer read."""
    if not isinstance(value, dict):
        return {}
    if len(value) > MAX_COLUMNS:
        raise PickleHostileError(f"train_results has more than {MAX_COLUMNS:,} columns")
    lists = {name: cells for name, cells in value.items() if isinstance(cells, list)}
    if sum(map(len, lists.values())) > MAX_CELLS:
        raise PickleHostileError(f"train_results has more than {MAX_CELLS:,} values")
    columns: dict[str, tuple[float, ...]] = {}
    for name, cells in lists.items():
        numbers = [cell if type(cell) is float else _cell(plain, cell) for cell in cells]
        if None not in numbers:
            columns[str(plain(name)).strip()] = tuple(cast("list[float]", numbers))
    return columns


def _cell(plain: PlainValues, cell: object) -> float | None:
    return math.nan if cell is None else number(plain(cell) if isinstance(cell, Stub) else cell)
