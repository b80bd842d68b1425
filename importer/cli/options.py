"""Define the arguments and options of the commands, and build the library's options from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from importer.batch.selection import Selection
    from importer.model import ImportOptions


def _complete_task(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """Return the tasks whose names begin so, for the Tab key."""
    from importer.read.tune import TASKS

    return [task for task in TASKS if task.startswith(begun)]


def _option(*names: str, **more: Any) -> click.Option:
    return click.Option(names, **more)


def _flag(*names: str, **more: Any) -> click.Option:
    return click.Option(names, is_flag=True, **more)


def _choice(name: str, *values: str, **more: Any) -> click.Option:
    """Return an option whose default is the first value."""
    return click.Option([name], type=click.Choice(values), default=values[0], show_default=True, **more)


def _split_kinds(context: click.Context, parameter: click.Parameter, lists: Sequence[str]) -> tuple[str, ...]:
    """Return the kinds of comma-separated lists. Errors: click.BadParameter."""
    names = tuple(filter(None, map(str.strip, ",".join(lists).split(","))))
    for name in names:
        if name not in ALSO:
            raise click.BadParameter(f"{name!r} is not one of {', '.join(ALSO)}", context, parameter)
    return names


ALSO = ("empty", "unfinished")  # the kinds of runs that an import passes over by itself
PATHS = click.Argument(["paths"], nargs=-1, type=click.Path(readable=False), metavar="PATH...")
PATH = click.Argument(["path"], required=False, type=click.Path(readable=False), metavar="PATH")
_TIMEZONE = _option("--timezone", metavar="ZONE", help="Zone of dates that have none, such as Europe/Berlin or +05:30.")
_TASK = {"metavar": "TASK", "shell_complete": _complete_task}
_LOGGED = [
    _option("--run-name", help="Run name or template. Default: MLFLOW_RUN, else the name of the trial or directory."),
    _option("--tag", "tags", multiple=True, metavar="K=V", help="A tag for the run; may be given again."),
    _flag("--best-metrics", help="Also log best/<key>, the values of the best epoch, to sort by."),
    _flag("--images", help="Also log confusion matrices, curves, labels and validation batches for the image grid."),
    _choice("--artifacts", "all", "best", "none",
            help="Log all files that live logs, only best.pt of the weights, or none."),
    _option("--max-artifact-size", metavar="SIZE", help="Leave larger files out, such as 200MB."),
    _option("--exclude-artifacts", multiple=True, metavar="GLOB", help="Leave matching files out; repeatable."),
    _option("--start-time", metavar="TIME", help="When the training started, if the directory is wrong."),
    _TIMEZONE,
]  # fmt: skip
_EXPERIMENT = _option(
    "--experiment",
    help="Experiment name or template. Default: MLFLOW_EXPERIMENT_NAME, args.project, or /Shared/Ultralytics.",
)
_URI = _option("--tracking-uri", metavar="URI", help="MLflow store. Default: MLFLOW_TRACKING_URI, else MLflow's own.")
_NEW_LOCATION = _option("--artifact-location", metavar="URI", help="Where a new experiment keeps its artifacts.")
_READ = [
    _choice("--segments", "last", "all", help="Of a results.csv with several trainings, the last or all."),
    _choice("--iterations", "directories", "all",
            help="Of a tune, runs for the iterations that have a directory, or for all in its table."),
    _flag("--follow-symlinks", help="Follow links that leave the run directory."),
]  # fmt: skip
_SELECTION = [
    _option("--task", "tasks", multiple=True, help="Only this task, such as detect; may be given again.", **_TASK),
    _option("--include", multiple=True, metavar="GLOB", help="Only directories whose path or name matches."),
    _option("--exclude", multiple=True, metavar="GLOB", help="No directories whose path or name matches."),
    _option("--since", metavar="DATE", help="Only runs whose newest file is of this date or later."),
    _option("--until", metavar="DATE", help="Only runs whose newest file is older than this date."),
    _option("--from-file", "lists", multiple=True, metavar="LIST",
            help="Read paths from a file, one a line; - is stdin."),
    _option("--shard", metavar="I/N", help="Only the I-th of N parts, chosen by key: the same on every host."),
]  # fmt: skip
_RULES = [
    _option("--also", multiple=True, callback=_split_kinds, metavar="KIND,...",
            help="Also import what is passed over: empty (no epoch yet), unfinished (still training)."),
    _choice("--live", "skip", "complete", "import",
            help="For a run that the live callback has logged: leave it, add what it lacks, or import it too."),
    _choice("--on-change", "update", "replace", "skip",
            help="For a run whose directory has changed: add what is new, import it again, or leave it."),
]  # fmt: skip
_WORK = [
    _option("-j", "--jobs", type=click.IntRange(1),
            help="Workers. Default: one a core for a database, 4 for a server."),
    _option("--dask", metavar="SCHEDULER", help="Use a Dask cluster at this address, or start one: local:4."),
]  # fmt: skip
_BULK = _option(
    "--bulk/--no-bulk",
    default=True,
    help="Write new runs straight into a SQLite or PostgreSQL database, or by MLflow's API only.",
)
_REPORT = _option(
    "--report", type=click.Path(dir_okay=False, writable=True), help="Write a JSON line per run to this file, too."
)
_MODEL = _flag("--model", help="Also add the files that make the run's weights an MLflow model.")
_BATCH = [
    _option("--import-id", metavar="ID", help="Name of this import, for retries and undo. Default: a new one."),
    _flag("--fail-fast", help="Stop at the first run that is refused or fails."),
]
_DRY_RUN = _flag("-n", "--dry-run", help="Look everything up and say what would be done; write nothing.")
_DEEP = _option(
    "--deep/--no-deep", default=None, help="Compare each artifact's SHA-256. Default: where they lie on this host."
)
_OUTPUT = [
    _flag("--json", "as_json", help="JSON on stdout instead of words."),
    _option("-v", "--verbose", count=True, help="Say more; -vv says most."),
    _flag("-q", "--quiet", help="Only errors."),
]
LOGGED, GOES, WHICH, WORKS = "What is logged", "Where it goes", "Which runs", "How it works"

Section = tuple[str, Sequence[click.Parameter]]  # a title, and what is below it; arguments are in the usage line

SHOW: list[Section] = [(LOGGED, _LOGGED), (GOES, [_EXPERIMENT]), (WHICH, [PATH, *_READ]), (WORKS, _OUTPUT)]
IMPORT: list[Section] = [
    (LOGGED, [*_LOGGED, _MODEL]),
    (GOES, [_EXPERIMENT, _URI, _NEW_LOCATION]),
    (WHICH, [PATHS, *_RULES, *_SELECTION, *_READ]),
    (WORKS, [_DRY_RUN, *_WORK, _BULK, *_BATCH, _REPORT, *_OUTPUT]),
]
VERIFY: list[Section] = [
    (GOES, [_EXPERIMENT, _URI]),
    (WHICH, [PATHS, *_SELECTION, *_READ]),
    (WORKS, [_DEEP, *_WORK, _REPORT, *_OUTPUT]),
]
SCAN: list[Section] = [
    (GOES, [_EXPERIMENT, _URI]),
    (WHICH, [PATHS, *_SELECTION, *_READ]),
    (WORKS, [_TIMEZONE, *_OUTPUT]),
]
BEST: list[Section] = [
    ("How they are ranked", [
        _option("--by", metavar="METRIC",
                help="Such as mAP50M or val/box_loss. Default: mAP50-95 of the task, or top-1 accuracy."),
        _option("--top", type=click.IntRange(1), default=20, show_default=True, help="Rows of each table."),
    ]),
    (WHICH, [
        PATHS,
        _option("--task", help="Only this task, such as segment.", **_TASK),
        _option("--dataset", metavar="NAME", help="Only runs on this dataset."),
    ]),
    (WORKS, _OUTPUT),
]  # fmt: skip
REGISTER: list[Section] = [
    (GOES, [
        _option("--alias", help="Put this alias, such as champion, on the version."),
        _flag("--force", help="Move the alias if it is on another version."),
        _URI,
    ]),
    (WHICH, [
        click.Argument(["name"]),
        PATHS,
        _option("--run", "run_ids", multiple=True, metavar="RUN_ID", help="A run of the store; may be given again."),
        _option("--experiment", help="Experiment of the runs of PATH, as at the import."),
        _READ[-1],
    ]),
    (WORKS, _OUTPUT),
]  # fmt: skip
HISTORY: list[Section] = [(GOES, [_URI]), (WORKS, _OUTPUT)]
UNDO: list[Section] = [
    (GOES, [_URI]),
    (WHICH, [
        click.Argument(["import_id"], metavar="ID"),
        _option("--include", multiple=True, metavar="GLOB",
                help="Only runs whose directory, as given then, or name matches; may be given again."),
        _option("--exclude", multiple=True, metavar="GLOB", help="No runs whose directory or name matches."),
    ]),
    (WORKS, [
        _flag("--restore", help="Bring back what was soft-deleted instead."),
        _flag("-y", "--yes", help="Do not ask."),
        *_OUTPUT,
    ]),
]  # fmt: skip
COMPLETION: list[Section] = [("Options", [click.Argument(["shell"], type=click.Choice(["bash", "zsh", "fish"]))])]


class SectionedCommand(click.Command):
    """A command whose help shows its options in sections, and an example."""

    def __init__(self, *args: Any, sections: Sequence[Section], example: str, **more: Any) -> None:
        more["params"] = [param for _, section in sections for param in section]
        super().__init__(*args, **more)
        self.sections, self.example = sections, example

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options section by section, that of help last."""
        with formatter.section("Example"):
            formatter.write_text(f"$ {self.example}")
        *others, (title, last) = self.sections
        for name, params in [*others, (title, [*last, *filter(None, [self.get_help_option(ctx)])])]:
            records = [param.get_help_record(ctx) for param in params if isinstance(param, click.Option)]
            with formatter.section(name):
                formatter.write_dl([record for record in records if record is not None])


def build_options(given: Mapping[str, Any]) -> ImportOptions:
    """Return the import options of a command. Errors: UsageError."""
    from importer.batch.selection import parse_size, parse_tags, parse_time
    from importer.model import ImportOptions
    from importer.replay.timeline import parse_zone

    if given.get("timezone"):
        parse_zone(given["timezone"])
    plain = ("experiment", "run_name", "timezone", "artifacts", "artifact_location", "follow_symlinks", "best_metrics",
             "images", "live", "on_change", "segments", "iterations", "bulk", "model", "import_id")  # fmt: skip
    return ImportOptions(
        empty="empty" in given.get("also", ()),
        unfinished="unfinished" in given.get("also", ()),
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
