"""Register a model and print what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from importer.api import register_model
from importer.cli.reporter import Terminal
from importer.cli.suggestions import all_paths
from importer.model import ImportOptions
from importer.models.register import Registered, Target


def register_command(terminal: Terminal, name: str, paths: tuple[str, ...], given: Mapping[str, Any]) -> None:
    """Register the best of the runs and say so. Errors: as register_model."""
    registered = register_model(
        Target(name, given["alias"], given["force"]),
        paths if given["run_ids"] and not paths else all_paths(paths),
        run_ids=given["run_ids"],
        tracking_uri=given["tracking_uri"],
        options=ImportOptions(experiment=given["experiment"], follow_symlinks=given["follow_symlinks"]),
    )
    _print_registered(terminal, registered)


def _print_registered(terminal: Terminal, registered: Registered) -> None:
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
