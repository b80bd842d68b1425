"""Say at the end of an import where its runs can be looked at."""

from __future__ import annotations

from importer.batch.gather import Batch
from importer.cli.reporter import Terminal
from importer.cli.totals import Totals, how_many
from importer.read.fitness import BEST
from importer.read.ranking import UNKNOWN, USUAL, leading_metric
from importer.store.links import LOCAL_UI, runs_page
from importer.store.store import Store
from importer.store.uri import local_file_store

MANY_EXPERIMENTS = 20  # that get a line of their own


def say_links(terminal: Terminal, batch: Batch, totals: Totals, store: Store, *, is_default: bool) -> None:
    """Write the page of each experiment that holds runs of a batch, and the command that shows a local store."""
    if not totals.experiments:
        return
    if not store.is_server:
        if not store.is_database and local_file_store(store.uri) is None:
            return
        at = "" if is_default else f" --backend-store-uri {store.shown_uri}"
        terminal.say(f"look at it with: mlflow ui{at}")
    for name, experiment_id in sorted(totals.experiments.items())[:MANY_EXPERIMENTS]:
        task, metric = _ranking(batch, {source for _, experiment, _, source in totals.named if experiment == name})
        ui = store.shown_uri if store.is_server else LOCAL_UI
        terminal.say(f"experiment {name}: {runs_page(ui, experiment_id, task=task, ranked_by=metric)}")
    if len(totals.experiments) > MANY_EXPERIMENTS:
        terminal.say(f"... and {how_many(len(totals.experiments) - MANY_EXPERIMENTS, 'more experiment')}")


def _ranking(batch: Batch, sources: set[str]) -> tuple[str | None, str | None]:
    """Return the task and the metric that rank an experiment; of several tasks, only a metric that all of them have."""
    bests = [best for summary in batch.summaries if summary.save_dir in sources for best in summary.best]
    tasks = sorted({best.task for best in bests if best.metrics})
    if not batch.options.best_metrics or not tasks:
        return None, None
    if len(tasks) == 1:
        return (tasks[0] if tasks[0] != UNKNOWN else None), BEST + leading_metric(tasks[0], bests)
    shared = set.intersection(*({name for name, _ in best.metrics} for best in bests if best.metrics))
    return None, next((BEST + name for name in USUAL if name in shared), None)
