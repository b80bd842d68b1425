"""Define the commands: words in, words out; no rule of the import lives here."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from importer._version import __version__
from importer.cli import options
from importer.cli.options import build_options, build_selection
from importer.cli.suggestions import SuggestingGroup, all_paths
from importer.errors import UsageError

if TYPE_CHECKING:
    from importer.batch.executors import Workers
    from importer.batch.gather import Batch
    from importer.cli.reporter import Terminal
    from importer.model import ImportPlan

EPILOG = """\b
Tab completion, for this shell (bash, zsh or fish) and for later ones:
  eval "$(ymlf completion bash)"
  ymlf completion bash >> ~/.bashrc
"""
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(cls=SuggestingGroup, epilog=EPILOG, context_settings=SETTINGS)
@click.version_option(__version__, "-V", "--version", prog_name="ymlf")
def cli() -> None:
    """Replay finished Ultralytics YOLO trainings into MLflow, as the live callback would have logged them."""


def _command(
    sections: Sequence[options.Section], example: str, short_help: str | None = None, *, name: str | None = None
) -> Callable[[Callable[..., None]], click.Command]:
    """Return what makes a function a command; without a short help it is listed by its docstring."""
    return cli.command(name, sections=sections, example=example, short_help=short_help)


@_command(options.SHOW, "ymlf plan runs/detect/train", "Show what an import would log.")
def plan(path: str | None, **given: Any) -> None:
    """Show what an import of PATH would log. Needs no store and writes nothing."""
    from importer.api import plan_import
    from importer.cli.show import print_plan

    terminal = _terminal(given)
    planned = plan_import(_one_path(path), build_options(given))
    if not terminal.as_json:
        print_plan(terminal.out, planned)
    _end_plan(terminal, planned)


@_command(options.SHOW, "ymlf show runs/detect/train", "Show one run on this terminal.")
def show(path: str | None, **given: Any) -> None:
    """Show one run on this terminal: facts, last and best values, charts, notes. Needs no store."""
    from importer.api import plan_import, read_run
    from importer.cli.show import print_run

    terminal, options = _terminal(given), build_options(given)
    run = read_run(_one_path(path), follow_symlinks=options.follow_symlinks)
    planned = plan_import(run, options)
    if not terminal.as_json:
        # The table of a tune is shown whole, whichever of its iterations become runs.
        every_iteration = replace(options, iterations="all")
        iterations = plan_import(run, every_iteration).children if run.children else ()
        print_run(terminal.out, planned, iterations=iterations, verbose=terminal.verbose)
    _end_plan(terminal, planned)


@_command(
    options.IMPORT,
    "ymlf import runs --tracking-uri http://mlflow:5000 --best-metrics",
    "Import run directories into MLflow.",
    name="import",
)
def import_command(paths: tuple[str, ...], **given: Any) -> None:
    """Import the run directories at or below each PATH. Safe to stop at any moment and to start again."""
    from importer.batch.run import check_import, import_work
    from importer.cli.closing import close_import, say_names
    from importer.cli.listing import dry_run
    from importer.cli.reporter import Report
    from importer.store.opening import open_existing_store, open_store

    terminal, uri = _terminal(given), given["tracking_uri"]
    with Report(terminal, given["report"]) as report:
        batch, workers = _gather(terminal, paths, given)
        check_import(batch, workers)
        if given["dry_run"]:
            dry_run(terminal, batch, open_existing_store(uri), report)
            say_names(terminal, batch, report.totals, would=True)
        elif not batch.summaries:
            terminal.conclude(batch.settled, batch, None, report)
        else:
            store = open_store(uri, probe=True)
            stop = terminal.catch_signals(fail_fast=given["fail_fast"])
            outcomes = import_work(batch, store, workers=workers, stop=stop)
            terminal.conclude(outcomes, batch, store, report)
            close_import(terminal, batch, report.totals, store, uri)
    sys.exit(report.status)


@_command(
    options.VERIFY, "ymlf verify runs --tracking-uri sqlite:///mlflow.db", "Compare run directories with the store."
)
def verify(paths: tuple[str, ...], deep: bool | None, **given: Any) -> None:
    """Compare the run directories at or below each PATH with what the store holds, point by point."""
    from importer.batch.run import verify_work
    from importer.cli.reporter import Report
    from importer.store.opening import open_existing_store

    terminal = _terminal(given)
    with Report(terminal, given["report"]) as report:
        batch, workers = _gather(terminal, paths, given)
        if not batch.summaries:
            terminal.conclude(batch.settled, batch, None, report)
        else:
            store = open_existing_store(given["tracking_uri"], required=True)
            outcomes = verify_work(batch, store, deep=deep, workers=workers, stop=terminal.catch_signals())
            terminal.conclude(outcomes, batch, store, report)
    sys.exit(report.status)


@_command(options.SCAN, "ymlf scan runs", "List run directories, and what is imported.")
def scan(paths: tuple[str, ...], **given: Any) -> None:
    """List the run directories at or below each PATH, and what is imported already where a store is named."""
    from importer.cli.listing import list_runs
    from importer.store.opening import open_existing_store

    terminal = _terminal(given)
    batch, _ = _gather(terminal, paths, given, with_mlflow=False)
    uri = given["tracking_uri"] or os.environ.get("MLFLOW_TRACKING_URI")
    store = open_existing_store(uri, required=given["tracking_uri"] is not None) if uri else None
    sys.exit(list_runs(terminal, batch, store))


@_command(options.BEST, "ymlf best runs --task detect --by mAP50B", "Rank runs by the metrics of their best epochs.")
def best(paths: tuple[str, ...], task: str | None, dataset: str | None, by: str | None, top: int, **given: Any) -> None:
    """Rank the runs at or below each PATH by the metrics of their best epochs. Needs no store."""
    from importer.batch.run import rank_batch
    from importer.cli.ranking import print_ranking
    from importer.read.ranking import Wanted

    terminal = _terminal(given)
    batch, workers = _gather(terminal, paths, {**given, "best_metrics": True}, with_mlflow=False)
    with terminal.progress(lambda: "reading the checkpoints of the best"):
        ranking = rank_batch(batch, Wanted(task, dataset, by, top), workers)
    sys.exit(print_ranking(terminal, ranking, batch))


@_command(options.HISTORY, "ymlf history --tracking-uri sqlite:///mlflow.db")
def history(tracking_uri: str | None, **given: Any) -> None:
    """List the imports that a store remembers."""
    from importer.cli.listing import print_imports
    from importer.store.opening import open_existing_store
    from importer.write.ledger import list_imports

    print_imports(_terminal(given), list_imports(open_existing_store(tracking_uri, required=True)))


@_command(
    options.REGISTER, "ymlf register plates runs/detect --alias champion", "Make best.pt of a run a registered model."
)
def register(name: str, paths: tuple[str, ...], **given: Any) -> None:
    """Register best.pt of a run as a version of the model NAME; of several runs, that of the best.

    The run is in the store already. Registering executes nothing of a checkpoint; loading the model does.
    """
    from importer.api import register_model
    from importer.cli.listing import print_registered
    from importer.model import ImportOptions
    from importer.models.register import Target

    terminal, run_ids = _terminal(given), given["run_ids"]
    registered = register_model(
        Target(name, given["alias"], given["force"]),
        paths if run_ids and not paths else all_paths(paths),
        run_ids=run_ids,
        tracking_uri=given["tracking_uri"],
        options=ImportOptions(experiment=given["experiment"], follow_symlinks=given["follow_symlinks"]),
    )
    print_registered(terminal, registered)


@_command(
    options.UNDO,
    "ymlf undo 20260131T120000Z-1a2b --tracking-uri sqlite:///mlflow.db",
    "Soft-delete the runs of an import.",
)
def undo(import_id: str, tracking_uri: str | None, restore: bool, yes: bool, **given: Any) -> None:
    """Soft-delete the runs that import ID created, or those that the globs name. What it only updated is kept."""
    from importer.cli.listing import print_undo, print_undone
    from importer.cli.progress import how_many
    from importer.store.opening import open_existing_store
    from importer.undo import carry_out_undo, plan_undo, restore_undone

    terminal = _terminal(given)
    store = open_existing_store(tracking_uri, required=True)
    planned = plan_undo(store, import_id, build_selection(given))
    print_undo(terminal, planned, restore=restore)
    runs = planned.deleted if restore else planned.created
    what = "Restore" if restore else "Soft-delete" if runs else "Release"
    count = len(runs) if restore else len(runs) + len(planned.completed)
    if count and not yes and not _confirm(f"{what} {how_many(count, 'run')}?"):
        sys.exit(1)
    if restore:
        runs = tuple(restore_undone(store, planned))
    else:
        carry_out_undo(store, planned)
    print_undone(terminal, planned, runs, restore=restore, uri=tracking_uri)


@_command(options.COMPLETION, 'eval "$(ymlf completion bash)"')
def completion(shell: str) -> None:
    """Print the tab completion of a shell."""
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    assert complete is not None  # noqa: S101  for mypy: click has all three
    click.echo(complete(cli, {}, "ymlf", "_YMLF_COMPLETE").source())


def _gather(
    terminal: Terminal, paths: tuple[str, ...], given: dict[str, Any], *, with_mlflow: bool = True
) -> tuple[Batch, Workers]:
    """Return the run directories at or below the paths, and the workers of this command, which end with it."""
    from importer.batch.executors import Workers
    from importer.batch.gather import gather
    from importer.batch.summary import Progress
    from importer.cli.progress import looked

    workers = Workers(given.get("jobs"), given.get("dask"), processes=True, with_mlflow=with_mlflow)
    click.get_current_context().call_on_close(workers.close)
    progress = Progress()
    places = all_paths(paths, given.get("lists", ()))
    options, selection = build_options(given), build_selection(given)
    with terminal.progress(lambda: looked(progress)):
        return gather(places, options, selection, workers=workers, progress=progress), workers


def _one_path(path: str | None) -> str:
    """Return the one path of a command. Errors: UsageError."""
    [place] = all_paths([] if path is None else [path], alone=True)
    return place


def _end_plan(terminal: Terminal, planned: ImportPlan) -> None:
    from importer.report import plan_as_json

    if terminal.as_json:
        terminal.write_json(plan_as_json(planned))
    elif not planned.epochs:
        terminal.warn("note: no epochs: an import passes it over; with --also empty it logs this")


def _confirm(question: str) -> bool:
    """Return the answer to a question on stderr. Errors: UsageError when stdin has no answer."""
    try:
        return click.confirm(question, err=True)
    except click.Abort as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        what = "no answer" if sys.stdin.isatty() else "stdin is not a terminal"
        raise UsageError(f"{what}, so nothing was done", hint="--yes does it without asking") from error


def _terminal(given: dict[str, Any]) -> Terminal:
    from importer.cli.reporter import Terminal

    return Terminal(as_json=given["as_json"], verbose=given["verbose"], quiet=given["quiet"])
