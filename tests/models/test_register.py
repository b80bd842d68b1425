"""`ymlf register` and `import --model`: the weights of a run become a model of MLflow, without torch."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import mlflow
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import Model
from mlflow.server import get_app_client
from support.command import Answer, ymlf
from support.directories import FIXTURES, Training, copy_fixture
from support.services.fault_proxy import fault_proxy
from support.services.mlflow_server import MlflowServer, mlflow_server
from support.services.s3 import S3Server
from support.stores import runs_in
from support.torch_saves import fake_modules, pickled, zipped
from support.trees import active

from importer import ImportOptions, Target, UsageError, import_run, register_model, verify_run
from importer.store.failures import NO_LOGIN

FILES = ["MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt", "yolo_model.py"]
TRAIN_2 = FIXTURES / "runs/detect/train-2"


@pytest.fixture
def run_dir(tmp_path: Path, empty_store: str) -> Path:
    """A detect training, which is in the store."""
    save_dir = copy_fixture("train-2", tmp_path / "runs")
    assert ymlf("import", save_dir, "--tracking-uri", empty_store, "--import-id", "first").status == 0
    return save_dir


def register(uri: str, *words: object) -> Answer:
    return ymlf("register", *map(str, words), "--tracking-uri", uri)


def versions_in(uri: str) -> list[ModelVersion]:
    client = MlflowClient(uri)
    found = [client.get_model_version(each.name, each.version) for each in client.search_model_versions()]
    return sorted(found, key=lambda version: (version.name, int(version.version)))


def model_files(uri: str, run: Run) -> dict[str, str]:
    """The text of each file in the run's weights/ that is no checkpoint."""
    folder = mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/weights", tracking_uri=uri)
    return {path.name: path.read_text() for path in Path(folder).iterdir() if path.suffix != ".pt"}


def test_a_run_becomes_a_version_with_tags_and_an_alias(run_dir: Path, empty_store: str) -> None:
    answer = register(empty_store, "plates", run_dir, "--alias", "champion")
    assert answer.status == 0, answer.err
    [run] = active(empty_store)
    assert answer.out.splitlines() == [
        f"registered: version 1 of model plates, run {run.info.run_id} (train-2, detect)",
        "  mAP50-95B 0.723 at step 47",
        '  load it with: mlflow.pyfunc.load_model("models:/plates@champion")',
    ]
    [version] = versions_in(empty_store)
    assert (version.run_id, version.aliases) == (run.info.run_id, ["champion"])
    assert version.source == f"{run.info.artifact_uri}/weights"
    assert version.tags == {
        "task": "detect", "classes": "bolt, nut, washer, gear", "imgsz": "128", "metric": "mAP50-95B",
        "value": "0.72319", "best_step": "47", "ultralytics": "8.4.190", "dataset": "shapes",
        "sha256": hashlib.sha256((TRAIN_2 / "weights/best.pt").read_bytes()).hexdigest(),
        "ymlf.import_id": "first", "ymlf.aliases": "champion",
    }  # fmt: skip


def test_the_files_pin_the_release_have_a_full_signature_and_no_path_of_this_machine(
    run_dir: Path, empty_store: str
) -> None:
    register(empty_store, "plates", run_dir)
    [run] = active(empty_store)
    files = model_files(empty_store, run)
    assert sorted(files) == FILES
    assert files["requirements.txt"].splitlines() == [
        "mlflow>=3.7", "ultralytics==8.4.190", "torch==2.14.1", "torchvision==0.29.1"
    ]  # fmt: skip
    assert not any(place in text for text in files.values() for place in (str(run_dir.parent), "/workspace", "/home"))
    signature = Model.from_dict(yaml.safe_load(files["MLmodel"])).signature
    assert [(column.name, column.type.name, column.required) for column in signature.inputs.inputs] == [
        ("image", "binary", True)
    ]
    assert {param.name: param.default for param in signature.params} == {
        "conf": 0.25, "iou": 0.7, "imgsz": 128, "max_det": 300, "device": ""
    }  # fmt: skip
    [predictions] = signature.outputs.to_dict()
    assert list(predictions["items"]["properties"]) == ["box", "class", "confidence", "name"]


@pytest.mark.parametrize(
    ("fixture", "more"),
    [("classify", None), ("event-file", "keypoints")],
    ids=["a classifier has no box", "a pose has keypoints"],
)
def test_the_output_is_typed_by_the_task(fixture: str, more: str | None, tmp_path: Path, empty_store: str) -> None:
    save_dir = copy_fixture(fixture, tmp_path)
    answer = ymlf("import", save_dir, "--model", "--tracking-uri", empty_store)
    assert answer.status == 0, answer.err
    [run] = active(empty_store)
    signature = Model.from_dict(yaml.safe_load(model_files(empty_store, run)["MLmodel"])).signature
    fields = set(signature.outputs.to_dict()[0]["items"]["properties"])
    assert fields == {"name", "class", "confidence"} | ({"box", more} if more else set())


@pytest.mark.parametrize(
    ("version", "requirements"),
    [
        pytest.param(
            "8.3.40", ["ultralytics==8.3.40", "torch==2.14.1", "torchvision==0.29.1"], id="between tried ones"
        ),
        pytest.param("8.0.20", ["ultralytics==8.0.20", "torch"], id="not tried"),
        pytest.param(None, ["ultralytics", "torch"], id="unknown"),
        pytest.param("8.3.40\nanother-package", ["ultralytics", "torch"], id="a text that names another package"),
    ],
)
def test_what_cannot_be_pinned_is_unpinned_with_a_note(
    version: str | None, requirements: list[str], tmp_path: Path, empty_store: str
) -> None:
    save_dir = Training(plots=False).write(tmp_path / "train")
    facts = {**Training().checkpoint({}, save_dir), "version": version}
    write_network(save_dir / "weights/best.pt", "ultralytics.nn.tasks", facts)
    answer = ymlf("import", save_dir, "--model", "--tracking-uri", empty_store, "--json")
    [run] = active(empty_store)
    assert model_files(empty_store, run)["requirements.txt"].splitlines() == ["mlflow>=3.7", *requirements]
    codes = {note["code"] for note in answer.told[0].get("notes", ())}  # type: ignore[attr-defined]
    assert ("model-unpinned" in codes) == (requirements[-1] == "torch")


def test_a_second_call_creates_nothing(run_dir: Path, empty_store: str) -> None:
    register(empty_store, "plates", run_dir, "--alias", "champion")
    before = versions_in(empty_store), runs_in(empty_store)[0].data.tags
    for words in ((run_dir,), ("--run", before[0][0].run_id), (run_dir, "--alias", "champion")):
        again = register(empty_store, "plates", *words)
        assert again.status == 0 and again.out.startswith("already there: version 1 of model plates"), again.err
    assert [vars(version) for version in versions_in(empty_store)] == [vars(version) for version in before[0]]
    assert runs_in(empty_store)[0].data.tags == before[1]


def test_verify_knows_the_files_and_what_mlflow_adds_when_it_loads_them(
    run_dir: Path, empty_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(empty_store, "plates", run_dir)
    [run] = active(empty_store)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty_store)
    local = Path(mlflow.artifacts.download_artifacts("models:/plates/1"))
    assert (local / "registered_model_meta").exists()
    assert verify_run(run_dir, tracking_uri=empty_store) == []
    (local / "MLmodel").write_text("flavors: {}\n")
    (local / "conda.yaml").unlink()
    changed, missing = sorted(map(str, verify_run(run_dir, tracking_uri=empty_store)))
    assert changed.startswith("model weights/MLmodel: directory has SHA-256 ")
    assert missing == "model weights/conda.yaml: directory has a file, store has no file"
    register(empty_store, "plates", "--run", run.info.run_id)  # lays what is missing again
    assert verify_run(run_dir, tracking_uri=empty_store) == []


def test_of_several_runs_the_best_is_registered(tmp_path: Path, run_dir: Path, empty_store: str) -> None:
    other = copy_fixture("train-5", tmp_path / "runs")
    ymlf("import", other, "--tracking-uri", empty_store)
    runs = {run.info.run_name: run.info.run_id for run in active(empty_store)}
    answer = register(empty_store, "plates", tmp_path / "runs")
    assert answer.status == 0, answer.err
    first = answer.out.splitlines()[0]
    assert (
        first == f"registered: version 1 of model plates, run {runs['train-2']} (train-2, detect), the best of 2 runs"
    )
    told = register(empty_store, "other", "--run", runs["train-5"], "--run", runs["train-2"], "--json").told
    assert [(each["run_name"], each["version"], each["is_new"]) for each in told] == [("train-2", "1", True)]


def test_runs_of_several_tasks_are_not_compared(tmp_path: Path, run_dir: Path, empty_store: str) -> None:
    ymlf("import", copy_fixture("classify", tmp_path / "runs"), "--tracking-uri", empty_store)
    answer = register(empty_store, "plates", tmp_path / "runs")
    assert answer.status == 2 and "classify on classify, detect on shapes" in answer.err
    assert versions_in(empty_store) == []


def test_a_run_that_was_tracked_live_is_registered(tmp_path: Path, empty_store: str) -> None:
    save_dir = copy_fixture("train-2", tmp_path)
    log_as_live(save_dir, empty_store)
    answer = register(empty_store, "plates", save_dir)
    assert answer.status == 0, answer.err
    [run] = active(empty_store)
    [version] = versions_in(empty_store)
    assert (version.run_id, version.tags["best_step"]) == (run.info.run_id, "47")
    assert "ymlf.import_id" not in version.tags
    assert ymlf("import", save_dir, "--tracking-uri", empty_store).out.startswith("tracked live")


def log_as_live(save_dir: Path, uri: str) -> None:
    """The run that the live callback leaves, as an import has it, without ymlf's tags."""
    client = MlflowClient(uri)
    import_run(save_dir, tracking_uri=uri)
    [run] = active(uri)
    for tag in run.data.tags:
        if tag.startswith("ymlf."):
            client.delete_tag(run.info.run_id, tag)
    client.set_tag(run.info.run_id, "mlflow.source.name", "train.py")


def test_an_alias_on_another_version_moves_only_with_force(tmp_path: Path, run_dir: Path, empty_store: str) -> None:
    other = copy_fixture("train-5", tmp_path / "other")
    ymlf("import", other, "--tracking-uri", empty_store)
    register(empty_store, "plates", run_dir, "--alias", "champion")
    answer = register(empty_store, "plates", other, "--alias", "champion")
    assert answer.status == 2
    assert answer.err.splitlines() == [
        "error: alias champion is on version 1 of model plates", "  hint: --force moves it to this run"
    ]  # fmt: skip
    assert len(versions_in(empty_store)) == 1
    assert register(empty_store, "plates", other, "--alias", "champion", "--force").status == 0
    assert [version.aliases for version in versions_in(empty_store)] == [[], ["champion"]]
    assert register(empty_store, "plates", run_dir, "--alias", "shadow").status == 0
    assert [version.aliases for version in versions_in(empty_store)] == [["shadow"], ["champion"]]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        pytest.param(["a/b", "RUN"], 2, "model name 'a/b': MLflow does not take it", id="a name with a slash"),
        pytest.param(["..", "RUN"], 2, "model name '..': MLflow does not take it", id="a name that is a path"),
        pytest.param([" ", "RUN"], 2, "model name ' ': MLflow does not take it", id="a blank name"),
        pytest.param(["x" * 300, "RUN"], 2, f"model name '{'x' * 40}': MLflow does not take it", id="a long name"),
        pytest.param(["plates", "RUN", "--alias", "v1"], 2, "alias 'v1': MLflow does not take it", id="reserved alias"),
        pytest.param(["plates", "RUN", "--alias", "a b"], 2, "alias 'a b': MLflow does not take it", id="a bad alias"),
        pytest.param(["plates", "--run", "0" * 32], 2, f"run {'0' * 32}: is not in sqlite", id="no such run"),
        pytest.param(["plates"], 2, "no PATH given", id="no run"),
        pytest.param(["plates", "nowhere"], 1, "nowhere: no such", id="no such path"),
        pytest.param(["plates", "RUN", "--experiment", "x"], 1, "has no run of it", id="another experiment"),
    ],
)  # fmt: skip
def test_a_request_that_cannot_be_met_is_a_sentence_and_leaves_nothing(
    words: list[str], status: int, message: str, run_dir: Path, empty_store: str
) -> None:
    before = active(empty_store)[0].data.tags
    answer = register(empty_store, *(str(run_dir) if word == "RUN" else word for word in words))
    assert answer.status == status and answer.err.startswith("error: ") and message in answer.err
    assert MlflowClient(empty_store).search_registered_models() == []
    assert active(empty_store)[0].data.tags == before


def pointer(save_dir: Path) -> None:
    (save_dir / "weights/best.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 6\n")


def cut(save_dir: Path) -> None:
    path = save_dir / "weights/best.pt"
    path.write_bytes(path.read_bytes()[:20_000])


def hostile(save_dir: Path) -> None:
    (save_dir / "weights/best.pt").write_bytes(zipped(b"\x80\x02" + b"(" * 900_000 + b"."))


def absent(save_dir: Path) -> None:
    (save_dir / "weights/best.pt").unlink()


def of_yolov5(save_dir: Path) -> None:
    write_network(save_dir / "weights/best.pt", "models.yolo", {"epoch": -1})


def write_network(path: Path, module: str, facts: Mapping[str, object]) -> None:
    """A checkpoint whose network is of the class DetectionModel of a module, which is here for as long."""
    with fake_modules() as modules:
        network = modules["ultralytics.nn.tasks"].DetectionModel()
        network.names = {0: "plate"}
        content = pickled({**facts, "model": network})
    path.write_bytes(zipped(content.replace(b"ultralytics.nn.tasks", module.encode())))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(absent, "it has no weights/best.pt", id="absent"),
        pytest.param(pointer, "it has no weights/best.pt", id="a pointer of LFS, which is not imported"),
        pytest.param(cut, "is cut short after 20,000 bytes", id="cut short"),
        pytest.param(hostile, "no trainer wrote its pickle", id="hostile"),
        pytest.param(of_yolov5, "best.pt is no model of Ultralytics; its class is models.yolo.", id="YOLOv5"),
    ],
)
def test_weights_that_cannot_be_served_are_refused_with_the_reason(
    change: Callable[[Path], None], message: str, tmp_path: Path, empty_store: str
) -> None:
    save_dir = copy_fixture("train-2", tmp_path)
    change(save_dir)
    answer = ymlf("import", save_dir, "--model", "--tracking-uri", empty_store, "--json")
    assert answer.status == 0, answer.err
    [note] = [note for note in answer.told[0]["notes"] if note["code"] == "no-model"]  # type: ignore[union-attr,attr-defined]
    [run] = active(empty_store)
    refused = register(empty_store, "plates", save_dir)
    assert refused.status == 1, refused.err
    for text in (note["text"], refused.err):
        assert message in text and run.info.run_id in text
    assert MlflowClient(empty_store).search_registered_models() == []
    assert not {"MLmodel", "yolo_model.py"} & {
        Path(file.path).name for file in MlflowClient(empty_store).list_artifacts(run.info.run_id, "weights")
    }


def test_import_with_model_adds_the_files_and_a_later_one_adds_them_to_what_is_there(
    tmp_path: Path, empty_store: str
) -> None:
    first, second = copy_fixture("train-2", tmp_path / "runs"), copy_fixture("train-5", tmp_path / "runs")
    import_run(first, tracking_uri=empty_store)
    answer = ymlf("import", tmp_path / "runs", "--model", "--tracking-uri", empty_store)
    assert answer.status == 0, answer.err
    for run in active(empty_store):
        assert sorted(model_files(empty_store, run)) == FILES
    assert MlflowClient(empty_store).search_registered_models() == []
    assert verify_run([first, second], tracking_uri=empty_store) == []
    assert import_run(second, tracking_uri=empty_store, options=ImportOptions(model=True)).kind.value == "already there"


def test_without_the_option_an_import_adds_no_files(run_dir: Path, empty_store: str) -> None:
    [run] = active(empty_store)
    assert model_files(empty_store, run) == {}
    assert "ymlf.model_files" not in run.data.tags


def test_a_training_that_has_gone_on_gets_another_version(tmp_path: Path, empty_store: str) -> None:
    save_dir = tmp_path / "train"
    half = Training(epochs=3, planned=5, last={"epoch": 2}, plots=False)
    write_with_network(half, save_dir)
    ymlf("import", save_dir, "--tracking-uri", empty_store)
    assert register(empty_store, "plates", save_dir).status == 0
    write_with_network(half.with_(epochs=5, last={}), save_dir)
    stale = register(empty_store, "plates", save_dir)
    assert stale.status == 1 and "has changed since run" in stale.err
    ymlf("import", save_dir, "--tracking-uri", empty_store)
    [mismatch] = verify_run(save_dir, tracking_uri=empty_store)
    assert str(mismatch).startswith("model weights/best.pt: directory has SHA-256")
    assert register(empty_store, "plates", save_dir).out.startswith("registered: version 2")
    assert [version.tags["best_step"] for version in versions_in(empty_store)] == ["2", "4"]
    assert verify_run(save_dir, tracking_uri=empty_store) == []


def write_with_network(made: Training, save_dir: Path) -> None:
    """The directory, with a best.pt whose network is of Ultralytics."""
    made.with_(best=None).write(save_dir)
    write_network(save_dir / "weights/best.pt", "ultralytics.nn.tasks", made.checkpoint({}, save_dir))


def test_undo_takes_back_the_versions_of_the_import_and_leaves_others(
    tmp_path: Path, run_dir: Path, empty_store: str
) -> None:
    other = copy_fixture("train-5", tmp_path / "other")
    ymlf("import", other, "--tracking-uri", empty_store, "--import-id", "second")
    register(empty_store, "plates", run_dir, "--alias", "champion")
    register(empty_store, "plates", other, "--alias", "shadow")
    register(empty_store, "kept", run_dir)
    MlflowClient(empty_store).set_registered_model_alias("kept", "mine", "1")
    answer = ymlf("undo", "first", "--yes", "--tracking-uri", empty_store)
    assert answer.status == 0, answer.err
    assert "delete   version 1 of model plates  (champion)\nkeep     version 1 of model kept  (mine)\n" in answer.out
    assert [(version.name, version.version, version.aliases) for version in versions_in(empty_store)] == [
        ("kept", 1, ["mine"]), ("plates", 2, ["shadow"])
    ]  # fmt: skip
    assert MlflowClient(empty_store).get_registered_model("plates").aliases == {"shadow": 2}
    assert ymlf("undo", "first", "--restore", "--yes", "--tracking-uri", empty_store).status == 0
    assert register(empty_store, "plates", run_dir).out.startswith("registered: version 3")


def test_it_works_through_a_server_with_proxied_artifacts(
    tmp_path: Path, http_server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_dir = copy_fixture("train-2", tmp_path)
    url, words = http_server.url, ("--experiment", "models")
    assert ymlf("import", save_dir, "--tracking-uri", url, *words).status == 0
    answer = register(url, "plates", save_dir, "--alias", "champion", *words)
    assert answer.status == 0, answer.err
    assert register(url, "plates", save_dir, "--alias", "champion", *words).out.startswith("already there")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    local = Path(mlflow.artifacts.download_artifacts("models:/plates@champion"))
    expected = [*FILES, "best.pt", "last.pt", "registered_model_meta"]
    assert sorted(path.name for path in local.iterdir()) == sorted(expected)
    assert ymlf("verify", save_dir, "--tracking-uri", url, "--deep", *words).status == 0


def objects(s3_server: S3Server, bucket: str) -> dict[str, int]:
    """The size of each object in a bucket, by the end of its key."""
    listed = s3_server.client().list_objects_v2(Bucket=bucket)["Contents"]
    sizes = {item["Key"].partition("/artifacts/")[2]: item["Size"] for item in listed}
    assert len(sizes) == len(listed)
    return sizes


@pytest.mark.remote
@pytest.mark.parametrize("is_proxied", [False, True], ids=["written directly", "through a server"])
def test_weights_in_a_bucket_are_not_copied(
    is_proxied: bool, tmp_path: Path, empty_store: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "proxied-models" if is_proxied else "models"
    bucket = s3_server.create_bucket(name)
    save_dir = copy_fixture("train-2", tmp_path)
    with ExitStack() as stack:
        if is_proxied:  # only the server has the login to the bucket
            uri = stack.enter_context(mlflow_server(empty_store, bucket, env=s3_server.env)).url
            where: tuple[str, ...] = ("--tracking-uri", uri, "--experiment", "proxied")
        else:
            uri, where = empty_store, ("--tracking-uri", empty_store)
            for variable, value in s3_server.env.items():
                monkeypatch.setenv(variable, value)
        location = () if is_proxied else ("--artifact-location", bucket)
        assert ymlf("import", save_dir, "--import-id", "first", *location, *where).status == 0
        imported = objects(s3_server, name)
        for said in ("registered", "already there"):
            answer = ymlf("register", "plates", save_dir, "--alias", "champion", *where)
            assert answer.status == 0 and answer.out.startswith(said), answer.err
        registered = objects(s3_server, name)
        assert registered.keys() - imported.keys() == {f"weights/{file}" for file in FILES}
        assert {key: registered[key] for key in imported} == imported
        assert sum(registered.values()) - sum(imported.values()) < 20_000
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        local = Path(mlflow.artifacts.download_artifacts("models:/plates@champion"))
        assert {f"weights/{path.name}": path.stat().st_size for path in local.iterdir()}.items() >= {
            key: size for key, size in registered.items() if key.startswith("weights/")
        }.items()
        assert (local / "best.pt").read_bytes() == (save_dir / "weights/best.pt").read_bytes()
        assert Model.load(str(local)).flavors.keys() == {"python_function"}
        assert ymlf("verify", save_dir, "--deep", *where).status == 0
        assert ymlf("undo", "first", "--yes", "--tracking-uri", uri).status == 0
        assert versions_in(uri) == [] and objects(s3_server, name) == registered


@pytest.mark.stress
def test_a_login_without_the_permission_gets_a_sentence(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    save_dir = copy_fixture("train-2", tmp_path)
    with mlflow_server(
        f"sqlite:///{tmp_path / 'mlflow.db'}", str(tmp_path / "artifacts"), app_name="basic-auth"
    ) as server:
        for name, value in server.client_env.items():
            monkeypatch.setenv(name, value)
        run_id = import_run(save_dir, tracking_uri=server.url).run_id
        assert register(server.url, "plates", save_dir).status == 0
        users = get_app_client("basic-auth", tracking_uri=server.url)
        users.create_user("reader", "reader-password")
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "reader")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "reader-password")
        answer = register(server.url, "plates", "--run", run_id, "--alias", "champion")
    assert answer.status == 3 and "Permission denied" in answer.err, answer.err
    assert "hint: this login may not do that" in answer.err


def test_without_the_login_that_a_server_asks_for_it_is_a_sentence(http_server: MlflowServer) -> None:
    with fault_proxy(http_server.url) as proxy:
        proxy.token = "ymlf-test-token"
        answer = register(proxy.url, "plates", "--run", "0" * 32)
    assert answer.status == 3 and f"hint: {NO_LOGIN}" in answer.err, answer.err


def test_directories_and_run_ids_are_not_given_together(run_dir: Path, empty_store: str) -> None:
    [run] = active(empty_store)
    answer = register(empty_store, "plates", run_dir, "--run", run.info.run_id)
    assert answer.status == 2 and "both run directories and run ids are given" in answer.err


def test_a_store_without_a_registry_gets_a_sentence_and_an_undo_goes_on(
    run_dir: Path, empty_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "ftp://host")
    answer = register(empty_store, "plates", run_dir)
    assert (answer.status, answer.err.splitlines()) == (3, [
        f"error: {empty_store}: has no model registry", "  hint: MLFLOW_REGISTRY_URI names another registry"
    ])  # fmt: skip
    assert ymlf("undo", "first", "--yes", "--tracking-uri", empty_store).status == 0
    assert active(empty_store) == []


def test_an_answer_that_is_lost_leaves_one_version(tmp_path: Path, http_server: MlflowServer) -> None:
    def lose_one(method: str, path: str, times: int) -> str | None:
        return "lose_answer" if path.endswith("/model-versions/create") and not times else None

    save_dir = copy_fixture("train-2", tmp_path)
    with fault_proxy(http_server.url) as proxy:
        words = ("--experiment", "lost answer", "--tracking-uri", proxy.url)
        assert ymlf("import", save_dir, *words).status == 0
        proxy.reset()
        proxy.script = lose_one
        answer = ymlf("register", "lost", save_dir, "--alias", "champion", *words)
        assert answer.status == 0, answer.err
        assert proxy.faulted["lose_answer"] == 1
        found = MlflowClient(http_server.url).search_model_versions("name = 'lost'")
        assert [version.version for version in found] == ["1"]


def test_the_library_registers_and_returns_the_version(run_dir: Path, empty_store: str) -> None:
    registered = register_model(Target("plates", "champion"), run_dir, tracking_uri=empty_store)
    assert (registered.version, registered.is_new, registered.tags["task"]) == ("1", True, "detect")
    with pytest.raises(UsageError, match="MLflow does not take it"):
        register_model("a/b", run_dir, tracking_uri=empty_store)


def test_the_options_of_a_batch_job_find_the_run_that_they_imported(run_dir: Path, empty_store: str) -> None:
    options = ImportOptions(on_change="replace")
    found = register_model("plates", run_dir, tracking_uri=empty_store, options=options)
    assert found.run_id == active(empty_store)[0].info.run_id
