"""Tables of what there is: the runs of a tree, the imports of a store, what an undo would delete."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from importer.batch.gather import Work
from importer.batch.summary import Survey, read_surveyed
from importer.cli.console import print_rows
from importer.cli.progress import show_words
from importer.errors import StoreError, YmlfError
from importer.outcome import Kind, exit_status
from importer.redaction import redact
from importer.replay.plan import plan_import
from importer.report import facts_of, kind_words, local_time, outcome_line, size
from importer.store.failures import failures
from importer.store.store import EmptyStore, Store
from importer.undo import ImportedRun, Undo
from importer.write.ledger import UNDONE, Import, all_experiments, search_all
from importer.write.lookup import PARENT, Presence, look_up, search_key, unchanged

if TYPE_CHECKING:
    from mlflow.entities import Run

    from importer.cli.reporter import Terminal

MANY = 20  # runs of an undo that are named


def list_runs(terminal: Terminal, work: Work, store: Store | None) -> int:
    """One line per run directory; the exit status: 1 when one cannot be read."""
    header = ["generator", "task", "epochs", "size", "newest file", "state", *(["store"] if store else []), "directory"]
    rows = []
    looked_up: list[str] = []
    experiments = _experiments(store)

    def words() -> str:
        return f"looking up: {len(looked_up):,} of {len(work.surveys):,} run directories"

    with show_words(terminal.err, words, quiet=terminal.quiet or store is None, beside_json=terminal.mixes_json):
        for told in work.surveys:
            looked_up.append(_presence(told, work, store, experiments))
            if terminal.as_json:
                terminal.write_json(_as_json(told, looked_up[-1]))
    for told, there in zip(work.surveys, looked_up, strict=True):
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
        count = len(work.surveys)
        terminal.say(f"{how_many(count)}, {size(sum(told.bytes for told in work.surveys))}")
        for hint in dict.fromkeys(outcome.hint for outcome in work.settled if outcome.hint):
            terminal.warn(f"  hint: {hint}", None)
    terminal.tell_left_out(work)
    return exit_status(outcome.kind for outcome in work.settled)


def _state(told: Survey) -> str:
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
    with failures("looking for experiments"):
        return {str(found.experiment_id): str(found.name) for found in all_experiments(store)}


def _presence(told: Survey, work: Work, store: Store | None, experiments: Mapping[str, str]) -> str:
    if store is None:
        return ""
    try:
        experiment_id = store.experiment_id(told.experiment, create=False)
        if experiment_id is not None:
            with failures("looking the run up"):
                there = unchanged(search_key(store, experiment_id, told.key), told.fingerprint)
                if there is not None:
                    return Presence.SAME.value + _without_iterations(told, there, store)
        plan = plan_import(read_surveyed(told, work.options), replace(work.options, root=told.root))
        found = look_up(store, plan, store.experiment_id(plan.experiment_name, create=False))
        if found.presence is not Presence.ABSENT:
            return str(found.presence.value)
        with failures("looking the run up"):
            elsewhere = search_key(store, list(experiments), plan.key) if experiments else []
    except StoreError:
        raise
    except YmlfError as error:
        return f"cannot be imported: {error.message}"
    names = sorted({experiments[run.info.experiment_id] for run in elsewhere})
    return f"not there, but in {', '.join(names)}" if names else "not there"


def _without_iterations(told: Survey, tune: Run, store: Store) -> str:
    """How many iterations of a tune are not below its run; nothing where all are."""
    if told.runs == 1:
        return ""
    below = f"tags.`{PARENT}` = '{tune.info.run_id}'"
    missing = told.runs - 1 - sum(1 for _ in search_all(store, str(tune.info.experiment_id), below))
    return f", {missing} of {told.runs - 1} iterations not" if missing > 0 else ""


def _as_json(told: Survey, there: str) -> dict[str, object]:
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
        none = "nothing new" if told.ended else "begun"
        rows.append([told.import_id, told.started, told.host, names, counts or none])
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


def _print_runs(terminal: Terminal, what: str, runs: Sequence[ImportedRun], remark: str) -> None:
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


def restore_done(terminal: Terminal, planned: Undo, restored: Sequence[ImportedRun]) -> None:
    """Say what was brought back and what was not."""
    left = len(planned.deleted) - len(restored)
    more = f"; {left} left, for another run stands for the training by now" if left else ""
    terminal.say(f"{how_many(len(restored))} restored{more}")


def undo_as_json(planned: Undo, done: Sequence[ImportedRun]) -> dict[str, object]:
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
