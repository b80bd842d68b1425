"""--images logs a training's pictures for MLflow's image grid: each once, whatever happens in between."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from PIL import Image
from support.command import ymlf
from support.directories import Training, copy_fixture
from support.pictures import KEYS, PICTURES, draw, image_files, whole_images
from support.services.mlflow_server import MlflowServer
from support.stores import runs_in
from support.trees import imported, outcomes

from importer import ImportOptions, plan_import, read_run
from importer.report import size
from importer.write.images import images_in

WITH_PICTURES = Training(plots=False)
CRASHED = Training(planned=6, last={"epoch": 2}, plots=False)
OLD = "images/confusion_matrix%step%0%timestamp%17%k1c2-3{}"
TWICE = "images/labels+step+0+timestamp+17+{}.png"


@pytest.fixture
def save_dir(tmp_path: Path) -> Path:
    """A finished training with three pictures for the grid and one that is none of it."""
    save_dir = WITH_PICTURES.write(tmp_path / "train")
    draw(save_dir, *PICTURES, "results.png")
    return save_dir


def only_run(uri: str, experiment: str | None = None) -> Run:
    """The only run of a store, or of one experiment of it."""
    if experiment is None:
        [run] = runs_in(uri)
        return run
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    [run] = client.search_runs([found.experiment_id])
    return run


def verified(save_dir: Path, uri: str, *words: str) -> list[str]:
    """The mismatches that verify names."""
    answer = ymlf("verify", save_dir, "--tracking-uri", uri, *words)
    lines = [line for line in answer.err.splitlines() if line.startswith("mismatch: ")]
    assert answer.status == bool(lines), answer.err
    return lines


def each_once(run: Run, keys: set[str] = KEYS) -> Counter[tuple[str, int]]:
    return Counter((key, run.info.end_time) for key in keys)


@pytest.mark.parametrize("store", ["a database", "a server"])
def test_the_pictures_of_a_training_are_images_at_step_0_of_the_time_of_its_end(
    store: str, save_dir: Path, empty_store: str, http_server: MlflowServer
) -> None:
    uri = empty_store if store == "a database" else http_server.url
    words = ("--experiment", f"images in {store}")
    assert outcomes(imported(save_dir, "--images", *words, uri=uri)) == {"train": "imported"}
    run = only_run(uri, words[1])
    assert whole_images(uri, run) == each_once(run)
    assert run.data.tags["mlflow.loggedImages"] == "True"
    assert verified(save_dir, uri, *words) == []
    assert outcomes(imported(save_dir, "--images", *words, uri=uri)) == {"train": "already there"}

    client, repeated = MlflowClient(uri), Image.new("RGB", (8, 8))
    client.log_image(run.info.run_id, repeated, key="confusion_matrix", step=0, timestamp=run.info.end_time)
    client.log_image(run.info.run_id, repeated, key="somebody/their own", step=3)
    expected = f"directory has one of timestamp {run.info.end_time}"
    assert verified(save_dir, uri, *words) == [f"mismatch: image confusion_matrix: {expected}, store has 2 images"]


@pytest.mark.parametrize("store", ["a database", "a server"])
def test_an_import_that_was_stopped_leaves_no_image_in_half_or_twice(
    store: str, save_dir: Path, empty_store: str, http_server: MlflowServer
) -> None:
    uri = empty_store if store == "a database" else http_server.url
    words = ("--experiment", f"stopped in {store}")
    imported(save_dir, "--images", *words, uri=uri)
    run, client = only_run(uri, words[1]), MlflowClient(uri)
    client.set_tag(run.info.run_id, "ymlf.state", "writing")
    its_own = url2pathname(urlsplit(run.info.artifact_uri).path)
    artifacts = its_own if store == "a database" else client.download_artifacts(run.info.run_id, "")
    halves = {path.name.partition("+")[0] + path.suffix: path for path in Path(artifacts, "images").iterdir()}
    if store == "a database":
        halves["BoxPR_curve.webp"].unlink()
        halves["confusion_matrix.png"].unlink()
        halves["val_batch0_pred.webp"].write_bytes(b"cut")
        older = halves["BoxPR_curve.png"]  # as an older MLflow names it
        older.rename(older.with_name(older.name.replace("+", "%")))
    else:
        client.log_artifact(run.info.run_id, rename(halves["BoxPR_curve.png"]), "images")
        client.log_artifact(run.info.run_id, rename(halves["confusion_matrix.webp"]), "images")
    assert len(verified(save_dir, uri, *words)) == 3
    assert outcomes(imported(save_dir, *words, uri=uri)) == {"train": "resumed"}
    assert whole_images(uri, run) == each_once(run)
    assert verified(save_dir, uri, *words) == []
    for path in image_files(uri, run):
        Image.open(client.download_artifacts(run.info.run_id, path)).load()


def rename(path: Path) -> str:
    """A file of one image under the name of another."""
    return str(path.rename(path.with_name(path.name.replace("+timestamp+", "+timestamp+1"))))


def test_the_images_of_a_training_that_has_gone_on_are_replaced(tmp_path: Path, empty_store: str) -> None:
    save_dir = CRASHED.write(tmp_path / "train")
    draw(save_dir)
    imported(save_dir, "--images", uri=empty_store)
    before = only_run(empty_store)
    CRASHED.with_(epochs=6, last={}).write(save_dir)
    draw(save_dir, colour="blue")
    draw(save_dir, "labels.jpg", colour="blue")
    assert outcomes(imported(save_dir, uri=empty_store)) == {"train": "updated"}
    run = only_run(empty_store)
    assert run.info.end_time > before.info.end_time
    assert whole_images(empty_store, run) == each_once(run, KEYS | {"labels"})
    assert verified(save_dir, empty_store) == []
    for path in image_files(empty_store, run):
        picture = Image.open(MlflowClient(empty_store).download_artifacts(run.info.run_id, path)).convert("RGB")
        red, _, blue = picture.getpixel((4, 4))  # type: ignore[misc]
        assert (red < 50, blue > 200) == (True, True), path


def test_images_that_were_not_asked_for_at_first_take_a_replacement(save_dir: Path, empty_store: str) -> None:
    imported(save_dir, uri=empty_store)
    assert image_files(empty_store, only_run(empty_store)) == []
    answer = imported(save_dir, "--images", uri=empty_store)
    assert answer.told[0]["reason"] == "imported without --images"
    assert outcomes(imported(save_dir, "--images", "--on-change", "replace", uri=empty_store)) == {"train": "replaced"}
    [run] = [run for run in runs_in(empty_store) if run.info.lifecycle_stage == "active"]
    assert whole_images(empty_store, run) == each_once(run)


def test_undo_takes_the_images_with_the_run_and_restore_brings_both_back(save_dir: Path, empty_store: str) -> None:
    imported(save_dir, "--images", "--import-id", "pictures", uri=empty_store)
    assert ymlf("undo", "pictures", "--yes", "--tracking-uri", empty_store).status == 0
    assert only_run(empty_store).info.lifecycle_stage == "deleted"
    assert ymlf("undo", "pictures", "--restore", "--yes", "--tracking-uri", empty_store).status == 0
    assert verified(save_dir, empty_store) == []


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"no picture", id="text"),
        pytest.param(None, id="cut"),
        pytest.param((5000, 1), id="too thin for MLflow to scale"),
        pytest.param((20_000, 10_000), id="a bomb"),
    ],
)
def test_a_broken_picture_costs_that_picture_and_a_note(
    content: bytes | tuple[int, int] | None, save_dir: Path, empty_store: str
) -> None:
    broken = save_dir / "confusion_matrix.png"
    if isinstance(content, tuple):
        Image.new("1", content).save(broken)
    else:
        broken.write_bytes(broken.read_bytes()[:60] if content is None else content)
    answer = imported(save_dir, "--images", uri=empty_store)
    assert (answer.status, outcomes(answer)) == (0, {"train": "imported"})
    text = "confusion_matrix.png cannot be read as a picture; it is no image of the run"
    assert {"code": "broken-picture", "text": text} in answer.told[0]["notes"]  # type: ignore[operator]
    run = only_run(empty_store)
    assert whole_images(empty_store, run) == each_once(run, KEYS - {"confusion_matrix"})
    assert verified(save_dir, empty_store) == []


def test_an_archive_has_its_pictures_logged_too(save_dir: Path, empty_store: str) -> None:
    archive = shutil.make_archive(str(save_dir.parent / "runs"), "gztar", save_dir.parent, "train")
    assert imported(archive, "--images", uri=empty_store).status == 0
    run = only_run(empty_store)
    assert whole_images(empty_store, run) == each_once(run)


def test_a_plan_names_the_images_of_each_release_and_counts_their_bytes(tmp_path: Path) -> None:
    save_dir = WITH_PICTURES.write(tmp_path / "train")
    logged = ("PR_curve.png", "BoxF1_curve.png", "MaskPR_curve.png", "PoseF1_curve.png", "labels.jpg",
              "confusion_matrix_normalized.png", "val_batch2_labels.jpg", "test_batch0_pred.jpg")  # fmt: skip
    draw(save_dir, *logged, "P_curve.png", "results.png", "train_batch0.jpg", "labels_correlogram.jpg")
    plan = plan_import(read_run(save_dir), ImportOptions(images=True, artifacts="none"))
    assert {image.key for image in plan.images} == {Path(name).stem for name in logged}
    assert plan.image_bytes == sum((save_dir / name).stat().st_size for name in logged)
    assert f"images      8, {size(plan.image_bytes)}\n" in ymlf("plan", save_dir, "--images").out
    [told] = ymlf("plan", save_dir, "--images", "--exclude-artifacts", "*.jpg", "--json").told
    assert [image["key"] for image in told["images"]] == sorted(  # type: ignore[attr-defined]
        Path(name).stem for name in logged if name.endswith(".png")
    )
    assert plan_import(read_run(save_dir), ImportOptions()).images == ()


def test_pictures_of_one_palette_and_of_print_colours_are_images_too(tmp_path: Path, empty_store: str) -> None:
    save_dir = copy_fixture("detect/train", tmp_path)
    Image.new("CMYK", (24, 16), "red").save(save_dir / "labels.jpg")
    imported(save_dir, "--images", uri=empty_store)
    run = only_run(empty_store)
    keys = {"confusion_matrix", "confusion_matrix_normalized", "BoxPR_curve", "labels"}
    assert whole_images(empty_store, run) == each_once(run, keys)


def test_images_are_known_by_the_names_of_every_mlflow() -> None:
    paths = [OLD.format(".png"), OLD.format("%compressed.webp"), TWICE.format("a1"), TWICE.format("b2"), "images/x.png"]
    found = images_in(paths)
    assert {key: [image.is_whole for image in images] for key, images in found.items()} == {
        "confusion_matrix": [True],
        "labels": [False, False],
    }
