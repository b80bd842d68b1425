"""When did it start, when was each epoch logged, when did it end, and how do we know.

The clocks, best first; all times are integer ms since the Unix epoch.

    event-file        the wall times of a TensorBoard event file
    checkpoint-date   results.csv `time`, anchored at the date inside a checkpoint
    results-mtime     `time`, anchored at the file time of results.csv, where file times are the trainer's own
    file-times        no `time`: epochs spaced evenly between the file times
    import-time       nothing tells: as if it had ended when it was imported
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from importer.errors import UsageError
from importer.model import Note, Timeline, TrainingRun

QUARTER_MS = 15 * 60 * 1000  # every zone in use is a multiple of a quarter of an hour off UTC
AGREE_MS = 5_000  # a date and a file time that tell of one moment: save_model runs right after save_metrics
FINAL_LIMIT_MS = 3_600_000  # a results.png later than this was drawn again
STILL_MS = 5 * 60 * 1000  # or three epochs, if they take longer


TIME_NOTES = {
    "zone-assumed": "the checkpoint's date has no time zone; taken to be that of the importing host",
    "durations-unknown": "nothing tells how long an epoch took; all are put at the one known time",
    "time-unknown": "nothing in the directory tells when it ran; dated at the time of the import",
}


def _time_note(code: str) -> Note:
    return Note(code, TIME_NOTES[code])


@dataclass(frozen=True)
class _Clock:
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


def build_timeline(
    run: TrainingRun,
    *,
    now_ms: int,
    timezone_name: str | None = None,
    start_ms: int | None = None,
    recorded: Mapping[str, object] | None = None,
) -> Timeline:
    """The times of a run by the best clock present, or by the record of the import that it was logged with.

    Errors: UsageError when `timezone_name` is no time zone.
    """
    zone = parse_zone(timezone_name) if timezone_name else None
    clock = _recorded_clock(run, recorded, zone) if recorded else None
    clock = clock or _best_clock(run, zone, now_ms)
    timeline = _complete(run, clock, recorded)
    if start_ms is not None and recorded is None:
        timeline = _shifted(timeline, start_ms - timeline.started_ms)
    return timeline


def parse_zone(name: str) -> tzinfo:
    """The zone of an IANA name or of an offset such as +05:30.

    Errors: UsageError when it is neither.
    """
    try:
        if name[:1] in "+-" and ":" in name:
            hours, minutes = name[1:].split(":")
            offset = timedelta(hours=int(hours), minutes=int(minutes))
            return timezone(-offset if name[0] == "-" else offset)
        return ZoneInfo(name)
    except (ValueError, ZoneInfoNotFoundError, OSError) as error:
        raise UsageError(
            f"{name!r} is no time zone", hint="give a name such as Europe/Berlin, or an offset such as +05:30"
        ) from error


def _best_clock(run: TrainingRun, zone: tzinfo | None, now_ms: int) -> _Clock:
    return (
        _event_clock(run) or _date_clock(run, zone) or _results_mtime_clock(run) or _file_times_clock(run)
    ) or _import_clock(run, now_ms)


def _event_clock(run: TrainingRun) -> _Clock | None:
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
    started = _event_start(run, fit)
    return _Clock("event-file", fit, ((0, started),), None, train, started, final)


def _event_start(run: TrainingRun, fit: tuple[int, ...]) -> int:
    """The first epoch's end less how long it took, told by `time`; else the graph, which is logged at the start."""
    times, seconds = run.event_times, run.epochs.seconds
    if seconds is not None:
        return fit[0] - round(seconds[0] * 1000)
    if times is not None and times.started_ms is not None and times.started_ms <= fit[0] and run.epochs.steps[0] == 0:
        return times.started_ms
    spacing = (fit[-1] - fit[0]) // max(1, len(fit) - 1)
    return fit[0] - spacing


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


def _date_clock(run: TrainingRun, zone: tzinfo | None) -> _Clock | None:
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
        return _anchored("checkpoint-date", run, ((0, anchor),), zone=zone_name, notes=notes)
    if (mtime := _results_mtime(run)) is not None and abs(mtime - date_ms) <= AGREE_MS and _file_times_clock(run):
        return None  # the file times are true and tell more
    return _evenly_dated(run, date_ms, row, zone, zone_name, notes)


def _evenly_dated(
    run: TrainingRun, date_ms: int, row: int, zone: tzinfo | None, zone_name: str, notes: tuple[Note, ...]
) -> _Clock:
    """Without `time`: two dates of two epochs tell the pace; one date only tells when it was over."""
    spacing = 0.0
    if run.best is not None and run.best.date and run.best_row is not None and run.best_row < row:
        other = _date_ms(run.best.date, zone, run)
        if other is not None and other[0] < date_ms:
            spacing = (date_ms - other[0]) / (row - run.best_row)
    if not spacing:
        notes = (
            *notes,
            _time_note("durations-unknown"),
        )
    anchor = round(date_ms - (row + 1) * spacing)
    return _spaced("checkpoint-date", run, anchor, spacing, zone=zone_name, notes=notes)


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
        mtime = _results_mtime(run)
        if mtime is not None and zone is None:
            offset = round((as_utc - mtime) / QUARTER_MS) * QUARTER_MS
            if abs(as_utc - offset - mtime) <= AGREE_MS and -12 <= offset / 3_600_000 <= 14:
                return as_utc - offset, _offset_name(offset), ()
        if zone is not None:
            return round(date.replace(tzinfo=zone).timestamp() * 1000), str(zone), ()
        local = date.astimezone()
        note = _time_note("zone-assumed")
        return round(local.timestamp() * 1000), local.strftime("UTC%z"), (note,)
    except (ValueError, OverflowError, OSError):
        return None


def _offset_name(offset_ms: int) -> str:
    minutes = abs(offset_ms) // 60_000
    return f"UTC{'-' if offset_ms < 0 else '+'}{minutes // 60:02d}{minutes % 60:02d}"


def _results_mtime_clock(run: TrainingRun) -> _Clock | None:
    """(3) The file time of results.csv is when the last row was written; `time` tells the others."""
    mtime, seconds = _results_mtime(run), run.epochs.seconds
    if mtime is None or not seconds or not file_times_believed(run):
        return None
    return _anchored("results-mtime", run, ((0, mtime - round(seconds[-1] * 1000)),))


def _file_times_clock(run: TrainingRun) -> _Clock | None:
    """(4) From the files written before the first epoch to results.csv, evenly."""
    mtime, count = _results_mtime(run), len(run.epochs)
    if mtime is None or not count or run.epochs.seconds is not None or not file_times_believed(run):
        return None
    start = _start_by_files(run, mtime)
    return _spaced("file-times", run, start, (mtime - start) / count)


def _start_by_files(run: TrainingRun, end_ms: int) -> int:
    """Between the last file of the set-up and the picture of the first batch: the middle is off by the least."""
    before = [found.mtime_ms for path in ("args.yaml", "opt.yaml", "labels.jpg") if (found := run.file(path))]
    first_batch = run.file("train_batch0.jpg")
    earliest = max((at for at in before if at <= end_ms), default=end_ms)
    if first_batch is not None and earliest <= first_batch.mtime_ms <= end_ms:
        return (earliest + first_batch.mtime_ms) // 2
    return earliest


def file_times_believed(run: TrainingRun) -> bool:
    """Whether file times are the trainer's own: they span what `time` spans, as those of a copy do not."""
    mtime = _results_mtime(run)
    before = [found.mtime_ms for path in ("args.yaml", "opt.yaml") if (found := run.file(path))]
    if mtime is None or not before or not len(run.epochs):
        return False
    # Archives keep whole seconds, FAT and zip even ones.
    stamps = [mtime, *before]
    grain = 2000 if all(at % 2000 == 0 for at in stamps) else 1000 if all(at % 1000 == 0 for at in stamps) else 0
    seconds = run.epochs.seconds
    if seconds is not None:
        session = run.epochs.session_starts[-1]
        needed = (seconds[-1] - (seconds[session - 1] if session else 0.0)) * 1000
    else:
        needed = max(1000.0, 100.0 * len(run.epochs))
    return mtime - max(before) + grain >= needed


def _import_clock(run: TrainingRun, now_ms: int) -> _Clock:
    """(5) Nothing tells when: as if it had ended now."""
    note = _time_note("time-unknown")
    seconds = run.epochs.seconds
    if seconds:
        return _anchored("import-time", run, ((0, now_ms - round(seconds[-1] * 1000)),), notes=(note,))
    return _spaced("import-time", run, now_ms, 0.0, notes=(note,))


def _anchored(
    name: str,
    run: TrainingRun,
    anchors: tuple[tuple[int, int], ...],
    *,
    zone: str | None = None,
    notes: tuple[Note, ...] = (),
) -> _Clock:
    seconds = run.epochs.seconds or ()
    fit: list[int] = []
    for row, passed in enumerate(seconds):
        anchor = next(ms for first, ms in reversed(anchors) if first <= row)
        fit.append(max(anchor + round(passed * 1000), fit[-1] if fit else 0))
    return _Clock(name, tuple(fit), anchors, zone=zone, notes=notes, started_ms=anchors[0][1])


def _spaced(
    name: str,
    run: TrainingRun,
    anchor: int,
    spacing_ms: float,
    *,
    zone: str | None = None,
    notes: tuple[Note, ...] = (),
) -> _Clock:
    fit = tuple(anchor + round((row + 1) * spacing_ms) for row in range(len(run.epochs)))
    return _Clock(name, fit, ((0, anchor),), spacing_ms, zone=zone, notes=notes, started_ms=anchor)


def _recorded_clock(run: TrainingRun, recorded: Mapping[str, object], zone: tzinfo | None) -> _Clock | None:
    """The clock that the run was imported by, with the anchors that were stored then.

    Rows that came since are put where the stored clock goes on; a session that began since has a date of its own.
    """
    name, raw, spacing = recorded.get("clock"), recorded.get("anchors"), recorded.get("spacing_ms")
    if not isinstance(name, str) or not isinstance(raw, list) or not raw:
        return None
    anchors = tuple((int(row), int(ms)) for row, ms in raw)
    zone_name = recorded.get("zone")
    told = zone_name if isinstance(zone_name, str) else None
    codes = recorded.get("notes")
    notes = tuple(_time_note(code) for code in codes if code in TIME_NOTES) if isinstance(codes, list) else ()
    if name == "event-file" and (clock := _event_clock(run)) is not None:
        shift = recorded.get("shifted_ms")
        return _shifted_clock(clock, shift if isinstance(shift, int) else 0)
    if isinstance(spacing, (int, float)):
        return _spaced(name, run, anchors[0][1], float(spacing), zone=told, notes=notes)
    if run.epochs.seconds is None:
        return None
    anchors = _with_new_sessions(run, anchors, recorded.get("epochs"), zone)
    return _anchored(name, run, anchors, zone=told, notes=notes)


def _with_new_sessions(
    run: TrainingRun, anchors: tuple[tuple[int, int], ...], rows: object, zone: tzinfo | None
) -> tuple[tuple[int, int], ...]:
    seconds = run.epochs.seconds
    new = [start for start in run.epochs.session_starts if isinstance(rows, int) and start >= rows]
    clock = (_date_clock(run, zone) or _results_mtime_clock(run)) if new else None
    if clock is None or seconds is None:
        return anchors
    # The newest date anchors the newest session; it began no earlier than the one before it ended.
    earliest = anchors[-1][1]
    return (*anchors, (new[-1], max(clock.anchors[0][1], earliest)))


def _complete(run: TrainingRun, clock: _Clock, recorded: Mapping[str, object] | None) -> Timeline:
    """The clock with a start, an end and the final validation."""
    last_ms = clock.fit_ms[-1] if clock.fit_ms else (clock.started_ms or 0)
    started = clock.started_ms if clock.started_ms is not None else last_ms
    ended = _end(run, clock, max(last_ms, clock.final_ms or 0))
    final = clock.final_ms if clock.final_ms is not None else (ended if run.final_validation else None)
    same = recorded is not None and recorded.get("epochs") == len(run.epochs)
    if recorded is not None:
        told = {
            name: value
            for name in ("started_ms", "ended_ms", "final_ms")
            if isinstance(value := recorded.get(name), int)
        }
        started = told.get("started_ms", started)
        if same:
            ended, final = told.get("ended_ms", ended), told.get("final_ms", final)
    return Timeline(
        clock=clock.name,
        started_ms=max(1, started),  # MLflow takes 0 for now
        ended_ms=max(1, started, ended),
        fit_ms=tuple(max(1, at) for at in clock.fit_ms),
        train_ms=tuple(max(1, at) for at in (clock.train_ms or clock.fit_ms)),
        final_ms=final,
        zone=clock.zone,
        anchors=clock.anchors,
        spacing_ms=clock.spacing_ms,
        notes=clock.notes,
    )


def _end(run: TrainingRun, clock: _Clock, last_ms: int) -> int:
    """When the last file was written, where file times are the trainer's own; else when the last point was logged."""
    mtime = _results_mtime(run)
    reference = clock.fit_ms[-1] if clock.fit_ms else None
    if (
        mtime is None
        or reference is None
        or not -AGREE_MS <= reference - mtime <= AGREE_MS
        or clock.name == "import-time"
    ):
        return last_ms
    written = [run.file(path) for path in (run.results_file or "", "weights/last.pt", "weights/best.pt", "results.png")]
    return max(
        [last_ms, *(found.mtime_ms for found in written if found and found.mtime_ms <= last_ms + FINAL_LIMIT_MS)]
    )


def _results_mtime(run: TrainingRun) -> int | None:
    found = run.file(run.results_file) if run.results_file and run.segment is None else None
    return found.mtime_ms if found else None


def _shifted_clock(clock: _Clock, by: int) -> _Clock:
    return replace(
        clock,
        fit_ms=tuple(at + by for at in clock.fit_ms),
        train_ms=tuple(at + by for at in clock.train_ms) if clock.train_ms else None,
        anchors=tuple((row, at + by) for row, at in clock.anchors),
        started_ms=clock.started_ms + by if clock.started_ms is not None else None,
        final_ms=clock.final_ms + by if clock.final_ms is not None else None,
    )


def _shifted(timeline: Timeline, by: int) -> Timeline:
    return replace(
        timeline,
        # The other clocks store their anchors; an event file is read again, so the shift is kept beside it.
        clock=timeline.clock if timeline.clock == "event-file" else "start-time",
        shifted_ms=by,
        started_ms=timeline.started_ms + by,
        ended_ms=timeline.ended_ms + by,
        fit_ms=tuple(at + by for at in timeline.fit_ms),
        train_ms=tuple(at + by for at in timeline.train_ms),
        final_ms=timeline.final_ms + by if timeline.final_ms is not None else None,
        anchors=tuple((row, at + by) for row, at in timeline.anchors),
        notes=tuple(note for note in timeline.notes if note.code not in ("time-unknown", "zone-assumed")),
    )


def still_training(run: TrainingRun, now_ms: int) -> bool:
    """Whether a training seems to go on: nothing says that it ended, and results.csv was touched a moment ago."""
    mtime = _results_mtime(run)
    facts = run.last or run.best
    if mtime is None or (facts is not None and facts.epoch == -1) or run.fixed_status is not None:
        return False
    if run.file("results.png") is not None or (run.planned_epochs or 0) == len(run.epochs):
        return False
    before = [found.mtime_ms for path in ("args.yaml", "opt.yaml") if (found := run.file(path))]
    per_epoch = (mtime - max(before)) / max(1, len(run.epochs)) if before else 0
    return 0 <= now_ms - mtime <= max(STILL_MS, 3 * per_epoch) and file_times_believed(run)
