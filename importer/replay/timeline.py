"""When did it start, when was each epoch logged, when did it end: by the best clock, or by the one that is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from importer.errors import UsageError
from importer.model import Timeline, TrainingRun
from importer.record import ImportRecord
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

MAX_ANCHORS = 100  # iterations whose ends fit into the record one by one
FINAL_LIMIT_MS = 3_600_000  # a results.png later than this was drawn again


def build_timeline(
    run: TrainingRun,
    *,
    now_ms: int,
    timezone_name: str | None = None,
    start_ms: int | None = None,
    recorded: ImportRecord | None = None,
) -> Timeline:
    """The times of a run by the best clock present, or by the record of the import that it was logged with.

    Errors: UsageError when `timezone_name` is no time zone.
    """
    zone = parse_zone(timezone_name) if timezone_name else None
    clock = _recorded_clock(run, recorded, zone) if recorded else None
    clock = clock or _clock_of(run, zone, now_ms)
    timeline = _complete(run, clock, recorded)
    if recorded is not None:
        return replace(timeline, shifted_ms=recorded.times.shifted_ms)
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


def _recorded_clock(run: TrainingRun, recorded: ImportRecord, zone: tzinfo | None) -> Clock | None:
    """The clock that the run was imported by, with the anchors that were stored then.

    Rows that came since are put where the stored clock goes on; a session that began since has a date of its own.
    """
    times = recorded.times
    notes = tuple(time_note(code) for code in recorded.notes if code in TIME_NOTES)
    if times.clock == "event-file" and (clock := event_clock(run)) is not None:
        return _shifted_clock(clock, times.shifted_ms)
    if times.clock == "iterations" and times.spacing_ms is None:
        return _grown_tune_clock(run, times.anchors, zone)
    if times.spacing_ms is not None:
        return spaced(times.clock, run, times.anchors[0][1], times.spacing_ms, zone=times.zone, notes=notes)
    if run.epochs.seconds is None:
        return None
    anchors = _with_new_sessions(run, times.anchors, recorded.epochs, zone)
    return anchored(times.clock, run, anchors, zone=times.zone, notes=notes)


def _with_new_sessions(
    run: TrainingRun, anchors: tuple[tuple[int, int], ...], rows: int, zone: tzinfo | None
) -> tuple[tuple[int, int], ...]:
    seconds = run.epochs.seconds
    new = [start for start in run.epochs.session_starts if start >= rows]
    clock = (date_clock(run, zone) or results_mtime_clock(run)) if new else None
    if clock is None or seconds is None:
        return anchors
    # The newest date anchors the newest session; it began no earlier than the one before it ended.
    earliest = anchors[-1][1]
    return (*anchors, (new[-1], max(clock.anchors[0][1], earliest)))


def _clock_of(run: TrainingRun, zone: tzinfo | None, now_ms: int) -> Clock:
    if run.window is not None:
        name, start, end = run.window
        return spaced(name, run, start, (end - start) / max(1, len(run.epochs)))
    return tune_clock(run, zone, now_ms) if run.family == "tune" else best_clock(run, zone, now_ms)


def tune_clock(run: TrainingRun, zone: tzinfo | None, now_ms: int) -> Clock:
    """Return when each iteration of a tune was over: by those that have a directory, else by the files of the tune."""
    known: dict[int, tuple[int, int]] = {}
    for index, child in zip(run.iterations, run.children, strict=True):
        clock = best_clock(child, zone, now_ms) if child.iteration is None else None
        if clock is not None and clock.name != "import-time":
            timeline = _complete(child, clock, None)
            start, end = known.get(index, (timeline.started_ms, timeline.ended_ms))
            known[index] = min(start, timeline.started_ms), max(end, timeline.ended_ms)
    if known:
        fit = _between(known, len(run.epochs))
        first = min(known)
        started = known[0][0] if first == 0 else fit[0] - _mean_ms(known)
        if len(fit) > MAX_ANCHORS:
            return spaced("iterations", run, started, (fit[-1] - started) / len(fit))
        return Clock("iterations", fit, tuple(enumerate(fit)), started_ms=started)
    written = results_mtime(run)
    if not written:
        return best_clock(run, zone, now_ms)
    if run.tune_seconds is None:
        return spaced("tune-files", run, written, 0.0, notes=(time_note("durations-unknown"),))
    spacing = run.tune_seconds * 1000 / len(run.epochs)
    return spaced("tune-files", run, written - round(run.tune_seconds * 1000), spacing)


def _between(known: Mapping[int, tuple[int, int]], count: int) -> tuple[int, ...]:
    """Return the end of each iteration in ms; those without a directory lie between their neighbours."""
    mean = _mean_ms(known)
    fit: list[int] = []
    for index in range(count):
        before = max((at for at in known if at <= index), default=None)
        after = min((at for at in known if at >= index), default=None)
        if before is None and after is not None:
            end = known[after][0] - (after - 1 - index) * mean
        elif before is not None and after is None:
            end = known[before][1] + (index - before) * mean
        else:
            assert before is not None and after is not None  # noqa: S101  `known` is not empty
            share = (index - before) / (after - before) if after > before else 0.0
            end = round(known[before][1] + (known[after][1] - known[before][1]) * share)
        fit.append(max(end, fit[-1] if fit else 1))
    return tuple(fit)


def _mean_ms(known: Mapping[int, tuple[int, int]]) -> int:
    return round(sum(end - start for start, end in known.values()) / len(known))


def _grown_tune_clock(run: TrainingRun, anchors: tuple[tuple[int, int], ...], zone: tzinfo | None) -> Clock:
    """Return the ends that were recorded, and after them those of the iterations that came since."""
    recorded = [ms for _, ms in anchors]
    fresh = tune_clock(run, zone, recorded[-1]).fit_ms
    fit = [*recorded, *(max(ms, recorded[-1]) for ms in fresh[len(recorded) :])][: len(run.epochs)]
    return Clock("iterations", tuple(fit), tuple(enumerate(fit)), started_ms=fit[0])


def dated_iterations(run: TrainingRun, timeline: Timeline) -> tuple[TrainingRun, ...]:
    """Return the children of a tune, those without a directory with the time between their neighbours.

    `timeline` is that of the tune.
    """
    dated = []
    for index, child in zip(run.iterations, run.children, strict=True):
        if child.iteration is not None:
            start = timeline.fit_ms[index - 1] if index else timeline.started_ms
            child = replace(child, window=(timeline.clock, start, max(start, timeline.fit_ms[index])))
        dated.append(child)
    return tuple(dated)


def _complete(run: TrainingRun, clock: Clock, recorded: ImportRecord | None) -> Timeline:
    """The clock with a start, an end and the final validation."""
    last_ms = clock.fit_ms[-1] if clock.fit_ms else (clock.started_ms or 0)
    started = clock.started_ms if clock.started_ms is not None else last_ms
    ended = last_ms if run.family == "tune" else _end(run, clock, max(last_ms, clock.final_ms or 0))
    final = clock.final_ms if clock.final_ms is not None else (ended if run.final_validation else None)
    if recorded is not None:
        started = recorded.times.started_ms
        if recorded.epochs == len(run.epochs):
            final = recorded.times.final_ms if recorded.times.final_ms is not None else final
            ended = max(recorded.times.ended_ms, final or 0)  # the final validation may have come since
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
