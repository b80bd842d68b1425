"""The options of the commands: their names, defaults and words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from importer.batch.selection import Selection
    from importer.model import ImportOptions

Command = TypeVar("Command", bound=Callable[..., Any])


def _group(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _complete_task(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """The tasks whose names begin so, for the Tab key."""
    from click.shell_completion import CompletionItem

    from importer.read.tune import TASKS

    return [CompletionItem(task) for task in TASKS if task.startswith(begun)]


plan_options = _group(
    click.option("--experiment", help="Experiment name or template. Default: MLFLOW_EXPERIMENT_NAME, args.project, or "
                 "/Shared/Ultralytics."),
    click.option("--run-name", help="Run name or template. Default: MLFLOW_RUN, else the directory's name."),
    click.option("--tag", "tags", multiple=True, metavar="K=V", help="A tag for the run; may be given again."),
    click.option("--start-time", metavar="TIME", help="When the training started, if the directory is wrong."),
    click.option("--timezone", metavar="ZONE", help="Zone of dates that have none, such as Europe/Berlin or +05:30."),
    click.option("--artifacts", type=click.Choice(["all", "best", "none"]), default="all", show_default=True,
                 help="Log all files that live logs, only best.pt of the weights, or none."),
    click.option("--max-artifact-size", metavar="SIZE", help="Leave larger files out, such as 200MB."),
    click.option("--exclude-artifacts", multiple=True, metavar="GLOB", help="Leave matching files out; repeatable."),
    click.option("--best-metrics", is_flag=True, help="Also log best/<key>, the values of the best epoch, to sort by."),
    click.option("--segments", type=click.Choice(["last", "all"]), default="last", show_default=True,
                 help="Of a results.csv with several trainings, the last or all."),
    click.option("--iterations", type=click.Choice(["directories", "all"]), default="directories", show_default=True,
                 help="Of a tune, runs for the iterations that have a directory, or for all in its table."),
    click.option("--follow-symlinks", is_flag=True, help="Follow links that leave the run directory."),
)  # fmt: skip

store_options = _group(
    click.option(
        "--tracking-uri", metavar="URI", help="MLflow store. Default: MLFLOW_TRACKING_URI, else MLflow's own."
    ),
)

write_options = _group(
    click.option("--artifact-location", metavar="URI", help="Where a new experiment keeps its artifacts."),
    click.option("--empty", is_flag=True, help="Also import runs that ended before their first epoch."),
    click.option("--unfinished", is_flag=True, help="Also import runs that seem to be training still."),
    click.option("--live", type=click.Choice(["skip", "import"]), default="skip", show_default=True,
                 help="For a run that the live callback has logged: leave it, or import it too."),
    click.option("--on-change", type=click.Choice(["update", "replace", "skip"]), default="update", show_default=True,
                 help="For a run whose directory has changed: add what is new, import it again, or leave it."),
)  # fmt: skip

undo_options = _group(
    click.option("--include", multiple=True, metavar="GLOB",
                 help="Only runs whose directory, as given then, or name matches; may be given again."),
    click.option("--exclude", multiple=True, metavar="GLOB", help="No runs whose directory or name matches."),
    click.option("--restore", is_flag=True, help="Bring back what was soft-deleted instead."),
    click.option("--yes", is_flag=True, help="Do not ask."),
)  # fmt: skip

selection_options = _group(
    click.option("--from-file", "lists", multiple=True, metavar="LIST",
                 help="Read paths from a file, one a line; - is stdin."),
    click.option("--include", multiple=True, metavar="GLOB", help="Only directories whose path or name matches."),
    click.option("--exclude", multiple=True, metavar="GLOB", help="No directories whose path or name matches."),
    click.option("--since", metavar="DATE", help="Only runs whose newest file is of this date or later."),
    click.option("--until", metavar="DATE", help="Only runs whose newest file is older than this date."),
    click.option("--task", "tasks", multiple=True, metavar="TASK", shell_complete=_complete_task,
                 help="Only this task, such as detect; may be given again."),
    click.option("--shard", metavar="I/N", help="Only the I-th of N parts, chosen by key: the same on every host."),
)  # fmt: skip

work_options = _group(
    click.option(
        "-j", "--jobs", type=click.IntRange(1), help="Workers. Default: one a core for a database, 4 for a server."
    ),
    click.option("--dask", metavar="SCHEDULER", help="Use a Dask cluster at this address, or start one: local:4."),
    click.option(
        "--report", type=click.Path(dir_okay=False, writable=True), help="Write a JSON line per run to this file, too."
    ),
)

output_options = _group(
    click.option("--json", "as_json", is_flag=True, help="JSON on stdout instead of words."),
    click.option("-v", "--verbose", count=True, help="Say more; -vv says most."),
    click.option("-q", "--quiet", is_flag=True, help="Only errors."),
)


def build_options(given: Mapping[str, Any]) -> ImportOptions:
    """The import options among the words that were given. Errors: UsageError."""
    from importer.batch.selection import parse_size, parse_tags, parse_time
    from importer.model import ImportOptions
    from importer.replay.timeline import parse_zone

    if given.get("timezone"):
        parse_zone(given["timezone"])
    plain = ("experiment", "run_name", "timezone", "artifacts", "artifact_location", "follow_symlinks", "best_metrics",
             "live", "on_change", "empty", "unfinished", "segments", "iterations", "import_id")  # fmt: skip
    return ImportOptions(
        tags=parse_tags(given.get("tags") or ()),
        start_time_ms=parse_time(given.get("start_time"), "--start-time"),
        max_artifact_size=parse_size(given.get("max_artifact_size")),
        exclude_artifacts=tuple(given.get("exclude_artifacts") or ()),
        **{name: given[name] for name in plain if name in given},
    )


def build_selection(given: Mapping[str, Any]) -> Selection:
    """The selection among the words that were given. Errors: UsageError."""
    from importer.batch.selection import Selection, parse_shard, parse_time

    return Selection(
        include=tuple(given["include"]),
        exclude=tuple(given["exclude"]),
        since_ms=parse_time(given.get("since"), "--since"),
        until_ms=parse_time(given.get("until"), "--until"),
        tasks=tuple(given.get("tasks", ())),
        shard=parse_shard(given.get("shard")),
    )
