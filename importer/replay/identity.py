"""Which training is this: the evidence that a directory or a run holds, the rule that compares it, and a fingerprint.

The rule never looks at where a directory lies, except where the caller says that both sides are the same directory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from importer.formats.torch_file import zip_directory
from importer.model import RunFile, TrainingRun, WrittenRow
from importer.record import RECORD_BYTES, Evidence
from importer.replay.callbacks import on_train_end
from importer.replay.status import came_to_its_end
from importer.sources.opening import place_of

MAX_MARKS = 300  # digests of rows that fit into the record; longer trainings have one for 2, 4, 8.. rows together
CHECKPOINTS = ("weights/last.pt", "weights/best.pt", "last.pt", "best.pt")
TEXTS = (".csv", ".yaml", ".txt")  # hashed by what they say, for a clone may change their line ends
MARK_BYTES, KEY_BYTES, VALUE_BYTES = 2, 3, 3

# What a resume or a release rewrites in args.yaml: compared, they would make one training two.
# Source: ultralytics/engine/trainer.py, check_resume and _setup_train, 8.0.0 to 8.4.190; train.py of YOLOv5.
REWRITTEN = frozenset({
    "model", "resume", "save_dir", "name", "project", "exist_ok", "data", "device", "workers", "batch", "imgsz",
    "optimizer", "lr0", "warmup_bias_lr", "mosaic", "mixup", "copy_paste", "cutmix", "compile", "augmentations",
    "half", "int8", "quantize", "mode", "weights", "cfg", "batch_size", "img_size", "local_rank", "world_size",
    "global_rank", "total_batch_size", "upload_dataset", "cache", "hyp",
})  # fmt: skip


class Match(Enum):
    """How the training of one side is related to that of the other."""

    EQUAL = "the same rows"
    LONGER = "ours has gone on since"
    SHORTER = "theirs has gone on since"
    EDITED = "one training, but a cell was edited"
    PARTED = "one start, but other epochs after it"
    OTHER = "another training"


class Comparison(NamedTuple):
    """A match, and the index of the first row that differs, where one does."""

    match: Match
    row: int | None = None


def compare_trainings(ours: Evidence, theirs: Evidence, *, in_place: bool) -> Comparison:
    """Decide whether two sides hold one training, by evidence; a fact that one side lacks does not count.

    `in_place` says that both were read from the same directory.
    """
    if ours.is_tune != theirs.is_tune or bool(ours.rows) != bool(theirs.rows):
        return Comparison(Match.OTHER)
    if not ours.rows:
        return Comparison(Match.EQUAL if in_place and _args_agree(ours.args, theirs.args) else Match.OTHER)
    if ours.is_tune:
        return Comparison(_compare_tunes(ours, theirs, in_place=in_place))
    if not _same_start(ours, theirs):
        return Comparison(Match.OTHER)
    return _compare_rows(ours, theirs, in_place=in_place)


def _same_start(ours: Evidence, theirs: Evidence) -> bool:
    facts = []
    if ours.event_files and theirs.event_files:
        facts.append(not set(ours.event_files).isdisjoint(theirs.event_files))
    if ours.times and theirs.times:
        facts.append(all(one == other for one, other in zip(ours.times, theirs.times, strict=False)))
    return any(facts) if facts else ours.first == theirs.first and _args_agree(ours.args, theirs.args)


def _compare_rows(ours: Evidence, theirs: Evidence, *, in_place: bool) -> Comparison:
    block = max(ours.block, theirs.block)
    row = _first_difference(ours, theirs, block, "row_marks")
    has_clock = bool(ours.times and theirs.times)
    time_row = _first_difference(ours, theirs, block, "time_marks") if has_clock else None
    if time_row is not None and (row is None or time_row <= row):
        return Comparison(Match.PARTED, time_row)
    if row is not None:
        if has_clock:
            return Comparison(Match.EDITED, row)
        return Comparison(Match.PARTED if in_place else Match.OTHER, row)
    if ours.rows == theirs.rows:
        # A copy keeps its args: equal times with other args are a coincidence, or the work of a person.
        is_known = in_place or not set(ours.event_files).isdisjoint(theirs.event_files)
        is_copy = is_known or _args_agree(ours.args, theirs.args)
        return Comparison(Match.EQUAL if is_copy else Match.OTHER)
    longer, shorter = (Match.LONGER, theirs) if ours.rows > theirs.rows else (Match.SHORTER, ours)
    return Comparison(Match.OTHER if shorter.finished else longer)


def _first_difference(ours: Evidence, theirs: Evidence, block: int, marks: str) -> int | None:
    """Return the index of the first row of the first block that differs, among the blocks that both sides fill."""
    mine, others = (_coarser(getattr(side, marks), block // side.block) for side in (ours, theirs))
    count = min(ours.rows, theirs.rows) // block
    if ours.rows == theirs.rows:
        count = max(len(mine), len(others))  # the last block is filled alike
    return next((at * block for at in range(count) if mine[at : at + 1] != others[at : at + 1]), None)


def _coarser(marks: bytes, times: int) -> list[int]:
    """Return the digests of blocks that are so many times larger: each is the sum of the digests of its rows."""
    numbers = [int.from_bytes(marks[at : at + MARK_BYTES], "big") for at in range(0, len(marks), MARK_BYTES)]
    return [sum(numbers[at : at + times]) % (1 << 8 * MARK_BYTES) for at in range(0, len(numbers), times)]


def _compare_tunes(ours: Evidence, theirs: Evidence, *, in_place: bool) -> Match:
    """Compare the records as sets. One shared record proves nothing, for each tune begins with the defaults."""
    limit = min((side.records[-1] for side in (ours, theirs) if len(side.records) < side.rows), default=None)
    mine, others = ({record for record in side.records if limit is None or record <= limit} for side in (ours, theirs))
    shared = mine & others
    proven = len(shared) > 1 or in_place or ours.records == theirs.records
    if not shared or not proven:
        return Match.OTHER
    if mine == others and ours.rows == theirs.rows:
        return Match.EQUAL
    if others <= mine and ours.rows > theirs.rows:
        return Match.LONGER
    if mine <= others and ours.rows < theirs.rows:
        return Match.SHORTER
    return Match.PARTED if in_place and len(shared) > 1 else Match.OTHER


def evidence_of(run: TrainingRun) -> Evidence:
    """Return the evidence of a training that was read."""
    rows = run.epochs.written
    first = _digest(rows[0].values if rows else (), 8).hex()
    logged = len(on_train_end(run.files))
    if run.family == "tune":
        records = sorted({_digest(row.values, RECORD_BYTES) for row in rows})
        finished = run.planned_epochs is not None and len(rows) >= run.planned_epochs
        return Evidence(
            is_tune=True, rows=len(records), finished=finished, first=first, records=tuple(records[:MAX_MARKS]),
            files=logged,
        )  # fmt: skip
    block = 1
    while len(rows) > block * MAX_MARKS:
        block *= 2
    has_clock = bool(rows) and all(row.time is not None for row in rows)
    event_files = (file.path for file in run.files if file.path.startswith("events.out.tfevents."))
    return Evidence(
        rows=len(rows),
        finished=came_to_its_end(run),
        event_files=tuple(sorted(event_files)[:5]),
        times=tuple(row.time for row in rows[:2] if row.time is not None) if has_clock else (),
        first=first if rows else "",
        block=block,
        time_marks=_marks(rows, block, lambda row: row.time) if has_clock else b"",
        row_marks=_marks(rows, block, lambda row: (row.epoch, row.values)),
        args=_args_digests(run.args),
        files=logged,
    )


def _marks(rows: Sequence[WrittenRow], block: int, fact: Callable[[WrittenRow], object]) -> bytes:
    marks = b"".join(_digest((at, fact(row)), MARK_BYTES) for at, row in enumerate(rows))
    return b"".join(number.to_bytes(MARK_BYTES, "big") for number in _coarser(marks, block))


def _args_digests(args: Mapping[str, object]) -> bytes:
    """Return the digests of the args that a training keeps from its start to its end, sorted by key."""
    kept = {key: value for key, value in args.items() if key not in REWRITTEN}
    if args.get("time"):
        kept.pop("epochs", None)  # counted again with every epoch
    pairs = {_digest(key, KEY_BYTES): _digest(str(value), VALUE_BYTES) for key, value in kept.items()}
    return b"".join(key + pairs[key] for key in sorted(pairs))


def _args_agree(ours: bytes, theirs: bytes) -> bool:
    """Return whether the digests of args that both sides have are equal."""
    size = KEY_BYTES + VALUE_BYTES
    mine, others = (
        {side[at : at + KEY_BYTES]: side[at + KEY_BYTES : at + size] for at in range(0, len(side), size)}
        for side in (ours, theirs)
    )
    return all(mine[key] == others[key] for key in mine.keys() & others.keys())


def place_of_training(run: TrainingRun) -> str:
    """Return where a training lies, with its host; a later one of an appended results file has its number behind it."""
    part = run.trainings - 1 if run.segment is None else run.segment
    place = place_of(run.save_dir)
    return f"{place}#{part + 1}" if part else place


def training_key(run: TrainingRun, *, place: str) -> str:
    """Return SHA-256, in hex, of what finds the candidates for a training; it does not decide which one it is.

    That is its first row without its time; of a tune, the names of its hyperparameters, for a table may be sorted; of a
    directory without epochs, its place and args.
    """
    rows = run.epochs.written
    if run.family == "tune" and run.iteration is None:
        facts: object = ["tune", sorted(run.hyperparameters)]
    elif rows:
        facts = ["training", list(rows[0].values)]
    else:
        return empty_key(run, place=place)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def empty_key(run: TrainingRun, *, place: str) -> str:
    """Return the key that a directory has, or had, without epochs: SHA-256, in hex, of its place and args."""
    facts = [place.rpartition(":")[2], sorted((str(key), str(value)) for key, value in run.args.items())]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


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


def _digest(fact: object, size: int) -> bytes:
    return hashlib.blake2b(repr(fact).encode(errors="backslashreplace"), digest_size=size).digest()
