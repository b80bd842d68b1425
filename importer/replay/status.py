"""How a training ended, and whether it has: by what only a trainer that came to its end leaves."""

from __future__ import annotations

from importer.model import TrainingRun
from importer.replay.file_times import file_times_believed, options_mtimes, results_mtime

STILL_MS = 5 * 60 * 1000  # or three epochs, if they take longer


def status(run: TrainingRun) -> str:
    """FINISHED or FAILED."""
    if run.fixed_status is not None:
        return run.fixed_status
    return "FINISHED" if _came_to_its_end(run) else "FAILED"


def still_training(run: TrainingRun, now_ms: int) -> bool:
    """Whether a training seems to go on: nothing says that it ended, and results.csv was touched a moment ago."""
    mtime = results_mtime(run)
    if mtime is None or run.fixed_status is not None or _came_to_its_end(run):
        return False
    # A host whose clock is ahead of ours writes files from the future.
    return -STILL_MS <= now_ms - mtime <= max(STILL_MS, 3 * _epoch_ms(run, mtime)) and file_times_believed(run)


def _came_to_its_end(run: TrainingRun) -> bool:
    """A checkpoint is stripped when training ends; where there is none, plots, a final validation or the rows tell."""
    facts = run.facts
    if facts is not None and facts.epoch is not None:
        return facts.epoch == -1
    if not len(run.epochs):
        return False
    has_plots = run.segment is None and run.file("results.png") is not None
    if has_plots or run.final_validation is not None:  # both come after the last epoch
        return True
    return run.planned_epochs is not None and run.epochs.steps[-1] + 1 >= run.planned_epochs


def _epoch_ms(run: TrainingRun, mtime_ms: int) -> float:
    """How long an epoch takes, by `time`, else since args.yaml was written, which a resume does again."""
    seconds = run.epochs.seconds
    if seconds:
        return 1000 * max(later - earlier for earlier, later in zip((0.0, *seconds), seconds, strict=False))
    before = options_mtimes(run)
    return (mtime_ms - max(before)) / max(1, len(run.epochs)) if before else 0
