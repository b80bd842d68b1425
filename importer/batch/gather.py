"""Paths to work: every run directory at or below them that is selected, surveyed, and what is settled by that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from importer.batch.duplicates import set_apart
from importer.batch.executors import local_executor
from importer.batch.selection import Selection, by_content, by_path, why_none
from importer.batch.summary import Looking, RunSummary, summarize_all
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
class Work:
    """What a batch is about: the directories to go on with, and the outcomes that are settled before it begins."""

    summaries: tuple[RunSummary, ...]
    settled: tuple[Outcome, ...]
    options: ImportOptions
    none_selected: tuple[str, str | None] | None = None  # why and a hint, where runs were found and none is meant
    passed_by: tuple[Path, ...] = ()  # folders with files that are called as a trainer's are, and are none
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
    jobs: int = 1,
    looking: Looking | None = None,
    store_follows: bool = False,
) -> Work:
    """Every run directory at or below the paths that is selected, summarized.

    Many are summarized by `jobs` processes. Meanwhile `looking` is kept up to date. `store_follows` says that an import
    or a verification comes next.

    A path that does not exist, is a file or has no run below it is settled as refused.

    Errors: UsageError for a template with an unknown field, more tags than a record holds, or one start for several
        trainings.
    """
    options = options or ImportOptions()
    selection = selection or Selection()
    check_templates(options)
    check_options(options)
    looking = looking or Looking()
    found, settled, passed_by, roots = _find(as_paths(paths), options, looking)
    first: dict[object, FoundRun] = {}
    for run in found:
        first.setdefault(identity_of(run.save_dir), run)
    chosen = by_path(first.values(), selection)
    jobs = jobs if len(chosen) > FEW_DIRECTORIES else 1
    with local_executor(jobs, threads=False, with_mlflow=store_follows) as executor:
        summaries = summarize_all(chosen, options, executor, looking)
        selected = by_content(summaries, selection)
        kept, aside = set_apart(selected, options, executor)
    check_start_time(sum(summary.runs for summary in kept), options)
    is_narrowed = len(chosen) < len(first) or len(selected) < len(summaries)
    none_selected = why_none(tuple(first.values()), summaries, selection) if is_narrowed and not kept else None
    return Work(tuple(kept), (*settled, *aside), options, none_selected, passed_by, roots)


def check_start_time(count: int, options: ImportOptions) -> None:
    """Errors: UsageError when one start is given for more than one training."""
    if options.start_time_ms is not None and count > 1:
        raise UsageError(
            f"--start-time is the start of one training, and here are {count}",
            hint="import that directory by itself; for dates without a zone, give --timezone",
        )


def _find(
    paths: Iterable[PathLike], options: ImportOptions, looking: Looking
) -> tuple[list[FoundRun], list[Outcome], tuple[Path, ...], tuple[Path, ...]]:
    """The run directories, the refusals of paths that have none, the folders that only look like one, and the roots."""
    found: list[FoundRun] = []
    settled: list[Outcome] = []
    passed_by: list[Path] = []
    roots: list[Path] = []
    for path in paths:
        before, passed = len(found), len(passed_by)
        try:
            root = open_source(path)
            for run in find_runs([root], follow_symlinks=options.follow_symlinks, passed_by=passed_by):
                found.append(run)
                looking.found += 1
        except RunDirError as error:  # a path that is wrong or an archive that is damaged stops no other
            settled.append(Outcome(Kind.REFUSED, redact(str(path)), error.message, error.hint))
            continue
        if len(found) == before:
            settled.append(_nothing_there(root, passed_by[passed:]))
        roots.append(root)
    return found, settled, tuple(passed_by), tuple(roots)


def _nothing_there(root: Path, alike: Sequence[Path]) -> Outcome:
    """The refusal of a path without a run, and of what is there that which looks most like one."""
    hint = f"{alike[0]} only looks like one: {why_not(alike[0])}" if alike and root not in alike else why_not(root)
    return Outcome(Kind.REFUSED, str(root), f"{root}: no run directory here or below", hint)
