"""Runs that the live callback logged: which are of this training, and whether they hold all that it logs. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from importer.model import ImportPlan, MetricPoint
from importer.read.epochs import release
from importer.read.fitness import BEST
from importer.replay.callbacks import on_train_end
from importer.replay.identity import REWRITTEN
from importer.write.bulk import LARGEST
from importer.write.lookup import RUNNING, LiveRun, Points

LIVE_REL, LIVE_ABS = 1e-4, 1e-5  # results.csv keeps five or six digits of what live logged
SAME_START_MS = 10_000  # between the callback's clock and that of the directory
RETRAINED = 2  # last epochs of a crashed run that its resume may have trained again
SINGLE_KEYS = 3  # series that have to agree where there is one epoch to compare
FIRST_ARTIFACTS = (8, 0, 198)  # before, other files were logged, and params not always
FIRST_TRAIN_KEYS = (8, 1, 10)  # before, the callback of train/ and lr/ was not registered
TRAIN = ("train/", "lr/")
NEEDED_ARTIFACTS = ("args.yaml", "results.csv", "results.png", "weights/best.pt", "weights/last.pt")


@dataclass(frozen=True)
class LiveCoverage:
    """The live runs of one training, and what of it they lack; whole when `missing` is empty."""

    runs: tuple[LiveRun, ...]  # by time; the last is the one to be completed
    missing: tuple[str, ...] = ()


def judge_live_runs(candidates: Iterable[LiveRun], plan: ImportPlan, *, in_full: bool = False) -> LiveCoverage | None:
    """Return the live runs of the training of a plan, judged together, for a crash and a resume make two; or None.

    With `in_full`, each param and artifact counts, else only those that no whole run lacks.

    Source: ultralytics/utils/callbacks/mlflow.py, 8.0.59 to 8.4.190.
    """
    runs = [run for run in candidates if is_of_plan(run, plan) or (in_full and _has_begun(run, plan))]
    if not runs:
        return None
    missing = [*_missing_points(runs, plan, in_full=in_full)]
    version = plan.run.version
    if plan.run.family == "ultralytics" and (not version or release(version) >= FIRST_ARTIFACTS):
        params = {key for run in runs for key in run.params}
        if not params or (in_full and plan.params.keys() - params):
            missing.append(f"{len(plan.params.keys() - params)} params" if params else "params")
        logged = {file.path for file in on_train_end(plan.run.files)}
        there = {path for run in runs for path in run.artifacts}
        needed = [artifact.artifact_path for artifact in plan.artifacts] if in_full else NEEDED_ARTIFACTS
        lacking = [path for path in needed if path in logged and path not in there]
        if lacking and plan.status == "FINISHED":  # a training that did not end has no artifacts in the store
            missing.append(f"artifacts {', '.join(lacking)}")

    def begin(run: LiveRun) -> tuple[int, int, str]:
        first = min((step for by_step in run.points.values() for step in by_step), default=0)
        return first, run.started_ms, run.run_id

    return LiveCoverage(tuple(sorted(runs, key=begin)), tuple(missing))


def is_of_plan(run: LiveRun, plan: ImportPlan) -> bool:
    """Whether a live run is of the training of a plan: no param contradicts, and its curves agree.

    The last epochs may differ where the plan goes on after them: a resume trained them again.
    """
    kept = plan.params.keys() & run.params.keys() - REWRITTEN
    if any(_contradict(run.params[key], plan.params[key]) for key in kept):
        return False
    ours = _values(plan)
    last = max((step for by_step in ours.values() for step in by_step), default=0)
    compared = {key: by_step for key, by_step in run.points.items() if key in ours and not key.startswith("lr/")}
    steps = (step for key, by_step in compared.items() if key.startswith(("train/", "val/")) for step in by_step)
    live_last = max(steps, default=0)
    if live_last > last and plan.status == "FINISHED":
        return False  # a longer training, with the same first epochs
    counts = [0]  # of the values of each metric that agree
    for key, by_step in compared.items():
        settled = [step for step in by_step if step in ours[key]]
        if live_last < last:
            settled = [step for step in settled if step <= live_last - RETRAINED] or settled[:1]
        if not all(_agree(ours[key][step], by_step[step]) for step in settled):
            return False
        counts.append(len({ours[key][step] for step in settled if ours[key][step] and not math.isnan(ours[key][step])}))
    save_dir = plan.run.args.get("save_dir")
    has_place = save_dir is not None and run.params.get("save_dir") == str(save_dir)
    return max(counts) > 1 or sum(map(bool, counts)) >= (1 if has_place else SINGLE_KEYS)


def _has_begun(run: LiveRun, plan: ImportPlan) -> bool:
    """Return whether a run without points is of the training of a plan: it has its args and began at its time."""
    is_near = abs(run.started_ms - plan.timeline.started_ms) <= SAME_START_MS
    shared = plan.params.keys() & run.params.keys()
    return not run.points and is_near and bool(shared) and all(run.params[key] == plan.params[key] for key in shared)


def why_not_completed(run: LiveRun, plan: ImportPlan) -> str | None:
    """Return the first value or file of a live run that the directory has otherwise, or None.

    Of a run that is RUNNING, a file of another size was cut off while it was uploaded.
    """
    if why := first_disagreement(run.points, plan):
        return why
    steps = (step for key, by_step in run.points.items() if key.startswith(("train/", "val/")) for step in by_step)
    if (last := max(steps, default=-1)) > plan.run.epochs.last_step:
        return f"step {last} is in the store and not in the directory"
    for path, size, _ in plan.artifacts if run.status != RUNNING else ():
        if run.artifacts.get(path, size) != size:
            return f"{path}: directory has {size} bytes, store has {run.artifacts[path]}"
    return None


def why_edited(run: LiveRun, plan: ImportPlan) -> str | None:
    """Return the first value in which a run differs that begins as the training of a plan does; None of any other."""
    steps = [point.step for point, live in differences(run.points, plan) if live]
    if not steps:
        return None
    start = {key: {at: live for at, live in series.items() if at < min(steps)} for key, series in run.points.items()}
    return first_disagreement(run.points, plan) if is_of_plan(replace(run, points=start), plan) else None


def first_disagreement(points: Points, plan: ImportPlan) -> str | None:
    """Return the first value that live logged otherwise than the directory has it, in words, or None."""
    for point, live in differences(points, plan):
        if live:
            return f"{point.key} at step {point.step}: directory has {point.value}, store has {live[0]}"
    return None


def differences(points: Points, plan: ImportPlan) -> Iterator[tuple[MetricPoint, Sequence[float]]]:
    """Yield each point of a plan that a live run lacks or has otherwise, with the values that it has at that step."""
    for point in plan.points:
        live = points.get(point.key, {}).get(point.step, ())
        if not live or not _agree(point.value, live):
            yield point, () if point.key.startswith(BEST) else live  # which ymlf logs, each best at step 0


def is_being_logged(runs: Iterable[LiveRun], now_ms: int, quiet_ms: float) -> bool:
    """Return whether the callback seems to be at one of the runs still: it is RUNNING, and has a new point."""
    return any(run.status == RUNNING and -quiet_ms <= now_ms - run.newest_ms <= quiet_ms for run in runs)


def _contradict(live: str, ours: str) -> bool:
    """Whether two values of a param are numbers or switches that differ; paths and lists are written in many ways."""
    if {live, ours} <= {"True", "False"}:
        return live != ours
    try:
        return float(live) != float(ours)
    except ValueError:
        return False


def _values(plan: ImportPlan) -> dict[str, dict[int, float]]:
    """Return the values of the epochs, without the final validation and what only ymlf logs."""
    values: dict[str, dict[int, float]] = {}
    for point in plan.points:
        if point.step <= plan.run.epochs.last_step and not point.key.startswith(BEST):
            values.setdefault(point.key, {})[point.step] = point.value
    return values


def same_value(ours: float, stored: float) -> bool:
    """Whether a stored value is ours: nan is nan, and an infinity may have become the largest double."""
    if math.isnan(ours):
        return math.isnan(stored)
    return ours == stored or (math.isinf(ours) and stored == math.copysign(LARGEST, ours))


def _agree(ours: float, live: Sequence[float]) -> bool:
    """Whether one of the values that live logged at a step is ours, as far as results.csv tells."""
    return any(same_value(ours, at) or math.isclose(ours, at, rel_tol=LIVE_REL, abs_tol=LIVE_ABS) for at in live)


def _missing_points(runs: Iterable[LiveRun], plan: ImportPlan, *, in_full: bool) -> Iterable[str]:
    expected = _values(plan)
    if plan.run.version is not None:
        has_train_keys = release(plan.run.version) >= FIRST_TRAIN_KEYS
    else:
        is_new = plan.run.epochs.seconds is not None
        has_train_keys = is_new or any(key.startswith(TRAIN) for run in runs for key in run.points)
    if not has_train_keys:
        expected = {key: values for key, values in expected.items() if not key.startswith(TRAIN)}
    last = plan.run.epochs.last_step
    lacking: dict[int, set[str]] = {}
    for key, values in expected.items():
        there = {step for run in runs for step in run.points.get(key, ())}
        for step in values:
            # A crash may come between an epoch's row and its last call, which is not that of train/ and lr/.
            is_last_call = step == last and plan.status != "FINISHED" and not (in_full and key.startswith(TRAIN))
            if step not in there and not is_last_call:
                lacking.setdefault(step, set()).add(key)
    whole = [step for step, keys in lacking.items() if len(keys) == len(expected)]
    if whole:
        yield f"steps {_ranges(whole)}"
    for key in sorted({key for step, keys in lacking.items() if step not in whole for key in keys}):
        yield f"{key} at steps {_ranges([step for step, keys in lacking.items() if key in keys])}"


def _ranges(steps: Iterable[int]) -> str:
    """Return steps in words: `0 to 3, 7`."""
    spans: list[list[int]] = []
    for step in sorted(steps):
        if spans and step == spans[-1][1] + 1:
            spans[-1][1] = step
        else:
            spans.append([step, step])
    return ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in spans)
