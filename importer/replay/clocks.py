"""The five clocks that may tell when a training ran, best first; all times are integer ms since the Unix epoch.

event-file        the wall times of a TensorBoard event file
checkpoint-date   results.csv `time`, anchored at the date inside a checkpoint
results-mtime     `time`, anchored at the file time of results.csv, where file times are the trainer's own
file-times        no `time`: epochs spaced evenly between the file times
import-time       nothing tells: as if it had ended when it was imported
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone, tzinfo

from importer.model import EventTimes, Note, TrainingRun
from importer.replay.file_times import file_times_believed, labels_plotted, results_mtime, start_by_files

QUARTER_MS = 15 * 60 * 1000  # every zone in use is a multiple of a quarter of an hour off UTC
AGREE_MS = 5_000  # a date and a file time that tell of one moment: save_model runs right after save_metrics
BUSY_MS = 30_000  # or a while after it on a busy host; believed only of file times that are the trainer's own

TIME_NOTES = {
    "zone-assumed": "the checkpoint's date has no time zone; taken to be that of the importing host",
    "durations-unknown": "nothing tells how long an epoch took; all are put at the one known time",
    "time-unknown": "nothing that can be relied on tells when it ran; dated at the time of the import",
}


def time_note(code: str) -> Note:
    return Note(code, TIME_NOTES[code])


@dataclass(frozen=True)
class Clock:
    """What one clock says: when each row was logged, and from which facts that can be computed again."""

    name: str
    fit_ms: tuple[int, ...]
    anchors: tuple[tuple[int, int], ...] = ()
    spacing_ms: float | None = None
    train_ms: tuple[int, ...] | None = None
    started_ms: int | None = None
    final_ms: int | None = None
    zone: str | None = None
    notes: tuple[Note, ...] = ()


def best_clock(run: TrainingRun, zone: tzinfo | None, now_ms: int) -> Clock:
    return (
        event_clock(run) or date_clock(run, zone) or results_mtime_clock(run) or _file_times_clock(run)
    ) or _import_clock(run, now_ms)


def event_clock(run: TrainingRun) -> Clock | None:
    """(1) Each epoch when the event file says; epochs that it lacks lie between their neighbours."""
    times = run.event_times
    known = (
        {row: times.fit_ms[step] for row, step in enumerate(run.epochs.steps) if step in times.fit_ms} if times else {}
    )
    if times is None or not known:
        return None
    fit = _filled(known, len(run.epochs), run.epochs.seconds)
    train = tuple(min(times.train_ms.get(step, at), at) for step, at in zip(run.epochs.steps, fit, strict=True))
    final = run.final_validation.wall_ms if run.final_validation else None
    started = _event_start(run, times, fit)
    return Clock("event-file", fit, ((0, started),), None, train, started, final)


def _event_start(run: TrainingRun, times: EventTimes, fit: tuple[int, ...]) -> int:
    """When the session of the first epoch began.

    The graph, which is logged then, and the first epoch's end less how long it took by `time` are both some moments
    late; tracing the graph may take long, so that without `time` the middle between it and the file before it is off by
    the least. Without the two the pace of the epochs tells, within the opening of the file and its first scalar.
    """
    session = next((found for found in reversed(times.sessions) if found.opened_ms <= fit[0]), None)
    graph_ms = session.graph_ms if session is not None and (session.graph_ms or fit[0] + 1) <= fit[0] else None
    if run.epochs.seconds is not None:
        by_time = fit[0] - round(run.epochs.seconds[0] * 1000)
        return min(by_time, graph_ms) if graph_ms is not None else by_time
    if graph_ms is not None:
        plotted_ms = labels_plotted(run, graph_ms)
        return (plotted_ms + graph_ms) // 2 if plotted_ms is not None else graph_ms
    if session is None:
        return fit[0] - (fit[-1] - fit[0]) // max(1, len(fit) - 1)
    if len(fit) == 1:
        return session.opened_ms
    paced = max(session.opened_ms, fit[0] - (fit[-1] - fit[0]) // (len(fit) - 1))
    return min(paced, session.first_ms) if session.first_ms is not None else paced


def _filled(known: dict[int, int], count: int, seconds: tuple[float, ...] | None) -> tuple[int, ...]:
    rows = sorted(known)
    pace = (known[rows[-1]] - known[rows[0]]) / max(1, rows[-1] - rows[0])
    filled: list[int] = []
    for row in range(count):
        before = max((at for at in rows if at <= row), default=rows[0])
        after = min((at for at in rows if at >= row), default=rows[-1])
        if seconds is not None and row not in known:
            at = known[before] + (seconds[row] - seconds[before]) * 1000
        elif before < row < after:
            at = known[before] + (known[after] - known[before]) * (row - before) / (after - before)
        else:
            at = known[before] + (row - before) * pace
        filled.append(max(round(at), filled[-1] if filled else 0))
    return tuple(filled)


def date_clock(run: TrainingRun, zone: tzinfo | None) -> Clock | None:
    """(2) The date in last.pt, else in best.pt, is when that epoch was saved; `time` tells the others."""
    facts, row = (run.last, run.last_row) if run.last_row is not None else (run.best, run.best_row)
    if facts is None or facts.date is None or row is None:
        return None
    dated = _date_ms(facts.date, zone, run)
    if dated is None:
        return None
    date_ms, zone_name, notes = dated
    seconds = run.epochs.seconds
    if seconds is not None:
        anchor = date_ms - round(seconds[row] * 1000)
        return anchored("checkpoint-date", run, ((0, anchor),), zone=zone_name, notes=notes)
    if (mtime := results_mtime(run)) is not None and _one_moment(run, date_ms, mtime) and _file_times_clock(run):
        return None  # the file times are true and tell more
    return _evenly_dated(run, date_ms, row, zone, zone_name, notes)


def _evenly_dated(
    run: TrainingRun, date_ms: int, row: int, zone: tzinfo | None, zone_name: str, notes: tuple[Note, ...]
) -> Clock:
    """Without `time`: two dates of two epochs tell the pace; one date only tells when it was over."""
    spacing = 0.0
    if run.best is not None and run.best.date and run.best_row is not None and run.best_row < row:
        other = _date_ms(run.best.date, zone, run)
        if other is not None and other[0] < date_ms:
            spacing = (date_ms - other[0]) / (row - run.best_row)
    if not spacing:
        notes = (
            *notes,
            time_note("durations-unknown"),
        )
    anchor = round(date_ms - (row + 1) * spacing)
    return spaced("checkpoint-date", run, anchor, spacing, zone=zone_name, notes=notes)


def _date_ms(text: str, zone: tzinfo | None, run: TrainingRun) -> tuple[int, str, tuple[Note, ...]] | None:
    """A checkpoint's date in ms, the zone it is in and how that is known.

    Source: the date has a zone since 8.4.91..8.4.120; before, it is the training host's local time.
    """
    try:
        date = datetime.fromisoformat(text)
        if not 1990 < date.year < 2200:
            return None
        if date.tzinfo is not None:
            return round(date.timestamp() * 1000), date.strftime("UTC%z"), ()
        as_utc = round(date.replace(tzinfo=timezone.utc).timestamp() * 1000)
        mtime = results_mtime(run)
        if mtime is not None and zone is None:
            offset = round((as_utc - mtime) / QUARTER_MS) * QUARTER_MS
            if _one_moment(run, as_utc - offset, mtime) and -12 <= offset / 3_600_000 <= 14:
                return as_utc - offset, _offset_name(offset), ()
        if zone is not None:
            return round(date.replace(tzinfo=zone).timestamp() * 1000), str(zone), ()
        local = date.astimezone()
        note = time_note("zone-assumed")
        return round(local.timestamp() * 1000), local.strftime("UTC%z"), (note,)
    except (ValueError, OverflowError, OSError):
        return None


def _one_moment(run: TrainingRun, date_ms: int, mtime: int) -> bool:
    """Whether a checkpoint's date tells of the moment at which results.csv was written."""
    later = date_ms - mtime
    return -AGREE_MS <= later <= AGREE_MS or (0 <= later <= BUSY_MS and file_times_believed(run))


def _offset_name(offset_ms: int) -> str:
    minutes = abs(offset_ms) // 60_000
    return f"UTC{'-' if offset_ms < 0 else '+'}{minutes // 60:02d}{minutes % 60:02d}"


def results_mtime_clock(run: TrainingRun) -> Clock | None:
    """(3) The file time of results.csv is when the last row was written; `time` tells the others."""
    mtime, seconds = results_mtime(run), run.epochs.seconds
    if mtime is None or not seconds or not file_times_believed(run):
        return None
    return anchored("results-mtime", run, ((0, mtime - round(seconds[-1] * 1000)),))


def _file_times_clock(run: TrainingRun) -> Clock | None:
    """(4) From the files written before the first epoch to results.csv, evenly."""
    mtime, count = results_mtime(run), len(run.epochs)
    if mtime is None or not count or run.epochs.seconds is not None or not file_times_believed(run):
        return None
    start = start_by_files(run, mtime)
    return spaced("file-times", run, start, (mtime - start) / count)


def _import_clock(run: TrainingRun, now_ms: int) -> Clock:
    """(5) Nothing tells when: as if it had ended now."""
    note = time_note("time-unknown")
    seconds = run.epochs.seconds
    if seconds:
        return anchored("import-time", run, ((0, now_ms - round(seconds[-1] * 1000)),), notes=(note,))
    return spaced("import-time", run, now_ms, 0.0, notes=(note,))


def anchored(
    name: str,
    run: TrainingRun,
    anchors: tuple[tuple[int, int], ...],
    *,
    zone: str | None = None,
    notes: tuple[Note, ...] = (),
) -> Clock:
    seconds = run.epochs.seconds or ()
    fit: list[int] = []
    for row, passed in enumerate(seconds):
        anchor = next(ms for first, ms in reversed(anchors) if first <= row)
        fit.append(max(anchor + round(passed * 1000), fit[-1] if fit else 0))
    return Clock(name, tuple(fit), anchors, zone=zone, notes=notes, started_ms=anchors[0][1])


def spaced(
    name: str,
    run: TrainingRun,
    anchor: int,
    spacing_ms: float,
    *,
    zone: str | None = None,
    notes: tuple[Note, ...] = (),
) -> Clock:
    fit = tuple(anchor + round((row + 1) * spacing_ms) for row in range(len(run.epochs)))
    return Clock(name, fit, ((0, anchor),), spacing_ms, zone=zone, notes=notes, started_ms=anchor)
