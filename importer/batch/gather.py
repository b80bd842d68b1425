"""From paths to a batch: find every run directory at or below them, select, summarize, and set duplicates apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from importer.batch.duplicates import set_apart
from importer.batch.executors import Workers
from importer.batch.selection import Selection, by_content, by_path, why_nothing
from importer.batch.summary import Progress, RunSummary, summarize_all
from importer.discover import FoundRun, find_runs
from importer.errors import RunDirError, UsageError
from importer.model import ImportOptions
from importer.read.registry import why_not
from importer.redaction import redact
from importer.replay.names import check_templates
from importer.replay.record import check_options
from importer.report import Kind, Outcome
from importer.sources.opening import PathLike, as_paths, identity_of, open_source

FEW_DIRECTORIES = 64  # up to this many are summarized before a process has started


@dataclass(frozen=True)
class Batch:
    """The directories to import or verify, and the outcomes that are settled before that begins."""

    summaries: tuple[RunSummary, ...]
    settled: tuple[Outcome, ...]
    options: ImportOptions
    none_selected: tuple[str, str | None] | None = None  # why and a hint, where the selection leaves no run
    passed_by: tuple[Path, ...] = ()  # folders whose file names look like a trainer's but that are not run directories
    roots: tuple[Path, ...] = ()  # below which the directories lie; what was unpacked lasts as long as these are kept

    @property
    def total(self) -> int:
        """How many outcomes to expect, a tune's iterations among them."""
        return sum(summary.runs for summary in self.summaries) + len(self.settled)


def gather(
    paths: PathLike | Iterable[PathLike],
    options: ImportOptions | None = None,
    selection: Selection | None = None,
    *,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> Batch:
    """Return every run directory at or below the paths that is selected, summarized. `progress` is kept up to date.

    A path that does not exist, is a file or has no run below it is settled as refused.

    Errors: UsageError for a template with an unknown field, more tags than a record holds, or one start for several
        trainings.
    """
    options, selection = options or ImportOptions(), selection or Selection()
    workers, progress = workers or Workers(), progress or Progress()
    check_templates(options)
    check_options(options)
    places = [_search(path, options, progress) for path in as_paths(paths)]
    first: dict[object, FoundRun] = {}
    for run in (run for place in places for run in place.found):
        first.setdefault(identity_of(run.save_dir), run)
    chosen = by_path(first.values(), selection)
    are_few = len(chosen) <= FEW_DIRECTORIES
    with workers.executor(1 if are_few else workers.jobs_for(len(chosen), is_server=False), threads=False) as executor:
        summaries = summarize_all(chosen, options, executor, progress)
        selected = by_content(summaries, selection)
        kept, aside = set_apart(selected, options, executor)
    check_start_time(sum(summary.runs for summary in kept), options)
    is_narrowed = len(chosen) < len(first) or len(selected) < len(summaries)
    return Batch(
        summaries=tuple(kept),
        settled=(*(place.refusal for place in places if place.refusal is not None), *aside),
        options=options,
        none_selected=why_nothing(tuple(first.values()), summaries, selection) if is_narrowed and not kept else None,
        passed_by=tuple(folder for place in places for folder in place.passed_by),
        roots=tuple(place.root for place in places if place.root is not None),
    )


def check_start_time(count: int, options: ImportOptions) -> None:
    """Check that one start is given for one training. Errors: UsageError."""
    if options.start_time_ms is not None and count > 1:
        raise UsageError(
            f"--start-time is the start of one training, and here are {count}",
            hint="import that directory by itself; for dates without a zone, give --timezone",
        )


class _Place(NamedTuple):
    """What lies at or below one path."""

    root: Path | None = None
    found: Sequence[FoundRun] = ()
    passed_by: Sequence[Path] = ()
    refusal: Outcome | None = None


def _search(path: PathLike, options: ImportOptions, progress: Progress) -> _Place:
    """Return the run directories at or below a path. A wrong path or a damaged archive stops no other."""
    found: list[FoundRun] = []
    passed_by: list[Path] = []
    try:
        root = open_source(path)
        for run in find_runs([root], follow_symlinks=options.follow_symlinks, passed_by=passed_by):
            found.append(run)
            progress.found += 1
    except RunDirError as error:
        refusal = Outcome(Kind.REFUSED, redact(str(path)), error.message, error.hint)
        return _Place(None, found, passed_by, refusal)
    return _Place(root, found, passed_by, None if found else _refusal(root, passed_by))


def _refusal(root: Path, alike: Sequence[Path]) -> Outcome:
    """Return the refusal of a path without a run; its hint names the folder there that looks most like one."""
    hint = f"{alike[0]} only looks like one: {why_not(alike[0])}" if alike and root not in alike else why_not(root)
    return Outcome(Kind.REFUSED, str(root), f"{root}: no run directory here or below", hint)
