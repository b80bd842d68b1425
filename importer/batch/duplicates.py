"""Choose which of several directories that hold one training is imported, and which trainings a tune brings along."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

from importer.batch.summary import RunSummary, read_summarized
from importer.errors import YmlfError
from importer.model import ImportOptions
from importer.record import Evidence
from importer.replay.identity import compare_trainings, evidence_of
from importer.report import Kind, Outcome
from importer.write.decision import ONE_TRAINING


def set_apart(
    summaries: Sequence[RunSummary], options: ImportOptions, executor: Executor
) -> tuple[list[RunSummary], list[Outcome]]:
    """Return the summaries to import, and the outcomes of those that were refused or are a copy of another.

    A training that a tune imports as its iteration is not listed; a tune that is a copy gives up its iterations.
    """
    refusals = [
        Outcome(Kind.REFUSED, summary.save_dir, summary.refused, summary.hint)
        for summary in summaries
        if summary.refused is not None
    ]
    readable = [summary for summary in summaries if summary.refused is None]
    tunes = [summary for summary in readable if summary.family == "tune"]
    others = [summary for summary in readable if summary.family != "tune"]
    copies = _copies(tunes, _evidence(tunes, options, executor), claimed=set())
    claimed_dirs = {_real(path) for tune in tunes if tune not in copies for path in tune.children}
    claimed = {summary for summary in others if claimed_dirs and _real(summary.save_dir) in claimed_dirs}
    copies |= _copies(others, _evidence(others, options, executor), claimed)
    duplicates = [
        Outcome(Kind.DUPLICATE, summary.save_dir, copies[summary].save_dir, key=summary.key)
        for summary in readable
        if summary in copies and summary not in claimed
    ]
    kept = [summary for summary in readable if summary not in copies and summary not in claimed]
    return kept, refusals + duplicates


def _real(path: str) -> str:
    return str(Path(path).resolve())


def _evidence(
    summaries: Sequence[RunSummary], options: ImportOptions, executor: Executor
) -> dict[RunSummary, Evidence | None]:
    """Return the evidence of each summary that shares its key with another."""
    sharing = [summary for group in _by_key(summaries) if len(group) > 1 for summary in group]
    evidence = executor.map(partial(_read_evidence, options=options), sharing, chunksize=4)
    return dict(zip(sharing, evidence, strict=True))


def _read_evidence(summary: RunSummary, options: ImportOptions) -> Evidence | None:
    """Return the evidence of a directory; None where it cannot be read any more, which its import will say."""
    try:
        return evidence_of(read_summarized(summary, options))
    except YmlfError:
        return None


def _by_key(summaries: Iterable[RunSummary]) -> list[list[RunSummary]]:
    groups: dict[str, list[RunSummary]] = {}
    for summary in summaries:
        groups.setdefault(summary.key, []).append(summary)
    return list(groups.values())


def _copies(
    summaries: Sequence[RunSummary], evidence: Mapping[RunSummary, Evidence | None], claimed: set[RunSummary]
) -> dict[RunSummary, RunSummary]:
    """Return each summary that is a copy, with the one that it is a copy of.

    The one with more rows is imported; of equal ones the one with more files, then the one with believable file times.
    """

    def rank(summary: RunSummary) -> tuple[bool, int, int, bool]:
        own = evidence.get(summary)
        rows = own.rows if own is not None else 0
        return summary not in claimed, -rows, -summary.files, not summary.file_times_believed

    copies: dict[RunSummary, RunSummary] = {}
    for group in _by_key(summaries):
        originals: list[tuple[RunSummary, Evidence]] = []
        for summary in sorted(group, key=rank):
            own = evidence.get(summary)
            if own is None:
                continue
            original = next((other for other, theirs in originals if _is_one(own, theirs)), None)
            if original is not None:
                copies[summary] = original
            else:
                originals.append((summary, own))
    return copies


def _is_one(own: Evidence, theirs: Evidence) -> bool:
    return compare_trainings(own, theirs, in_place=False).match in ONE_TRAINING
