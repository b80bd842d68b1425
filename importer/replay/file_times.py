"""What file times tell, and whether they are the trainer's own."""

from __future__ import annotations

from importer.model import TrainingRun


def results_mtime(run: TrainingRun) -> int | None:
    """When the last row was written, in ms, by the file time of the results."""
    found = run.file(run.results_file) if run.results_file and run.segment is None else None
    return found.mtime_ms if found else None


def options_mtimes(run: TrainingRun, *more: str) -> list[int]:
    """When the files were written that a trainer begins with, in ms, and `more` of them."""
    return [found.mtime_ms for path in ("args.yaml", "opt.yaml", *more) if (found := run.file(path))]


def file_times_believed(run: TrainingRun) -> bool:
    """Whether file times are the trainer's own: they span what `time` spans, as those of a copy do not."""
    mtime = results_mtime(run)
    before = options_mtimes(run)
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


def start_by_files(run: TrainingRun, end_ms: int) -> int:
    """When training began, in ms, by the files around it.

    Between the last file of the set-up and the picture of the first batch: the middle is off by the least.
    """
    before = options_mtimes(run, "labels.jpg")
    first_batch = run.file("train_batch0.jpg")
    earliest = max((at for at in before if at <= end_ms), default=end_ms)
    if first_batch is not None and earliest <= first_batch.mtime_ms <= end_ms:
        return (earliest + first_batch.mtime_ms) // 2
    return earliest


def labels_plotted(run: TrainingRun, before_ms: int) -> int | None:
    """When labels.jpg was drawn, the last file of the set-up, where that was before this and file times are true."""
    found = run.file("labels.jpg")
    return found.mtime_ms if found and found.mtime_ms <= before_ms and file_times_believed(run) else None
