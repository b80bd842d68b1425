"""Tables of what there is: the runs of a tree, the imports of a store, what an undo would delete."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from importer.batch.gather import Batch
from importer.batch.run import preview_summary
from importer.batch.summary import RunSummary
from importer.cli.console import print_rows
from importer.cli.progress import show_words
from importer.redaction import redact
from importer.report import WROTE, Kind, exit_status, facts_of, kind_words, local_time, outcome_line, size
from importer.store.failures import store_errors
from importer.store.store import EmptyStore, Store
from importer.undo import Undo
from importer.write.decision import match_run
from importer.write.ledger import UNDONE, Import, all_experiments
from importer.write.lookup import StoredRun, search_key, stored_run

if TYPE_CHECKING:
    from importer.cli.reporter import Terminal

MANY = 20  # runs of an undo that are named


def list_runs(terminal: Terminal, work: Batch, store: Store | None) -> int:
    """One line per run directory; the exit status: 1 when one cannot be read."""
    header = ["generator", "task", "epochs", "size", "newest file", "state", *(["store"] if store else []), "directory"]
    rows = []
    looked_up: list[str] = []
    experiments = _experiments(store)

    def words() -> str:
        return f"looking up: {len(looked_up):,} of {len(work.summaries):,} run directories"

    with show_words(terminal.err, words, quiet=terminal.quiet or store is None, beside_json=terminal.mixes_json):
        for told in work.summaries:
            looked_up.append(_presence(told, work, store, experiments))
            if terminal.as_json:
                terminal.write_json(_as_json(told, looked_up[-1]))
    for told, there in zip(work.summaries, looked_up, strict=True):
        planned = f"/{told.planned_epochs}" if told.planned_epochs else ""
        cells = [told.generator, told.task or "", f"{told.epochs}{planned}", size(told.bytes),
                 local_time(told.modified_ms) if told.modified_ms else "", _state(told)]  # fmt: skip
        rows.append([*cells, *([there] if store else []), redact(told.save_dir)])
    for outcome in work.settled:
        state = kind_words(outcome.kind)
        if terminal.as_json:
            terminal.write_json({**facts_of(outcome), "state": state})
        line = outcome_line(outcome).partition(": ")[2]
        rows.append([*[""] * 5, state, *([""] if store else []), line])
    if isinstance(store, EmptyStore) and not terminal.quiet:
        terminal.warn(f"note: {store.shown_uri} is not there yet", None)
    if not terminal.as_json and not terminal.quiet:
        if rows:
            print_rows(terminal.out, header, rows, folded=len(header) - 1, title=len(header) - 1)
        count = len(work.summaries)
        terminal.say(f"{how_many(count)}, {size(sum(told.bytes for told in work.summaries))}")
        for hint in dict.fromkeys(outcome.hint for outcome in work.settled if outcome.hint):
            terminal.warn(f"  hint: {hint}", None)
    terminal.tell_left_out(work)
    return exit_status(outcome.kind for outcome in work.settled)


def _state(told: RunSummary) -> str:
    if told.family == "tune":
        return f"tune, {told.epochs} iterations"
    if not told.epochs:
        return Kind.NO_EPOCHS.value
    if told.planned_epochs is None:
        return ""
    return "all epochs" if told.epochs >= told.planned_epochs else "ended early"


def _experiments(store: Store | None) -> dict[str, str]:
    """The names of a store's experiments by their ids."""
    if store is None or isinstance(store, EmptyStore):
        return {}
    with store_errors("looking for experiments"):
        return {str(found.experiment_id): str(found.name) for found in all_experiments(store)}


def _presence(summary: RunSummary, work: Batch, store: Store | None, experiments: Mapping[str, str]) -> str:
    """Return what an import would do with a directory, and in which other experiments of the store it is."""
    if store is None:
        return ""
    preview, *below = preview_summary(summary, store, work.options)
    outcome = preview.outcome
    if outcome.kind is Kind.REFUSED:
        return f"cannot be imported: {outcome.reason}"
    if outcome.kind not in WROTE:
        missing = sum(each.outcome.kind in WROTE for each in below)
        words: str = outcome.kind.value
        return f"{words}, {missing} of {len(below)} iterations not" if missing else words
    if outcome.kind is not Kind.IMPORTED:
        return kind_words(outcome.kind, would=True)
    with store_errors("looking the run up"):
        elsewhere = search_key(store, list(experiments), summary.key) if experiments else []
    found = match_run(summary.facts, [stored_run(run) for run in elsewhere])
    if found is None:
        return kind_words(outcome.kind, would=True)
    return f"{kind_words(outcome.kind, would=True)}, is in {experiments[found.run.experiment_id]}"


def _as_json(told: RunSummary, there: str) -> dict[str, object]:
    facts = {"source": told.save_dir, "kind": told.family, "generator": told.generator, "task": told.task,
             "state": _state(told), "epochs": told.epochs, "planned_epochs": told.planned_epochs, "bytes": told.bytes,
             "modified_ms": told.modified_ms, "experiment": told.experiment,
             "key": told.key, "store": there}  # fmt: skip
    return {name: value for name, value in facts.items() if value not in (None, "")}


def print_imports(terminal: Terminal, found: Iterable[Import]) -> None:
    """One line per import, oldest first."""
    rows = []
    for told in found:
        in_order = sorted(told.counts.items(), key=lambda counted: counted[0] == UNDONE)
        counts = ", ".join(f"{count} {kind}" for kind, count in in_order if count)
        names = redact(", ".join(told.experiment_names))
        rows.append([told.import_id, told.started, told.host, names, counts or "begun"])
        if terminal.as_json:
            terminal.write_json({"import_id": told.import_id, "started": told.started, "host": told.host,
                                 "experiments": list(told.experiment_names), "ended": told.ended,
                                 "counts": dict(in_order)})  # fmt: skip
    if not terminal.as_json:
        header = ("import", "started", "host", "experiments", "runs")
        print_rows(terminal.out, header, rows, folded=3, title=0)


def print_undo(terminal: Terminal, planned: Undo) -> None:
    """What an undo would soft-delete and what it keeps: of many a part, with -v all, and what is deleted already."""
    if terminal.verbose:
        _print_runs(terminal, "gone", planned.deleted, "  (soft-deleted already)")
    if not planned.created:
        gone = f"; {len(planned.deleted)} are soft-deleted already" if planned.deleted else ""
        which = " of these" if planned.others else ""
        terminal.say(f"import {planned.import_id} has no runs{which} to delete{gone}")
    _print_runs(terminal, "delete", planned.created, "")
    _print_runs(terminal, "keep", planned.updated, "  (only updated)")
    if planned.others:
        terminal.say(f"keep     {planned.others} more of this import, which are not among those asked for")


def _print_runs(terminal: Terminal, what: str, runs: Sequence[StoredRun], remark: str) -> None:
    shown = runs if terminal.verbose or len(runs) <= MANY else runs[:MANY]
    for run in shown:
        terminal.say(f"{what:<7}  {run.run_id}  {run.run_name}  {run.source}{remark}")
    if len(shown) < len(runs):
        terminal.say(f"{what:<7}  ... and {len(runs) - len(shown)} more (-v names them){remark}")


def print_restore(terminal: Terminal, planned: Undo) -> None:
    """What a restore would bring back."""
    if not planned.deleted:
        terminal.say(f"import {planned.import_id} has no soft-deleted runs{' of these' if planned.others else ''}")
    _print_runs(terminal, "restore", planned.deleted, "")


def restore_done(terminal: Terminal, planned: Undo, restored: Sequence[StoredRun]) -> None:
    """Say what was brought back and what was not."""
    left = len(planned.deleted) - len(restored)
    more = f"; {left} left, for another run of the training is there by now" if left else ""
    terminal.say(f"{how_many(len(restored))} restored{more}")


def undo_as_json(planned: Undo, done: Sequence[StoredRun]) -> dict[str, object]:
    """What was soft-deleted or restored, and what is planned of an import, by run ids."""
    ids = {name: [run.run_id for run in runs] for name, runs in (
        ("done", done), ("created", planned.created), ("updated", planned.updated), ("deleted", planned.deleted),
    )}  # fmt: skip
    return {"import_id": planned.import_id, **ids, "others": planned.others}


def undo_done(terminal: Terminal, planned: Undo, tracking_uri: str | None) -> None:
    """Say that it was done and how to take it back."""
    where = f" --tracking-uri {shlex.quote(redact(tracking_uri))}" if tracking_uri else ""
    number = len(planned.created)
    back = f"`ymlf undo {planned.import_id} --restore{where}` brings {'it' if number == 1 else 'them'} back"
    terminal.say(f"{how_many(number)} soft-deleted; {back}")


def how_many(runs: int) -> str:
    """`1 run`, `2 runs`."""
    return f"{runs} {'run' if runs == 1 else 'runs'}"
