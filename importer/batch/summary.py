"""A light look at a directory: which training it is, what shape it is in, whether it was imported."""

from __future__ import annotations

import pickle
import secrets
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path

from importer.discover import FoundRun
from importer.errors import RunDirError, StoreError, YmlfError
from importer.model import ImportOptions, TrainingRun
from importer.outcome import Kind, Outcome
from importer.read.directory import Parsed
from importer.read.registry import read_run
from importer.replay.callbacks import on_train_end
from importer.replay.fingerprint import content_fingerprint, training_key
from importer.replay.plan import check_names, experiment_name
from importer.sources.opening import absolute, fresh

CHUNK = 16  # directories that one survey job looks at
KEPT_CHUNKS = 64  # of which what was parsed is kept for as long as the batch lasts, up to
KEPT_BYTES = 32_000  # a directory: 100 epochs of 15 columns take 17 kB, 200 take 28

Pickled = bytes


@dataclass(frozen=True)
class Survey:
    """What a run directory is, mostly without opening its checkpoints; `refused` says why it cannot be read."""

    save_dir: str
    root: str
    key: str = ""
    fingerprint: str = ""
    family: str = ""
    generator: str = ""
    task: str | None = None
    epochs: int = 0
    planned_epochs: int | None = None
    bytes: int = 0
    modified_ms: int = 0  # the newest file time
    experiment: str = ""
    location: Path | None = None  # where to read it: `save_dir` is what people are shown
    children: tuple[str, ...] = ()  # directories that are imported as its children
    runs: int = 1  # that an import makes of it: a tune's iterations are runs of their own
    child: int | None = None  # of a tune: which of its iterations is meant
    parent_run_id: str | None = None
    reading: str = ""  # names what the iterations of a tune share: it is read once by each worker
    segment: int | None = None
    refused: str | None = None
    hint: str | None = None
    parsed: Pickled = field(default=b"", repr=False)  # what the text files say, not to be parsed once more


@dataclass
class Looking:
    """How far the look at a tree is, for whoever shows it meanwhile."""

    found: int = 0
    surveyed: int = 0
    is_searching: bool = True  # for more directories


def survey(save_dir: Path, root: Path, options: ImportOptions, *, keep: bool = False) -> list[Survey]:
    """The training of a directory, or each of its trainings with `--segments all`; a refusal is a finding, too.

    With `keep`, what its text files say is kept for read_surveyed, less those of a tune's iterations.
    """
    parsed = Parsed()
    try:
        runs = list(read_trainings(save_dir, options, light=True, parsed=parsed))
        kept = pickle.dumps(parsed) if keep else b""
        kept = kept if len(kept) <= KEPT_BYTES else b""
        return [_describe(run, save_dir, root, options, kept) for run in runs]
    except StoreError:
        raise  # a bucket that does not answer is no fault of this directory
    except YmlfError as error:
        return [Survey(str(save_dir), str(root), refused=error.message, hint=error.hint)]


def read_trainings(
    save_dir: Path, options: ImportOptions, *, light: bool = False, parsed: Parsed | None = None
) -> Iterator[TrainingRun]:
    """The last training of a directory, after the earlier ones if they are asked for. Errors: RunDirError."""
    parsed = parsed or Parsed()
    follow = options.follow_symlinks
    last = read_run(save_dir, follow_symlinks=follow, light=light, parsed=parsed)
    if options.segments == "all":
        for segment in range(last.trainings - 1):
            yield read_run(save_dir, follow_symlinks=follow, segment=segment, light=light, parsed=parsed)
    yield last


def read_surveyed(found: Survey, options: ImportOptions) -> TrainingRun:
    """The whole of a training that was surveyed. Errors: RunDirError."""
    location = fresh(found.location or Path(found.save_dir))
    parsed = pickle.loads(found.parsed) if found.parsed else None  # noqa: S301  survey() has made it
    return read_run(location, follow_symlinks=options.follow_symlinks, segment=found.segment, parsed=parsed)


def iterations_of(tune: Survey, parent_run_id: str, experiment: str) -> list[Survey]:
    """Each iteration of a tune that was imported, to be gone on with by itself."""
    below = replace(
        tune,
        parent_run_id=parent_run_id,
        experiment=experiment,
        runs=1,
        children=(),
        reading=secrets.token_hex(8),
    )
    return [replace(below, child=at) for at in range(tune.runs - 1)]


def anywhere(found: Survey) -> Survey:
    """The survey with absolute paths, for workers that have a working directory of their own."""
    location = absolute(found.location or Path(found.save_dir))
    root = found.root if "!" in str(location) or "://" in str(location) else str(Path(found.root).absolute())
    return replace(found, save_dir=str(location), root=root, location=location)


def _describe(run: TrainingRun, save_dir: Path, root: Path, options: ImportOptions, parsed: Pickled) -> Survey:
    if run.task is None and not run.args and not len(run.epochs) and run.results_file is None and not run.files:
        raise RunDirError(f"{run.save_dir}: is empty", hint="give a run directory")
    check_names(run)
    return Survey(
        save_dir=run.save_dir,
        root=str(root),
        key=training_key(run),
        fingerprint=content_fingerprint(run),
        family=run.family,
        generator=run.generator,
        task=run.task,
        epochs=len(run.epochs),
        planned_epochs=run.planned_epochs,
        bytes=sum(found.size for found in on_train_end(run.files)) if run.segment is None else 0,
        modified_ms=max((found.mtime_ms for found in run.files), default=0),
        experiment=experiment_name(run, options),
        location=fresh(save_dir),
        children=tuple(child.save_dir for child in run.children if child.family != "tune"),
        runs=1 + len(run.children),
        segment=run.segment,
        parsed=parsed,
    )


def survey_all(
    found: Iterable[FoundRun],
    options: ImportOptions,
    executor: Executor,
    looking: Looking | None = None,
    *,
    keep: bool = False,
) -> list[Survey]:
    """The surveys of all directories in their order, less those that a tune imports as its children.

    With `keep`, those that come first keep what was parsed.
    """
    found = list(found)
    chunks = [found[at : at + CHUNK] for at in range(0, len(found), CHUNK)]
    looking = looking or Looking()
    looking.found, looking.is_searching = len(found), False
    kept = [keep and at < KEPT_CHUNKS for at in range(len(chunks))]
    jobs = [executor.submit(_survey_chunk, *each, options) for each in zip(chunks, kept, strict=True)]
    here: dict[int, list[Survey]] = {}
    for at in reversed(range(len(chunks))):  # this process takes from the end what the others, as they start, leave
        if not jobs[at].cancel():
            break
        here[at] = _survey_chunk(chunks[at], kept[at], options)
        looking.surveyed += len(chunks[at])
    surveys: list[Survey] = []
    for at, job in enumerate(jobs):
        surveys += here[at] if at in here else job.result()
        looking.surveyed += 0 if at in here else len(chunks[at])
    owned = {str(Path(path).resolve()) for told in surveys for path in told.children}
    return [told for told in surveys if not owned or str(Path(told.save_dir).resolve()) not in owned]


def _survey_chunk(found: Sequence[FoundRun], keep: bool, options: ImportOptions) -> list[Survey]:
    return [
        told
        for run in found
        for told in survey(run.save_dir, run.root, replace(options, root=str(run.root)), keep=keep)
    ]


def set_aside(surveys: Iterable[Survey]) -> tuple[list[Survey], list[Outcome]]:
    """The surveys to go on with, and the outcomes of those that were refused or are a copy of another.

    Of two directories with one key, that with more epochs is the training.
    """
    surveys = list(surveys)
    chosen: dict[str, Survey] = {}
    for told in surveys:
        if told.refused is None and (told.key not in chosen or chosen[told.key].epochs < told.epochs):
            chosen[told.key] = told
    kept, aside = [], []
    for told in surveys:
        if told.refused is not None:
            aside.append(Outcome(Kind.REFUSED, told.save_dir, told.refused, told.hint))
        elif chosen[told.key] is not told:
            aside.append(Outcome(Kind.DUPLICATE, told.save_dir, chosen[told.key].save_dir, key=told.key))
        else:
            kept.append(told)
    return kept, aside
