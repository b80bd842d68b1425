"""What the readers of Ultralytics, YOLOv5 and YOLOv7 share: options, results.csv, and a run from its table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from importer.formats.csv_table import Table, read_results
from importer.formats.yaml_file import read_yaml
from importer.model import CheckpointFacts, Note, TrainingRun
from importer.naming import last_part
from importer.read import evidence
from importer.read.directory import RunDirectory
from importer.read.epochs import (
    build_epochs,
    epoch_base,
    epoch_numbers,
    has_base,
    rows_at_once,
    split_trainings,
    unseen_resume,
)

RESULTS = "results.csv"
MAX_EPOCHS = 2**31

Options = tuple[Mapping[str, object], tuple[str, ...], list[Note]]  # the args, and the files that they are from
Results = tuple[Table | None, str | None, list[Note]]  # the table, and the file that it is from


def results_name(names: Iterable[str]) -> str | None:
    """Return results.csv, else the only file that a browser or a copy renamed: `results (1).csv`."""
    csvs = _results_names(names)
    return RESULTS if RESULTS in csvs else csvs[0] if len(csvs) == 1 else None


def _results_names(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.startswith("results") and name.endswith(".csv"))


def read_table(directory: RunDirectory, *, short_rows: bool = False) -> Results:
    """Read results.csv. Errors: RunDirError when it cannot be read as a table of epochs."""
    name = results_name(directory.by_path)
    if name is None:
        several = " or ".join(_results_names(directory.by_path))
        text = f"no results.csv, and {several} may be it; none of them is read"
        return None, None, [Note("results-ignored", text)] if several else []
    place = directory.by_path[name]
    notes = [Note("renamed-results", f"no results.csv; read {name}")] if name != RESULTS else []
    if not place.size:
        return None, name, [*notes, Note("empty-results", f"{name} is empty")]
    table = read_results(place.location, short_rows=short_rows)
    notes += table.notes
    if table.short_rows and not short_rows:
        notes.append(Note("ragged-row", f"the last line of {name} is short; left out"))
    return table, name, notes


def read_options(directory: RunDirectory, *names: str) -> Options:
    """Read args.yaml; or opt.yaml and hyp.yaml, else the `hyp` in opt.yaml, as one. Errors: RunDirError."""
    options: dict[str, Mapping[str, object]] = {}
    notes: list[Note] = []
    for name in names:
        if (place := directory.by_path.get(name)) is not None:
            options[name], more = read_yaml(place.location)
            notes += more
    if names[0] not in options:
        notes.append(Note("no-args", f"no {names[0]}; the task is known by the columns"))
    args = _flat(options.get(names[0], {}), options.get("hyp.yaml", {}))
    return args, tuple(name for name, values in options.items() if values), notes


def _flat(options: Mapping[str, object], hyperparameters: Mapping[str, object]) -> Mapping[str, object]:
    """Return the options, which win, over the hyperparameters; a `hyp` that is a path stays one."""
    inner = options.get("hyp")
    if not isinstance(inner, Mapping):
        return {**hyperparameters, **options}
    plain = {key: value for key, value in options.items() if key != "hyp"}
    return {**(hyperparameters or {str(key): value for key, value in inner.items()}), **plain}


def new_run(
    directory: RunDirectory, family: str, options: Options, results: Results
) -> tuple[TrainingRun, Table | None]:
    """Return the run, still without a name for the generator and epochs, and its table.

    Args or epochs that only the checkpoints have are theirs.
    """
    (args, params_from, notes), (table, results_file, more) = options, results
    needed = not args or table is None or not has_base(table) or table.unended is not None
    checkpoints, unread = evidence.read_checkpoints(directory, needed=needed)
    notes = [*directory.notes, *notes, *more, *unread]
    columns = next((facts.train_results for facts in checkpoints.values()), {})
    if table is None and "epoch" in columns:
        table, results_file = Table(tuple(columns), tuple(zip(*columns.values(), strict=False))), None
        notes.append(Note("results-from-checkpoint", "no results.csv; the epochs are the checkpoint's train_results"))
    checkpoints, foreign = evidence.believed(checkpoints, table, args)
    notes += foreign
    if table is not None and table.unended is not None and evidence.has_row(checkpoints, table, table.unended):
        table = replace(table, rows=(*table.rows, table.unended), unended=None)
        notes = [note for note in notes if note.code != "no-final-newline"]
    args, params_from, more = _with_checkpoint((args, params_from, notes), checkpoints)
    epochs = args.get("epochs")
    run = TrainingRun(
        save_dir=str(directory.save_dir),
        name=directory.name,
        family=family,
        generator="",
        task=None,
        args=args,
        planned_epochs=int(epochs) if isinstance(epochs, (int, float)) and abs(epochs) < MAX_EPOCHS else None,
        last=checkpoints.get("last.pt"),
        best=checkpoints.get("best.pt"),
        results_file=results_file,
        params_from=params_from,
        files=directory.files,
        notes=(*more, *_renamed(args, directory.name)),
        segment=directory.segment,
    )
    return run, table


def _with_checkpoint(options: Options, checkpoints: evidence.Checkpoints) -> Options:
    """Return the options, or those of the checkpoint where no file has any, with the checkpoint among their files."""
    args, params_from, notes = options
    name, facts = next(iter(checkpoints.items()), ("", CheckpointFacts()))
    if not facts.train_args and (args or not facts.opt):
        return options
    params_from = (*params_from, name)
    if args:
        return args, params_from, notes
    file = "args.yaml" if facts.train_args else "opt.yaml"
    note = Note("args-from-checkpoint", f"no {file}; params are the checkpoint's")
    return facts.train_args or _flat(facts.opt, {}), params_from, [*notes, note]


def _renamed(args: Mapping[str, object], name: str) -> list[Note]:
    """Before 8.0.198, and in YOLOv5, `name` has not the number that save_dir got, so that save_dir is asked first."""
    recorded = args.get("save_dir") or args.get("name")
    former = last_part(recorded) if isinstance(recorded, str) else ""
    text = f"was {former} when it was trained; the run is called {name}"
    return [Note("renamed", text)] if former not in ("", name) else []


def add_epochs(run: TrainingRun, directory: RunDirectory, table: Table | None, base: int | None = None) -> TrainingRun:
    """Return the run with the epochs of its table, and what follows from its checkpoints and event files.

    The base of the epochs is worked out where it is not given.
    """
    if table is None or not table.rows:
        return _add_evidence(run, directory, (), base or 0)
    numbers = epoch_numbers(table, directory.save_dir / (run.results_file or RESULTS))
    if base is None:
        has_time = "time" in table.header
        base, guess = epoch_base(numbers, has_time=has_time, version=run.version, planned=run.planned_epochs)
        run = replace(run, notes=(*run.notes, *([guess] if guess else [])))
    known = dict.fromkeys(rows_at_once(numbers, table.times()), False)
    spans = split_trainings(numbers, base, known)
    at = len(spans) - 1 if run.segment is None else run.segment
    epochs, notes = build_epochs(table, numbers, base, spans[at], known)
    if at < len(spans) - 1:
        between = [build_epochs(table, numbers, base, span, known)[0].seconds for span in spans[at + 1 : -1]]
        last = None if directory.is_summary else add_epochs(replace(run, segment=None), directory, table, base)
        later = (last, sum(seconds[-1] for seconds in between if seconds)) if last is not None else None
        run = replace(run, epochs=epochs, trainings=len(spans), notes=(*run.notes, *notes), later=later)
        return _add_own_events(run, directory)
    if run.args.get("resume") and epochs.seconds and len(epochs.session_starts) == 1:
        seam = unseen_resume(table.times(), spans[at])
        known |= {seam: True} if seam is not None else {}
        epochs, notes = build_epochs(table, numbers, base, spans[at], known)
    if len(spans) > 1 and run.segment is None:
        text = f"{run.results_file} holds {len(spans)} trainings; this is the last"
        notes = [Note("several-trainings", text), *notes]
    run = replace(run, epochs=epochs, segment=None, trainings=len(spans), notes=(*run.notes, *notes))
    return _add_evidence(run, directory, numbers, base)


def _add_own_events(run: TrainingRun, directory: RunDirectory) -> TrainingRun:
    """Return an earlier training of a file; checkpoints and plots are the last one's, event files may be its own."""
    times, final, notes = evidence.read_events(directory, run.epochs, is_earlier=True)
    final, notes = run.final_validation or final, [*run.notes, *notes]
    return replace(run, last=None, best=None, event_times=times, final_validation=final, notes=tuple(notes))


def _add_evidence(run: TrainingRun, directory: RunDirectory, numbers: tuple[int, ...], base: int) -> TrainingRun:
    """Return the run with the epochs of its checkpoints, and the times and final validation of its event files."""
    last_row = evidence.saved_at(run.last, run.epochs, numbers, base)
    if last_row is None and run.last is not None and run.last.epoch == -1 and len(run.epochs):
        last_row = len(run.epochs) - 1
    best_row = evidence.saved_at(run.best, run.epochs, numbers, base)
    if best_row is None and run.best is not None:
        best_row = evidence.row_of_metrics(run.best.train_metrics, run.epochs)
    times, final, notes = evidence.read_events(directory, run.epochs)
    if run.final_validation is not None:
        final = replace(run.final_validation, wall_ms=final.wall_ms if final is not None else None)
    run = replace(run, last_row=last_row, best_row=best_row, event_times=times)
    return replace(run, final_validation=final, notes=(*run.notes, *notes))
