"""When a training started, when each epoch was logged, when it ended: by the best clock, or by the recorded one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from importer.errors import UsageError
from importer.model import Timeline, TrainingRun
from importer.record import ImportRecord
from importer.replay import clocks
from importer.replay.clocks import Anchors, anchored, best_clock, spaced, time_note
from importer.replay.file_times import results_mtime

FINAL_LIMIT_MS = 3_600_000  # a results.png later than this was drawn again


def build_timeline(
    run: TrainingRun,
    *,
    now_ms: int,
    timezone_name: str | None = None,
    start_ms: int | None = None,
    recorded: ImportRecord | None = None,
) -> Timeline:
    """Return the times of a run by the best clock present, or by the record of the import that it was logged with.

    Errors: UsageError when `timezone_name` is no time zone.
    """
    zone = parse_zone(timezone_name) if timezone_name else None
    clock = _recorded_clock(run, recorded, zone) if recorded else None
    timeline = _complete(run, clock or _clock_of(run, zone, now_ms), recorded)
    if recorded is not None:
        return replace(timeline, shifted_ms=recorded.times.shifted_ms)
    if start_ms is None:
        return timeline
    by = start_ms - timeline.started_ms
    # The other clocks store their anchors; an event file is read again, so the shift is kept beside it.
    name = timeline.clock if timeline.clock == "event-file" else "start-time"
    notes = tuple(note for note in timeline.notes if note.code not in ("time-unknown", "zone-assumed"))
    return replace(_shifted(timeline, by), clock=name, shifted_ms=by, notes=notes)


def parse_zone(name: str) -> tzinfo:
    """Return the zone of an IANA name or of an offset such as +05:30. Errors: UsageError when it is neither."""
    try:
        if name[:1] in "+-" and ":" in name:
            hours, minutes = name[1:].split(":")
            offset = timedelta(hours=int(hours), minutes=int(minutes))
            return timezone(-offset if name[0] == "-" else offset)
        return ZoneInfo(name)
    except (ValueError, ZoneInfoNotFoundError, OSError) as error:
        hint = "give a name such as Europe/Berlin, or an offset such as +05:30"
        raise UsageError(f"{name!r} is no time zone", hint=hint) from error


def _recorded_clock(run: TrainingRun, recorded: ImportRecord, zone: tzinfo | None) -> Timeline | None:
    """Return the clock that the run was imported by, with the anchors that were stored then.

    Rows that came since are put where the stored clock goes on; a session that began since has a date of its own.
    """
    times = recorded.times
    if times.clock == "event-file" and (clock := clocks.event_clock(run)) is not None:
        return _shifted(clock, times.shifted_ms)
    if times.clock == "iterations" and times.spacing_ms is None:
        return _grown_tune_clock(run, times.anchors, zone)
    if times.spacing_ms is not None:
        clock = spaced(times.clock, run, times.anchors[0][1], times.spacing_ms)
    elif run.epochs.seconds is not None:
        clock = anchored(times.clock, run, _with_new_sessions(run, recorded, zone))
    else:
        return None
    notes = tuple(time_note(code) for code in recorded.notes if code in clocks.TIME_NOTES)
    return replace(clock, zone=times.zone, notes=notes)


def _with_new_sessions(run: TrainingRun, recorded: ImportRecord, zone: tzinfo | None) -> Anchors:
    anchors = recorded.times.anchors
    new = [start for start in run.epochs.session_starts if start >= recorded.epochs]
    clock = (clocks.date_clock(run, zone) or clocks.results_mtime_clock(run, zone)) if new else None
    if clock is None:
        return anchors
    # The newest date anchors the newest session; it began no earlier than the one before it ended.
    return (*anchors, (new[-1], max(clocks.anchor_at(clock.anchors, new[-1]), anchors[-1][1])))


def _clock_of(run: TrainingRun, zone: tzinfo | None, now_ms: int) -> Timeline:
    if run.window is not None:
        name, start, end = run.window
        return spaced(name, run, start, (end - start) / max(1, len(run.epochs)))
    if run.later is not None and run.event_times is None:
        return _earlier_clock(run, *run.later, zone, now_ms)
    return tune_clock(run, zone, now_ms) if run.family == "tune" else best_clock(run, zone, now_ms)


def _earlier_clock(run: TrainingRun, last: TrainingRun, between: float, zone: tzinfo | None, now_ms: int) -> Timeline:
    """Return when an earlier training of a file ran: at the latest, it ended as the next one began."""
    clock = best_clock(last, zone, now_ms)
    end_ms = _complete(last, clock, None).started_ms - round(between * 1000)
    notes = clock.notes if run.epochs.seconds is not None else (*clock.notes, time_note("durations-unknown"))
    earlier = clocks.ending_at("later-training", run, end_ms)
    return replace(earlier, zone=clock.zone, notes=tuple(dict.fromkeys(notes)))


def tune_clock(run: TrainingRun, zone: tzinfo | None, now_ms: int) -> Timeline:
    """Return when each iteration of a tune was over: by those that have a directory, else by the files of the tune."""
    known = _known_iterations(run, zone, now_ms)
    if known:
        mean_ms = round(sum(end - start for start, end in known.values()) / len(known))
        first = min(known)
        ends = {first - 1: known[first][0], **{index: end for index, (_, end) in known.items()}}
        fit = clocks.filled(ends, len(run.epochs), mean_ms)
        started = known[0][0] if first == 0 else fit[0] - mean_ms
        if len(fit) > clocks.MAX_ANCHORS:
            return spaced("iterations", run, started, (fit[-1] - started) / len(fit))
        return Timeline("iterations", tuple(enumerate(fit)), started, fit[-1], fit_ms=fit)
    written = results_mtime(run)
    if not written:
        return best_clock(run, zone, now_ms)
    if run.tune_seconds is None:
        return replace(spaced("tune-files", run, written, 0.0), notes=(time_note("durations-unknown"),))
    tune_ms = run.tune_seconds * 1000
    return spaced("tune-files", run, written - round(tune_ms), tune_ms / len(run.epochs))


def _known_iterations(run: TrainingRun, zone: tzinfo | None, now_ms: int) -> dict[int, tuple[int, int]]:
    """Return start and end in ms of each iteration that has a directory with a clock."""
    known: dict[int, tuple[int, int]] = {}
    for index, child in zip(run.iterations, run.children, strict=True):
        clock = best_clock(child, zone, now_ms) if child.iteration is None else None
        if clock is not None and clock.clock != "import-time":
            timeline = _complete(child, clock, None)
            start, end = known.get(index, (timeline.started_ms, timeline.ended_ms))
            known[index] = min(start, timeline.started_ms), max(end, timeline.ended_ms)
    return known


def _grown_tune_clock(run: TrainingRun, anchors: Anchors, zone: tzinfo | None) -> Timeline:
    """Return the ends that were recorded, and after them those of the iterations that came since."""
    recorded = [ms for _, ms in anchors]
    fresh = tune_clock(run, zone, recorded[-1]).fit_ms
    fit = [*recorded, *(max(ms, recorded[-1]) for ms in fresh[len(recorded) :])][: len(run.epochs)]
    return Timeline("iterations", tuple(enumerate(fit)), fit[0], fit[-1], fit_ms=tuple(fit))


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


def _complete(run: TrainingRun, clock: Timeline, recorded: ImportRecord | None) -> Timeline:
    """Return the clock with a start, an end and the final validation."""
    ended = clock.ended_ms if run.family == "tune" else _end(run, clock, max(clock.ended_ms, clock.final_ms or 0))
    final = clock.final_ms if clock.final_ms is not None else (ended if run.final_validation else None)
    started = clock.started_ms
    if recorded is not None:
        started = recorded.times.started_ms
        if recorded.epochs == len(run.epochs) and not recorded.state:
            final = recorded.times.final_ms if recorded.times.final_ms is not None else final
            ended = max(recorded.times.ended_ms, final or 0)  # the final validation may have come since
    return replace(
        clock,
        started_ms=max(1, started),  # MLflow takes 0 for now
        ended_ms=max(1, started, ended),
        fit_ms=tuple(max(1, at) for at in clock.fit_ms),
        train_ms=tuple(max(1, at) for at in (clock.train_ms or clock.fit_ms)),
        final_ms=final,
    )


def _end(run: TrainingRun, clock: Timeline, last_ms: int) -> int:
    """Return when the last file was written, where file times are the trainer's own; else when the last point was.

    File times are the trainer's own where results.csv was written as the last epoch ended. Its point may be logged up
    to an epoch later, for the weights are saved in between. A copy has the time of the copying, which is no earlier.
    """
    mtime = results_mtime(run)
    if mtime is None or not clock.fit_ms or clock.clock == "import-time":
        return last_ms
    reference = clock.fit_ms[-1]
    previous = clock.fit_ms[-2] if len(clock.fit_ms) > 1 else clock.started_ms
    if not -clocks.AGREE_MS <= reference - mtime <= max(clocks.AGREE_MS, reference - previous):
        return last_ms
    written = (run.results_file or "", "weights/last.pt", "weights/best.pt", "results.png")
    times = [file.mtime_ms for path in written if (file := run.file(path))]
    return max([last_ms, *(ms for ms in times if ms <= last_ms + FINAL_LIMIT_MS)])


def _shifted(times: Timeline, by: int) -> Timeline:
    return replace(
        times,
        started_ms=times.started_ms + by,
        ended_ms=times.ended_ms + by,
        fit_ms=tuple(at + by for at in times.fit_ms),
        train_ms=tuple(at + by for at in times.train_ms),
        final_ms=times.final_ms + by if times.final_ms is not None else None,
        anchors=tuple((row, at + by) for row, at in times.anchors),
    )
