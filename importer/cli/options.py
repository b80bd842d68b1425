"""Define the arguments and options of the commands, and build the library's options from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from importer.batch.selection import Selection
    from importer.model import ImportOptions


def _complete_task(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return the tasks whose names begin so, for the Tab key."""
    from click.shell_completion import CompletionItem

    from importer.read.tune import TASKS

    return [CompletionItem(task) for task in TASKS if task.startswith(begun)]


def _option(*names: str, **more: Any) -> click.Option:
    return click.Option(names, **more)


def _flag(*names: str, **more: Any) -> click.Option:
    return click.Option(names, is_flag=True, **more)


def _choice(name: str, *values: str, **more: Any) -> click.Option:
    """Return an option whose default is the first value."""
    return click.Option([name], type=click.Choice(values), default=values[0], show_default=True, **more)


_PATHS = click.Argument(["paths"], nargs=-1, type=click.Path(readable=False), metavar="PATH...")
_PLAN = [
    _option("--experiment",
            help="Experiment name or template. Default: MLFLOW_EXPERIMENT_NAME, args.project, or /Shared/Ultralytics."),
    _option("--run-name", help="Run name or template. Default: MLFLOW_RUN, else the directory's name."),
    _option("--tag", "tags", multiple=True, metavar="K=V", help="A tag for the run; may be given again."),
    _option("--start-time", metavar="TIME", help="When the training started, if the directory is wrong."),
    _option("--timezone", metavar="ZONE", help="Zone of dates that have none, such as Europe/Berlin or +05:30."),
    _choice("--artifacts", "all", "best", "none",
            help="Log all files that live logs, only best.pt of the weights, or none."),
    _option("--max-artifact-size", metavar="SIZE", help="Leave larger files out, such as 200MB."),
    _option("--exclude-artifacts", multiple=True, metavar="GLOB", help="Leave matching files out; repeatable."),
    _flag("--best-metrics", help="Also log best/<key>, the values of the best epoch, to sort by."),
    _choice("--segments", "last", "all", help="Of a results.csv with several trainings, the last or all."),
    _choice("--iterations", "directories", "all",
            help="Of a tune, runs for the iterations that have a directory, or for all in its table."),
    _flag("--follow-symlinks", help="Follow links that leave the run directory."),
]  # fmt: skip
_STORE = [
    _option("--tracking-uri", metavar="URI", help="MLflow store. Default: MLFLOW_TRACKING_URI, else MLflow's own."),
]
_WRITE = [
    _option("--artifact-location", metavar="URI", help="Where a new experiment keeps its artifacts."),
    _flag("--empty", help="Also import runs that ended before their first epoch."),
    _flag("--unfinished", help="Also import runs that seem to be training still."),
    _choice("--live", "skip", "import",
            help="For a run that the live callback has logged: leave it, or import it too."),
    _choice("--on-change", "update", "replace", "skip",
            help="For a run whose directory has changed: add what is new, import it again, or leave it."),
]  # fmt: skip
_SELECTION = [
    _option("--from-file", "lists", multiple=True, metavar="LIST",
            help="Read paths from a file, one a line; - is stdin."),
    _option("--include", multiple=True, metavar="GLOB", help="Only directories whose path or name matches."),
    _option("--exclude", multiple=True, metavar="GLOB", help="No directories whose path or name matches."),
    _option("--since", metavar="DATE", help="Only runs whose newest file is of this date or later."),
    _option("--until", metavar="DATE", help="Only runs whose newest file is older than this date."),
    _option("--task", "tasks", multiple=True, metavar="TASK", shell_complete=_complete_task,
            help="Only this task, such as detect; may be given again."),
    _option("--shard", metavar="I/N", help="Only the I-th of N parts, chosen by key: the same on every host."),
]  # fmt: skip
_WORK = [
    _option("-j", "--jobs", type=click.IntRange(1),
            help="Workers. Default: one a core for a database, 4 for a server."),
    _option("--bulk/--no-bulk", default=True,
            help="Write new runs straight into a SQLite or PostgreSQL database, or by MLflow's API only."),
    _option("--dask", metavar="SCHEDULER", help="Use a Dask cluster at this address, or start one: local:4."),
    _option("--report", type=click.Path(dir_okay=False, writable=True),
            help="Write a JSON line per run to this file, too."),
]  # fmt: skip
_MODEL = _flag("--model", help="Also add the files that make the run's weights an MLflow model.")
_BATCH = [
    _option("--import-id", metavar="ID", help="Name of this import, for retries and undo. Default: a new one."),
    _flag("--fail-fast", help="Stop at the first run that is refused or fails."),
    _flag("--dry-run", help="Look everything up and say what would be done; write nothing."),
]
_DEEP = _option(
    "--deep/--no-deep", default=None, help="Compare each artifact's SHA-256. Default: where they lie on this host."
)
_OUTPUT = [
    _flag("--json", "as_json", help="JSON on stdout instead of words."),
    _option("-v", "--verbose", count=True, help="Say more; -vv says most."),
    _flag("-q", "--quiet", help="Only errors."),
]

SHOW = [click.Argument(["path"], required=False, type=click.Path(readable=False), metavar="PATH"), *_PLAN, *_OUTPUT]
IMPORT = [_PATHS, *_PLAN, *_STORE, *_WRITE, _MODEL, *_SELECTION, *_WORK, *_BATCH, *_OUTPUT]
VERIFY = [_PATHS, *_PLAN, *_STORE, *_SELECTION, *_WORK, _DEEP, *_OUTPUT]
SCAN = [_PATHS, *_PLAN, *_STORE, *_SELECTION, *_OUTPUT]
BEST = [
    _PATHS,
    _option("--task", metavar="TASK", shell_complete=_complete_task, help="Only this task, such as segment."),
    _option("--dataset", metavar="NAME", help="Only runs on this dataset."),
    _option("--by", metavar="METRIC",
            help="Such as mAP50M or val/box_loss. Default: mAP50-95 of boxes, masks or keypoints, or top-1 accuracy."),
    _option("--top", type=click.IntRange(1), default=20, show_default=True, help="Rows of each table."),
    *_OUTPUT,
]  # fmt: skip
IMPORTS = [*_STORE, *_OUTPUT]
REGISTER = [
    click.Argument(["name"]),
    _PATHS,
    _option("--run", "run_ids", multiple=True, metavar="RUN_ID", help="A run of the store; may be given again."),
    _option("--alias", help="Put this alias, such as champion, on the version."),
    _flag("--force", help="Move the alias if it is on another version."),
    *_STORE,
    _option("--experiment", help="Experiment of the runs of PATH, as at the import."),
    _flag("--follow-symlinks", help="Follow links that leave the run directory."),
    *_OUTPUT,
]  # fmt: skip
UNDO = [
    click.Argument(["import_id"], metavar="ID"),
    *_STORE,
    _option("--include", multiple=True, metavar="GLOB",
            help="Only runs whose directory, as given then, or name matches; may be given again."),
    _option("--exclude", multiple=True, metavar="GLOB", help="No runs whose directory or name matches."),
    _flag("--restore", help="Bring back what was soft-deleted instead."),
    _flag("--yes", help="Do not ask."),
    *_OUTPUT,
]  # fmt: skip


def build_options(given: Mapping[str, Any]) -> ImportOptions:
    """Return the import options of a command. Errors: UsageError."""
    from importer.batch.selection import parse_size, parse_tags, parse_time
    from importer.model import ImportOptions
    from importer.replay.timeline import parse_zone

    if given.get("timezone"):
        parse_zone(given["timezone"])
    plain = ("experiment", "run_name", "timezone", "artifacts", "artifact_location", "follow_symlinks", "best_metrics",
             "live", "on_change", "empty", "unfinished", "segments", "iterations", "bulk", "model",
             "import_id")  # fmt: skip
    return ImportOptions(
        tags=parse_tags(given.get("tags", ())),
        start_time_ms=parse_time(given.get("start_time"), "--start-time"),
        max_artifact_size=parse_size(given.get("max_artifact_size")),
        exclude_artifacts=given.get("exclude_artifacts", ()),
        **{name: given[name] for name in plain if name in given},
    )


def build_selection(given: Mapping[str, Any]) -> Selection:
    """Return the selection of a command. Errors: UsageError."""
    from importer.batch.selection import Selection, parse_shard, parse_tasks, parse_time

    return Selection(
        include=given.get("include", ()),
        exclude=given.get("exclude", ()),
        since_ms=parse_time(given.get("since"), "--since"),
        until_ms=parse_time(given.get("until"), "--until"),
        tasks=parse_tasks(given.get("tasks", ())),
        shard=parse_shard(given.get("shard")),
    )
