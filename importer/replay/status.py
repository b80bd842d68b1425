"""How a training ended, and whether it has: by what only a trainer that came to its end leaves."""

from __future__ import annotations

from importer.model import ImportOptions, TrainingRun
from importer.replay.file_times import file_times_believed, options_mtimes, results_mtime

NO_EPOCHS = "it ended before its first epoch was over"
STILL_MS = 5 * 60 * 1000  # or three epochs, if they take longer
LONGEST_MS = 3 * 24 * 3600 * 1000  # for three epochs: file times may lie years apart


def status(run: TrainingRun) -> str:
    """Return FINISHED or FAILED."""
    return run.fixed_status or ("FINISHED" if came_to_its_end(run) else "FAILED")


def still_training(run: TrainingRun, now_ms: int) -> bool:
    """Return whether a training seems to go on: no file says that it ended, and results.csv was touched just now."""
    mtime = results_mtime(run)
    if mtime is None or run.fixed_status is not None or came_to_its_end(run):
        return False
    # A host whose clock is ahead of ours writes files from the future.
    return -STILL_MS <= now_ms - mtime <= quiet_ms(run) and file_times_believed(run)


def quiet_ms(run: TrainingRun) -> float:
    """Return how long nothing may be written while a training goes on: five minutes, or three of its longest epochs.

    Without `time`, an epoch is as long as the mean since args.yaml was written, which a resume does again.
    """
    seconds, before, epoch_ms = run.epochs.seconds, options_mtimes(run), 0.0
    if seconds:
        epoch_ms = 1000 * max(later - earlier for earlier, later in zip((0.0, *seconds), seconds, strict=False))
    elif before:
        epoch_ms = ((results_mtime(run) or 0) - max(before)) / max(1, len(run.epochs))
    return min(LONGEST_MS, max(STILL_MS, 3 * epoch_ms))


def came_to_its_end(run: TrainingRun) -> bool:
    """Return whether training ended by itself: its checkpoint is stripped; without one, by plots, scores or rows."""
    facts = run.facts
    if facts is not None and facts.epoch is not None:
        return facts.epoch == -1
    if not len(run.epochs):
        return False
    has_plots = run.segment is None and run.file("results.png") is not None
    if has_plots or run.final_validation is not None:  # both come after the last epoch
        return True
    return run.planned_epochs is not None and run.epochs.steps[-1] + 1 >= run.planned_epochs


def why_left_alone(run: TrainingRun, options: ImportOptions, now_ms: int) -> tuple[str, str, str] | None:
    """Return the outcome, the reason and a hint for a training that is not imported unasked; None for any other."""
    if not len(run.epochs) and not options.empty:
        why = next((note.text for note in run.notes if note.code == "results-ignored"), NO_EPOCHS)
        if not run.args and run.results_file is None and any(note.code == "empty-args" for note in run.notes):
            why = "its args.yaml is empty and there are no results"
        return "no epochs", why, "to import it too: --also empty"
    if not options.unfinished and still_training(run, now_ms):
        return "still training", "results.csv was written just now", "to import it as it is: --also unfinished"
    return None
