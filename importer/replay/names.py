"""Names made of a run's own facts: `--experiment "{project}/{task}"`."""

from __future__ import annotations

import os
import string
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

from importer.errors import UsageError
from importer.model import ImportOptions, Timeline, TrainingRun
from importer.naming import last_part, storable
from importer.sources.opening import below

FIELDS = ("project", "task", "model", "name", "parent", "relpath", "dataset", "date")


def check_templates(options: ImportOptions) -> None:
    """Errors: UsageError when a name that is asked for, or MLFLOW_RUN, is no template as below."""
    for template in (options.experiment, options.run_name, os.environ.get("MLFLOW_RUN")):
        check_template(template)


def check_template(template: str | None) -> None:
    """Errors: UsageError when a template has a field that there is not, or braces that do not match."""
    if template is None:
        return
    try:
        parsed = [part for part in string.Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise UsageError(f"{template!r}: {error}", hint="write {{ for a brace") from error
    if template and template.isspace():
        raise UsageError(f"{template!r}: a name of blanks only", hint="give a name, or leave the option out")
    if any(spec or conversion for _, _, spec, conversion in parsed):
        raise UsageError(f"{template!r}: a field takes no `:` and no `!`", hint="write the field alone, such as {name}")
    unknown = [field for _, field, _, _ in parsed if field not in FIELDS]
    if unknown:
        raise UsageError(
            f"{template!r}: no field {{{unknown[0]}}}",
            hint=f"there are {', '.join(f'{{{field}}}' for field in FIELDS)}",
        )


def is_template(text: str | None) -> bool:
    """Whether a name depends on the run."""
    return text is not None and "{" in text


def needs_date(template: str | None) -> bool:
    """Whether a template asks for the start, which only a whole reading tells."""
    return template is not None and "{date}" in template


def render(template: str, run: TrainingRun, timeline: Timeline | None, root: str | None) -> str:
    """The name that a template gives for a run; a fact that the run lacks is `unknown`."""
    facts = _facts(run, timeline, root)
    return storable(template.format_map(facts))


def _facts(run: TrainingRun, timeline: Timeline | None, root: str | None) -> Mapping[str, str]:
    relpath = (below(run.save_dir, root) if root else None) or run.name
    save_dir = Path(root or "", relpath) if run.save_dir.startswith(f"{root}!") else Path(run.save_dir)
    started = datetime.fromtimestamp(timeline.started_ms / 1000, timezone.utc) if timeline else None
    return {
        "project": _last_name(run.args.get("project")),
        "task": run.task or "unknown",
        "model": _last_name(run.args.get("model") or run.args.get("weights") or run.args.get("cfg")),
        "name": run.name,
        "parent": (save_dir if save_dir.is_absolute() else Path.cwd() / save_dir).parent.name or "unknown",
        "relpath": run.name if relpath == "." else relpath,
        "dataset": _last_name(run.args.get("data")),
        "date": started.strftime("%Y-%m-%d") if started else "unknown",
    }


def _last_name(value: object) -> str:
    """A path's last part without the suffix of a file: yolov8n of models/yolov8n.pt."""
    if not isinstance(value, str) or not value:
        return "unknown"
    name = last_part(value)
    stem, _, suffix = name.rpartition(".")
    return stem if stem and suffix in ("pt", "yaml", "yml", "ndjson") else name or "unknown"
