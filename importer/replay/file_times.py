"""When files were written, and whether their times are the trainer's own."""

from __future__ import annotations

from importer.model import TrainingRun

EARLIEST_MS = 1_420_070_400_000  # 2015, before the first YOLO; reproducible archives write 1970 or 1980
SETUP_MS = 1_000  # no trainer is faster from args.yaml to the end of its first epoch
DRAWN_MS = 2_000  # a thread draws the first batch, perhaps until after a short epoch


def results_mtime(run: TrainingRun) -> int | None:
    """Return when the last row was written, in ms, by the file time of the results.

    Where all files have one time, a checkout or an archive gave it to them, and it says nothing.
    """
    file = run.file(run.results_file) if run.results_file and run.segment is None else None
    if file is None or file.mtime_ms < EARLIEST_MS:
        return None
    is_only_time = len(run.files) > 1 and all(other.mtime_ms == file.mtime_ms for other in run.files)
    return None if is_only_time else file.mtime_ms


def options_mtimes(run: TrainingRun, *more: str) -> list[int]:
    """Return when the files were written that a trainer begins with, in ms, and `more` of them."""
    files = (run.file(path) for path in ("args.yaml", "opt.yaml", *more))
    return [file.mtime_ms for file in files if file is not None and file.mtime_ms >= EARLIEST_MS]


def file_times_believed(run: TrainingRun) -> bool:
    """Return whether file times are the trainer's own: they span what `time` spans, as those of a copy do not.

    A checkout writes files by their names, so that the picture of the first batch comes after results.csv.
    """
    mtime, before = results_mtime(run), options_mtimes(run)
    if mtime is None or not before or not len(run.epochs):
        return False
    first_batch = run.file("train_batch0.jpg")
    drawn_within = 0 if len(run.epochs) > 1 else DRAWN_MS
    if first_batch is not None and first_batch.mtime_ms > mtime + drawn_within:
        return False
    # Archives keep whole seconds, FAT and zip even ones.
    grain = next((grain for grain in (2000, 1000) if all(ms % grain == 0 for ms in (mtime, *before))), 0)
    span, seconds = mtime - max(before), run.epochs.seconds
    if seconds is None:
        return span - grain >= max(SETUP_MS, 100 * len(run.epochs))
    session = run.epochs.session_starts[-1]
    needed = (seconds[-1] - (seconds[session - 1] if session else 0.0)) * 1000
    return span - grain >= SETUP_MS and span + grain >= needed


def first_batch_before_resume(run: TrainingRun) -> int | None:
    """Return when a resumed training drew its first batch, in ms: a resume writes args.yaml again, but not this."""
    first_batch, before = run.file("train_batch0.jpg"), options_mtimes(run)
    is_resumed = len(run.epochs.session_starts) > 1 or bool(run.args.get("resume"))  # by its rows, or by its args
    if first_batch is None or not is_resumed or not file_times_believed(run):
        return None
    return first_batch.mtime_ms if EARLIEST_MS <= first_batch.mtime_ms < min(before) else None


def start_by_files(run: TrainingRun, end_ms: int) -> int:
    """Return when training began, in ms, by the files around it.

    Between the last file of the set-up and the picture of the first batch: the middle is off by the least.
    """
    if (resumed_from := first_batch_before_resume(run)) is not None:
        return resumed_from
    earliest = max((ms for ms in options_mtimes(run, "labels.jpg") if ms <= end_ms), default=end_ms)
    first_batch = run.file("train_batch0.jpg")
    if first_batch is not None and earliest <= first_batch.mtime_ms <= end_ms:
        return (earliest + first_batch.mtime_ms) // 2
    return earliest


def labels_plotted(run: TrainingRun, before_ms: int) -> int | None:
    """Return when labels.jpg was drawn, the last file of the set-up, where it was before this and times are true."""
    file = run.file("labels.jpg")
    return file.mtime_ms if file and file.mtime_ms <= before_ms and file_times_believed(run) else None
