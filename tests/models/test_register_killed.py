"""A registering that is killed at any step leaves no half of a model, and the next call completes it."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from support.command import ymlf
from support.directories import copy_fixture
from support.fork_server import ForkServer, fork_server
from support.place import Place
from support.trees import active

FILES = {"MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt", "yolo_model.py", "best.pt", "last.pt"}


@pytest.fixture(scope="session")
def forks() -> Iterator[ForkServer]:
    """A process that forks for each call."""
    with fork_server() as server:
        yield server


class ModelPlace(Place):
    """A folder with a trained directory and an empty database."""

    def __init__(self, here: Path, empty_database: Path) -> None:
        super().__init__(here)
        copy_fixture("train-2", self.here)
        shutil.copyfile(empty_database, self.here / "0.db")

    @property
    def files(self) -> set[str]:
        [run] = active(self.uri)
        listed = MlflowClient(self.uri).list_artifacts(run.info.run_id, "weights")
        return {Path(file.path).name for file in listed}


def assert_no_half(place: ModelPlace) -> None:
    """A version has its files and tags, an alias has a version, and the tag of the run tells what is there."""
    client = MlflowClient(place.uri)
    [run] = active(place.uri)
    versions = client.search_model_versions()
    assert len(versions) <= 1
    if versions or "ymlf.model_files" in run.data.tags:
        assert place.files == FILES
    for version in versions:
        assert {"task", "sha256", "metric"} <= version.tags.keys()
        assert version.run_id == run.info.run_id
    for model in client.search_registered_models():
        assert set(model.aliases.values()) <= {version.version for version in versions}


@pytest.mark.parametrize(
    "every", [pytest.param(1, marks=pytest.mark.stress, id="every step"), pytest.param(11, id="some steps")]
)
@pytest.mark.parametrize(
    "words",
    [("register", "plates", "train-2", "--alias", "champion"), ("import", "train-2", "--model")],
    ids=["register", "import with model"],
)
def test_it_is_killed_and_started_again(
    words: tuple[str, ...],
    every: int,
    forks: ForkServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    empty_database: Path,
) -> None:
    place = ModelPlace(tmp_path, empty_database)
    monkeypatch.chdir(place.here)
    assert ymlf("import", "train-2", "--tracking-uri", place.uri).status == 0
    place.save()
    place.restore()
    steps = forks.run(*words, "--tracking-uri", place.uri, cwd=place.here).steps
    assert steps > 6  # five files and the tag; then the model, the version, the alias
    for kill_at in range(1, steps + 1, every):
        place.restore()
        monkeypatch.chdir(place.here)
        killed = forks.run(*words, "--tracking-uri", place.uri, cwd=place.here, kill_at=kill_at)
        assert killed.signal == signal.SIGKILL, kill_at
        assert_no_half(place)
        again = forks.run(*words, "--tracking-uri", place.uri, cwd=place.here)
        assert again.status == 0, (kill_at, (place.here / "words").read_text())
        assert_no_half(place)
        assert place.files == FILES, kill_at
        if words[0] == "register":
            version = MlflowClient(place.uri).get_model_version_by_alias("plates", "champion")
            assert int(version.version) == 1, kill_at
        assert ymlf("verify", "train-2", "--tracking-uri", place.uri).status == 0
    print(f"{words[0]} was killed at {len(range(1, steps + 1, every))} of {steps} steps")
