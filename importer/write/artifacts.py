"""A run's files: to the artifact store, and listed there."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from importer.errors import RunDirError, StoreError
from importer.model import Artifact, ImportPlan
from importer.sources.opening import fetch, local_file
from importer.sources.scratch import locked, remove_left, temporary_folder
from importer.store.failures import store_errors
from importer.store.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run

SMALL_BYTES = 2_000_000  # plots, which are many; larger files are weights
UPLOAD_THREADS = 4
BLOCK = 1 << 20
STAGED = ".artifact.uploading."  # as MLflow 3.17 calls a file that it is writing, and leaves it out of its listings
BEST = "weights/best.pt"
AGAIN = "run the import again"


def log_artifacts(store: Store, plan: ImportPlan, run: Run, *, is_new: bool, has_changed: bool = False) -> None:
    """Log the files of a plan that the run lacks; of a directory that has changed since, all of them.

    Files go in parallel, but over a network each weights file by itself; the first failure stops the rest.

    Errors: RunDirError when a file cannot be read; StoreError.
    """
    if not plan.artifacts:
        return
    with store_errors("opening the artifact store"):
        repository = store.artifact_repository(run.info.artifact_uri)
    # Content of the same size may have changed since: weights that were trained on, an args.yaml of 4 epochs for 3.
    there = {} if is_new or has_changed else list_artifacts(repository)
    wanted = [artifact for artifact in plan.artifacts if there.get(artifact.artifact_path) != artifact.size]

    folder = Path(repository.artifact_dir) if is_local(run.info.artifact_uri) else None
    if folder is not None and not is_new:
        remove_left(folder.rglob(f"{STAGED}*"))  # of an import that was killed

    upload = partial(log_artifact, repository, folder=folder)
    together = [artifact for artifact in wanted if artifact.size <= SMALL_BYTES or folder is not None]
    with ThreadPoolExecutor(UPLOAD_THREADS) as pool:
        list(pool.map(upload, together))  # the first failure cancels the rest
    for artifact in wanted:
        if artifact not in together:
            upload(artifact)


def log_artifact(repository: Any, artifact: Artifact, folder: Path | None) -> None:
    """Log one file, into a folder of this host if there is one.

    Errors: RunDirError when the file cannot be read, StoreError when the store does not take it.
    """
    parent = str(PurePosixPath(artifact.artifact_path).parent)
    with spooled(artifact, under_its_name=folder is None) as local:
        try:
            if folder is not None:
                _copy_whole(local, folder / artifact.artifact_path)
            else:
                repository.log_artifact(str(local), None if parent == "." else parent)
        except Exception as error:
            if not local.exists():
                raise RunDirError(f"{artifact.location}: gone while it was read", hint=AGAIN) from error
            with store_errors(f"artifact {artifact.artifact_path}", any_class=True):
                raise


def _copy_whole(source: Path, target: Path) -> None:
    """Copy a file with its time, so that no half of it is ever seen under its name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=STAGED)
    staged = Path(name)
    try:
        with locked(staged):
            with os.fdopen(handle, "wb") as writer, source.open("rb") as reader:
                with suppress(AttributeError, OSError):  # Linux has it, within a file system: as fast as `cp`
                    while os.copy_file_range(reader.fileno(), writer.fileno(), 1 << 30):
                        pass
                shutil.copyfileobj(reader, writer, BLOCK)
            shutil.copystat(source, staged)
            staged.replace(target)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise


@contextmanager
def spooled(artifact: Artifact, *, under_its_name: bool = False) -> Iterator[Path]:
    """Yield the artifact as a local file, on request called as in the store; a remote one is fetched for the while."""
    there = local_file(artifact.location)
    if there is not None and (not under_its_name or there.name == PurePosixPath(artifact.artifact_path).name):
        yield there
        return
    with temporary_folder() as folder:
        local = folder / PurePosixPath(artifact.artifact_path).name
        try:
            fetch(artifact.location, local)
        except FileNotFoundError as error:
            raise RunDirError(f"{artifact.location}: gone while it was read", hint=AGAIN) from error
        except OSError as error:
            raise StoreError(f"{artifact.location}: cannot be fetched: {error}", hint=AGAIN) from error
        if local.stat().st_size != artifact.size:
            raise RunDirError(f"{artifact.location}: changed while it was read", hint=AGAIN)
        yield local


@contextmanager
def fetched(repository: Any, path: str) -> Iterator[Path]:
    """Yield a file of a run's artifacts: where they lie on this host itself, else a copy for as long.

    Errors: StoreError.
    """
    with temporary_folder() as folder:
        # A local repository returns the file itself when it gets no folder to copy to.
        target = None if type(repository).__name__ == "LocalArtifactRepository" else str(folder)
        with store_errors(f"artifact {path}", any_class=True):
            local = Path(repository.download_artifacts(path, target))
        yield local


def list_artifacts(repository: Any, folder: str | None = None) -> dict[str, int]:
    """Return every file of a run's artifacts, or of a folder of them, and its size in bytes. Errors: StoreError."""
    found: dict[str, int] = {}
    folders: list[str | None] = [folder]
    with store_errors("listing artifacts", any_class=True):
        while folders:
            for entry in repository.list_artifacts(folders.pop()):
                if entry.is_dir:
                    folders.append(entry.path)
                else:
                    found[entry.path] = int(entry.file_size or 0)
    return found


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def is_local(artifact_uri: str) -> bool:
    """Whether artifacts lie on a file system that is mounted here."""
    scheme = artifact_uri.partition(":")[0] if ":" in artifact_uri else ""
    return scheme == "file" or len(scheme) < 2  # C:\\ is a drive; mlflow-artifacts:/ is a server
