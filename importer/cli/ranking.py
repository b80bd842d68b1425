"""Print the best runs of a tree: a table for each task and dataset."""

from __future__ import annotations

import math

from importer.batch.gather import Batch
from importer.cli.chart import number
from importer.cli.console import print_rows
from importer.cli.progress import how_many
from importer.cli.reporter import Terminal
from importer.read.ranking import Ranking, Table
from importer.redaction import redact
from importer.report import SOURCE_FAULTS, exit_status, outcome_line


def print_ranking(terminal: Terminal, ranking: Ranking, batch: Batch) -> int:
    """Write the tables, and below them what is in none, and return the exit status: 1 when no run is ranked."""
    for table in ranking.tables:
        for row in table.rows if terminal.as_json else ():
            metrics = {name: value if math.isfinite(value) else str(value) for name, value in row.best.metrics}
            terminal.write_json({**row.as_json(), "by": table.by, "value": metrics[table.by], "metrics": metrics})
        if not terminal.as_json and not terminal.quiet:
            _print_table(terminal, table)
    _say_left_out(terminal, ranking, batch)
    status = exit_status(outcome.kind for outcome in batch.settled)
    if not ranking.tables and not status:
        terminal.warn("error: no run here has an epoch to rank it by", "red", hint="`ymlf scan` lists what is here")
    return status if ranking.tables else status or 1


def _print_table(terminal: Terminal, table: Table) -> None:
    names = (table.by, *table.companions)
    header = ["rank", "run", "dataset", "model", "epochs", "best epoch", *names, "best.pt", "directory"]
    rows = []
    for row in table.rows:
        best = row.best
        at = "" if best.best_epoch is None else str(best.best_epoch)
        values = [number(best.value(name)) for name in names]
        facts = [str(row.rank), best.run, best.dataset, best.model, str(best.epochs), at, *values]
        rows.append([redact(cell) for cell in (*facts, "yes" if best.has_best else "no", best.source)])
    shown, more = "", ""
    if len(rows) < table.runs:
        shown = "the best of " if len(rows) == 1 else f"the best {len(rows):,} of "
        more = f"; --top {table.runs} shows all"
    runs = how_many(table.runs, "run")
    terminal.say(f"{table.task} on {table.dataset}, {shown}{runs} by {table.by}{more}")
    print_rows(terminal.out, header, rows, folded=len(header) - 1, title=len(header) - 1, is_named=True)


def _say_left_out(terminal: Terminal, ranking: Ranking, batch: Batch) -> None:
    """Write what cannot be read, and how many others are in no table; with `-v` each of them."""
    refused = [outcome for outcome in batch.settled if outcome.kind in SOURCE_FAULTS]
    for outcome in refused:
        terminal.say_outcome(outcome, 1, None)
    others = [outcome_line(outcome) for outcome in batch.settled if outcome not in refused]
    aside = {outcome.source for outcome in batch.settled}
    others += [f"{source}: {reason}" for source, reason in ranking.left_out if source not in aside]
    if terminal.verbose and not terminal.quiet:
        for line in others:
            terminal.warn(f"not ranked: {line}", None)
    elif others and not terminal.quiet:
        directories = f"{how_many(len(others), 'run directory')} {'is' if len(others) == 1 else 'are'}"
        terminal.warn(f"note: {directories} not ranked: copies, or runs without an epoch or the metric; -v says which")
