"""A summary of a directory: which training it is, what shape it is in, and what finds its run in a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from importer.errors import RunDirError, StoreError, YmlfError
from importer.model import ImportOptions, RunPath, TrainingRun
from importer.read.discover import FoundRun
from importer.read.ranking import BestEpoch, best_epochs
from importer.read.registry import read_run, read_summary
from importer.replay import callbacks, file_times, identity, plan
from importer.report import Outcome
from importer.sources.opening import absolute, fresh
from importer.store.store import Store
from importer.write.decision import Facts, decide_unchanged
from importer.write.lookup import StoredRun, find_former, find_runs_of

CHUNK = 16  # directories that one task summarizes

LookedUp = tuple[str, tuple[StoredRun, ...]]  # a key and the runs that carry it


@dataclass(frozen=True, slots=True)  # a batch holds thousands
class RunSummary:
    """What a run directory holds, mostly without opening its checkpoints; `refused` says why it cannot be read."""

    save_dir: str
    root: str
    place: str = ""  # absolute, with its host
    key: str = ""
    fingerprint: str = ""
    family: str = ""
    generator: str = ""
    task: str | None = None
    epochs: int = 0
    planned_epochs: int | None = None
    bytes: int = 0
    files: int = 0  # that live would have logged
    file_times_believed: bool = False
    modified_ms: int = 0  # the newest file time
    experiment: str = ""
    location: RunPath | None = None  # where to read it, if not at `save_dir`, which is what people are shown
    children: tuple[str, ...] = ()  # directories that are imported as its children
    runs: int = 1  # that an import makes of it: a tune's iterations are runs of their own
    child: int | None = None  # of a tune: which of its iterations is meant
    parent_run_id: str | None = None
    segment: int | None = None
    best: tuple[BestEpoch, ...] = ()  # with `best_metrics`, as far as results.csv tells; of a tune, of its iterations
    refused: str | None = None
    hint: str | None = None

    @property
    def facts(self) -> Facts:
        """What finds the run of this directory in a store, and shows whether it has changed."""
        return Facts(self.place, self.fingerprint)


@dataclass
class Progress:
    """How far the look at a tree is, kept up to date for another thread that shows it."""

    found: int = 0
    surveyed: int = 0
    is_searching: bool = True  # for more directories


def summarize(found: FoundRun, options: ImportOptions) -> list[RunSummary]:
    """Return the training of a directory, or each with `--segments all`; or why it was refused. Errors: StoreError."""
    options = replace(options, root=str(found.root))
    read = partial(read_summary, names=found.names)
    try:
        return [_describe(run, found, options) for run in read_trainings(found.save_dir, options, read)]
    except StoreError:
        raise  # a bucket that does not answer is no fault of the directory
    except YmlfError as error:
        refused, hint = error.message, error.hint
    except MemoryError:
        refused, hint = f"{found.save_dir}: not enough memory to read it", "fewer workers need less: -j 1"
    return [RunSummary(str(found.save_dir), str(found.root), refused=refused, hint=hint)]


def read_trainings(
    save_dir: RunPath, options: ImportOptions, read: Callable[..., TrainingRun] = read_run
) -> Iterator[TrainingRun]:
    """Yield the last training of a directory, after the earlier ones if they are asked for. Errors: RunDirError."""
    last = read(save_dir, follow_symlinks=options.follow_symlinks)
    if options.segments == "all":
        for segment in range(last.trainings - 1):
            yield read(save_dir, follow_symlinks=options.follow_symlinks, segment=segment)
    yield last


def read_summarized(summary: RunSummary, options: ImportOptions) -> TrainingRun:
    """Return the whole of a training that was summarized, as it is now. Errors: RunDirError."""
    location = fresh(summary.location or Path(summary.save_dir))
    return read_run(location, follow_symlinks=options.follow_symlinks, segment=summary.segment)


def find_unchanged(summary: RunSummary, store: Store, options: ImportOptions) -> tuple[Outcome | None, LookedUp | None]:
    """Return the outcome of a training that the fingerprint shows to be there already, and the look-up behind it.

    The outcome is None where the training has to be read, the look-up where the summary cannot name the experiment.
    Errors: StoreError.
    """
    if summary.child is not None or "{date}" in (options.experiment or ""):
        return None, None
    experiment_id = store.experiment_id(summary.experiment, create=False)
    runs = find_runs_of(store, experiment_id, summary.key, has_epochs=bool(summary.epochs))
    former = find_former(store, summary.experiment, summary.key) if not runs else ()
    decision = decide_unchanged(summary.facts, runs or former, options)
    if decision is None or decision.run is None:
        return None, (summary.key, runs)
    experiment = callbacks.FORMER_EXPERIMENT if former else summary.experiment
    outcome = Outcome(
        decision.kind, summary.save_dir, decision.reason, decision.hint, decision.run.run_id, decision.run.run_name,
        decision.run.experiment_id, experiment, summary.key,
    )  # fmt: skip
    return outcome, (summary.key, runs)


def with_absolute_paths(summary: RunSummary) -> RunSummary:
    """Return the summary for workers that have a working directory of their own."""
    location = absolute(summary.location or Path(summary.save_dir))
    root = summary.root if "!" in str(location) or "://" in str(location) else str(Path(summary.root).absolute())
    return replace(summary, save_dir=str(location), root=root, location=location)


def _describe(run: TrainingRun, found: FoundRun, options: ImportOptions) -> RunSummary:
    codes = {note.code for note in run.notes} if not len(run.epochs) else set()
    if "link-outside" in codes:
        problem = "its files are links that leave the directory, as a hub or DVC makes them"
        raise RunDirError(f"{run.save_dir}: {problem}", hint="--follow-symlinks reads them")
    if "broken-link" in codes:
        problem = "it has no epochs, and links that lead nowhere"
        raise RunDirError(f"{run.save_dir}: {problem}", hint="fetch what they lead to, as with `dvc pull`")
    if run.task is None and not run.args and run.results_file is None and not run.files:
        raise RunDirError(f"{run.save_dir}: is empty", hint="give a run directory")
    plan.check_names(run)
    logged, place = callbacks.on_train_end(run.files), identity.place_of_training(run)
    return RunSummary(
        save_dir=run.save_dir,
        root=str(found.root),
        place=place,
        key=identity.training_key(run, place=place),
        fingerprint=identity.content_fingerprint(run),
        family=run.family,
        generator=run.generator,
        task=run.task,
        epochs=len(run.epochs),
        planned_epochs=run.planned_epochs,
        bytes=sum(file.size for file in logged) if run.segment is None else 0,
        files=len(logged),
        file_times_believed=file_times.file_times_believed(run),
        modified_ms=max((file.mtime_ms for file in run.files), default=0),
        experiment=plan.experiment_name(run, options),
        location=None if isinstance(found.save_dir, Path) else fresh(found.save_dir),
        children=tuple(child.save_dir for child in run.children if child.iteration is None),
        runs=1 + sum(plan.is_imported(child, options) for child in run.children),
        segment=run.segment,
        best=best_epochs(run) if options.best_metrics else (),
    )


def summarize_all(
    found: Sequence[FoundRun], options: ImportOptions, executor: Executor, progress: Progress
) -> list[RunSummary]:
    """Return the summaries of all directories in their order."""
    progress.found, progress.is_searching = len(found), False
    summaries: list[RunSummary] = []
    for trainings in executor.map(partial(summarize, options=options), found, chunksize=CHUNK):
        progress.surveyed += 1
        summaries += trainings
    return summaries
