"""When was it: the five clocks, the best first, and what each makes of clones, archives and other zones."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from support.command import in_zone
from support.directories import (
    SETUP_MS,
    STARTED_MS,
    Training,
    copy_fixture,
    move_times,
    place,
    round_times,
    touch_all,
    tune_table,
)
from support.event_files import block, event, framed, opening, scalar

from importer.errors import UsageError
from importer.model import ImportOptions, Timeline
from importer.read.registry import read_run
from importer.replay.plan import plan_import
from importer.replay.status import status, still_training
from importer.replay.timeline import build_timeline, parse_zone

NOW_MS = 1_760_000_000_000
CLONED_MS = STARTED_MS + 40 * 86_400_000 + 7 * 60_000 + 11
TRAINING = Training(started_ms=STARTED_MS + 123)
END_MS = TRAINING.fit_ms(2)
ALL = tuple(TRAINING.fit_ms(row) for row in range(3))


def dated(ms: int, offset_hours: float | None, **more: object) -> dict[str, object]:
    """A last.pt with this date: of a zone, or naive as a host of UTC+01:00 writes it."""
    zone = timezone(timedelta(hours=1 if offset_hours is None else offset_hours))
    date = datetime.fromtimestamp(ms / 1000, zone)
    return {"date": (date if offset_hours is not None else date.replace(tzinfo=None)).isoformat(), **more}


def timeline_of(
    training: Training, save_dir: Path, after: Callable[[Path], None] | None = None, **options: object
) -> Timeline:
    """The timeline of a training that was written, and to whose files something happened afterwards."""
    training.write(save_dir)
    if after is not None:
        after(save_dir)
    return build_timeline(read_run(save_dir), now_ms=NOW_MS, **options)  # type: ignore[arg-type]


def cloned(save_dir: Path) -> None:
    touch_all(save_dir, CLONED_MS)


def archived(save_dir: Path) -> None:
    round_times(save_dir, 1000)


def zipped_up(save_dir: Path) -> None:
    round_times(save_dir, 2000)


def moved(save_dir: Path) -> None:
    move_times(save_dir, 40 * 86_400_000)


WITH_ZONE = TRAINING.with_(last=dated(END_MS, 0))
NAIVE = TRAINING.with_(last=dated(END_MS, None))
UNDATED = TRAINING.with_(last=None)
PLAIN = UNDATED.with_(has_time=False)  # before 8.3.9, weights lost

CLOCKS = [
    pytest.param(WITH_ZONE, None, {}, "checkpoint-date", "UTC+0000", ALL, [], id="a date with its zone"),
    pytest.param(
        TRAINING.with_(last=dated(END_MS, 5.5)), None, {}, "checkpoint-date", "UTC+0530", ALL, [],
        id="a date of half an hour's zone",
    ),
    pytest.param(WITH_ZONE, cloned, {}, "checkpoint-date", "UTC+0000", ALL, [], id="a date with its zone, in a clone"),
    pytest.param(
        WITH_ZONE, moved, {}, "checkpoint-date", "UTC+0000", ALL, [], id="a date that file times contradict wins"
    ),
    pytest.param(
        NAIVE, None, {}, "checkpoint-date", "UTC+0100", ALL, [], id="a naive date, whose zone the file time tells"
    ),
    pytest.param(
        TRAINING.with_(last=dated(END_MS - 3_600_000, None)), None, {}, "checkpoint-date", "UTC+0000", ALL, [],
        id="the same of a host on UTC",
    ),
    pytest.param(
        NAIVE, archived, {}, "checkpoint-date", "UTC+0100", ALL, [], id="a naive date, the file time has whole seconds"
    ),
    pytest.param(
        TRAINING.with_(last=dated(END_MS + 9_000, None)), None, {}, "checkpoint-date", "UTC+0100",
        tuple(at + 9_000 for at in ALL), [], id="a naive date of a busy host, which saved late",
    ),
    pytest.param(
        NAIVE, lambda at: touch_all(at, END_MS - 9_000), {}, "checkpoint-date", "UTC+0530",
        tuple(at - 16_200_000 for at in ALL), ["zone-assumed"], id="a naive date near which a copy was made",
    ),
    pytest.param(
        NAIVE, cloned, {"timezone_name": "Europe/Berlin"}, "checkpoint-date", "Europe/Berlin", ALL, [],
        id="a naive date, the zone is given",
    ),
    pytest.param(
        NAIVE, cloned, {"timezone_name": "+01:00"}, "checkpoint-date", "UTC+01:00", ALL, [],
        id="a naive date, the offset is given",
    ),
    pytest.param(
        NAIVE, cloned, {}, "checkpoint-date", "UTC+0530", tuple(at - 16_200_000 for at in ALL), ["zone-assumed"],
        id="a naive date in a clone is taken as local, with a note",
    ),
    pytest.param(UNDATED, None, {}, "results-mtime", None, ALL, [], id="`time` ends at the file time of results.csv"),
    pytest.param(
        UNDATED, archived, {}, "results-mtime", None, tuple(at - 123 for at in ALL), [],
        id="`time` in an unpacked archive",
    ),
    pytest.param(
        UNDATED, zipped_up, {}, "results-mtime", None, tuple(at - 123 for at in ALL), [], id="`time` in an unpacked zip"
    ),
    pytest.param(
        UNDATED, cloned, {}, "import-time", None, (NOW_MS - 20_000, NOW_MS - 10_000, NOW_MS), ["time-unknown"],
        id="`time` in a clone is only how long it took",
    ),
    pytest.param(PLAIN, None, {}, "file-times", None, ALL, [], id="file times alone, evenly"),
    pytest.param(
        NAIVE.with_(has_time=False, last=dated(END_MS + 9_000, None)), None, {}, "file-times", None, ALL, [],
        id="file times before the one date of a busy host",
    ),
    pytest.param(
        PLAIN, cloned, {}, "import-time", None, (NOW_MS,) * 3, ["time-unknown"], id="nothing tells in a clone"
    ),
    pytest.param(
        WITH_ZONE.with_(has_time=False, best=dated(ALL[0], 0, epoch=0)), cloned, {}, "checkpoint-date", "UTC+0000",
        ALL, [], id="two dates of two epochs tell the pace",
    ),
    pytest.param(
        WITH_ZONE.with_(has_time=False), cloned, {}, "checkpoint-date", "UTC+0000", (END_MS,) * 3,
        ["durations-unknown"], id="one date tells only when it was over",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("training", "after", "options", "clock", "zone", "fit_ms", "notes"), CLOCKS)
def test_the_best_clock_that_is_there_tells_the_time(
    training: Training,
    after: Callable[[Path], None] | None,
    options: dict[str, object],
    clock: str,
    zone: str | None,
    fit_ms: tuple[int, ...],
    notes: list[str],
    tmp_path: Path,
) -> None:
    with in_zone("Asia/Kolkata"):
        timeline = timeline_of(training, tmp_path / "train", after, **options)
    assert (timeline.clock, timeline.zone, timeline.fit_ms) == (clock, zone, fit_ms)
    assert [note.code for note in timeline.notes] == notes


def with_events(save_dir: Path, seconds_late: float = 0.0) -> None:
    """An event file beside a training, which logs train/ 2 s before the end of an epoch and val/ at the end."""
    records = [opening(TRAINING.started_ms / 1000), event(TRAINING.first_epoch_ms / 1000, block(4, b"graph"))]
    for row, at_ms in enumerate(ALL):
        at = at_ms / 1000 + seconds_late
        records.append(scalar("train/box_loss", TRAINING.value_of("train/box_loss", row), row + 1, at - 2))
        records.append(scalar("val/box_loss", TRAINING.value_of("val/box_loss", row), row + 1, at))
    place(save_dir / "events.out.tfevents.1.host.1.0", b"".join(map(framed, records)), CLONED_MS)


def test_an_event_file_is_believed_before_all_else(tmp_path: Path) -> None:
    timeline = timeline_of(WITH_ZONE, tmp_path / "train", lambda save_dir: with_events(save_dir, 1.5))
    assert timeline.clock == "event-file"
    assert timeline.fit_ms == tuple(at + 1500 for at in ALL)
    assert timeline.train_ms == tuple(at - 500 for at in ALL)


def test_epochs_that_an_event_file_lacks_lie_between_their_neighbours(tmp_path: Path) -> None:
    def with_gap(save_dir: Path) -> None:
        with_events(save_dir)
        path = save_dir / "events.out.tfevents.1.host.1.0"
        row = [scalar(f"{part}/box_loss", TRAINING.value_of(f"{part}/box_loss", 1), 2, at)
               for part, at in (("train", ALL[1] / 1000 - 2), ("val", ALL[1] / 1000))]  # fmt: skip
        whole, lost = path.read_bytes(), b"".join(map(framed, row))
        assert lost in whole
        path.write_bytes(whole.replace(lost, b""))

    timeline = timeline_of(TRAINING.with_(has_time=False), tmp_path / "train", with_gap)
    assert (timeline.clock, timeline.fit_ms) == ("event-file", ALL)


def test_the_last_file_tells_the_end_where_large_weights_were_saved_before_the_last_point_was_logged(
    tmp_path: Path,
) -> None:
    def late(save_dir: Path) -> None:
        with_events(save_dir, 8.0)
        place(save_dir / "results.png", b"curves", END_MS + 12_000)

    timeline = timeline_of(TRAINING, tmp_path / "train", late)
    assert (timeline.clock, timeline.ended_ms) == ("event-file", END_MS + 12_000)


LATE_MS = 90_000  # how much later the second training of a directory begins


def event_file(save_dir: Path, name: str, later_ms: int, *records: bytes, epochs: int = 3) -> None:
    """An event file that is opened as args.yaml is written, with train/ and val/ at the end of each epoch."""
    written = [opening((TRAINING.started_ms + later_ms) / 1000), *records]
    for row in range(epochs):
        at = (TRAINING.fit_ms(row) + later_ms) / 1000
        written += [
            scalar(f"{part}/box_loss", TRAINING.value_of(f"{part}/box_loss", row), row + 1, at)
            for part in ("train", "val")
        ]
    place(save_dir / f"events.out.tfevents.{name}.host.1.0", b"".join(map(framed, written)), CLONED_MS)


def graph(later_ms: int) -> bytes:
    return event((TRAINING.first_epoch_ms + later_ms) / 1000, block(4, b"graph"))


def first_batch(at_ms: int) -> bytes:
    """As releases before 8.0.238 log it, at the end of each batch."""
    return scalar("train/box_loss", 9.0, 1, at_ms / 1000)


STARTS = [
    pytest.param(
        3,
        lambda at: event_file(at, "1", 0, graph(0)),
        TRAINING.first_epoch_ms,
        id="the graph, as the first epoch begins",
    ),
    pytest.param(
        3,
        lambda at: (event_file(at, "1", -LATE_MS, graph(-LATE_MS)), event_file(at, "2", 0, graph(0))),
        TRAINING.first_epoch_ms,
        id="the graph of the last training, where one was trained again in the same directory",
    ),
    pytest.param(
        3,
        lambda at: (event_file(at, "1", 0, graph(0), epochs=2), event_file(at, "2", 25_000, graph(25_000), epochs=0)),
        TRAINING.first_epoch_ms,
        id="the graph of the first session, where it was resumed",
    ),
    pytest.param(3, lambda at: event_file(at, "1", 0), TRAINING.first_epoch_ms, id="without a graph the pace"),
    pytest.param(
        1, lambda at: event_file(at, "1", 0, epochs=1), TRAINING.started_ms, id="of one epoch when the file was opened"
    ),
    pytest.param(
        3,
        lambda at: event_file(at, "1", 0, first_batch(TRAINING.first_epoch_ms - 700)),
        TRAINING.first_epoch_ms - 700,
        id="no later than the first batch",
    ),
]


@pytest.mark.parametrize(("epochs", "after", "started_ms"), STARTS)
def test_without_time_an_event_file_tells_the_start(
    epochs: int, after: Callable[[Path], object], started_ms: int, tmp_path: Path
) -> None:
    def as_cloned(save_dir: Path) -> None:
        after(save_dir)
        cloned(save_dir)

    timeline = timeline_of(PLAIN.with_(epochs=epochs), tmp_path / "train", as_cloned)
    assert (timeline.clock, timeline.started_ms) == ("event-file", started_ms)


def test_a_graph_that_took_long_to_trace_is_held_against_the_last_file_of_the_set_up(tmp_path: Path) -> None:
    timeline = timeline_of(PLAIN, tmp_path / "train", lambda save_dir: event_file(save_dir, "1", 0, graph(8_000)))
    assert (timeline.clock, timeline.started_ms) == ("event-file", TRAINING.first_epoch_ms + (8_000 - 200) // 2)


def test_a_graph_tells_the_start_where_the_first_point_was_logged_late(tmp_path: Path) -> None:
    def late(save_dir: Path) -> None:
        with_events(save_dir, 4.0)

    assert timeline_of(TRAINING, tmp_path / "train", late).started_ms == TRAINING.first_epoch_ms


@pytest.mark.parametrize(
    ("training", "after", "clock"),
    [
        pytest.param(WITH_ZONE, None, "start-time", id="of a dated training"),
        pytest.param(UNDATED, cloned, "start-time", id="of a clone that tells nothing"),
        pytest.param(PLAIN, None, "start-time", id="of a training without `time`"),
        pytest.param(WITH_ZONE, with_events, "event-file", id="of one with an event file"),
    ],
)
def test_a_start_time_moves_all_times_alike(
    training: Training, after: Callable[[Path], None] | None, clock: str, tmp_path: Path
) -> None:
    plain = timeline_of(training, tmp_path / "train", after)
    timeline = timeline_of(training, tmp_path / "train", after, start_ms=1_600_000_000_000)
    by = timeline.started_ms - plain.started_ms
    assert (timeline.clock, timeline.started_ms, timeline.notes) == (clock, 1_600_000_000_000, ())
    assert timeline.fit_ms == tuple(at + by for at in plain.fit_ms)
    assert timeline.ended_ms == plain.ended_ms + by


@pytest.mark.parametrize("training", [WITH_ZONE, NAIVE, UNDATED, PLAIN], ids=["zone", "naive", "undated", "plain"])
@pytest.mark.parametrize("after", [cloned, moved, zipped_up])
@pytest.mark.parametrize("start_ms", [None, 1_600_000_000_000], ids=["", "--start-time"])
def test_a_record_tells_the_same_times_whatever_has_become_of_the_files(
    training: Training, after: Callable[[Path], None], start_ms: int | None, tmp_path: Path
) -> None:
    save_dir = training.write(tmp_path / "train")
    first = plan_import(read_run(save_dir), ImportOptions(start_time_ms=start_ms), now_ms=NOW_MS)
    after(save_dir)
    with in_zone("Pacific/Chatham"):
        again = plan_import(read_run(save_dir), recorded=first.record, now_ms=NOW_MS + 5)
    assert again.points == first.points
    assert (again.timeline.started_ms, again.timeline.ended_ms) == (first.timeline.started_ms, first.timeline.ended_ms)


@pytest.mark.parametrize("name", ["event-file", "without-time-column", "train-2"])
def test_a_copy_of_a_live_training_keeps_the_distances_of_its_times(name: str, tmp_path: Path) -> None:
    save_dir = copy_fixture(name, tmp_path)
    first = plan_import(read_run(save_dir), now_ms=NOW_MS)
    touch_all(save_dir, CLONED_MS)
    again = plan_import(read_run(save_dir), recorded=first.record, now_ms=NOW_MS)
    assert again.points == first.points


@pytest.mark.parametrize(
    ("name", "hours"), [("Europe/Berlin", 1), ("+05:30", 5.5), ("-03:00", -3), ("Asia/Kathmandu", 5.75), ("UTC", 0)]
)
def test_a_zone_is_a_name_or_an_offset(name: str, hours: float) -> None:
    assert datetime(2024, 1, 15, tzinfo=parse_zone(name)).utcoffset() == timedelta(hours=hours)


@pytest.mark.parametrize("name", ["Mars/Olympus", "+5", "+aa:bb", "../../etc/passwd", "+99:00"])
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is no time zone"):
        parse_zone(name)


def zero_times(save_dir: Path) -> None:
    touch_all(save_dir, 0)


def zero_options(save_dir: Path) -> None:
    """Files that an archive without times holds, and a results.csv that was copied later."""
    touch_all(save_dir, 315_532_800_000)
    os.utime(save_dir / "results.csv", ns=(CLONED_MS * 1_000_000,) * 2)


def at_a_whole_minute(save_dir: Path) -> None:
    touch_all(save_dir, CLONED_MS // 60_000 * 60_000)


def over_a_second(save_dir: Path) -> None:
    """A quick copy to a disk that keeps whole seconds, which one second ended in."""
    at_a_whole_minute(save_dir)
    os.utime(save_dir / "results.csv", ns=((CLONED_MS // 60_000 * 60_000 + 1_000) * 1_000_000,) * 2)


def checked_out(save_dir: Path) -> None:
    """A slow checkout, which writes a file every 5 s, in the order of their names."""
    for at, path in enumerate(sorted(path for path in save_dir.rglob("*") if path.is_file())):
        os.utime(path, ns=((CLONED_MS + at * 5_000) * 1_000_000,) * 2)


@pytest.mark.parametrize("after", [zero_times, zero_options, at_a_whole_minute, over_a_second, checked_out])
@pytest.mark.parametrize(
    "training",
    [PLAIN, PLAIN.with_(epochs=1), PLAIN.with_(epochs=20), UNDATED.with_(epoch_ms=300), UNDATED.with_(epoch_ms=3_000)],
    ids=["no time", "one epoch", "20 epochs", "quick epochs", "with time"],
)
def test_file_times_that_mean_nothing_are_not_believed(
    training: Training, after: Callable[[Path], None], tmp_path: Path
) -> None:
    timeline = timeline_of(training, tmp_path / "train", after)
    assert (timeline.clock, [note.code for note in timeline.notes]) == ("import-time", ["time-unknown"])
    assert timeline.ended_ms == NOW_MS


def test_a_file_time_that_all_files_have_tells_no_zone(tmp_path: Path) -> None:
    with in_zone("Asia/Kolkata"):
        timeline = timeline_of(NAIVE, tmp_path / "train", lambda path: touch_all(path, END_MS))
    assert (timeline.zone, [note.code for note in timeline.notes]) == ("UTC+0530", ["zone-assumed"])


def test_a_tune_whose_files_have_one_time_is_not_dated_at_it(tmp_path: Path) -> None:
    save_dir = tune_table(tmp_path / "tune", [0.5, 0.6])
    (save_dir / "best_hyperparameters.yaml").write_text("lr0: 0.01\n")
    touch_all(save_dir, CLONED_MS)
    assert build_timeline(read_run(save_dir), now_ms=NOW_MS).clock == "import-time"


PAUSE_MS = 86_400_000 + 4_567


def resumed(training: Training, save_dir: Path, row: int, **more: object) -> Path:
    """The training, resumed a day later from `row` on: args.yaml and labels.jpg are written again."""
    training = training.with_(args={"resume": "runs/detect/train/weights/last.pt", **more})
    if training.has_time:
        training = training.with_(sessions=(row,))
    training.write(save_dir)
    picture_ms = training.first_epoch_ms + 200
    move_times(save_dir, PAUSE_MS)
    os.utime(save_dir / "train_batch0.jpg", ns=(picture_ms * 1_000_000,) * 2)
    resumed_ms = training.fit_ms(row - 1) + PAUSE_MS - SETUP_MS
    for name in ("args.yaml", "labels.jpg"):
        os.utime(save_dir / name, ns=(resumed_ms * 1_000_000,) * 2)
    return save_dir


SIX = TRAINING.with_(epochs=6)
FIRST_BATCH = tuple(SIX.fit_ms(row) + 200 for row in range(3))
RESUMED = tuple(SIX.fit_ms(row) + PAUSE_MS for row in range(3, 6))
BESIDE = tuple(SIX.fit_ms(row) + PAUSE_MS for row in range(3))  # the first session, as if it ended with the pause


@pytest.mark.parametrize(
    ("training", "after", "fit_ms"),
    [
        pytest.param(
            SIX.with_(last=dated(SIX.fit_ms(5) + PAUSE_MS, 0)), None, (*FIRST_BATCH, *RESUMED), id="the first batch"
        ),
        pytest.param(SIX.with_(last=None), None, (*FIRST_BATCH, *RESUMED), id="the first batch, without checkpoints"),
        pytest.param(
            SIX.with_(last=dated(SIX.fit_ms(5) + PAUSE_MS, None)), None, (*FIRST_BATCH, *RESUMED), id="a naive date"
        ),
        pytest.param(
            SIX.with_(last=dated(SIX.fit_ms(5) + PAUSE_MS, 0), best=dated(SIX.fit_ms(1), 0, epoch=1)),
            cloned, (*(SIX.fit_ms(row) for row in range(3)), *RESUMED), id="the date in best.pt, in a clone",
        ),
        pytest.param(
            SIX.with_(last=dated(SIX.fit_ms(5) + PAUSE_MS, None), best=dated(SIX.fit_ms(1), None, epoch=1)),
            None, (*(SIX.fit_ms(row) for row in range(3)), *RESUMED), id="a naive date in best.pt",
        ),
        pytest.param(
            SIX.with_(last=dated(SIX.fit_ms(5) + PAUSE_MS, 0)), cloned, (*BESIDE, *RESUMED), id="nothing, in a clone"
        ),
        pytest.param(
            SIX.with_(last=dated(SIX.fit_ms(5) + PAUSE_MS, 0)),
            lambda at: os.utime(at / "train_batch0.jpg", ns=((SIX.fit_ms(4) + PAUSE_MS) * 1_000_000,) * 2),
            (*BESIDE, *RESUMED), id="a picture that was drawn later",
        ),
    ],
)  # fmt: skip
def test_the_first_session_of_a_resumed_training_is_dated_by_what_it_left(
    training: Training, after: Callable[[Path], None] | None, fit_ms: tuple[int, ...], tmp_path: Path
) -> None:
    save_dir = resumed(training, tmp_path / "train", 3)
    if after is not None:
        after(save_dir)
    run = read_run(save_dir)
    timeline = build_timeline(run, now_ms=NOW_MS)
    assert timeline.fit_ms == fit_ms
    assert run.epochs.session_starts == (0, 3)
    first = plan_import(run, now_ms=NOW_MS)
    touch_all(save_dir, CLONED_MS + 1)
    again = plan_import(read_run(save_dir), recorded=first.record, now_ms=NOW_MS)
    assert again.points == first.points


def test_an_event_file_of_the_first_session_dates_it_and_last_pt_the_second(tmp_path: Path) -> None:
    training = SIX.with_(last=dated(SIX.fit_ms(5) + PAUSE_MS, 0))
    save_dir = resumed(training, tmp_path / "train", 3)
    event_file(save_dir, "1", 0, graph(0), epochs=3)
    touch_all(save_dir, CLONED_MS)
    timeline = build_timeline(read_run(save_dir), now_ms=NOW_MS)
    assert (timeline.clock, timeline.fit_ms) == ("checkpoint-date", (*(SIX.fit_ms(row) for row in range(3)), *RESUMED))


def test_without_time_a_resumed_training_began_with_its_first_batch(tmp_path: Path) -> None:
    save_dir = resumed(SIX.with_(has_time=False, last=None), tmp_path / "train", 3)
    timeline = build_timeline(read_run(save_dir), now_ms=NOW_MS)
    assert (timeline.clock, timeline.started_ms) == ("file-times", SIX.first_epoch_ms + 200)
    assert timeline.fit_ms[-1] == RESUMED[-1]


@pytest.mark.parametrize(
    ("segment", "fit_ms"),
    [
        pytest.param(0, (-60_000, -50_000, -40_000), id="the first of three"),
        pytest.param(1, (-30_000, -20_000, -10_000), id="the second of three"),
    ],
)
@pytest.mark.parametrize("after", [None, cloned])
def test_an_earlier_training_of_a_file_is_dated_before_the_next(
    segment: int, fit_ms: tuple[int, ...], after: Callable[[Path], None] | None, tmp_path: Path
) -> None:
    save_dir = WITH_ZONE.write(tmp_path / "train")
    header, *rows = WITH_ZONE.csv().splitlines(keepends=True)
    place(save_dir / "results.csv", "".join((header, *rows, *rows, *rows)), END_MS)
    if after is not None:
        after(save_dir)
    timeline = build_timeline(read_run(save_dir, segment=segment), now_ms=NOW_MS)
    assert timeline.fit_ms == tuple(TRAINING.first_epoch_ms + 10_000 + ms for ms in fit_ms)
    assert (timeline.clock, timeline.notes, timeline.ended_ms) == ("later-training", (), timeline.fit_ms[-1])


def test_an_earlier_training_of_a_file_has_the_times_of_its_own_event_file(tmp_path: Path) -> None:
    save_dir = WITH_ZONE.write(tmp_path / "train")
    header, *rows = WITH_ZONE.csv().splitlines(keepends=True)
    other = WITH_ZONE.with_(rows=tuple({"train/box_loss": 7.0 + row, "val/box_loss": 8.0 + row} for row in range(3)))
    place(save_dir / "results.csv", "".join((header, *rows, *other.csv().splitlines(keepends=True)[1:])), END_MS)
    event_file(save_dir, "1", -LATE_MS, graph(-LATE_MS))
    records = [
        scalar(f"{part}/box_loss", other.value_of(f"{part}/box_loss", row), row + 1, TRAINING.fit_ms(row) / 1000)
        for row in range(3)
        for part in ("train", "val")
    ]
    content = b"".join(map(framed, (opening(TRAINING.started_ms / 1000), *records)))
    place(save_dir / "events.out.tfevents.2.host.1.0", content, CLONED_MS)
    for segment, later_ms in ((0, -LATE_MS), (None, 0)):
        timeline = build_timeline(read_run(save_dir, segment=segment), now_ms=NOW_MS)
        assert (timeline.clock, timeline.fit_ms) == ("event-file", tuple(at + later_ms for at in ALL))


RUNNING = TRAINING.with_(planned=10, plots=False, last={"epoch": 2})
SLOW = RUNNING.with_(epoch_ms=300_000)
MINUTE_MS = 60_000


def resumed_lately(save_dir: Path) -> None:
    """A resume writes args.yaml again, here before the last epoch of SLOW."""
    written_ms = SLOW.fit_ms(1) - SETUP_MS
    os.utime(save_dir / "args.yaml", ns=(written_ms * 1_000_000,) * 2)


@pytest.mark.parametrize(
    ("training", "after", "later_ms", "expected"),
    [
        pytest.param(RUNNING, None, MINUTE_MS, True, id="results.csv was written a minute ago"),
        pytest.param(RUNNING, None, 6 * MINUTE_MS, False, id="six minutes ago, and epochs take seconds"),
        pytest.param(SLOW, None, 14 * MINUTE_MS, True, id="less than three epochs ago"),
        pytest.param(SLOW, None, 16 * MINUTE_MS, False, id="more than three epochs ago"),
        pytest.param(RUNNING.with_(last={"epoch": -1}), None, MINUTE_MS, False, id="last.pt is stripped"),
        pytest.param(RUNNING.with_(plots=True), None, MINUTE_MS, True, id="results.png is there, of a training before"),
        pytest.param(RUNNING.with_(planned=3), None, MINUTE_MS, True, id="all epochs are there, best.pt is validated"),
        pytest.param(RUNNING.with_(plots=True, last=None), None, MINUTE_MS, False, id="no checkpoint, but results.png"),
        pytest.param(RUNNING.with_(planned=3, last=None), None, MINUTE_MS, False, id="no checkpoint, but all epochs"),
        pytest.param(RUNNING, None, -MINUTE_MS, True, id="the trainer's clock is a minute ahead"),
        pytest.param(RUNNING, None, -6 * MINUTE_MS, False, id="file times are of another day"),
        pytest.param(SLOW.with_(sessions=(2,)), resumed_lately, 14 * MINUTE_MS, True, id="resumed an epoch ago"),
        pytest.param(RUNNING.with_(last=None), None, MINUTE_MS, True, id="no checkpoint is there"),
        pytest.param(RUNNING, lambda path: touch_all(path, END_MS), MINUTE_MS, False, id="a clone of a minute ago"),
    ],
)
def test_a_training_that_seems_to_go_on_is_told_from_one_that_is_over(
    training: Training, after: Callable[[Path], None] | None, later_ms: int, expected: bool, tmp_path: Path
) -> None:
    save_dir = training.write(tmp_path / "train")
    if after is not None:
        after(save_dir)
    run = read_run(save_dir)
    assert still_training(run, training.fit_ms(2) + later_ms) is expected
    assert not (expected and status(run) == "FINISHED")


def test_a_final_validation_that_came_after_the_import_is_no_later_than_the_end(tmp_path: Path) -> None:
    run = read_run(copy_fixture("event-file", tmp_path))
    assert run.final_validation is not None
    first = plan_import(replace(run, final_validation=None, files=()))
    later = plan_import(run, recorded=first.record)
    assert later.timeline.final_ms is not None and first.timeline.ended_ms < later.timeline.final_ms
    assert later.timeline.ended_ms == later.timeline.final_ms
