"""Print what the commands return: runs of a tree, what an import would do, imports, an undo, a registered model."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from importer.batch.gather import Batch
from importer.batch.run import Scanned, preview_work, scan_work
from importer.batch.summary import RunSummary
from importer.cli.closing import uri_option
from importer.cli.console import print_rows
from importer.cli.progress import Totals, directories_in_words, how_many
from importer.cli.reporter import FEW, Report, Terminal
from importer.cli.show import print_plan
from importer.models.register import Registered
from importer.report import WROTE, Kind, exit_status, facts_of, kind_words, local_time, outcome_text, plan_as_json, size
from importer.store.store import EmptyStore, Store
from importer.undo import Undo
from importer.write.ledger import UNDONE, Import

if TYPE_CHECKING:
    from importer.write.lookup import StoredRun

MANY = 20  # runs of an undo that are named


def list_runs(terminal: Terminal, batch: Batch, store: Store | None) -> int:
    """Write a line per run directory and return the exit status, 1 when one cannot be read."""
    header = ["generator", "task", "epochs", "size", "newest file", "state", *(["store"] if store else []), "directory"]
    rows: list[list[str]] = []
    with terminal.progress(lambda: f"looking up: {len(rows):,} of {len(batch.summaries):,} run directories"):
        for summary, scanned in scan_work(batch, store):
            there = [_in_store(scanned)] if scanned is not None else []
            if terminal.as_json:
                terminal.write_json(_as_json(summary, there))
            planned = f"/{summary.planned_epochs}" if summary.planned_epochs else ""
            newest = local_time(summary.modified_ms) if summary.modified_ms else ""
            epochs, total = f"{summary.epochs}{planned}", size(summary.bytes)
            facts = (summary.generator, summary.task or "", epochs, total, newest, _state(summary))
            rows.append([*facts, *there, summary.save_dir])
    for outcome in batch.settled:
        if outcome.kind is not Kind.REFUSED:
            rows.append([*[""] * 5, outcome.kind.value, *[""] * bool(store), outcome_text(outcome)])
        if terminal.as_json:
            terminal.write_json({**facts_of(outcome), "state": outcome.kind.value})
    if isinstance(store, EmptyStore) and not terminal.quiet:
        terminal.warn(f"note: {store.shown_uri} is not there yet", None)
    if not terminal.as_json and not terminal.quiet:
        if rows:
            print_rows(terminal.out, header, rows, folded=len(header) - 1, title=len(header) - 1)
        terminal.say(f"{directories_in_words(batch)}; {size(sum(summary.bytes for summary in batch.summaries))}")
    for outcome in batch.settled:
        if outcome.kind is Kind.REFUSED:
            terminal.say_outcome(outcome, len(batch.settled), store)
    terminal.say_left_out(batch)
    return exit_status(outcome.kind for outcome in batch.settled)


def _state(summary: RunSummary) -> str:
    if summary.family == "tune":
        return f"tune, {summary.epochs} iterations"
    if not summary.epochs:
        return Kind.NO_EPOCHS.value
    if summary.planned_epochs is None:
        return ""
    return "all epochs" if summary.epochs >= summary.planned_epochs else "ended early"


def _in_store(scanned: Scanned) -> str:
    kind, reason = scanned.outcome.kind, scanned.outcome.reason
    words = f"{kind.value}: {reason}" if kind is Kind.REFUSED else kind_words(kind, would=True)
    if kind not in WROTE and scanned.missing:
        words += f", {scanned.missing} of {scanned.iterations} iterations not"
    return f"{words}, is in {scanned.elsewhere}" if scanned.elsewhere else words


def _as_json(summary: RunSummary, there: Sequence[str]) -> dict[str, object]:
    names = ("generator", "task", "epochs", "planned_epochs", "bytes", "modified_ms", "experiment", "key")
    facts = {"source": summary.save_dir, "kind": summary.family, "state": _state(summary), "store": "".join(there)}
    facts |= {name: getattr(summary, name) for name in names}
    return {name: value for name, value in facts.items() if value not in (None, "")}


def dry_run(terminal: Terminal, batch: Batch, store: Store, report: Report) -> None:
    """Report what an import would do with each run, and the exit status that it would have."""
    totals = report.totals = Totals(batch.total, len(batch.settled))
    directories = len(batch.summaries) + len(batch.settled)
    few = directories <= FEW
    with_plans = few or terminal.as_json
    with terminal.progress(lambda: f"looking up: {totals.done:,} of {totals.known:,} runs"):
        for preview in preview_work(batch, store, with_plans=with_plans):
            outcome, plan = preview.outcome, preview.plan
            would_be = {"would_be": outcome.kind.value}
            totals.add(outcome)
            report.write_file({**would_be, **facts_of(outcome)})
            if plan is None or not with_plans:
                terminal.say_outcome(outcome, directories, None, would=True)
            if preview.is_iteration or not with_plans:  # the plan of a tune holds theirs
                continue
            if terminal.as_json:
                terminal.write_json({**would_be, **(facts_of(outcome) if plan is None else plan_as_json(plan))})
            elif plan is not None and not terminal.quiet:
                print_plan(terminal.out, plan)
                reason = f" ({outcome.reason})" if outcome.reason else ""
                terminal.say(kind_words(outcome.kind, would=True) + reason)
    report.status = exit_status(totals.counts)
    terminal.say_totals(batch, totals, few=few, would=True)
    terminal.say_left_out(batch)


def print_imports(terminal: Terminal, imports: Iterable[Import]) -> None:
    """Write a line per import, oldest first."""
    rows = []
    for entry in imports:
        counts = dict(sorted(entry.counts.items(), key=lambda item: item[0] == UNDONE))
        words = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
        rows.append([entry.import_id, entry.started, entry.host, ", ".join(entry.experiment_names), words or "begun"])
        if terminal.as_json:
            facts = {name: getattr(entry, name) for name in ("import_id", "started", "host", "ended")}
            terminal.write_json({**facts, "experiments": list(entry.experiment_names), "counts": counts})
    if not terminal.as_json:
        print_rows(terminal.out, ("import", "started", "host", "experiments", "runs"), rows, folded=3, title=0)


def print_undo(terminal: Terminal, undo: Undo, *, restore: bool = False) -> None:
    """Write what an undo would soft-delete and keep, or a restore would bring back: of many a part, with -v all."""
    of_these = " of these" if undo.others else ""
    if restore:
        if not undo.deleted:
            terminal.say(f"import {undo.import_id} has no soft-deleted runs{of_these}")
        _print_runs(terminal, "restore", undo.deleted)
        return
    if terminal.verbose:
        _print_runs(terminal, "gone", undo.deleted, "  (soft-deleted already)")
    if not (undo.created or undo.completed):
        gone = f"; {len(undo.deleted)} are soft-deleted already" if undo.deleted else ""
        terminal.say(f"import {undo.import_id} has no runs{of_these} to delete{gone}")
    _print_runs(terminal, "delete", undo.created)
    remark = "  (the live callback's; MLflow keeps what was added: points, params, artifacts and the end time)"
    _print_runs(terminal, "release", undo.completed, remark)
    _print_runs(terminal, "keep", undo.updated, "  (only updated)")
    for what, versions in (("delete", undo.versions), ("keep", undo.kept_versions)):
        for version in versions:
            aliases = f"  ({', '.join(version.aliases)})" if version.aliases else ""
            terminal.say(f"{what:<7}  version {version.version} of model {version.name}{aliases}")
    if undo.others:
        terminal.say(f"keep     {undo.others} more of this import, which are not among those asked for")


def _print_runs(terminal: Terminal, what: str, runs: Sequence[StoredRun], remark: str = "") -> None:
    shown = runs if terminal.verbose or len(runs) <= MANY else runs[:MANY]
    here = f"{socket.gethostname()}:"
    for run in shown:
        terminal.say(f"{what:<7}  {run.source.removeprefix(here)}  {run.run_name}  {run.run_id}{remark}")
    if len(shown) < len(runs):
        terminal.say(f"{what:<7}  ... and {len(runs) - len(shown)} more (-v names them){remark}")


def print_undone(terminal: Terminal, undo: Undo, done: Sequence[StoredRun], *, restore: bool, uri: str | None) -> None:
    """Write what was soft-deleted and how to take it back, or what was restored."""
    if terminal.as_json:
        planned = {name: getattr(undo, name) for name in ("created", "completed", "updated", "deleted")}
        ids = {name: [run.run_id for run in runs] for name, runs in ({"done": done} | planned).items()}
        terminal.write_json({"import_id": undo.import_id, **ids, "others": undo.others})
        return
    if not restore and undo.completed:
        terminal.say(f"{how_many(len(undo.completed), 'run')} without ymlf's tags, with the status from before")
    if restore and undo.deleted:
        left = len(undo.deleted) - len(done)
        more = f"; {left} left, for another run of the training is there by now" if left else ""
        terminal.say(f"{how_many(len(done), 'run')} restored{more}")
    elif not restore and done:
        them = "it" if len(done) == 1 else "them"
        command = f"`ymlf undo {undo.import_id} --restore{uri_option(uri)}`"
        terminal.say(f"{how_many(len(done), 'run')} soft-deleted; {command} brings {them} back")


def print_registered(terminal: Terminal, registered: Registered) -> None:
    """Write which version of a model points at which run, and how to load it."""
    if terminal.as_json:
        terminal.write_json({**vars(registered), "notes": [note._asdict() for note in registered.notes]})
        return
    tags = registered.tags
    what = "registered" if registered.is_new else "already there"
    of = f"run {registered.run_id} ({registered.run_name}, {tags['task']})"
    best = f", the best of {registered.candidates} runs" if registered.candidates > 1 else ""
    terminal.say(f"{what}: version {registered.version} of model {registered.name}, {of}{best}")
    if "metric" in tags:
        terminal.say(f"  {tags['metric']} {float(tags['value']):.3f} at step {tags['best_step']}")
    where = f"@{registered.alias}" if registered.alias else f"/{registered.version}"
    terminal.say(f'  load it with: mlflow.pyfunc.load_model("models:/{registered.name}{where}")')
    for note in registered.notes:
        terminal.warn(f"note: {note.code}: {note.text}")
