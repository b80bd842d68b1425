"""Of several directories that hold one training, one is imported; which, and which trainings a tune brings along."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial

from importer.batch.summary import RunSummary, read_summarized, resolved
from importer.errors import YmlfError
from importer.model import ImportOptions
from importer.record import Evidence
from importer.replay.identity import compare_trainings, evidence_of
from importer.report import Kind, Outcome
from importer.write.decision import ONE_TRAINING


def set_apart(
    summaries: Iterable[RunSummary], options: ImportOptions, executor: Executor
) -> tuple[list[RunSummary], list[Outcome]]:
    """Return the summaries to go on with, and the outcomes of those that were refused or are a copy of another.

    A training that a tune imports as its iteration is not listed; a tune that is a copy gives up its iterations.
    """
    summaries = list(summaries)
    aside = [
        Outcome(Kind.REFUSED, summary.save_dir, summary.refused, summary.hint)
        for summary in summaries
        if summary.refused is not None
    ]
    readable = [summary for summary in summaries if summary.refused is None]
    tunes = [summary for summary in readable if summary.family == "tune"]
    evidence = _evidence(tunes, options, executor)
    copies = _copies(tunes, evidence, claimed=set())
    claimed = resolved(path for tune in tunes if id(tune) not in copies for path in tune.children)
    others = [summary for summary in readable if summary.family != "tune"]
    taken = {id(summary) for summary in others if claimed and not resolved([summary.save_dir]).isdisjoint(claimed)}
    copies |= _copies(others, _evidence(others, options, executor), claimed=taken)
    aside += [
        Outcome(Kind.DUPLICATE, summary.save_dir, copies[id(summary)].save_dir, key=summary.key)
        for summary in readable
        if id(summary) in copies and id(summary) not in taken
    ]
    return [summary for summary in readable if id(summary) not in copies and id(summary) not in taken], aside


def _evidence(
    summaries: Sequence[RunSummary], options: ImportOptions, executor: Executor
) -> dict[int, Evidence | None]:
    """Return the evidence of each summary that shares its key with another, by its id()."""
    groups = _by_key(summaries)
    sharing = [summary for group in groups.values() if len(group) > 1 for summary in group]
    found = executor.map(partial(_read_evidence, options=options), sharing, chunksize=4)
    return {id(summary): evidence for summary, evidence in zip(sharing, found, strict=True)}


def _read_evidence(summary: RunSummary, options: ImportOptions) -> Evidence | None:
    """Return the evidence of a directory; None where it cannot be read any more, which its import will say."""
    try:
        return evidence_of(read_summarized(summary, options))
    except YmlfError:
        return None


def _by_key(summaries: Iterable[RunSummary]) -> dict[str, list[RunSummary]]:
    groups: dict[str, list[RunSummary]] = {}
    for summary in summaries:
        groups.setdefault(summary.key, []).append(summary)
    return groups


def _copies(
    summaries: Sequence[RunSummary], evidence: Mapping[int, Evidence | None], *, claimed: set[int]
) -> dict[int, RunSummary]:
    """Return, by its id(), each summary that is a copy, and the one that it is a copy of.

    The one with more rows is imported; of equal ones the one with more files, then the one with believable file times.
    """
    copies: dict[int, RunSummary] = {}
    for group in _by_key(summaries).values():
        kept: list[tuple[RunSummary, Evidence]] = []
        for summary in sorted(group, key=lambda each: _rank(each, evidence.get(id(each)), claimed)):
            ours = evidence.get(id(summary))
            if ours is None:
                continue
            original = next((other for other, theirs in kept if _is_one(ours, theirs)), None)
            if original is not None:
                copies[id(summary)] = original
            else:
                kept.append((summary, ours))
    return copies


def _rank(summary: RunSummary, evidence: Evidence | None, claimed: set[int]) -> tuple[bool, int, int, bool]:
    rows = evidence.rows if evidence is not None else 0
    return id(summary) not in claimed, -rows, -summary.files, not summary.file_times_believed


def _is_one(ours: Evidence, theirs: Evidence) -> bool:
    return compare_trainings(ours, theirs, in_place=False).match in ONE_TRAINING
