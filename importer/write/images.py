"""A run's pictures: to MLflow's image grid, each once, though MLflow puts a random part into their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from importer.errors import RunDirError
from importer.formats.picture import read_picture
from importer.model import ImportPlan
from importer.store.failures import store_errors
from importer.store.store import Store
from importer.write.artifacts import is_local, list_artifacts

if TYPE_CHECKING:
    from mlflow.entities import Run

FOLDER = "images"
IMAGES_TAG = "mlflow.loggedImages"  # by which the UI knows that a run has some
# Source: MlflowClient.log_image; older releases have % for +.
NAME = re.compile(
    FOLDER + r"/(?P<key>[^/+%]+)(?P<mark>[+%])step(?P=mark)0(?P=mark)timestamp(?P=mark)(?P<timestamp>\d+)"
    r"(?P=mark)(?P<id>[\w-]+)(\.png|(?P=mark)compressed\.webp)"
)


class StoredImage(NamedTuple):
    """A picture in an artifact store: a PNG and a small WebP, of which a kill may leave one."""

    timestamp: int  # ms since the Unix epoch
    paths: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Return whether both files are there."""
        return len(self.paths) == 2


def images_in(paths: Iterable[str]) -> dict[str, list[StoredImage]]:
    """Return the pictures among the artifacts of a run, at step 0, by key."""
    files: dict[tuple[str, int, str], list[str]] = {}
    for path in paths:
        if name := NAME.fullmatch(path):
            files.setdefault((name["key"], int(name["timestamp"]), name["id"]), []).append(path)
    found: dict[str, list[StoredImage]] = {}
    for (key, timestamp, _), halves in files.items():
        found.setdefault(key, []).append(StoredImage(timestamp, tuple(halves)))
    return found


def is_logged(plan: ImportPlan, found: Sequence[StoredImage]) -> bool:
    """Return whether a picture is there once, whole, and of the time that the plan gives it."""
    return len(found) == 1 and found[0].is_whole and found[0].timestamp == plan.timeline.ended_ms


def in_words(found: Sequence[StoredImage]) -> str:
    """Return for people what the store has of a picture."""
    if len(found) != 1:
        return f"{len(found)} images" if found else "no image"
    return f"one of timestamp {found[0].timestamp}" if found[0].is_whole else f"only {found[0].paths[0]}"


def log_images(store: Store, plan: ImportPlan, run: Run, *, is_new: bool, has_changed: bool = False) -> None:
    """Log the pictures of a plan that the run lacks; of a directory that has changed since, all of them.

    Errors: RunDirError when a picture cannot be read any more; StoreError.
    """
    wanted = plan.images
    if wanted and not is_new:
        with store_errors("opening the artifact store"):
            repository = store.artifact_repository(run.info.artifact_uri)
        there = images_in(list_artifacts(repository, FOLDER))
        if not has_changed:
            logged = [image for image in wanted if is_logged(plan, there.get(image.key, ()))]
            wanted = tuple(image for image in wanted if image not in logged[:-1])  # a kill may have cut the last
        for path in (path for image in wanted for stored in there.get(image.key, ()) for path in stored.paths):
            with store_errors(f"deleting artifact {path}", any_class=True):  # on a local disk by the path of a URI
                repository.delete_artifacts(quote(path) if is_local(run.info.artifact_uri) else path)
    for image in wanted:
        picture = read_picture(image.location, image.size)
        if picture is None:
            raise RunDirError(f"{image.location}: changed while it was read", hint="run the import again")
        key, at = image.key, plan.timeline.ended_ms
        with store_errors(f"image {key}", any_class=True):
            store.client.log_image(run.info.run_id, picture, key=key, step=0, timestamp=at, synchronous=True)
