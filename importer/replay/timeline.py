"""When did it start, when was each epoch logged, when did it end: by the best clock, or by the one that is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from importer.errors import UsageError
from importer.model import Timeline, TrainingRun
from importer.replay.clocks import (
    AGREE_MS,
    TIME_NOTES,
    Clock,
    anchored,
    best_clock,
    date_clock,
    event_clock,
    results_mtime_clock,
    spaced,
    time_note,
)
from importer.replay.file_times import results_mtime

FINAL_LIMIT_MS = 3_600_000  # a results.png later than this was drawn again


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
    clock = clock or best_clock(run, zone, now_ms)
    timeline = _complete(run, clock, recorded)
    if recorded is not None:
        return replace(timeline, shifted_ms=_shift(recorded))
    return timeline if start_ms is None else _shifted(timeline, start_ms - timeline.started_ms)


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


def _recorded_clock(run: TrainingRun, recorded: Mapping[str, object], zone: tzinfo | None) -> Clock | None:
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
    notes = tuple(time_note(code) for code in codes if code in TIME_NOTES) if isinstance(codes, list) else ()
    if name == "event-file" and (clock := event_clock(run)) is not None:
        return _shifted_clock(clock, _shift(recorded))
    if isinstance(spacing, (int, float)):
        return spaced(name, run, anchors[0][1], float(spacing), zone=told, notes=notes)
    if run.epochs.seconds is None:
        return None
    anchors = _with_new_sessions(run, anchors, recorded.get("epochs"), zone)
    return anchored(name, run, anchors, zone=told, notes=notes)


def _shift(recorded: Mapping[str, object]) -> int:
    shift = recorded.get("shifted_ms")
    return shift if isinstance(shift, int) else 0


def _with_new_sessions(
    run: TrainingRun, anchors: tuple[tuple[int, int], ...], rows: object, zone: tzinfo | None
) -> tuple[tuple[int, int], ...]:
    seconds = run.epochs.seconds
    new = [start for start in run.epochs.session_starts if isinstance(rows, int) and start >= rows]
    clock = (date_clock(run, zone) or results_mtime_clock(run)) if new else None
    if clock is None or seconds is None:
        return anchors
    # The newest date anchors the newest session; it began no earlier than the one before it ended.
    earliest = anchors[-1][1]
    return (*anchors, (new[-1], max(clock.anchors[0][1], earliest)))


def _complete(run: TrainingRun, clock: Clock, recorded: Mapping[str, object] | None) -> Timeline:
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
            final = told.get("final_ms", final)
            ended = max(told.get("ended_ms", ended), final or 0)  # which may have come since
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


def _end(run: TrainingRun, clock: Clock, last_ms: int) -> int:
    """When the last file was written, where file times are the trainer's own; else when the last point was logged.

    They are where results.csv was written as the last epoch ended. Its point may be logged later, for the weights are
    saved in between, but not by as much as an epoch; a copy has the time of the copying, which is no earlier.
    """
    mtime = results_mtime(run)
    if mtime is None or not clock.fit_ms or clock.name == "import-time":
        return last_ms
    reference = clock.fit_ms[-1]
    previous = clock.fit_ms[-2] if len(clock.fit_ms) > 1 else clock.started_ms
    epoch_ms = reference - previous if previous is not None else 0
    if not -AGREE_MS <= reference - mtime <= max(AGREE_MS, epoch_ms):
        return last_ms
    written = [run.file(path) for path in (run.results_file or "", "weights/last.pt", "weights/best.pt", "results.png")]
    return max(
        [last_ms, *(found.mtime_ms for found in written if found and found.mtime_ms <= last_ms + FINAL_LIMIT_MS)]
    )


def _shifted_clock(clock: Clock, by: int) -> Clock:
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
