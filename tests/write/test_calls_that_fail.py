"""A command of which one call to the store fails ends well, or is completed by a second start.

Each call in turn fails once: it is refused; carried out, and its answer lost; or carried out twice. Or the store is
gone from that call on. Through a server a
call is a request. On a database it is a call of MLflow's client or a commit of the bulk writer. In `stress` every call
of every command fails; by default a few.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from support.command import ymlf
from support.directories import Training, copy_fixture
from support.failing_calls import FailingCalls, failing_calls
from support.live import golden_of, live_calls, log_live
from support.pictures import draw
from support.services.fault_proxy import FaultProxy, fault_proxy
from support.services.mlflow_server import mlflow_server
from support.stores import runs_in
from support.trees import active

from importer import plan_import, read_run
from importer.write.images import NAME

TRAINING = Training(epochs=3, planned=5, plots=False, last=None)  # unfinished, so that it may grow
OURS_TO_DIFFER = {"ymlf.import_id", "ymlf.update_id", "mlflow.user"}
LOOKS = ("search", "get", "list", "latest")
FOR_EVER = 1000  # calls
Words = list[str]


# What is done


def import_new(here: Path, uri: str) -> Words:
    TRAINING.write(here / "train")
    return ["import", "train"]


def import_with_all(here: Path, uri: str) -> Words:
    draw(with_weights(here), "confusion_matrix.png", "val_batch0_pred.jpg")
    return ["import", "train-2", "--images", "--model", "--best-metrics"]


def import_again(here: Path, uri: str) -> Words:
    return prepared(import_new(here, uri), uri)


def import_what_grew(here: Path, uri: str) -> Words:
    words = import_again(here, uri)
    TRAINING.with_(epochs=5).write(here / "train")
    return words


def replace_what_changed(here: Path, uri: str) -> Words:
    words = import_again(here, uri)
    TRAINING.with_(rows=({}, {"val/cls_loss": 9.0})).write(here / "train")
    return [*words, "--on-change", "replace"]


def complete_a_live_run(here: Path, uri: str) -> Words:
    save_dir = TRAINING.write(here / "train")
    live = golden_of(plan_import(read_run(save_dir)))
    log_live(uri, live, [call for call in live_calls(live, save_dir) if not call.name.endswith((" 2", "end"))])
    return ["import", "train", "--live", "complete"]


def undo(here: Path, uri: str) -> Words:
    prepared(register(here, uri), uri)
    return ["undo", "first", "--yes"]


def verify(here: Path, uri: str) -> Words:
    import_again(here, uri)
    return ["verify", "train"]


def register(here: Path, uri: str) -> Words:
    with_weights(here)
    prepared(["import", "train-2"], uri)
    return ["register", "plates", "train-2", "--alias", "champion"]


def with_weights(here: Path) -> Path:
    """A training that can be a model, without its pictures: each would be a request like another."""
    save_dir = copy_fixture("train-2", here)
    for picture in (*save_dir.glob("*.jpg"), *save_dir.glob("*.png")):
        picture.unlink()
    return save_dir


def prepared(words: Words, uri: str) -> Words:
    name_it = ["--import-id", "first"] if words[0] == "import" else []
    answer = ymlf(*words, *name_it, "--tracking-uri", uri)
    assert answer.status == 0, answer.err
    return words


COMMANDS = [
    import_new, import_with_all, import_again, import_what_grew, replace_what_changed, complete_a_live_run, undo,
    verify, register,
]  # fmt: skip


# What a store holds


def content_of(uri: str, proxied: Path) -> dict[str, Any]:
    """All that a database holds and shows, less ids, and times of MLflow's own; `proxied` has a server's files."""
    client = MlflowClient(uri)
    runs = active(uri)
    names = {run.info.run_id: run.info.run_name for run in runs}
    versions = [client.get_model_version(found.name, found.version) for found in client.search_model_versions()]
    models = [(model.name, sorted(model.aliases)) for model in client.search_registered_models()]
    return {
        "runs": sorted((_run(client, run, proxied) for run in runs), key=repr),
        "versions": sorted((it.name, names[it.run_id], sorted(it.aliases), _tags(it.tags)) for it in versions),
        "models": models,
        "deleted": len({run.info.run_id for run in runs_in(uri) if run.data.tags.get("ymlf.state") == "complete"}),
    }  # fmt: skip


def _run(client: MlflowClient, run: Run, proxied: Path) -> dict[str, Any]:
    info, data = run.info, run.data
    history = {key: client.get_metric_history(info.run_id, key) for key in data.metrics}
    inputs = run.inputs.dataset_inputs if run.inputs else []
    return {
        "info": (client.get_experiment(info.experiment_id).name, info.run_name, info.status),
        "times": (info.start_time, info.end_time),
        "params": data.params,
        "tags": _tags(data.tags),
        "points": {key: sorted((p.step, p.value, p.timestamp) for p in found) for key, found in history.items()},
        "files": sorted(_files(_folder(info.artifact_uri, proxied))),
        "datasets": sorted((each.dataset.name, each.dataset.digest) for each in inputs),
    }


def _tags(tags: Mapping[str, str]) -> list[tuple[str, str]]:
    kept = {key: value for key, value in tags.items() if key not in OURS_TO_DIFFER}
    for name, own in (("ymlf.record", ("writer", "imported_at", "replaces")), ("ymlf.model_files", ("files",))):
        if name in kept:
            fields = json.loads(kept[name]).items()
            kept[name] = json.dumps({key: value for key, value in fields if key not in own})
    return sorted(kept.items())


def _folder(artifact_uri: str, proxied: Path) -> Path:
    place = urlsplit(artifact_uri)
    return proxied / place.path.lstrip("/") if place.scheme == "mlflow-artifacts" else Path(place.path)


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    for file in (file for file in folder.rglob("*") if file.is_file()):
        path = file.relative_to(folder).as_posix()
        name = NAME.fullmatch(path)
        is_model = path == "weights/MLmodel"  # which holds the id of its run
        yield (path.replace(name["id"], "") if name else path), 0 if is_model else file.stat().st_size


class Place:
    """A folder with a store and files, brought back as it was as often as it is wanted, while the store is open."""

    def __init__(self, here: Path, empty_database: Path) -> None:
        self.here, self.saved = here / "place", here / "saved"
        self.database, self.copy = here / "store.db", here / "saved.db"
        self.here.mkdir()
        shutil.copyfile(empty_database, self.database)

    def save(self) -> None:
        _copy_database(self.database, self.copy)
        shutil.copytree(self.here, self.saved)

    def restore(self) -> None:
        _copy_database(self.copy, self.database)
        shutil.rmtree(self.here)
        shutil.copytree(self.saved, self.here)


def _copy_database(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as reader, closing(sqlite3.connect(target)) as writer:
        reader.backup(writer)


class Seen(NamedTuple):
    """A store: its database and the files of a server, where the command goes, and what makes a call fail."""

    uri: str
    proxied: Path
    command_uri: str
    calls: FailingCalls | FaultProxy


@contextmanager
def store(kind: str, place: Place) -> Iterator[Seen]:
    uri = f"sqlite:///{place.database}"
    if kind != "server":
        with failing_calls() as calls:
            yield Seen(uri, place.here, uri, calls)
        return
    proxied = place.here / "artifacts"
    with mlflow_server(uri, str(proxied)) as server, fault_proxy(server.url) as proxy:
        yield Seen(uri, proxied, proxy.url, proxy)


@pytest.fixture(autouse=True)
def _no_second_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow gives up at once, so that each fault is seen."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("importer.store.failures.PAUSE_SECONDS", (0.0, 0.01))


EVERY_CALL = [
    pytest.param(kind, command, 1, id=f"{kind}-{command.__name__}", marks=pytest.mark.stress)
    for kind in ("server", "database", "no bulk")
    for command in COMMANDS
]
SOME_CALLS = [pytest.param("database", import_new, 9, id="some calls")]


@pytest.mark.parametrize(("kind", "command", "every"), [*EVERY_CALL, *SOME_CALLS])
def test_a_command_of_which_one_call_fails_is_completed_by_itself_or_a_second_start(
    kind: str,
    command: Callable[[Path, str], Words],
    every: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    empty_database: Path,
) -> None:
    place = Place(tmp_path, empty_database)
    monkeypatch.chdir(place.here)
    with store(kind, place) as seen:
        words = [*command(place.here, seen.command_uri), "--tracking-uri", seen.command_uri]
        words += ["--no-bulk"] if kind == "no bulk" and words[0] == "import" else []
        place.save()
        asked = Asked(seen, words)
        asked.undisturbed()  # the first of a process makes calls that no later one does
        place.restore()
        monkeypatch.chdir(place.here)
        faults = asked.undisturbed()
        wanted = content_of(seen.uri, seen.proxied)
        counted: Counter[str] = Counter()
        wrong: list[str] = []
        for at, fault in faults[::every]:
            place.restore()
            monkeypatch.chdir(place.here)
            status, problem = asked.disturbed(at, fault, wanted)
            counted[f"{fault}, exit {status}"] += 1
            wrong += [f"{fault} call {at + 1} {asked.names[at]}: {problem}"] if problem else []
    print(f"{command.__name__}, {kind}: {len(asked.names)} calls, {sum(counted.values())} faults: {dict(counted)}")
    assert not wrong, "\n".join(wrong)


class Asked:
    """A command and the calls that it makes."""

    def __init__(self, seen: Seen, words: Words) -> None:
        self.seen, self.words = seen, words
        self.names: list[str] = []

    def undisturbed(self) -> list[tuple[int, str]]:
        """Carry the command out and return each fault that it can meet: number of the call, kind."""

        def note(method: str, path: str, index: int) -> None:
            self.names.append(f"{method} {path}")

        self.names.clear()
        self.seen.calls.script = note
        answer = ymlf(*self.words)
        assert answer.status == 0, answer.err
        self.seen.calls.script = None
        return [(at, fault) for at, name in enumerate(self.names) for fault in _faults(name)]

    def disturbed(self, at: int, fault: str, wanted: object) -> tuple[int, str]:
        """Return how the command ended of which one call fails, and what is wrong after a second start."""
        self.seen.calls.reset()
        self.seen.calls.script = [None] * at + (["drop"] * FOR_EVER if fault == "gone" else [fault])
        first = ymlf(*self.words)
        self.seen.calls.script = None
        if first.status not in (0, 3):
            return first.status, f"ended with {first.status}: {first.err}"
        if "Traceback" in first.err or (first.status and "error: " not in first.err):
            return first.status, f"said {first.err}"
        if first.status and (again := ymlf(*self.words)).status:
            return first.status, f"the second start ended with {again.status}: {again.err}"
        found = content_of(self.seen.uri, self.seen.proxied)
        return first.status, "" if found == wanted else _difference(found, wanted)


def _faults(name: str) -> list[str]:
    """Return what may befall a call. A look changes nothing, so it does not matter whether it arrived."""
    method, _, path = name.partition(" ")
    last = path.rsplit("/", 1)[-1]
    if method == "GET" or last.startswith(LOOKS):
        return ["drop", "gone"]
    once = last in ("commit", "log_image")  # MLflow's client gives an image its name: no server sees one image twice
    return ["drop", "gone", "lose_answer", *([] if once else ["twice"])]


def _difference(found: Any, wanted: Any, where: str = "") -> str:
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = [key for key in {**found, **wanted} if found.get(key) != wanted.get(key)]
        return "; ".join(_difference(found.get(key), wanted.get(key), f"{where}/{key}") for key in keys)
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        pairs = [(a, b) for a, b in zip(found, wanted, strict=True) if a != b]
        return "; ".join(_difference(a, b, f"{where}[]") for a, b in pairs)
    return f"{where}: {str(found)[:300]} for {str(wanted)[:300]}"
