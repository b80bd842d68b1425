"""Which of the directories that were found are meant: globs, dates, tasks, shards."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from difflib import get_close_matches
from fnmatch import fnmatch

from importer.batch.summary import RunSummary
from importer.discover import FoundRun
from importer.errors import UsageError
from importer.naming import accepted_key
from importer.report import local_time
from importer.sources.opening import below


@dataclass(frozen=True)
class Selection:
    """What is wanted; an empty field wants all."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    since_ms: int | None = None
    until_ms: int | None = None
    tasks: tuple[str, ...] = ()
    shard: tuple[int, int] | None = None  # (i, n), i from 1


def by_path(found: Iterable[FoundRun], selection: Selection) -> list[FoundRun]:
    """Those whose path, as given or below its root, matches an include glob and no exclude glob."""
    return [run for run in found if _wanted(run, selection)]


def _wanted(run: FoundRun, selection: Selection) -> bool:
    path = run.save_dir.as_posix()
    return is_named((path, below(path, run.root.as_posix()) or path, run.save_dir.name), selection)


def is_named(names: Sequence[str], selection: Selection) -> bool:
    """Whether one of the names of a run matches an include glob, if there is any, and none an exclude glob."""

    def matches(globs: Sequence[str]) -> bool:
        return any(fnmatch(name, glob) for glob in globs for name in names)

    return (not selection.include or matches(selection.include)) and not matches(selection.exclude)


def by_content(summaries: Iterable[RunSummary], selection: Selection) -> list[RunSummary]:
    """Those of the task, the dates (newest file time) and the shard that are wanted.

    What cannot be read stays in, in the shard that its place below the root gives it.
    """
    return [summary for summary in summaries if _meant(summary, selection)]


def _meant(summary: RunSummary, selection: Selection) -> bool:
    if selection.shard is not None:
        index, count = selection.shard
        if int((summary.key[:12] if summary.epochs else "") or _place(summary), 16) % count != index - 1:
            return False
    if summary.refused is not None:
        return True
    if selection.tasks and summary.task not in selection.tasks:
        return False
    if selection.since_ms is not None and summary.modified_ms < selection.since_ms:
        return False
    return selection.until_ms is None or summary.modified_ms < selection.until_ms


def _place(summary: RunSummary) -> str:
    """What the shard of a directory without a key is chosen by, in hex: the same wherever the tree is mounted."""
    path = below(summary.save_dir, summary.root) or summary.save_dir
    return hashlib.sha256(path.encode(errors="surrogateescape")).hexdigest()[:12]


def why_none(
    found: Sequence[FoundRun], summaries: Sequence[RunSummary], selection: Selection
) -> tuple[str, str | None]:
    """What is asked for that no run is, and a hint: of the runs that were found, and those of them that globs left."""
    if not summaries:
        number = f"{len(found)} run {'directory' if len(found) == 1 else 'directories'}"
        if not by_path(found, replace(selection, exclude=())):
            globs = " ".join(f"--include {glob!r}" for glob in selection.include)
            return f"{globs} matches none of {number}", f"such as {found[0].save_dir}, whose path or name is to match"
        return f"{' '.join(f'--exclude {glob!r}' for glob in selection.exclude)} leaves none of {number}", None
    given = {
        "--task": (_other_tasks, Selection(tasks=selection.tasks)),
        "--since": (_other_dates, Selection(since_ms=selection.since_ms)),
        "--until": (_other_dates, Selection(until_ms=selection.until_ms)),
        "--shard": (_other_parts, Selection(shard=selection.shard)),
    }
    asked = {name: (tell, alone) for name, (tell, alone) in given.items() if alone != Selection()}
    readable = [summary for summary in summaries if summary.refused is None]
    for tell, alone in asked.values():
        if not by_content(readable, alone):
            return tell(readable, alone)
    return f"no run is all that {', '.join(asked)} ask for", None


def _other_tasks(summaries: Sequence[RunSummary], selection: Selection) -> tuple[str, str | None]:
    there = Counter(summary.task or "unknown" for summary in summaries)
    counted = ", ".join(f"{task} {count}" for task, count in there.most_common())
    close = [near for task in selection.tasks for near in get_close_matches(task, there, n=1)]
    hint = f"did you mean --task {' --task '.join(close)}?" if close else None
    return f"no run of task {' or '.join(selection.tasks)}; there are {counted}", hint


def _other_dates(summaries: Sequence[RunSummary], selection: Selection) -> tuple[str, str | None]:
    times = [summary.modified_ms for summary in summaries]
    if selection.since_ms is not None:
        return f"no run is as young as --since asks for; the newest file is of {local_time(max(times))}", None
    return f"no run is as old as --until asks for; the oldest is of {local_time(min(times))}", None


def _other_parts(summaries: Sequence[RunSummary], selection: Selection) -> tuple[str, str | None]:
    whose = "the one run is" if len(summaries) == 1 else f"the {len(summaries)} runs are"
    return f"{whose} in other parts than that which --shard asks for", None


def parse_shard(text: str | None) -> tuple[int, int] | None:
    """`2/8` as (2, 8). Errors: UsageError."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard {text}: is no i/n", hint="write --shard 2/8 for the second of eight")
    return int(match[1]), int(match[2])


def parse_time(text: str | None, option: str) -> int | None:
    """A date, a date and time, or ms since the Unix epoch, in ms; local time where no zone is given.

    Errors: UsageError.
    """
    if text is None:
        return None
    try:
        if text.isascii() and text.isdigit() and len(text) >= 12:
            ms = int(text)
            datetime.fromtimestamp(ms / 1000, timezone.utc)
        else:
            ms = round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"{option} {text!r}: is no date", hint="write 2024-03-01 or 2024-03-01T12:30+01:00") from error
    if ms <= 0:
        raise UsageError(f"{option} {text!r}: is before 1970, which MLflow cannot hold")
    return ms


def parse_size(text: str | None) -> int | None:
    """`200MB`, `1.5 GB` or `4096` in bytes. Errors: UsageError."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]+)?)\s*([kKMGT]?)i?[bB]?", text.strip())
    if match is None:
        raise UsageError(f"--max-artifact-size {text}: is no size", hint="write 200MB or 1.5GB")
    return int(float(match[1]) * 1000 ** " KMGT".index(match[2].upper() or " "))


def parse_tags(texts: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """`k=v` pairs. Errors: UsageError when there is no `=`, or the name is ymlf's or MLflow's own."""
    pairs = []
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"--tag {text!r}: has no name and value", hint="write --tag name=value")
        if key.startswith(("ymlf.", "mlflow.parentRunId", "mlflow.runName", "mlflow.note.content")):
            raise UsageError(f"--tag {key}: that name is taken", hint="choose a name of your own")
        if accepted_key(key) != key:
            raise UsageError(
                f"--tag {key[:80]!r}: MLflow refuses that name",
                hint="letters, digits, `_`, `-`, `.`, `/`, `:` and blanks, 250 at most",
            )
        pairs.append((key, value))
    return tuple(pairs)
