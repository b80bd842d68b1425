"""Rank the runs of a batch by their best epochs."""

from __future__ import annotations

from dataclasses import replace

from importer.batch.executors import Workers
from importer.batch.gather import Batch
from importer.errors import UsageError, YmlfError
from importer.read.ranking import BestEpoch, Ranking, Wanted, best_epochs, rank
from importer.read.registry import read_run
from importer.report import outcome_text


def rank_batch(batch: Batch, wanted: Wanted, workers: Workers) -> Ranking:
    """Return the tables of a batch.

    Results files alone tell which runs the tables show. The checkpoints of these then tell the best epoch, or the
    release and so the fitness, as in an import.

    Errors: UsageError for a task, a dataset or a metric that no run has.
    """
    first = rank((best for summary in batch.summaries for best in summary.best), wanted)
    shown = [row.best for table in first.tables for row in table.rows]
    with workers.executor(workers.jobs_for(len(shown), is_server=False), threads=False) as executor:
        read = list(executor.map(_read_again, shown))
    exact = rank(read, wanted)
    runs = {(table.task, table.dataset): table.runs for table in first.tables}
    tables = tuple(replace(table, runs=runs.get((table.task, table.dataset), table.runs)) for table in exact.tables)
    aside = tuple((outcome.source, outcome_text(outcome)) for outcome in batch.settled)
    return Ranking(tables, (*first.left_out, *aside))


def _read_again(best: BestEpoch) -> BestEpoch:
    """Return the best epoch as the whole directory tells it, or as before where it cannot be read any more."""
    if best.location is None:
        return best
    try:
        [found] = best_epochs(read_run(best.location))
    except YmlfError:
        return best
    return replace(found, source=best.source, location=best.location)


def best_of(ranking: Ranking) -> BestEpoch:
    """Return the best of a ranking. Errors: UsageError for several tasks or datasets, and where nothing is ranked."""
    if len(ranking.tables) > 1:
        groups = ", ".join(f"{table.task} on {table.dataset}" for table in ranking.tables)
        raise UsageError(f"these runs are not compared: {groups}", hint="give those of one task and dataset")
    if not ranking.tables:
        reasons = "; ".join(f"{source}: {reason}" for source, reason in ranking.left_out)
        raise UsageError(f"no run has a metric that ranks it: {reasons}", hint="give one run")
    return ranking.tables[0].rows[0].best
