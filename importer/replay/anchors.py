"""Anchors: when the seconds of a session are 0, by what the session left."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence

from importer.model import TrainingRun
from importer.replay.file_times import first_batch_before_resume

Anchors = tuple[tuple[int, int], ...]  # (row, ms at which the seconds of the rows from there on are 0)
MAX_ANCHORS = 100  # that fit into the record


def anchor_at(anchors: Anchors, row: int) -> int:
    """Return the anchor of the last row at or before this one, in ms."""
    return next(ms for first, ms in reversed(anchors) if first <= row)


def anchor(run: TrainingRun, row: int, logged_ms: int) -> tuple[int, int]:
    """Return the row with the ms at which its seconds are 0."""
    return row, logged_ms - round((run.epochs.seconds or ())[row] * 1000)


def _event_anchors(run: TrainingRun) -> list[tuple[int, int]]:
    known = run.event_times.fit_ms if run.event_times is not None and run.epochs.seconds is not None else {}
    return [anchor(run, row, known[step]) for row, step in enumerate(run.epochs.steps) if step in known]


def first_batch_anchor(run: TrainingRun) -> list[tuple[int, int]]:
    began_ms = first_batch_before_resume(run)
    return [(0, began_ms)] if began_ms is not None else []


def session_anchors(run: TrainingRun, known: Sequence[tuple[int, int]]) -> Anchors:
    """Return the anchor of each session: that of an event file, else the first of `known` that is of a row in it.

    A session of which nothing is known ends as the next begins. So does one that would end later.
    """
    dates = _by_session(run, [*_event_anchors(run), *known])
    next_ms = dates[max(dates)]
    anchors: list[tuple[int, int]] = []  # the latest first
    for session, start in reversed(list(enumerate(run.epochs.session_starts))):
        next_ms = min(next_ms, dates.get(session, next_ms))
        if anchors and anchors[-1][1] == next_ms:
            anchors.pop()
        anchors.append((start, next_ms))
    *later, (_, first_ms) = anchors[:MAX_ANCHORS]
    return ((0, first_ms), *reversed(later))


def in_all_sessions(run: TrainingRun) -> bool:
    """Return whether the event files have an epoch of each session."""
    return len(_by_session(run, _event_anchors(run))) == len(run.epochs.session_starts)


def _by_session(run: TrainingRun, known: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Return the first anchor that is known of each session, by its index."""
    dates: dict[int, int] = {}
    for row, ms in known:
        dates.setdefault(bisect(run.epochs.session_starts, row) - 1, ms)
    return dates
