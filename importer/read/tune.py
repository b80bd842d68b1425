"""Hyperparameter tuning: tune_results.ndjson or .csv of Ultralytics, evolve.csv of YOLOv5 and YOLOv9.

The tune becomes a parent run: the best hyperparameters are its params, the fitness of iteration i its metric at step
i - 1, the plots and tables its artifacts. Live has no such run. A child is the whole training of an iteration whose
directory is still there; of another, what the table says of it, which `--iterations all` imports.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from importer.errors import RunDirError
from importer.formats.csv_table import read_results
from importer.formats.yaml_file import read_yaml
from importer.model import Epochs, TrainingRun, WrittenRow
from importer.read.directory import RunDirectory
from importer.read.epochs import build_epochs, epoch_numbers, split_trainings
from importer.read.registry import read_run
from importer.read.tune_dirs import iteration_dirs
from importer.read.tune_table import Header, Iteration, TuneTable, read_header, read_tune_table, table_name

PRIORITY = 30
EVOLVE = "evolve.csv"
BEST = ("best_hyperparameters.yaml", "hyp_evolve.yaml")
LOOKS_FOR = {
    "tune_results.csv": "its first column is not `fitness`",
    "tune_results.ndjson": "its first line has no `fitness`",
    EVOLVE: "its first column is no metric, or `lr0` is missing",
}
TASKS = ("detect", "segment", "classify", "pose", "obb", "semantic", "depth")


@dataclass(frozen=True)
class _Tune:
    """A tune directory and what its files say."""

    directory: RunDirectory
    source: str  # the file that the table came from
    table: TuneTable
    best: Mapping[str, object]
    best_file: str | None
    header: Header

    @property
    def generator(self) -> str:
        return "YOLOv5 evolve" if self.source == EVOLVE else "Ultralytics tuner"

    @property
    def recorded(self) -> str | None:
        """The tune's directory when it ran."""
        return self.header.place


def recognise(save_dir: Path, names: Set[str]) -> bool:
    """Recognise a table of iterations that begins as a tuner writes it."""
    return table_name(save_dir, names) is not None


def read(directory: RunDirectory) -> TrainingRun:
    """Read the tune, with its iterations as children.

    Errors: RunDirError when its table or its best hyperparameters cannot be read as what they are.
    Source: ultralytics/engine/tuner.py, 8.0.170 to 8.4.190; train.py --evolve of YOLOv5 v6.0 to v7.0.
    """
    tune = _read_tune(directory)
    iterations = tune.table.iterations
    children = _children(tune)
    runs = tuple(run for _, run in children)
    columns = (*iterations[0].metrics, "fitness")
    return TrainingRun(
        save_dir=str(directory.save_dir),
        name=directory.name,
        family="tune",
        generator=tune.generator,
        task=_task(tune, runs, columns),
        args=tune.best if tune.recorded is None else {**tune.best, "save_dir": tune.recorded},
        epochs=Epochs(
            columns=columns,
            steps=tuple(iteration.number - 1 for iteration in iterations),
            rows=tuple((*map(iteration.metrics.get, columns[:-1]), iteration.fitness) for iteration in iterations),
            session_starts=(0,),
            written=tuple(map(_record, iterations)),
        ),
        planned_epochs=tune.header.planned,
        best_row=tune.table.best(),
        results_file=tune.source,
        params_from=(tune.best_file or tune.source,),
        files=directory.files,
        fixed_status="FINISHED",
        notes=tuple(directory.notes),
        children=runs,
        hyperparameters=tuple(map(str, iterations[0].hyperparameters)),
        tune_seconds=tune.header.seconds,
        iterations=tuple(index for index, _ in children),
    )


def _read_tune(directory: RunDirectory) -> _Tune:
    source = table_name(directory.save_dir, directory.by_path.keys())
    if source is None:
        raise RunDirError(
            f"{directory.save_dir}: its table is a link that leaves it", hint="--follow-symlinks reads it"
        )
    table = read_tune_table(directory.by_path[source].location)
    notes = [*table.notes]
    if source == EVOLVE:
        directory.note("fitness-computed", f"{EVOLVE} has no fitness; it is YOLOv5's 0.1 mAP_0.5 + 0.9 mAP_0.5:0.95")
    place = next((found for name in BEST if (found := directory.get(name)) is not None), None)
    best: Mapping[str, object] = table.iterations[table.best()].hyperparameters
    header = Header()
    if place is None:
        directory.note("best-from-table", "no file of the best hyperparameters; they are the best iteration's")
    else:
        best, more = read_yaml(place.location)
        notes += more
        header = read_header(place.location)
    directory.add(notes)
    return _Tune(directory, source, table, best, place.path if place else None, header)


def _children(tune: _Tune) -> list[tuple[int, TrainingRun]]:
    """Return each training with the index of its iteration; an iteration without a directory is what the table says."""
    places: dict[int, dict[str, Path]] = {}
    for claim, path in iteration_dirs(tune.directory, tune.table, tune.recorded).items():
        places.setdefault(claim.number, {})[claim.dataset] = path
    evolved = _evolved(tune) if tune.source == EVOLVE else {}
    children: list[tuple[int, TrainingRun]] = []
    missing = 0
    for index, iteration in enumerate(tune.table.iterations):
        read = {dataset: _read_child(tune, path) for dataset, path in places.get(iteration.number, {}).items()}
        runs = {dataset: run for dataset, run in read.items() if run is not None}
        children += [(index, run) for run in runs.values()]
        # A training that was found by its hyperparameters stands for all datasets of its iteration.
        if not runs or ("" not in runs and set(iteration.datasets) - set(runs)):
            missing += 1
            children.append((index, _without_directory(tune, index, set(runs), evolved.get(iteration.number))))
    if missing:
        count = len(tune.table.iterations)
        tune.directory.note(
            "iterations-without-directory",
            f"{missing} of {count} iterations have no directory here; the table has them (--iterations all)",
        )
    return children


def _read_child(tune: _Tune, path: Path) -> TrainingRun | None:
    try:
        return read_run(path, follow_symlinks=tune.directory.follow_symlinks, light=tune.directory.light)
    except RunDirError as error:
        tune.directory.note("iteration-unreadable", error.message)
        return None


def _without_directory(tune: _Tune, index: int, read: Set[str], evolved: Epochs | None) -> TrainingRun:
    """Return what the table says of an iteration, less the datasets whose directories were read."""
    iteration = tune.table.iterations[index]
    recorded = next(iter(iteration.save_dirs.values())) if len(iteration.save_dirs) == 1 else tune.recorded
    metrics = {**_left(iteration, read), "fitness": iteration.fitness}
    epochs = Epochs(tuple(metrics), (0,), (tuple(metrics.values()),), None, (0,), (_record(iteration),))
    args = {**iteration.hyperparameters, "iteration": iteration.number}
    return TrainingRun(
        save_dir=str(tune.directory.save_dir),
        name=f"{tune.directory.name} iteration {iteration.number}",
        family="tune",
        generator=tune.generator,
        task=None,
        args=args if recorded is None else {**args, "save_dir": recorded},
        epochs=evolved or epochs,
        params_from=(tune.source,),
        fixed_status="FINISHED",
        iteration=index,
    )


def _left(told: Iteration, read: Set[str]) -> dict[str, float]:
    """The metrics of the datasets that were not read, with the dataset's name in front where a tune had several."""
    if len(told.datasets) <= 1:
        only = next(iter(told.datasets.values()), {})
        return {**told.metrics, **{key: value for key, value in only.items() if key != "fitness"}}
    return {
        f"{dataset}/{key}": value
        for dataset, metrics in told.datasets.items()
        for key, value in metrics.items()
        if dataset not in read
    }


def _evolved(tune: _Tune) -> dict[int, Epochs]:
    """The epochs of each generation of YOLOv5, which all go to one results.csv, one training after the other.

    They are believed where each ends with the metrics that evolve.csv has for it.
    """
    place = tune.directory.get("results.csv")
    if place is None:
        return {}
    iterations = tune.table.iterations
    try:
        table = read_results(place.location)
        numbers = epoch_numbers(table, place.location)
    except RunDirError as error:  # train-seg writes a short row after every generation
        tune.directory.note("results-unmatched", f"{error.message}; imported without its epochs")
        return {}
    spans = split_trainings(numbers, 0)
    if len(spans) != len(iterations) or not all(
        _same(dict(zip(table.header, table.rows[end - 1], strict=True)), told.metrics)
        for (_, end), told in zip(spans, iterations, strict=True)
    ):
        tune.directory.note("results-unmatched", f"results.csv does not hold the trainings of {EVOLVE}; not read")
        return {}
    evolved = {}
    for span, told in zip(spans, iterations, strict=True):
        epochs, _ = build_epochs(table, numbers, 0, span)
        fitness = (*[None] * (len(epochs) - 1), told.fitness)
        evolved[told.number] = Epochs(
            columns=(*epochs.columns, "fitness"),
            steps=epochs.steps,
            rows=tuple((*cells, value) for cells, value in zip(epochs.rows, fitness, strict=True)),
            session_starts=epochs.session_starts,
            written=(_record(told),),
        )
    return evolved


def _same(row: Mapping[str, float | None], metrics: Mapping[str, float]) -> bool:
    return all(repr(row.get(key)) == repr(value) for key, value in metrics.items())


def _record(iteration: Iteration) -> WrittenRow:
    """Return an iteration as a row, with its hyperparameters; without its number, for a table may be sorted again."""
    values = (iteration.fitness, *iteration.metrics.values())
    varied = [value if isinstance(value, float) else str(value) for value in iteration.hyperparameters.values()]
    return WrittenRow(0, None, (*values, *varied))


def _task(tune: _Tune, children: tuple[TrainingRun, ...], columns: tuple[str, ...]) -> str | None:
    """A child's, else that of runs/<task>/tune, else what the columns of evolve.csv tell."""
    tasks = [child.task for child in children if child.task is not None]
    tasks += [name for name in (tune.recorded or "").replace("\\", "/").split("/")[-2:-1] if name in TASKS]
    tasks += [name for name in (tune.directory.save_dir.resolve().parent.name,) if name in TASKS]
    tasks += ["segment"] if "metrics/mAP_0.5(M)" in columns else ["detect"] if "metrics/mAP_0.5" in columns else []
    return tasks[0] if tasks else None
