"""Names made of a run's own facts: `--experiment "{project}/{task}"`."""

from __future__ import annotations

import os
import string
from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from importer.errors import UsageError
from importer.model import ImportOptions, Timeline, TrainingRun
from importer.naming import dataset_name, last_part, model_name, stem, storable
from importer.sources.opening import below

FIELDS = ("project", "task", "model", "name", "group", "parent", "relpath", "dataset", "date")
MAX_GROUP = 250


def check_templates(options: ImportOptions) -> None:
    """Check the names that are asked for, and MLFLOW_RUN.

    Errors: UsageError when a template has an unknown field, or braces that do not match.
    """
    for template in filter(None, (options.experiment, options.run_name, os.environ.get("MLFLOW_RUN"))):
        try:
            fields = [part[1:] for part in string.Formatter().parse(template) if part[1] is not None]
        except ValueError as error:
            raise UsageError(f"{template!r}: {error}", hint="write {{ for a brace") from error
        if template.isspace():
            raise UsageError(f"{template!r}: a name of blanks only", hint="give a name, or leave the option out")
        for field, spec, conversion in fields:
            if spec or conversion:
                hint = "write the field alone, such as {name}"
                raise UsageError(f"{template!r}: a field takes no `:` and no `!`", hint=hint)
            if field not in FIELDS:
                known = ", ".join(f"{{{name}}}" for name in FIELDS)
                raise UsageError(f"{template!r}: no field {{{field}}}", hint=f"there are {known}")


def group_of(save_dir: str, root: str | None) -> str:
    """Return the folders between the path that was given and a directory below it; an empty text without any."""
    return ((below(save_dir, root) if root else None) or "").rpartition("/")[0][:MAX_GROUP]


def group_of_run(run: TrainingRun, root: str | None) -> str:
    """Return the group of a run: that of its directory; of a sweep, the folders down to the one that its runs share.

    A folder above the path that was given is no fold, whatever its name.
    """
    relpath = (below(run.save_dir, root) if root else None) or "."
    parts = relpath.split("/") if relpath != "." else []
    if run.sweep is None or (not run.sweep.trial and run.sweep.levels > len(parts) + 1):
        return group_of(run.save_dir, root)
    return ("/".join(parts[: -run.sweep.levels]) or run.sweep.name)[:MAX_GROUP]


def render(template: str, run: TrainingRun, timeline: Timeline | None, root: str | None) -> str:
    """Return the name that a template gives for a run; a fact that the run lacks is `unknown`.

    Where no folder lies between, `{group}/` is left out.
    """
    group = group_of(run.save_dir, root)
    template = template if group else template.replace("{group}/", "")
    relpath = (below(run.save_dir, root) if root else None) or run.name
    save_dir = Path(root or "", relpath) if run.save_dir.startswith(f"{root}!") else Path(run.save_dir)
    started = datetime.fromtimestamp(timeline.started_ms / 1000, timezone.utc) if timeline else None
    facts = {
        "project": stem(run.args.get("project")) or "unknown",
        "task": run.task or "unknown",
        "model": model_name(run.args) or stem(run.args.get("model") or run.args.get("weights")) or "unknown",
        "name": run.name,
        "group": group or "unknown",
        "parent": (save_dir if save_dir.is_absolute() else Path.cwd() / save_dir).parent.name or "unknown",
        "relpath": run.name if relpath == "." else relpath,
        "dataset": dataset_name(run.args.get("data")) or "unknown",
        "date": started.strftime("%Y-%m-%d") if started else "unknown",
    }
    return storable(template.format_map(facts))


class NamedRun(NamedTuple):
    """A directory and the names that its run has in MLflow."""

    experiment: str
    run_name: str
    save_dir: str
    root: str  # the path that was given and below which it was found


def shared_names(runs: Iterable[NamedRun]) -> list[list[NamedRun]]:
    """Return the runs of several directories that have one name in one experiment, the most common name first."""
    by_name: dict[tuple[str, str], list[NamedRun]] = {}
    for run in dict.fromkeys(runs):
        by_name.setdefault(run[:2], []).append(run)
    return sorted((alike for alike in by_name.values() if len(alike) > 1), key=len, reverse=True)


def template_that_tells_apart(shared: Iterable[Collection[NamedRun]]) -> str | None:
    """Return a template under which no two of the runs that share a name would have one name."""
    facts: dict[str, Callable[[NamedRun], str]] = {
        "{group}/{name}": lambda run: group_of(run.save_dir, run.root),
        "{parent}/{name}": lambda run: Path(run.save_dir).parent.name,
    }
    groups = [[(run, Path(run.save_dir).name) for run in alike] for alike in shared]
    for template, fact in facts.items():
        if all(len({(fact(run), name) for run, name in alike}) == len(alike) for alike in groups):
            return template
    return None


def is_path(experiment: str) -> bool:
    """Return whether an experiment has a path for a name, as `project` may be; not a folder of a Databricks store."""
    return last_part(experiment) != experiment and not experiment.startswith(("/Shared/", "/Users/"))
