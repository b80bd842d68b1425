"""The five clocks that may say when a training ran, best first; all times are integer ms since the Unix epoch.

event-file        the wall times of a TensorBoard event file
checkpoint-date   results.csv `time`, anchored at the date inside a checkpoint
results-mtime     `time`, anchored at the file time of results.csv, where file times are the trainer's own
file-times        no `time`: epochs spaced evenly between the file times
import-time       no clock: as if it had ended when it was imported
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone, tzinfo
from typing import NamedTuple

from importer.model import EventTimes, Note, Timeline, TrainingRun
from importer.replay import file_times
from importer.replay.file_times import file_times_believed, results_mtime

Anchors = tuple[tuple[int, int], ...]  # (row, ms at which the seconds of the rows from there on are 0)
MAX_ANCHORS = 100  # that fit into the record
QUARTER_MS = 15 * 60 * 1000  # every zone in use is a multiple of a quarter of an hour off UTC
AGREE_MS = 5_000  # between a date and a file time of one moment: save_model runs right after save_metrics
BUSY_MS = 30_000  # or a while after it on a busy host; believed only of file times that are the trainer's own

TIME_NOTES = {
    "zone-assumed": "the checkpoint's date has no time zone; taken to be that of the importing host",
    "durations-unknown": "nothing tells how long an epoch took; all are put at the one known time",
    "time-unknown": "nothing that can be relied on tells when it ran; dated at the time of the import",
}


def time_note(code: str) -> Note:
    return Note(code, TIME_NOTES[code])


class Dated(NamedTuple):
    """A checkpoint's date, the zone it is in, and how that is known."""

    ms: int
    zone: str
    notes: tuple[Note, ...] = ()
    tz: tzinfo | None = None  # where it is known; other dates of the training are in it, too


def best_clock(run: TrainingRun, zone: tzinfo | None, now_ms: int) -> Timeline:
    """Return the times of the epochs by the best clock present; `build_timeline` adds the end of the training."""
    events = event_clock(run)
    sessions = _by_session(run, _event_anchors(run))
    if events is not None and (run.epochs.seconds is None or len(sessions) == len(run.epochs.session_starts)):
        return events
    dated = date_clock(run, zone) or results_mtime_clock(run, zone)
    if (clock := dated or events or _file_times_clock(run)) is not None:
        return clock
    return replace(ending_at("import-time", run, now_ms), notes=(time_note("time-unknown"),))  # (5)


def event_clock(run: TrainingRun) -> Timeline | None:
    """(1) Each epoch when the event file says; epochs that it lacks lie between their neighbours."""
    times = run.event_times
    if times is None:
        return None
    known = {row: times.fit_ms[step] for row, step in enumerate(run.epochs.steps) if step in times.fit_ms}
    if not known:
        return None
    pace = (max(known.values()) - min(known.values())) / max(1, max(known) - min(known))
    fit = filled(known, len(run.epochs), pace, run.epochs.seconds)
    started = _event_start(run, times, fit)
    return Timeline(
        "event-file",
        ((0, started),),
        started,
        fit[-1],
        final_ms=run.final_validation.wall_ms if run.final_validation else None,
        fit_ms=fit,
        train_ms=tuple(min(times.train_ms.get(step, at), at) for step, at in zip(run.epochs.steps, fit, strict=True)),
    )


def _event_start(run: TrainingRun, times: EventTimes, fit: tuple[int, ...]) -> int:
    """Return when the session of the first epoch began.

    The graph is logged then. Its time, and the first epoch's end less how long it took by `time`, are both some moments
    late. Tracing the graph may take long, so that without `time` the middle between it and the file before it is off by
    the least. Without the two the pace of the epochs decides, within the opening of the file and its first scalar.
    """
    session = next((session for session in reversed(times.sessions) if session.opened_ms <= fit[0]), None)
    graph_ms = session.graph_ms if session is not None and (session.graph_ms or fit[0] + 1) <= fit[0] else None
    if run.epochs.seconds is not None:
        by_time = fit[0] - round(run.epochs.seconds[0] * 1000)
        return min(by_time, graph_ms) if graph_ms is not None else by_time
    if graph_ms is not None:
        plotted_ms = file_times.labels_plotted(run, graph_ms)
        return (plotted_ms + graph_ms) // 2 if plotted_ms is not None else graph_ms
    by_pace = fit[0] - (fit[-1] - fit[0]) // max(1, len(fit) - 1)
    if session is None:
        return by_pace
    if len(fit) == 1:
        return session.opened_ms
    paced = max(session.opened_ms, by_pace)
    return min(paced, session.first_ms) if session.first_ms is not None else paced


def filled(
    known: Mapping[int, int], count: int, pace: float, seconds: Sequence[float] | None = None
) -> tuple[int, ...]:
    """Return the ms of each row: what is not known lies as `seconds` say, else between its neighbours, else by pace."""
    rows = sorted(known)
    fit: list[int] = []
    for row in range(count):
        place = bisect(rows, row)
        before, after = rows[max(0, place - 1)], rows[min(place, len(rows) - 1)]
        if seconds is not None:
            at = known[before] + (seconds[row] - seconds[before]) * 1000
        elif before < row < after:
            at = known[before] + (known[after] - known[before]) * (row - before) / (after - before)
        else:
            at = known[before] + (row - before) * pace
        fit.append(max(round(at), fit[-1] if fit else 0))
    return tuple(fit)


def date_clock(run: TrainingRun, zone: tzinfo | None) -> Timeline | None:
    """(2) The date in last.pt, else in best.pt, is when that epoch was saved; `time` dates the others."""
    facts, row = (run.last, run.last_row) if run.last_row is not None else (run.best, run.best_row)
    dated = _dated(facts.date, zone, run) if facts is not None and facts.date is not None else None
    if dated is None or row is None:
        return None
    mtime = results_mtime(run)
    if run.epochs.seconds is not None:
        known = [_anchor(run, row, dated.ms), *_best_anchor(run, dated.tz or zone)]
        end_ms = known[0][1] + round(run.epochs.seconds[-1] * 1000)
        if mtime is not None and _one_moment(run, end_ms, mtime):
            known += _first_batch_anchor(run)
        clock = anchored("checkpoint-date", run, _session_anchors(run, known))
        return replace(clock, zone=dated.zone, notes=dated.notes)
    if mtime is not None and _one_moment(run, dated.ms, mtime) and _file_times_clock(run):
        return None  # the file times are true and say more
    spacing, notes = _spacing(run, dated, row, zone), dated.notes
    if not spacing:
        notes = (*notes, time_note("durations-unknown"))
    clock = spaced("checkpoint-date", run, round(dated.ms - (row + 1) * spacing), spacing)
    return replace(clock, zone=dated.zone, notes=notes)


def _spacing(run: TrainingRun, dated: Dated, row: int, zone: tzinfo | None) -> float:
    """Return the ms between two epochs by the dates of two of them; 0 where only one is known."""
    if run.best is None or not run.best.date or run.best_row is None or run.best_row >= row:
        return 0.0
    other = _dated(run.best.date, dated.tz or zone, run)
    return (dated.ms - other.ms) / (row - run.best_row) if other is not None and other.ms < dated.ms else 0.0


def _dated(text: str, zone: tzinfo | None, run: TrainingRun) -> Dated | None:
    """Return a checkpoint's date.

    Source: the date has a zone since 8.4.91..8.4.120; before, it is the training host's local time.
    """
    try:
        date = datetime.fromisoformat(text)
        if not 1990 < date.year < 2200:
            return None
        if date.tzinfo is not None:
            return Dated(round(date.timestamp() * 1000), date.strftime("UTC%z"))
        if zone is not None:
            return Dated(round(date.replace(tzinfo=zone).timestamp() * 1000), str(zone), tz=zone)
        as_utc = round(date.replace(tzinfo=timezone.utc).timestamp() * 1000)
        mtime = results_mtime(run)
        if mtime is not None:
            offset = round((as_utc - mtime) / QUARTER_MS) * QUARTER_MS
            if _one_moment(run, as_utc - offset, mtime) and -12 <= offset / 3_600_000 <= 14:
                tz = timezone(timedelta(milliseconds=offset))
                return Dated(as_utc - offset, date.replace(tzinfo=tz).strftime("UTC%z"), tz=tz)
        local = date.astimezone()
        return Dated(round(local.timestamp() * 1000), local.strftime("UTC%z"), (time_note("zone-assumed"),))
    except (ValueError, OverflowError, OSError):
        return None


def _one_moment(run: TrainingRun, date_ms: int, mtime: int) -> bool:
    """Return whether a checkpoint's date is the moment at which results.csv was written."""
    later = date_ms - mtime
    return -AGREE_MS <= later <= AGREE_MS or (0 <= later <= BUSY_MS and file_times_believed(run))


def results_mtime_clock(run: TrainingRun, zone: tzinfo | None) -> Timeline | None:
    """(3) The file time of results.csv is when the last row was written; `time` dates the others."""
    mtime, seconds = results_mtime(run), run.epochs.seconds
    if mtime is None or not seconds or not file_times_believed(run):
        return None
    known = [_anchor(run, len(seconds) - 1, mtime), *_best_anchor(run, zone), *_first_batch_anchor(run)]
    return anchored("results-mtime", run, _session_anchors(run, known))


def _best_anchor(run: TrainingRun, zone: tzinfo | None) -> list[tuple[int, int]]:
    """Return the anchor of the best epoch, at which best.pt was saved; its session may be an earlier one."""
    dated = _dated(run.best.date, zone, run) if run.best is not None and run.best.date else None
    return [_anchor(run, run.best_row, dated.ms)] if dated is not None and run.best_row is not None else []


def _file_times_clock(run: TrainingRun) -> Timeline | None:
    """(4) From the files written before the first epoch to results.csv, evenly."""
    mtime, count = results_mtime(run), len(run.epochs)
    if mtime is None or not count or run.epochs.seconds is not None or not file_times_believed(run):
        return None
    start = file_times.start_by_files(run, mtime)
    return spaced("file-times", run, start, (mtime - start) / count)


def ending_at(name: str, run: TrainingRun, end_ms: int) -> Timeline:
    """Return a clock by `time`, whose last epoch was over then; without `time` all of them were."""
    if run.epochs.seconds:
        return anchored(name, run, ((0, end_ms - round(run.epochs.seconds[-1] * 1000)),))
    return spaced(name, run, end_ms, 0.0)


def anchored(name: str, run: TrainingRun, anchors: Anchors) -> Timeline:
    """Return a clock by `time`, which counts from the anchor of the last row at or before."""
    fit: list[int] = []
    for row, passed in enumerate(run.epochs.seconds or ()):
        fit.append(max(anchor_at(anchors, row) + round(passed * 1000), fit[-1] if fit else 0))
    return Timeline(name, anchors, anchors[0][1], fit[-1] if fit else anchors[0][1], fit_ms=tuple(fit))


def spaced(name: str, run: TrainingRun, anchor: int, spacing_ms: float) -> Timeline:
    """Return a clock whose epochs follow the anchor evenly."""
    fit = tuple(anchor + round((row + 1) * spacing_ms) for row in range(len(run.epochs)))
    return Timeline(name, ((0, anchor),), anchor, fit[-1] if fit else anchor, spacing_ms=spacing_ms, fit_ms=fit)


def anchor_at(anchors: Anchors, row: int) -> int:
    """Return the anchor of the last row at or before this one, in ms."""
    return next(ms for first, ms in reversed(anchors) if first <= row)


def _anchor(run: TrainingRun, row: int, logged_ms: int) -> tuple[int, int]:
    """Return the row with the ms at which its seconds are 0."""
    return row, logged_ms - round((run.epochs.seconds or ())[row] * 1000)


def _event_anchors(run: TrainingRun) -> list[tuple[int, int]]:
    known = run.event_times.fit_ms if run.event_times is not None and run.epochs.seconds is not None else {}
    return [_anchor(run, row, known[step]) for row, step in enumerate(run.epochs.steps) if step in known]


def _first_batch_anchor(run: TrainingRun) -> list[tuple[int, int]]:
    began_ms = file_times.first_batch_before_resume(run)
    return [(0, began_ms)] if began_ms is not None else []


def _session_anchors(run: TrainingRun, known: Sequence[tuple[int, int]]) -> Anchors:
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


def _by_session(run: TrainingRun, known: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Return the first anchor that is known of each session, by its index."""
    return {bisect(run.epochs.session_starts, row) - 1: ms for row, ms in reversed(known)}
