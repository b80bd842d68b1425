"""Select from the directories that were found: by globs, dates, tasks and shards."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from difflib import get_close_matches
from fnmatch import fnmatch

from importer.batch.summary import RunSummary
from importer.errors import UsageError
from importer.naming import accepted_key
from importer.read.discover import FoundRun
from importer.read.tune import TASKS
from importer.report import local_time
from importer.sources.opening import below


@dataclass(frozen=True)
class Selection:
    """What to import; an empty field selects all."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    since_ms: int | None = None
    until_ms: int | None = None
    tasks: tuple[str, ...] = ()
    shard: tuple[int, int] | None = None  # (i, n), i from 1


def by_path(found: Iterable[FoundRun], selection: Selection) -> list[FoundRun]:
    """Return those whose path, as given or below its root, or name matches an include glob and no exclude glob."""

    def names(run: FoundRun) -> tuple[str, str, str]:
        path = run.save_dir.as_posix()
        return path, below(path, run.root.as_posix()) or path, run.save_dir.name

    return [run for run in found if is_named(names(run), selection)]


def is_named(names: Sequence[str], selection: Selection) -> bool:
    """Return whether one of a run's names matches an include glob, if there is any, and no name an exclude glob."""

    def matches(globs: Sequence[str]) -> bool:
        return any(fnmatch(name, glob) for glob in globs for name in names)

    return (not selection.include or matches(selection.include)) and not matches(selection.exclude)


def is_selected(summary: RunSummary, selection: Selection) -> bool:
    """Return whether a directory is of the task, the dates (newest file time) and the shard that are selected.

    A directory that cannot be read stays in. Its place below the root gives it a shard, as one without epochs.
    """
    if selection.shard is not None:
        index, count = selection.shard
        path = below(summary.save_dir, summary.root) or summary.save_dir  # the same wherever the tree is mounted
        digest = (summary.key if summary.epochs else "") or hashlib.sha256(
            path.encode(errors="surrogateescape")
        ).hexdigest()
        if int(digest[:12], 16) % count != index - 1:
            return False
    if summary.refused is not None:
        return True
    if selection.tasks and summary.task not in selection.tasks:
        return False
    if selection.since_ms is not None and summary.modified_ms < selection.since_ms:
        return False
    return selection.until_ms is None or summary.modified_ms < selection.until_ms


def why_nothing(
    found: Sequence[FoundRun], summaries: Sequence[RunSummary], selection: Selection
) -> tuple[str, str | None]:
    """Return which options leave no run, with a count by task of what there is, and a hint where globs leave none."""
    times = {"--since": selection.since_ms, "--until": selection.until_ms}
    options = [f"--include {glob!r}" for glob in selection.include]
    options += [f"--exclude {glob!r}" for glob in selection.exclude]
    options += [f"--task {task}" for task in selection.tasks]
    options += [f"{name} {local_time(ms)}" for name, ms in times.items() if ms is not None]
    options += [f"--shard {index}/{count}" for index, count in filter(None, [selection.shard])]
    words = f"{' '.join(options)} leaves none of {len(found)} run director{'y' if len(found) == 1 else 'ies'}"
    if not summaries:
        return words, f"such as {found[0].save_dir}, whose path or name is to match"
    readable = [summary for summary in summaries if summary.refused is None]
    tasks = Counter(summary.task or "unknown" for summary in readable).most_common()
    dates = sorted(local_time(summary.modified_ms) for summary in readable)
    counts = ", ".join(f"{task} {count}" for task, count in tasks)
    return f"{words}: {counts}, last changed {dates[0]} to {dates[-1]}" if readable else words, None


def parse_tasks(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the tasks. Errors: UsageError for a word that is no task of YOLO."""
    tasks = tuple(texts)
    for task in tasks:
        if task not in TASKS:
            close = get_close_matches(task.lower(), TASKS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"the tasks are {', '.join(TASKS)}"
            raise UsageError(f"--task {task}: no such task", hint=hint)
    return tasks


def parse_shard(text: str | None) -> tuple[int, int] | None:
    """Return `2/8` as (2, 8). Errors: UsageError."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard {text}: is no i/n", hint="write --shard 2/8 for the second of eight")
    return int(match[1]), int(match[2])


def parse_time(text: str | None, option: str) -> int | None:
    """Return a date, a date and time, or ms since 1970, in ms; local time without a zone. Errors: UsageError."""
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
    """Return `200MB`, `1.5 GB` or `4096` in bytes. Errors: UsageError."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]+)?)\s*([kKMGT]?)i?[bB]?", text.strip())
    if match is None:
        raise UsageError(f"--max-artifact-size {text}: is no size", hint="write 200MB or 1.5GB")
    return int(float(match[1]) * 1000 ** " KMGT".index(match[2].upper() or " "))


def parse_tags(texts: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return `k=v` pairs. Errors: UsageError when there is no `=`, or the name is ymlf's or MLflow's own."""
    pairs = []
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"--tag {text!r}: has no name and value", hint="write --tag name=value")
        if key.startswith(("ymlf.", "mlflow.parentRunId", "mlflow.runName", "mlflow.note.content")):
            raise UsageError(f"--tag {key}: that name is taken", hint="choose a name of your own")
        if accepted_key(key) != key:
            hint = "letters, digits, `_`, `-`, `.`, `/`, `:` and blanks, 250 at most"
            raise UsageError(f"--tag {key[:80]!r}: MLflow refuses that name", hint=hint)
        pairs.append((key, value))
    return tuple(pairs)
