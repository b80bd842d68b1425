"""When files were written, and whether their times are the trainer's own."""

from __future__ import annotations

from importer.model import TrainingRun


def results_mtime(run: TrainingRun) -> int | None:
    """Return when the last row was written, in ms, by the file time of the results."""
    file = run.file(run.results_file) if run.results_file and run.segment is None else None
    return file.mtime_ms if file else None


def options_mtimes(run: TrainingRun, *more: str) -> list[int]:
    """Return when the files were written that a trainer begins with, in ms, and `more` of them."""
    return [file.mtime_ms for path in ("args.yaml", "opt.yaml", *more) if (file := run.file(path))]


def file_times_believed(run: TrainingRun) -> bool:
    """Return whether file times are the trainer's own: they span what `time` spans, as those of a copy do not."""
    mtime, before = results_mtime(run), options_mtimes(run)
    if mtime is None or not before or not len(run.epochs):
        return False
    # Archives keep whole seconds, FAT and zip even ones.
    grain = next((grain for grain in (2000, 1000) if all(ms % grain == 0 for ms in (mtime, *before))), 0)
    seconds = run.epochs.seconds
    if seconds is not None:
        session = run.epochs.session_starts[-1]
        needed = (seconds[-1] - (seconds[session - 1] if session else 0.0)) * 1000
    else:
        needed = max(1000.0, 100.0 * len(run.epochs))
    return mtime - max(before) + grain >= needed


def start_by_files(run: TrainingRun, end_ms: int) -> int:
    """Return when training began, in ms, by the files around it.

    Between the last file of the set-up and the picture of the first batch: the middle is off by the least.
    """
    earliest = max((ms for ms in options_mtimes(run, "labels.jpg") if ms <= end_ms), default=end_ms)
    first_batch = run.file("train_batch0.jpg")
    if first_batch is not None and earliest <= first_batch.mtime_ms <= end_ms:
        return (earliest + first_batch.mtime_ms) // 2
    return earliest


def labels_plotted(run: TrainingRun, before_ms: int) -> int | None:
    """Return when labels.jpg was drawn, the last file of the set-up, where it was before this and times are true."""
    file = run.file("labels.jpg")
    return file.mtime_ms if file and file.mtime_ms <= before_ms and file_times_believed(run) else None
