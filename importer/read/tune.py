"""Hyperparameter tuning: tune_results.ndjson or .csv of Ultralytics, evolve.csv of YOLOv5 and YOLOv9.

The tune becomes a parent run: the best hyperparameters are its params, the fitness of iteration i its metric at step
i - 1, the plots and tables its artifacts. Live has no such run. A child is the whole training of an iteration whose
directory is still there; of another, what the table says of it, which `--iterations all` imports.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace

from importer.errors import RunDirError
from importer.formats.csv_table import read_results
from importer.formats.yaml_file import read_yaml
from importer.model import Epochs, Note, RunPath, TrainingRun, WrittenRow
from importer.read import tune_table
from importer.read.directory import RunDirectory
from importer.read.epochs import build_epochs, epoch_numbers, split_trainings
from importer.read.tune_dirs import iteration_dirs

BEST = ("best_hyperparameters.yaml", "hyp_evolve.yaml")
LOOKS_FOR = {
    "tune_results.csv": "its first column is not `fitness`",
    tune_table.NDJSON: "its first line has no `fitness`",
    tune_table.EVOLVE: "its first column is no metric, or `lr0` is missing",
}
TASKS = ("detect", "segment", "classify", "pose", "obb", "semantic", "depth")


@dataclass(frozen=True)
class _Tune:
    """A tune directory and what its files say."""

    directory: RunDirectory
    source: str  # the file that the table came from
    iterations: tune_table.Iterations
    records: tuple[WrittenRow, ...]  # the iterations as rows
    best: Mapping[str, object]
    best_file: str | None
    header: tune_table.Header

    @property
    def generator(self) -> str:
        return "YOLOv5 evolve" if self.source == tune_table.EVOLVE else "Ultralytics tuner"


def recognise(save_dir: RunPath, names: Set[str]) -> bool:
    """Recognise a table of iterations that begins as a tuner writes it."""
    return tune_table.table_name(save_dir, names) is not None


def read(directory: RunDirectory) -> TrainingRun:
    """Read the tune, with its iterations as children.

    Errors: RunDirError when its table or its best hyperparameters cannot be read as what they are.
    Source: ultralytics/engine/tuner.py, 8.0.170 to 8.4.190; train.py --evolve of YOLOv5 v6.0 to v7.0.
    """
    tune, notes = _read_tune(directory)
    iterations = tune.iterations
    children, more = _children(tune)
    columns = (*iterations[0].metrics, "fitness")
    return TrainingRun(
        save_dir=str(directory.save_dir),
        name=directory.name,
        family="tune",
        generator=tune.generator,
        task=_task(tune, children, columns),
        args=_placed(tune.best, tune.header.place),
        epochs=Epochs(
            columns=columns,
            steps=tuple(iteration.number - 1 for iteration in iterations),
            rows=tuple((*map(iteration.metrics.get, columns[:-1]), iteration.fitness) for iteration in iterations),
            session_starts=(0,),
            written=tune.records,
        ),
        planned_epochs=tune.header.planned,
        best_row=tune_table.fittest(tune.iterations),
        results_file=tune.source,
        params_from=(tune.best_file or tune.source,),
        files=directory.files,
        fixed_status="FINISHED",
        notes=(*directory.notes, *notes, *more),
        children=tuple(run for _, run in children),
        hyperparameters=tuple(map(str, iterations[0].hyperparameters)),
        tune_seconds=tune.header.seconds,
        iterations=tuple(index for index, _ in children),
    )


def _read_tune(directory: RunDirectory) -> tuple[_Tune, list[Note]]:
    source = tune_table.table_name(directory.save_dir, directory.by_path.keys())
    if source is None:
        text = f"{directory.save_dir}: its table is a link that leaves it"
        raise RunDirError(text, hint="--follow-symlinks reads it")
    iterations, table_notes = tune_table.read_tune_table(directory.by_path[source].location)
    best: Mapping[str, object] = iterations[tune_table.fittest(iterations)].hyperparameters
    header = tune_table.Header()
    notes: list[Note] = []
    more: list[Note] = []
    if source == tune_table.EVOLVE:
        text = f"{tune_table.EVOLVE} has no fitness; it is YOLOv5's 0.1 mAP_0.5 + 0.9 mAP_0.5:0.95"
        notes.append(Note("fitness-computed", text))
    best_file = next((name for name in BEST if name in directory.by_path), None)
    if best_file is None:
        notes.append(Note("best-from-table", "no file of the best hyperparameters; they are the best iteration's"))
    else:
        place = directory.by_path[best_file].location
        (best, more), header = read_yaml(place), tune_table.read_header(place)
    tune = _Tune(directory, source, iterations, _records(iterations), best, best_file, header)
    return tune, [*notes, *table_notes, *more]


def _placed(args: Mapping[str, object], recorded: str | None) -> Mapping[str, object]:
    """Return the args with the directory that was recorded, if one was."""
    return args if recorded is None else {**args, "save_dir": recorded}


def _children(tune: _Tune) -> tuple[list[tuple[int, TrainingRun]], list[Note]]:
    """Return each training with the index of its iteration; an iteration without a directory is what the table says."""
    dirs = iteration_dirs(tune.directory, tune.iterations, tune.header.place)
    evolved, notes = _evolved(tune)
    children: list[tuple[int, TrainingRun]] = []
    missing = 0
    for index, iteration in enumerate(tune.iterations):
        runs: dict[str, TrainingRun] = {}
        for dataset, path in dirs.get(iteration.number, {}).items():
            try:
                runs[dataset] = tune.directory.read_child(path)
            except RunDirError as error:
                notes.append(Note("iteration-unreadable", error.message))
        children += [(index, run) for run in runs.values()]
        # A training that was found by its hyperparameters is that of all datasets of its iteration.
        if not runs or ("" not in runs and set(iteration.datasets) - set(runs)):
            missing += 1
            children.append((index, _without_directory(tune, index, runs.keys(), evolved.get(iteration.number))))
    if missing:
        text = f"{missing} of {len(tune.iterations)} iterations have no directory here"
        notes.append(Note("iterations-without-directory", f"{text}; the table has them (--iterations all)"))
    return children, notes


def _without_directory(tune: _Tune, index: int, read: Set[str], evolved: Epochs | None) -> TrainingRun:
    """Return what the table says of an iteration, less the datasets whose directories were read."""
    iteration = tune.iterations[index]
    recorded = next(iter(iteration.save_dirs.values())) if len(iteration.save_dirs) == 1 else tune.header.place
    several = len(iteration.datasets) > 1
    of_datasets = {
        f"{dataset}/{key}" if several else key: value
        for dataset, reached in iteration.datasets.items()
        for key, value in reached.items()
        if dataset not in read and (several or key != "fitness")
    }
    metrics = {**iteration.metrics, **of_datasets, "fitness": iteration.fitness}
    return TrainingRun(
        save_dir=str(tune.directory.save_dir),
        name=f"{tune.directory.name} iteration {iteration.number}",
        family="tune",
        generator=tune.generator,
        task=None,
        args=_placed({**iteration.hyperparameters, "iteration": iteration.number}, recorded),
        epochs=evolved or Epochs(tuple(metrics), (0,), (tuple(metrics.values()),), None, (0,), (tune.records[index],)),
        params_from=(tune.source,),
        fixed_status="FINISHED",
        iteration=index,
    )


def _evolved(tune: _Tune) -> tuple[dict[int, Epochs], list[Note]]:
    """Return the epochs of each generation of YOLOv5, which all go to one results.csv, one training after the other.

    They are believed where each ends with the metrics that evolve.csv has for it.
    """
    place = tune.directory.by_path.get("results.csv")
    if place is None or tune.source != tune_table.EVOLVE:
        return {}, []
    iterations = tune.iterations
    try:
        table = read_results(place.location)
        numbers = epoch_numbers(table, place.location)
    except RunDirError as error:  # train-seg writes a short row after every generation
        return {}, [Note("results-unmatched", f"{error.message}; imported without its epochs")]
    spans = split_trainings(numbers, 0)
    last_rows = [dict(zip(table.header, table.rows[end - 1], strict=True)) for _, end in spans]
    if len(spans) != len(iterations) or not all(
        repr(row.get(key)) == repr(value)  # repr, for nan equals nothing
        for row, iteration in zip(last_rows, iterations, strict=True)
        for key, value in iteration.metrics.items()
    ):
        return {}, [
            Note("results-unmatched", f"results.csv does not hold the trainings of {tune_table.EVOLVE}; not read")
        ]
    evolved = {}
    for span, iteration, record in zip(spans, iterations, tune.records, strict=True):
        epochs, _ = build_epochs(table, numbers, 0, span)
        *rows, last = ((*cells, None) for cells in epochs.rows)
        rows.append((*last[:-1], iteration.fitness))
        columns = (*epochs.columns, "fitness")
        epochs = replace(epochs, columns=columns, rows=tuple(rows), seconds=None, written=(record,))
        evolved[iteration.number] = epochs
    return evolved, []


def _records(iterations: tune_table.Iterations) -> tuple[WrittenRow, ...]:
    """Return iterations as rows, with their hyperparameters; without their numbers, for a table may be sorted again.

    An iteration that is equal to an earlier one is counted, for it is another.
    """
    seen: Counter[str] = Counter()
    rows = []
    for iteration in iterations:
        varied = [value if isinstance(value, float) else str(value) for value in iteration.hyperparameters.values()]
        values = (iteration.fitness, *iteration.metrics.values(), *varied)
        again = seen[repr(values)]
        seen[repr(values)] += 1
        rows.append(WrittenRow(0, None, (*values, again) if again else values))
    return tuple(rows)


def _task(tune: _Tune, children: list[tuple[int, TrainingRun]], columns: tuple[str, ...]) -> str | None:
    """Return a child's, else that of runs/<task>/tune, else the one that the columns of evolve.csv belong to."""
    recorded = (tune.header.place or "").replace("\\", "/").split("/")[-2:-1]
    places = [*recorded, tune.directory.save_dir.resolve().parent.name]
    tasks = [run.task for _, run in children if run.task is not None] + [name for name in places if name in TASKS]
    tasks += ["segment"] if "metrics/mAP_0.5(M)" in columns else ["detect"] if "metrics/mAP_0.5" in columns else []
    return tasks[0] if tasks else None
