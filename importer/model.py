"""The facts that are read and that are to be logged, frozen and fit to be sent to another process or host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, Protocol

from importer.record import ImportRecord, RecordedTimes

if TYPE_CHECKING:
    from pandas import DataFrame


class FileStat(Protocol):
    """The part of `os.stat_result` that readers use."""

    @property
    def st_mode(self) -> int: ...
    @property
    def st_size(self) -> int: ...
    @property
    def st_mtime(self) -> float: ...


class RunPath(Protocol):
    """The part of `pathlib.Path` that readers use; a place in an archive or a bucket has it, too."""

    @property
    def name(self) -> str: ...
    @property
    def parent(self) -> RunPath: ...
    def __truediv__(self, name: str, /) -> RunPath: ...
    def __lt__(self, other: Any, /) -> bool: ...
    def __hash__(self) -> int: ...
    def iterdir(self) -> Iterator[RunPath]: ...
    def resolve(self) -> RunPath: ...
    def exists(self) -> bool: ...
    def is_dir(self) -> bool: ...
    def is_file(self) -> bool: ...
    def is_symlink(self) -> bool: ...
    def stat(self) -> FileStat: ...
    def open(self, mode: Literal["rb"], /) -> BinaryIO: ...
    def read_bytes(self) -> bytes: ...
    def as_posix(self) -> str: ...


class MetricPoint(NamedTuple):
    """One value of one metric, in the order of MLflow's own `Metric`."""

    key: str
    value: float
    timestamp: int  # ms since the Unix epoch
    step: int  # from 0, as Ultralytics' own MLflow callback counts


class Note(NamedTuple):
    """An oddity and what was done about it. `code` is stable and listed in docs/formats.md."""

    code: str
    text: str


class RunFile(NamedTuple):
    """A file of a run directory."""

    path: str  # relative to save_dir, with forward slashes
    size: int  # bytes
    mtime_ms: int
    location: RunPath  # where to open it


class WrittenRow(NamedTuple):
    """One row of a results file as it was written; of a tune, one record with its hyperparameters."""

    epoch: int  # as written
    time: float | None  # seconds since this start or resume; None where the file has no `time`
    values: tuple[float | str | None, ...]  # without blank cells at the end


@dataclass(frozen=True)
class Epochs:
    """The epochs of one training, in training order; empty when it died before the first ended.

    Shape:  one row per epoch, one cell per column; a cell that was blank is None.
    Units:  steps from 0; seconds since the first epoch began, across resumes, taken at each epoch's end.
    """

    columns: tuple[str, ...] = ()
    steps: tuple[int, ...] = ()
    rows: tuple[tuple[float | None, ...], ...] = ()
    seconds: tuple[float, ...] | None = None
    session_starts: tuple[int, ...] = ()  # indexes of the rows that a start or a resume began with
    written: tuple[WrittenRow, ...] = ()  # every row of the file, before repeated epochs were reduced to the last

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def last_step(self) -> int:
        """Return the step of the last epoch; -1 without any."""
        return self.steps[-1] if self.steps else -1


@dataclass(frozen=True)
class CheckpointFacts:
    """Facts that a trainer wrote into a checkpoint beside the weights, in builtin types only.

    Units:  epoch from 0, and -1 once the optimizer was stripped, which is when the training finished; best_fitness as
            the task has it, mostly from 0 to 1.
    Source: ultralytics/engine/trainer.py, BaseTrainer.save_model, 8.0.0 to 8.4.190; yolov5/train.py, v5.0 to v7.0.
    """

    version: str | None = None
    date: str | None = None  # ISO as written, naive before 8.4.120
    epoch: int | None = None
    train_args: Mapping[str, object] = field(default_factory=dict)
    opt: Mapping[str, object] = field(default_factory=dict)  # YOLOv5's train_args
    train_metrics: Mapping[str, float] = field(default_factory=dict)
    train_results: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # results.csv, a column by its name
    best_fitness: float | None = None
    git: Mapping[str, str] = field(default_factory=dict)
    model_class: str | None = None  # the path of the class of the network: ultralytics.nn.tasks.DetectionModel
    names: tuple[str, ...] = ()  # of the classes


@dataclass(frozen=True)
class FinalValidation:
    """What best.pt scored when it was validated after the last epoch."""

    metrics: tuple[tuple[str, float], ...]  # keys as in results.csv
    source: str  # the file that recorded it
    wall_ms: int | None = None


class EventSession(NamedTuple):
    """One event file: a start or a resume each opens its own; ms since the Unix epoch."""

    opened_ms: int  # while it was being set up, before the first epoch
    graph_ms: int | None  # as the first epoch begins
    first_ms: int | None  # its first scalar: that of the first batch, or of the first epoch


@dataclass(frozen=True)
class EventTimes:
    """The wall times of the event files of one training, by step; ms since the Unix epoch."""

    fit_ms: Mapping[int, int]
    train_ms: Mapping[int, int]
    sessions: tuple[EventSession, ...] = ()  # by time


class Sweep(NamedTuple):
    """The folder that the trials of a sweep, or the folds of a k-fold, share."""

    name: str
    levels: int  # from the directory of a training up to that folder
    trial: str = ""  # of Ray Tune: the name of this trial


@dataclass(frozen=True, repr=False)
class TrainingRun:
    """One finished or broken-off training, as its directory has it."""

    save_dir: str  # the directory that was read, as given
    name: str  # the directory's name
    family: str  # whose layout it has: ultralytics, yolov5, yolov7, tune
    generator: str  # what a person calls it: Ultralytics 8.3.0, YOLOv5
    task: str | None
    args: Mapping[str, object]  # args.yaml or its like, as loaded
    epochs: Epochs = field(default_factory=Epochs)
    version: str | None = None
    planned_epochs: int | None = None
    final_validation: FinalValidation | None = None
    last: CheckpointFacts | None = None  # believed: it belongs to this training
    best: CheckpointFacts | None = None
    last_row: int | None = None  # index of the epoch that last.pt was saved at
    best_row: int | None = None
    event_times: EventTimes | None = None
    results_file: str | None = None  # the file that the epochs came from
    params_from: tuple[str, ...] = ()  # the files that `args` and the overlay came from
    files: tuple[RunFile, ...] = ()
    notes: tuple[Note, ...] = ()
    fixed_status: str | None = None  # where the layout itself says how it ended
    segment: int | None = None  # which training of a file that holds several; None: the last
    trainings: int = 1  # how many that file holds
    later: tuple[TrainingRun, float] | None = None  # of an earlier one: the last, and the seconds of those between
    children: tuple[TrainingRun, ...] = ()  # of a tune: trainings with a directory, and rows of the table without
    hyperparameters: tuple[str, ...] = ()  # of a tune: the names of what it varies
    tune_seconds: float | None = None  # of a tune: how long it took, as its tuner wrote it down
    iteration: int | None = None  # of a row of a tune's table without a directory: its index in the table
    iterations: tuple[int, ...] = ()  # of a tune: the index in the table of each child
    window: tuple[str, int, int] | None = None  # of such a row: the clock, and its start and end in ms
    sweep: Sweep | None = None  # that it is part of, as the folders above it show

    @property
    def facts(self) -> CheckpointFacts | None:
        """Return the facts of last.pt, else of best.pt."""
        return self.last or self.best

    def file(self, path: str) -> RunFile | None:
        """Return the file at `path` below the directory, or None."""
        return next((file for file in self.files if file.path == path), None)

    def to_pandas(self) -> DataFrame:
        """Return the epochs as a DataFrame.

        Shape:  a row per epoch; columns `step`, `seconds`, and those of the results file.
        Units:  as Epochs.
        """
        epochs = self.epochs
        seconds = epochs.seconds or (float("nan"),) * len(epochs)
        rows = [(*start, *row) for *start, row in zip(epochs.steps, seconds, epochs.rows, strict=True)]
        return _data_frame(rows, ("step", "seconds", *epochs.columns))

    def __repr__(self) -> str:
        task = f"{self.task}, " if self.task else ""
        return f"<TrainingRun {self.save_dir}: {task}{self.generator}, epochs={len(self.epochs)}>"


class Artifact(NamedTuple):
    """A file to log and where."""

    artifact_path: str  # within the run's artifacts, with forward slashes
    size: int  # bytes
    location: RunPath


class LoggedImage(NamedTuple):
    """A picture for MLflow's image grid, which compares runs."""

    key: str  # without a slash: the file's name less its suffix
    size: int  # bytes of the file; MLflow keeps it as a PNG and a small WebP
    location: RunPath


class DatasetInput(NamedTuple):
    """The dataset that was trained on, as MLflow records one."""

    name: str
    digest: str  # at most 36 characters
    source: str


@dataclass(frozen=True)
class Timeline(RecordedTimes):
    """The times of a run, and how they are known; ms since the Unix epoch.

    Shape:  fit_ms and train_ms have one entry per epoch.
    """

    fit_ms: tuple[int, ...] = ()
    train_ms: tuple[int, ...] = ()
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class ImportOptions:
    """What the user chose. Fields that shape the plan are kept in the record."""

    experiment: str | None = None
    run_name: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    start_time_ms: int | None = None
    timezone: str | None = None
    artifacts: str = "all"
    artifact_location: str | None = None
    follow_symlinks: bool = False
    best_metrics: bool = False
    images: bool = False
    keep_active: bool = False
    max_artifact_size: int | None = None  # bytes
    exclude_artifacts: tuple[str, ...] = ()
    live: str = "skip"  # or complete, import: a run that the live callback has logged
    on_change: str = "update"  # or replace, skip
    iterations: str = "directories"  # or all: which iterations of a tune become runs of their own
    empty: bool = False
    unfinished: bool = False
    segments: str = "last"
    bulk: bool = True  # write new runs straight into a database, where that is proven equal to MLflow's API
    model: bool = False  # add the files that make the run's weights an MLflow model
    import_id: str | None = None
    root: str | None = None  # the path that was given and below which the directory was found
    is_child: bool = False  # of an iteration of a tune: options that name one run do not name it

    def of_children(self, experiment_name: str | None) -> ImportOptions:
        """Return the options for the iterations of a tune: they are in its experiment, also those without an epoch."""
        return replace(self, experiment=experiment_name, run_name=None, empty=True, is_child=True)


@dataclass(frozen=True)
class ImportContext:
    """How the command or batch around a run imports it; not kept in the record."""

    import_id: str = ""
    ledger_tag: str | None = None  # of the batch; the import of one directory has its run for a ledger
    wait_for_others: bool = True  # leave a run that another import seems to be writing
    deep: bool | None = None  # verify: hash artifacts; None where they lie on this host


@dataclass(frozen=True, repr=False)
class ImportPlan:
    """All that is to be logged for one run, decided before the first call to MLflow."""

    run: TrainingRun  # that it is the plan of
    source: str  # the directory, as given
    place: str  # the same, absolute and with its host
    name: str
    experiment_name: str
    run_name: str
    key: str
    empty_key: str  # the key that the directory had before its first epoch
    fingerprint: str
    status: str
    timeline: Timeline
    params: Mapping[str, str]
    points: tuple[MetricPoint, ...]
    artifacts: tuple[Artifact, ...]
    tags: Mapping[str, str]  # plain tags; identity's own come on top
    record: ImportRecord
    task: str | None
    generator: str
    epochs: int
    planned_epochs: int | None
    best_epoch: int | None
    keep_active: bool = False
    dataset: DatasetInput | None = None
    images: tuple[LoggedImage, ...] = ()
    former_best: tuple[MetricPoint, ...] = ()  # logged by an import at which an earlier epoch was the best
    notes: tuple[Note, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()  # (path, why) of files that are not logged
    children: tuple[ImportPlan, ...] = ()

    @property
    def artifact_bytes(self) -> int:
        """Return the size of all artifacts together, in bytes."""
        return sum(artifact.size for artifact in self.artifacts)

    @property
    def image_bytes(self) -> int:
        """Return the size of the files of all images together, in bytes."""
        return sum(image.size for image in self.images)

    @property
    def best(self) -> dict[str, float]:
        """Return the values of the best epoch by metric key; empty where no epoch is known to be the best."""
        return {
            point.key: point.value
            for point in self.points
            if point.step == self.best_epoch and not point.key.startswith("best/")
        }

    def to_pandas(self) -> DataFrame:
        """Return the points as a DataFrame: a row per point, with the columns `key`, `value`, `timestamp`, `step`."""
        return _data_frame(self.points, MetricPoint._fields)

    def __repr__(self) -> str:
        counts = f"epochs={self.epochs}, points={len(self.points)}, artifacts={len(self.artifacts)}"
        return f"<ImportPlan {self.source}: {self.experiment_name} / {self.run_name}, {counts}>"


def _data_frame(rows: Sequence[tuple[object, ...]], columns: tuple[str, ...]) -> DataFrame:
    from pandas import DataFrame

    return DataFrame(list(rows), columns=list(columns))
