"""ImportPlan against what the store holds, point by point."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from importer.model import Artifact, ImportPlan
from importer.naming import MAX_TAG_VALUE
from importer.read.fitness import of_former_best
from importer.replay.record import load_record
from importer.store.failures import failures
from importer.store.store import Store
from importer.write.artifacts import is_local, list_artifacts, spooled
from importer.write.lookup import (
    COMPLETE,
    FINGERPRINT,
    IMPORT_ID,
    KEY,
    OURS,
    PARENT,
    RECORD,
    SOURCE,
    STATE,
    by_key_and_step,
    same_value,
    stored_points,
)

if TYPE_CHECKING:
    from mlflow.entities import Run


NOTE = "mlflow.note.content"


class Mismatch(NamedTuple):
    """One thing that the store does not hold as the directory says."""

    what: str  # param, metric, status, start_time, end_time, run_name, tag, artifact
    name: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{f'{self.what} {self.name}'.rstrip()}: expected {self.expected}, found {self.found}"


def compare(
    store: Store, plan: ImportPlan, run: Run, *, deep: bool | None = None, parent_run_id: str | None = None
) -> list[Mismatch]:
    """Every difference between a plan and the run that it was written to; `deep` hashes each artifact's bytes.

    Errors: StoreError when the store cannot be read.
    """
    deep = is_local(run.info.artifact_uri) if deep is None else deep
    return [
        *_compare_facts(plan, run, parent_run_id),
        *_compare_params(plan, run),
        *_compare_metrics(store, plan, run),
        *_compare_artifacts(store, plan, run, deep),
    ]


def _compare_facts(plan: ImportPlan, run: Run, parent_run_id: str | None) -> Iterator[Mismatch]:
    facts = [
        ("status", "", "RUNNING" if plan.keep_active else plan.status, run.info.status),
        ("start_time", "", plan.timeline.started_ms, run.info.start_time),
        ("run_name", "", plan.run_name, run.info.run_name),
    ]
    if not plan.keep_active:
        facts.append(("end_time", "", plan.timeline.ended_ms, run.info.end_time))
    tags = {**OURS, **plan.tags, KEY: plan.key, FINGERPRINT: plan.fingerprint, STATE: COMPLETE}
    del tags[NOTE]  # the UI lets people write on in it
    if parent_run_id is not None:
        tags[PARENT] = parent_run_id
    facts += [("tag", key, value[:MAX_TAG_VALUE], run.data.tags.get(key)) for key, value in tags.items()]
    for what, name, expected, found in facts:
        if expected != found:
            yield Mismatch(what, name, _short(expected), _short(found))
    for name in (IMPORT_ID, SOURCE):
        if not run.data.tags.get(name):
            yield Mismatch("tag", name, "what the import wrote", "nothing")
    if load_record(record := run.data.tags.get(RECORD)) is None:
        yield Mismatch("tag", RECORD, "the record of the import", _short(record))


def _compare_params(plan: ImportPlan, run: Run) -> Iterator[Mismatch]:
    record = load_record(run.data.tags.get(RECORD)) or {}
    kept = record.get("params_kept")
    for key, value in plan.params.items():
        found = run.data.params.get(key)
        if found != value and not (isinstance(kept, list) and key in kept):
            yield Mismatch("param", key, _short(value), _short(found))


def _compare_metrics(store: Store, plan: ImportPlan, run: Run) -> Iterator[Mismatch]:
    planned = by_key_and_step(plan)
    history = stored_points(store, run, planned)
    for key, by_step in planned.items():
        series = history.get(key, [])
        counts = Counter(point.step for point in series)
        for point in series:
            expected = by_step.get(point.step) or of_former_best(point, planned)
            if expected is None:
                yield Mismatch("metric", f"{key} step {point.step}", "no point", str(point.value))
            elif not same_value(expected.value, point.value):
                yield Mismatch("metric", f"{key} step {point.step}", str(expected.value), str(point.value))
            elif expected.timestamp != point.timestamp:
                told = f"timestamp {expected.timestamp}"
                yield Mismatch("metric", f"{key} step {point.step}", told, f"timestamp {point.timestamp}")
        for step in by_step:
            if not counts[step]:
                yield Mismatch("metric", f"{key} step {step}", str(by_step[step].value), "no point")
            elif counts[step] > 1:
                yield Mismatch("metric", f"{key} step {step}", "one point", f"{counts[step]} points")


def _compare_artifacts(store: Store, plan: ImportPlan, run: Run, deep: bool) -> Iterator[Mismatch]:
    if not plan.artifacts:
        return
    with failures("opening the artifact store"):
        repository = store.artifact_repository(run.info.artifact_uri)
    there = list_artifacts(repository)
    for artifact in plan.artifacts:
        size = there.get(artifact.artifact_path)
        if size != artifact.size:
            found = "no file" if size is None else f"{size} bytes"
            yield Mismatch("artifact", artifact.artifact_path, f"{artifact.size} bytes", found)
        elif deep and (differing := _compare_bytes(repository, artifact)):
            yield differing


def _compare_bytes(repository: Any, artifact: Artifact) -> Mismatch | None:
    with spooled(artifact) as local, local.open("rb") as handle:
        expected = _sha256(handle)
    name = f"artifact {artifact.artifact_path}"
    with tempfile.TemporaryDirectory(prefix="ymlf-") as folder, failures(name, any_class=True):
        local = Path(repository.download_artifacts(artifact.artifact_path, _target(repository, folder)))
        with local.open("rb") as handle:
            found = _sha256(handle)
    if expected == found:
        return None
    return Mismatch("artifact", artifact.artifact_path, f"SHA-256 {expected[:16]}", f"SHA-256 {found[:16]}")


def _target(repository: Any, folder: str) -> str | None:
    """A local repository answers with the file itself when it is given no folder to copy to."""
    return None if type(repository).__name__ == "LocalArtifactRepository" else folder


def _sha256(handle: Any) -> str:
    digest = hashlib.sha256()
    while block := handle.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
