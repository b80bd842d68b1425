"""Say at the end of an import what follows from it: names that runs share, links, the way back, a new store."""

from __future__ import annotations

import os
import shlex
from importlib.util import find_spec
from pathlib import Path

from importer.batch.gather import Batch
from importer.cli.progress import Totals, how_many
from importer.cli.reporter import Terminal
from importer.read.fitness import BEST
from importer.read.ranking import UNKNOWN, USUAL, leading_metric
from importer.redaction import redact
from importer.replay.names import NamedRun, is_path, shared_names, template_that_tells_apart
from importer.report import WROTE
from importer.store.store import Store
from importer.store.uri import LOCAL_UI, database_file, how_to_migrate, local_file_store, runs_page

MANY_EXPERIMENTS = 20  # that get a line of their own
FILE_STORES = ("runs/mlflow", "mlruns")  # where Ultralytics' callback and MLflow kept their files by default


def close_import(terminal: Terminal, batch: Batch, totals: Totals, store: Store, uri: str | None) -> None:
    """Write all that follows from an import into the store at `uri`, MLflow's default where it is None."""
    is_default = not (uri or os.environ.get("MLFLOW_TRACKING_URI"))
    say_names(terminal, batch, totals)
    _say_links(terminal, batch, totals, store, is_default=is_default)
    if totals.import_id is not None:
        terminal.say(f"`ymlf undo {totals.import_id}{uri_option(uri)}` takes this import back")
    explain_new_store(terminal, store, is_default=is_default)


def uri_option(uri: str | None) -> str:
    """Return the option that names the store of this command, or nothing."""
    return f" --tracking-uri {shlex.quote(redact(uri))}" if uri else ""


def say_names(terminal: Terminal, batch: Batch, totals: Totals, *, would: bool = False) -> None:
    """Write which name the most runs share, and which paths are experiments, if runs of them are new."""
    if terminal.quiet or terminal.as_json or totals.total < 2:
        return
    roots = {summary.save_dir: summary.root for summary in batch.summaries}  # iterations of a tune are not among them
    named = [
        (kind, NamedRun(experiment, run_name, source, roots[source]))
        for kind, experiment, run_name, source in totals.named
        if source in roots
    ]
    new = {run for kind, run in named if kind in WROTE}
    if shared := [alike for alike in shared_names(run for _, run in named) if not new.isdisjoint(alike)]:
        most, others = shared[0], len(shared) - 1
        more = f", and {others} other {'name is' if others == 1 else 'names are'} shared" if others else ""
        called = f"{'would be' if would else 'are'} called {most[0].run_name}{more}"
        template = template_that_tells_apart(shared) or "{relpath}"
        again = "" if would else "; to rename runs that are there, add --on-change replace"
        hint = f"--run-name '{template}' tells them apart{again}"
        terminal.warn(f"note: {len(most)} runs of experiment {most[0].experiment} {called}", hint=hint)
    paths = sorted({run.experiment for run in new if is_path(run.experiment)})
    if paths and not (batch.options.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME")):
        shown = ", ".join(paths[:2]) + (f" and {len(paths) - 2} more" if len(paths) > 2 else "")
        words = "an experiment has a path for a name" if len(paths) == 1 else "experiments have paths for names"
        terminal.warn(f"note: {words}, from `project`: {shown}", hint="--experiment NAME puts all runs into one")


def _say_links(terminal: Terminal, batch: Batch, totals: Totals, store: Store, *, is_default: bool) -> None:
    """Write the page of each experiment that holds runs of a batch, and the command that shows a local store."""
    if not (totals.experiments and (store.is_server or store.is_database or local_file_store(store.uri) is not None)):
        return
    if not store.is_server:
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
    if not tasks:  # without --best-metrics, a summary has no best epoch
        return None, None
    if len(tasks) == 1:
        return (tasks[0] if tasks[0] != UNKNOWN else None), BEST + leading_metric(tasks[0], bests)
    shared = set.intersection(*({name for name, _ in best.metrics} for best in bests if best.metrics))
    return None, next((BEST + name for name in USUAL if name in shared), None)


def explain_new_store(terminal: Terminal, store: Store, *, is_default: bool) -> None:
    """Say where a SQLite file is that was made just now, and of old file stores beside it."""
    file = database_file(store.uri)
    if terminal.quiet or terminal.as_json or not store.is_new or file is None:
        return
    where = ", MLflow's default in this folder" if is_default else ""
    terminal.warn(f"new store: {file.absolute()}{where}", None)
    newer = "" if find_spec("mlflow.store.fs2db") else " of a newer MLflow"
    for old in FILE_STORES:
        if any(Path(old).glob("*/*/meta.yaml")):  # of a run
            command, target = how_to_migrate(old)
            how = f"`{command}`{newer}, then import again with --tracking-uri {target}"
            words = f"{old} holds runs that this import has not looked at; to have all in one database, {how}"
            terminal.warn(f"old file store: {words}", None)
