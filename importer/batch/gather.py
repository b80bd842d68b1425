"""From paths to a batch: find every run directory at or below them, select, summarize, and set duplicates apart."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from importer.batch.executors import Workers
from importer.batch.selection import Selection, by_path, is_selected, why_nothing
from importer.batch.summary import Progress, RunSummary, read_summarized, summarize_all
from importer.errors import RunDirError, UsageError, WorkerError, YmlfError
from importer.model import ImportOptions, RunPath
from importer.read.discover import FoundRun, find_runs
from importer.read.registry import why_not
from importer.record import Evidence
from importer.redaction import redact
from importer.replay.identity import compare_trainings, evidence_of
from importer.replay.names import check_templates
from importer.replay.record import check_options
from importer.report import Kind, Outcome
from importer.sources.opening import PathLike, as_paths, identity_of, open_source
from importer.write.decision import ONE_TRAINING

MEMORY = "is there enough memory? -j 1 reads one directory at a time"
FEW_DIRECTORIES = 64  # up to this many are summarized before a process has started


@dataclass(frozen=True)
class Batch:
    """The directories to import or verify, and the outcomes that are settled before that begins."""

    summaries: tuple[RunSummary, ...]
    settled: tuple[Outcome, ...]
    options: ImportOptions
    none_selected: tuple[str, str | None] | None = None  # why and a hint, where the selection leaves no run
    passed_by: tuple[RunPath, ...] = ()  # folders that look like run directories and are not
    roots: tuple[RunPath, ...] = ()  # above the directories; what was unpacked lasts as long as these are kept

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
    """Return every run directory at or below the paths that is selected, summarized; a path without one is refused.

    Errors: UsageError for a template with an unknown field, too many tags, or one start for several trainings;
        WorkerError when a process dies.
    """
    options, selection = options or ImportOptions(), selection or Selection()
    workers, progress = workers or Workers(), progress or Progress()
    check_templates(options)
    check_options(options)
    places = [_search(path, options, progress) for path in as_paths(paths)]
    found: dict[str, FoundRun] = {}
    for run in (run for place in places for run in place.found):
        found.setdefault(identity_of(run.save_dir), run)
    chosen = by_path(found.values(), selection)
    jobs = 1 if len(chosen) <= FEW_DIRECTORIES else workers.jobs_for(len(chosen), is_server=False)
    try:
        with workers.executor(jobs, threads=False) as executor:
            summaries = summarize_all(chosen, options, executor, progress)
            selected = [summary for summary in summaries if is_selected(summary, selection)]
            kept, aside = _set_apart(selected, options, executor)
    except BrokenProcessPool as error:
        raise WorkerError("a worker died while it read run directories", hint=MEMORY) from error
    check_start_time(sum(summary.runs for summary in kept), options)
    is_narrowed = len(chosen) < len(found) or len(selected) < len(summaries)
    return Batch(
        summaries=tuple(kept),
        settled=(*(place.refusal for place in places if place.refusal is not None), *aside),
        options=options,
        none_selected=why_nothing(tuple(found.values()), summaries, selection) if is_narrowed and not kept else None,
        passed_by=tuple(folder for place in places for folder in place.passed_by),
        roots=tuple(place.root for place in places if place.root is not None),
    )


def check_start_time(count: int, options: ImportOptions) -> None:
    """Check that one start is given for one training. Errors: UsageError."""
    if options.start_time_ms is not None and count > 1:
        hint = "import that directory by itself; for dates without a zone, give --timezone"
        raise UsageError(f"--start-time is the start of one training, and here are {count}", hint=hint)


class _Place(NamedTuple):
    """What lies at or below one path."""

    root: RunPath | None = None
    found: Sequence[FoundRun] = ()
    passed_by: Sequence[RunPath] = ()
    refusal: Outcome | None = None


def _search(path: PathLike, options: ImportOptions, progress: Progress) -> _Place:
    """Return the run directories at or below a path. A wrong path or a damaged archive stops no other."""
    found: list[FoundRun] = []
    alike: list[RunPath] = []
    try:
        root = open_source(path)
        for run in find_runs([root], follow_symlinks=options.follow_symlinks, passed_by=alike):
            found.append(run)
            progress.found += 1
    except RunDirError as error:
        return _Place(None, found, alike, Outcome(Kind.REFUSED, redact(str(path)), error.message, error.hint))
    if found:
        return _Place(root, found, alike)
    hint = f"{alike[0]} only looks like one: {why_not(alike[0])}" if alike and root not in alike else why_not(root)
    return _Place(root, (), alike, Outcome(Kind.REFUSED, str(root), f"{root}: no run directory here or below", hint))


def _set_apart(
    summaries: Sequence[RunSummary], options: ImportOptions, executor: Executor
) -> tuple[list[RunSummary], list[Outcome]]:
    """Return the summaries to import, and the outcomes of those that were refused or are a copy of another.

    A training that a tune imports as its iteration is not listed; a tune that is a copy gives up its iterations.
    """
    tunes = [summary for summary in summaries if summary.refused is None and summary.family == "tune"]
    others = [summary for summary in summaries if summary.refused is None and summary.family != "tune"]
    copies = _copies(tunes, options, executor)
    iteration_dirs = {os.path.realpath(path) for tune in tunes if tune not in copies for path in tune.children}
    iterations = {each for each in others if iteration_dirs and os.path.realpath(each.save_dir) in iteration_dirs}
    copies |= _copies(others, options, executor, preferred=iterations)
    aside = [Outcome(Kind.REFUSED, each.save_dir, each.refused, each.hint) for each in summaries if each.refused]
    listed = [summary for summary in summaries if summary.refused is None and summary not in iterations]
    duplicates = [(each, copies[each]) for each in listed if each in copies]
    aside += [Outcome(Kind.DUPLICATE, copy.save_dir, original.save_dir, key=copy.key) for copy, original in duplicates]
    return [summary for summary in listed if summary not in copies], aside


def _copies(
    summaries: Sequence[RunSummary], options: ImportOptions, executor: Executor, preferred: Collection[RunSummary] = ()
) -> dict[RunSummary, RunSummary]:
    """Return each summary that is a copy, with the one that it is a copy of.

    The one with more rows is imported; of equal ones the one with more files, then the one with believable file times.
    """
    keys = Counter(summary.key for summary in summaries)
    alike = [summary for summary in summaries if keys[summary.key] > 1]
    read = executor.map(partial(_read_evidence, options=options), alike, chunksize=4)
    evidence = {summary: own for summary, own in zip(alike, read, strict=True) if own is not None}

    def rank(summary: RunSummary) -> tuple[bool, int, int, bool]:
        return summary not in preferred, -evidence[summary].rows, -summary.files, not summary.file_times_believed

    copies: dict[RunSummary, RunSummary] = {}
    originals: dict[str, list[RunSummary]] = defaultdict(list)
    for summary in sorted(evidence, key=rank):
        for original in originals[summary.key]:
            match = compare_trainings(evidence[summary], evidence[original], in_place=False).match
            if match in ONE_TRAINING:
                copies[summary] = original
                break
        else:
            originals[summary.key].append(summary)
    return copies


def _read_evidence(summary: RunSummary, options: ImportOptions) -> Evidence | None:
    """Return the evidence of a directory; None where it cannot be read any more, which its import will say."""
    try:
        return evidence_of(read_summarized(summary, options))
    except YmlfError:
        return None
