"""The command line: words in, words out; no rule of the import lives here."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from importer._version import __version__
from importer.cli.command_group import EPILOG, SuggestingGroup
from importer.cli.early_end import always_closed
from importer.cli.given_paths import all_paths, one_path, path_argument, paths_argument
from importer.cli.options import (
    build_options,
    build_selection,
    output_options,
    plan_options,
    selection_options,
    store_options,
    undo_options,
    work_options,
    write_options,
)
from importer.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from importer.batch.executors import Workers
    from importer.batch.gather import Batch
    from importer.cli.reporter import Terminal
    from importer.model import ImportOptions, ImportPlan, TrainingRun


@click.group(
    cls=SuggestingGroup,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", prog_name="ymlf")
def cli() -> None:
    """Replay finished Ultralytics YOLO trainings into MLflow, as the live callback would have logged them."""


@cli.command()
@path_argument
@plan_options
@output_options
def plan(path: str | None, as_json: bool, **given: Any) -> None:
    """Show what an import of PATH would log. Needs no store and writes nothing."""
    from importer.cli.facts import print_plan

    terminal = _terminal(given, as_json)
    _, planned = _plan_one(path, build_options(given))
    _tell_plan(terminal, planned, print_plan)


@cli.command()
@path_argument
@plan_options
@output_options
def show(path: str | None, as_json: bool, **given: Any) -> None:
    """Show one run on this terminal: facts, last and best values, charts, notes. Needs no store."""
    from importer.cli.show import print_run
    from importer.replay.plan import plan_import

    terminal = _terminal(given, as_json)
    options = build_options(given)
    run, planned = _plan_one(path, options)
    # The table of a tune is shown whole, whichever of its iterations become runs.
    iterations = plan_import(run, replace(options, iterations="all")).children if run.children and not as_json else ()
    _tell_plan(terminal, planned, partial(print_run, iterations=iterations, verbose=given["verbose"]))


@cli.command("import")
@paths_argument
@plan_options
@store_options
@write_options
@selection_options
@work_options
@click.option("--import-id", metavar="ID", help="Name of this import, for retries and undo. Default: a new one.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first run that is refused or fails.")
@click.option("--dry-run", is_flag=True, help="Look everything up and say what would be done; write nothing.")
@output_options
@always_closed
def import_command(paths: tuple[str, ...], dry_run: bool, as_json: bool, **given: Any) -> None:
    """Import the run directories at or below each PATH. Safe to stop at any moment and to start again."""
    from importer.batch.run import check_import, import_work
    from importer.cli.dry_run import dry_run_all
    from importer.store.opening import open_store

    terminal = _terminal(given, as_json)
    workers = _workers(given)
    work = _gather(terminal, paths, given, workers)
    check_import(work, workers)
    if dry_run:
        sys.exit(dry_run_all(terminal, work, given["tracking_uri"], given["report"]))
    if not work.summaries:
        sys.exit(terminal.conclude(work.settled, work, None, given["report"]))
    store = open_store(given["tracking_uri"], probe=True)
    stop = terminal.catch_signals()
    outcomes = import_work(work, store, workers=workers, stop=stop, fail_fast=given["fail_fast"])
    status = terminal.conclude(outcomes, work, store, given["report"], stop)
    terminal.explain_new_store(store, is_default=not (given["tracking_uri"] or os.environ.get("MLFLOW_TRACKING_URI")))
    sys.exit(status)


@cli.command()
@paths_argument
@plan_options
@store_options
@selection_options
@work_options
@click.option(
    "--deep/--no-deep", default=None, help="Compare each artifact's SHA-256. Default: where they lie on this host."
)
@output_options
@always_closed
def verify(paths: tuple[str, ...], deep: bool | None, as_json: bool, **given: Any) -> None:
    """Compare the run directories at or below each PATH with what the store holds, point by point."""
    from importer.batch.run import verify_work
    from importer.store.opening import open_existing_store

    terminal = _terminal(given, as_json)
    workers = _workers(given)
    work = _gather(terminal, paths, given, workers)
    if not work.summaries:
        sys.exit(terminal.conclude(work.settled, work, None, given["report"]))
    store = open_existing_store(given["tracking_uri"], required=True)
    stop = terminal.catch_signals()
    outcomes = verify_work(work, store, deep=deep, workers=workers, stop=stop)
    sys.exit(terminal.conclude(outcomes, work, store, given["report"], stop))


@cli.command()
@paths_argument
@plan_options
@store_options
@selection_options
@output_options
def scan(paths: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """List the run directories at or below each PATH, and what is imported already where a store is named."""
    from importer.cli.listing import list_runs
    from importer.store.opening import open_existing_store

    terminal = _terminal(given, as_json)
    work = _gather(terminal, paths, given, _workers(given, with_mlflow=False))
    asked = given["tracking_uri"] or os.environ.get("MLFLOW_TRACKING_URI")
    store = open_existing_store(asked, required=given["tracking_uri"] is not None) if asked else None
    sys.exit(list_runs(terminal, work, store))


@cli.command()
@store_options
@output_options
def imports(tracking_uri: str | None, as_json: bool, **given: Any) -> None:
    """List the imports that a store remembers."""
    from importer.cli.listing import print_imports
    from importer.store.opening import open_existing_store
    from importer.write.ledger import list_imports

    print_imports(_terminal(given, as_json), list_imports(open_existing_store(tracking_uri, required=True)))


@cli.command()
@click.argument("import_id", metavar="ID")
@store_options
@undo_options
@output_options
def undo(import_id: str, tracking_uri: str | None, restore: bool, yes: bool, as_json: bool, **given: Any) -> None:
    """Soft-delete the runs that import ID created, or those that the globs name. What it only updated is kept."""
    from importer.cli.listing import how_many, print_restore, print_undo, restore_done, undo_as_json, undo_done
    from importer.store.opening import open_existing_store
    from importer.undo import carry_out_undo, plan_undo, restore_undone

    terminal = _terminal(given, as_json)
    store = open_existing_store(tracking_uri, required=True)
    planned = plan_undo(store, import_id, build_selection(given))
    (print_restore if restore else print_undo)(terminal, planned)
    runs = planned.deleted if restore else planned.created
    if runs and not yes and not _confirm(f"{'Restore' if restore else 'Soft-delete'} {how_many(len(runs))}?"):
        sys.exit(1)
    done = restore_undone(store, planned) if restore else runs
    if not restore:
        carry_out_undo(store, planned)
    if as_json:
        terminal.write_json(undo_as_json(planned, done))
    elif runs and restore:
        restore_done(terminal, planned, done)
    elif runs:
        undo_done(terminal, planned, tracking_uri)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the tab completion of a shell."""
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    assert complete is not None  # noqa: S101  for mypy: click has all three
    click.echo(complete(cli, {}, "ymlf", "_YMLF_COMPLETE").source())


def _workers(given: dict[str, Any], *, with_mlflow: bool = True) -> Workers:
    """Return the workers of this command, which end with it."""
    from importer.batch.executors import Workers

    workers = Workers(given.get("jobs"), given.get("dask"), processes=True, with_mlflow=with_mlflow)
    click.get_current_context().call_on_close(workers.close)
    return workers


def _gather(
    terminal: Terminal,
    paths: tuple[str, ...],
    given: dict[str, Any],
    workers: Workers,
) -> Batch:
    """What is at or below the paths; the terminal tells how far the look at it is."""
    from importer.batch.gather import gather
    from importer.batch.summary import Progress
    from importer.cli.progress import looked, show_words

    progress = Progress()
    chosen = all_paths(paths, given["lists"]), build_options(given), build_selection(given)
    with show_words(terminal.err, lambda: looked(progress), quiet=terminal.quiet, beside_json=terminal.mixes_json):
        return gather(*chosen, workers=workers, progress=progress)


def _plan_one(path: str | None, options: ImportOptions) -> tuple[TrainingRun, ImportPlan]:
    """Return the one run directory at or below a path, and its plan. Errors: RunDirError, PlanError, UsageError."""
    from importer.api import read_run
    from importer.replay.names import check_templates
    from importer.replay.plan import plan_import

    check_templates(options)
    run = read_run(one_path(path), follow_symlinks=options.follow_symlinks)
    return run, plan_import(run, options)


def _tell_plan(terminal: Terminal, planned: ImportPlan, tell: Callable[[Console, ImportPlan], None]) -> None:
    """Write a plan as JSON, or in the words of `tell`."""
    from importer.report import plan_as_json

    if terminal.as_json:
        terminal.write_json(plan_as_json(planned))
        return
    tell(terminal.out, planned)
    if not planned.epochs:
        terminal.warn("note: no epochs: an import passes it over; with --empty it logs this")


def _confirm(question: str) -> bool:
    """Errors: UsageError when stdin has no answer."""
    try:
        return click.confirm(question, err=True)
    except click.Abort as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise
        raise UsageError(f"{question} there is no answer on stdin", hint="--yes does it without asking") from error


def _terminal(given: dict[str, Any], as_json: bool) -> Terminal:
    from importer.cli.reporter import Terminal

    terminal = Terminal(as_json=as_json, verbose=given["verbose"], quiet=given["quiet"])
    click.get_current_context().obj = terminal
    return terminal
