"""Say once where an import gives several runs one name, or experiments the names of paths, and what to do."""

from __future__ import annotations

import os

from importer.batch.gather import Batch
from importer.cli.reporter import Terminal
from importer.cli.totals import Totals
from importer.replay.names import NamedRun, is_path, shared_names, template_that_tells_apart
from importer.report import WROTE


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
    shared = shared_names(run for _, run in named)
    _say_shared(terminal, [alike for alike in shared if not new.isdisjoint(alike)], would)
    paths = sorted({run.experiment for run in new if is_path(run.experiment)})
    if paths and not (batch.options.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME")):
        shown = ", ".join(paths[:2]) + (f" and {len(paths) - 2} more" if len(paths) > 2 else "")
        words = "an experiment has a path for a name" if len(paths) == 1 else "experiments have paths for names"
        terminal.warn(f"note: {words}, from `project`: {shown}", hint="--experiment NAME puts all runs into one")


def _say_shared(terminal: Terminal, shared: list[list[NamedRun]], would: bool) -> None:
    if not shared:
        return
    most, others = shared[0], len(shared) - 1
    more = f", and {others} other {'name is' if others == 1 else 'names are'} shared" if others else ""
    words = "would be" if would else "are"
    template = template_that_tells_apart(shared) or "{relpath}"
    again = "" if would else "; to rename runs that are there, add --on-change replace"
    terminal.warn(
        f"note: {len(most)} runs of experiment {most[0].experiment} {words} called {most[0].run_name}{more}",
        hint=f"--run-name '{template}' tells them apart{again}",
    )
