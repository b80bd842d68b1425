"""Run directories in object stores are what they are on disk, and are named as they were given."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.command import Answer, ymlf, ymlf_process
from support.directories import copy_fixture, fixture_names
from support.pictures import draw, whole_images
from support.services.fault_proxy import FaultProxy, fault_proxy
from support.services.needs import needed
from support.stores import runs_in, untouched
from support.trees import active, assert_whole, by_name, grow, small_tree, summary, training, write_unfinished

import importer
from importer.read.discover import find_runs
from importer.sources.opening import place_of

if TYPE_CHECKING:
    from support.services.s3 import S3Server

pytestmark = pytest.mark.remote

MIB = 1024 * 1024


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The endpoint, and an environment that leads to it."""
    for name, value in s3_server.env.items():
        monkeypatch.setenv(name, value)
    return s3_server


def upload(tree: Path, s3: S3Server, bucket: str) -> str:
    """The URL of a new bucket with all files of a tree."""
    url = s3.create_bucket(bucket)
    client = s3.client()
    for path in sorted(tree.rglob("*")):
        if path.is_file():
            client.upload_file(str(path), bucket, path.relative_to(tree).as_posix())
    return url


def through(proxy: FaultProxy) -> Mapping[str, str]:
    """The environment that leads to S3 by way of a proxy."""
    return {"AWS_ENDPOINT_URL": proxy.url}


def sources_of(answer: Answer) -> list[object]:
    """The sources that `--json` told, in order."""
    return [told["source"] for told in answer.told if "source" in told]


# One training, wherever it lies


def test_a_directory_is_one_run_from_disk_bucket_and_archives(tmp_path: Path, s3: S3Server, sqlite_uri: str) -> None:
    tree = tmp_path / "tree"
    training(1).write(tree / "runs" / "train")
    places = [str(tree), upload(tree, s3, "one-run")]
    places += [shutil.make_archive(str(tmp_path / "kept"), kind, tree) for kind in ("zip", "gztar", "xztar")]
    for number, place in enumerate(places):
        answer = ymlf("import", place, "--tracking-uri", sqlite_uri, "--json")
        assert (answer.status, summary(answer)) == (0, {"already there" if number else "imported": 1}), place
    for place in places:
        answer = ymlf("verify", place, "--deep", "--tracking-uri", sqlite_uri, "--json")
        assert (answer.status, summary(answer)) == (0, {"verified": 1}), place
    assert len(runs_in(sqlite_uri)) == 1


def test_every_fixture_is_imported_out_of_a_bucket_and_verified_against_the_disk(
    tmp_path: Path, s3: S3Server, sqlite_uri: str
) -> None:
    for name in fixture_names():
        copy_fixture(name, tmp_path / "tree")
    url = upload(tmp_path / "tree", s3, "fixtures")
    words = ("--tracking-uri", sqlite_uri, "--also", "empty", "--also", "unfinished", "--json")
    assert ymlf("import", url, *words).status == 0
    for place in (url, tmp_path / "tree"):
        answer = ymlf("verify", place, "--tracking-uri", sqlite_uri, "--json")
        assert (answer.status, summary(answer)) == (0, {"verified": len(fixture_names())})


def test_a_tree_in_a_bucket_is_imported_by_processes(tmp_path: Path, s3: S3Server, sqlite_uri: str) -> None:
    tree = small_tree(tmp_path / "tree", 6, epochs=3)
    url = upload(tree, s3, "tree")
    answer = ymlf_process("import", url, "--tracking-uri", sqlite_uri, "--json", "-j", "2")
    assert (answer.status, summary(answer)) == (0, {"imported": 6})
    assert_whole(sqlite_uri, tree, 6)


@pytest.mark.dask
def test_a_tree_in_a_bucket_is_imported_by_dask(tmp_path: Path, s3: S3Server, sqlite_uri: str) -> None:
    needed("distributed", "dask")
    tree = small_tree(tmp_path / "tree", 6, epochs=3)
    url = upload(tree, s3, "tree-by-dask")
    answer = ymlf_process("import", url, "--tracking-uri", sqlite_uri, "--json", "--dask", "local:2")
    assert (answer.status, summary(answer)) == (0, {"imported": 6})
    assert_whole(sqlite_uri, tree, 6)


def test_an_empty_args_yaml_does_not_make_two_trainings(tmp_path: Path, s3: S3Server, sqlite_uri: str) -> None:
    save_dir = training(1).write(tmp_path / "tree" / "train")
    (save_dir / "args.yaml").write_text("")
    url = upload(tmp_path / "tree", s3, "empty-args")
    for place, outcome in ((save_dir, "imported"), (f"{url}/train", "already there")):
        answer = ymlf("import", place, "--tracking-uri", sqlite_uri, "--json")
        assert summary(answer) == {outcome: 1}


def test_a_directory_known_by_its_place_only_is_known_from_anywhere(
    tmp_path: Path, s3: S3Server, sqlite_uri: str
) -> None:
    s3.create_bucket("by-place")
    s3.client().put_object(Bucket="by-place", Key="train/args.yaml", Body=b"")
    for folder, outcome in (("here", "imported"), ("there", "already there")):
        (tmp_path / folder).mkdir()
        words = ("import", "s3://by-place/train", "--tracking-uri", sqlite_uri, "--also", "empty", "--json")
        assert summary(ymlf(*words, cwd=tmp_path / folder)) == {outcome: 1}


# What is shown


def test_the_source_is_shown_as_it_was_given(tmp_path: Path, s3: S3Server, empty_database: Path) -> None:
    training(1).write(tmp_path / "tree" / "runs" / "train")
    shutil.make_archive(str(tmp_path / "kept"), "zip", tmp_path / "tree")
    url = upload(tmp_path, s3, "shown")
    sources = {
        "kept.zip": "kept.zip!runs/train",
        f"{url}/tree/": "s3://shown/tree/runs/train",
        f"{url}/kept.zip": "s3://shown/kept.zip!runs/train",
    }
    for number, (place, source) in enumerate(sources.items()):
        shutil.copyfile(empty_database, tmp_path / f"{number}.db")
        uri = f"sqlite:///{tmp_path / f'{number}.db'}"
        words = ("--tracking-uri", uri, "--experiment", "{parent}: {relpath}", "--json")
        answer = ymlf("import", place, *words, cwd=tmp_path)
        assert sources_of(answer) == [source]
        (run,) = active(uri)
        assert run.data.tags["ymlf.source"] == (source if "://" in source else place_of(str(tmp_path / source)))
        assert answer.told[0]["experiment_name"] == "runs: runs/train"


def test_nothing_that_was_unpacked_or_fetched_is_left_behind(tmp_path: Path, s3: S3Server, sqlite_uri: str) -> None:
    training(1).write(tmp_path / "tree" / "train")
    shutil.make_archive(str(tmp_path / "kept"), "zip", tmp_path / "tree")
    url = upload(tmp_path, s3, "left-behind")
    (tmp_path / "tmp").mkdir()
    for place in ("kept.zip", f"{url}/kept.zip", f"{url}/tree"):
        answer = ymlf_process(
            "import", place, "--tracking-uri", sqlite_uri, cwd=tmp_path, env={"TMPDIR": str(tmp_path / "tmp")}
        )
        assert answer.status == 0, answer.err
    assert [path.name for path in (tmp_path / "tmp").iterdir() if not path.name.endswith(".lock")] == []


# What it costs


def test_a_checkpoint_of_50_mb_costs_less_than_one(tmp_path: Path, s3: S3Server) -> None:
    save_dir = training(1).write(tmp_path / "tree" / "train")
    large = with_weights((save_dir / "weights" / "last.pt").read_bytes(), 50 * MIB)
    for name in ("last.pt", "best.pt"):
        (save_dir / "weights" / name).write_bytes(large)
    url = upload(tmp_path / "tree", s3, "large")
    with fault_proxy(s3.url) as proxy:
        answer = ymlf_process("plan", f"{url}/train", "--json", env=through(proxy))
        assert answer.told[0]["clock"] == "checkpoint-date", answer.err
        assert 0 < proxy.answered_bytes() < 1_000_000


def with_weights(checkpoint: bytes, size: int) -> bytes:
    """The checkpoint with one more tensor, of as many bytes."""
    written = BytesIO(checkpoint)
    with zipfile.ZipFile(written, "a") as archive:
        archive.writestr("last/data/weights", os.urandom(MIB) * (size // MIB))
    return written.getvalue()


def test_a_tree_is_found_by_one_listing_and_no_file_is_asked_for_twice(tmp_path: Path, s3: S3Server) -> None:
    url = upload(small_tree(tmp_path / "tree", 20, epochs=3), s3, "few-requests")
    with fault_proxy(s3.url) as proxy:
        answer = ymlf_process("scan", url, "--json", env=through(proxy))
        assert len(sources_of(answer)) == 20
        listings = sum(count for (_, path), count in proxy.counts.items() if path.strip("/") == "few-requests")
        assert (listings, {method for method, _ in proxy.counts}) == (1, {"GET"})
        assert proxy.counts.total() <= 1 + 20 * 8


def test_object_times_are_file_times(tmp_path: Path, s3: S3Server) -> None:
    training(1).write(tmp_path / "tree" / "train")
    url = upload(tmp_path / "tree", s3, "times")
    [scanned] = [line for line in ymlf("scan", url, "--json").told if "source" in line]
    times = [found["LastModified"] for found in s3.client().list_objects_v2(Bucket="times")["Contents"]]
    assert scanned["modified_ms"] == max(times).timestamp() * 1000


# What goes wrong


def test_a_run_is_not_thinned_out_by_a_network_that_keeps_its_checkpoint_back(
    tmp_path: Path, s3: S3Server, sqlite_uri: str
) -> None:
    training(1).write(tmp_path / "tree" / "train")
    url = upload(tmp_path / "tree", s3, "kept-back")
    with fault_proxy(s3.url) as proxy:
        proxy.script = lambda method, path, index: "500" if path.endswith("last.pt") else None
        answer = ymlf_process("import", url, "--tracking-uri", sqlite_uri, env=through(proxy))
    assert answer.status == 3
    [error] = [line for line in answer.err.splitlines() if line.startswith("error: ")]  # after lines of progress
    assert error.startswith("error: s3://kept-back/train/weights/last.pt: ")
    assert untouched(sqlite_uri)


def test_a_cut_connection_is_asked_again(tmp_path: Path, s3: S3Server, sqlite_uri: str) -> None:
    tree = tmp_path / "tree"
    training(1).write(tree / "train")
    url = upload(tree, s3, "cut")
    with fault_proxy(s3.url) as proxy:
        proxy.script = lambda _, path, index: "cut_answer" if not index and path.endswith((".pt", ".csv")) else None
        answer = ymlf_process("import", url, "--tracking-uri", sqlite_uri, env=through(proxy))
        assert proxy.faulted["cut_answer"] == 2
    assert answer.status == 0, answer.err
    assert_whole(sqlite_uri, tree, 1)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        pytest.param("s3://no-such-bucket/runs", "s3://no-such-bucket/runs: no such file or directory", id="no bucket"),
        pytest.param("s3://refusals/none", "s3://refusals/none: no such file or directory", id="no such folder"),
        pytest.param("s3://refusals/notes.txt", "s3://refusals/notes.txt: no run directory here or below", id="a file"),
        pytest.param("s3://refusals/broken.zip", "s3://refusals/broken.zip: cannot be unpacked: ", id="no archive"),
    ],
)
def test_what_is_not_there_is_refused(s3: S3Server, sqlite_uri: str, place: str, message: str) -> None:
    if "refusals" not in {bucket["Name"] for bucket in s3.client().list_buckets()["Buckets"]}:
        s3.create_bucket("refusals")
    for name in ("notes.txt", "broken.zip"):
        s3.client().put_object(Bucket="refusals", Key=name, Body=b"text")
    answer = ymlf("import", place, "--tracking-uri", sqlite_uri)
    assert answer.status == 1
    assert f"error: {message}" in answer.err
    assert untouched(sqlite_uri)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        pytest.param("nfs4://host/runs", "error: nfs4://host/runs: Protocol not known: nfs4", id="no such scheme"),
        pytest.param("s3://", "error: s3://: names no bucket", id="no bucket"),
        pytest.param("s3://me:hunter22@runs/a", "error: s3://***@runs/a: a bucket's URL takes no login", id="login"),
    ],
)
def test_a_url_that_cannot_be_meant_is_misuse(place: str, message: str) -> None:
    answer = ymlf("scan", place)
    assert (answer.status, answer.err.splitlines()[0]) == (2, message)


@pytest.mark.usefixtures("s3")
def test_missing_credentials_are_an_error_with_a_hint(tmp_path: Path) -> None:
    nowhere = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}
    answer = ymlf_process("scan", "s3://private/runs", env={**nowhere, "HOME": str(tmp_path)})
    assert answer.status == 3
    assert answer.err.startswith("error: s3://private/runs: ")
    assert "hint: are the credentials set" in answer.err


# The library


def test_the_library_takes_urls_and_archives(tmp_path: Path, s3: S3Server, sqlite_uri: str) -> None:
    training(1).write(tmp_path / "tree" / "train")
    archive = shutil.make_archive(str(tmp_path / "kept"), "zip", tmp_path / "tree")
    url = upload(tmp_path / "tree", s3, "library")
    assert [str(run.save_dir) for run in find_runs([url, archive])] == [f"{url}/train", f"{archive}!train"]
    assert importer.read_run(f"{url}/train").save_dir == f"{url}/train"
    assert importer.import_run(archive, tracking_uri=sqlite_uri).kind is importer.Kind.IMPORTED
    assert importer.verify_run(f"{url}/train", tracking_uri=sqlite_uri) == []
    assert [told.kind.value for told in importer.import_many([url], tracking_uri=sqlite_uri)] == ["already there"]


def test_any_filesystem_of_fsspec_will_do(tmp_path: Path, sqlite_uri: str) -> None:
    fsspec = needed("fsspec", "test-remote")
    tree = tmp_path / "tree"
    training(1).write(tree / "runs" / "train")
    fsspec.filesystem("memory").put(str(tree), "/tree", recursive=True)
    answer = ymlf("import", "memory://tree", "--tracking-uri", sqlite_uri, "--json", "-j", "1")
    assert list(by_name(answer)) == ["train"]
    assert_whole(sqlite_uri, tree, 1)


def test_pictures_come_from_any_filesystem_too(tmp_path: Path, sqlite_uri: str) -> None:
    fsspec = needed("fsspec", "test-remote")
    draw(training(1).write(tmp_path / "train"), "labels.jpg", "confusion_matrix.png")
    fsspec.filesystem("memory").put(str(tmp_path / "train"), "/pictures/train", recursive=True)
    answer = ymlf("import", "memory://pictures", "--images", "--tracking-uri", sqlite_uri, "--json", "-j", "1")
    assert (answer.status, answer.told[0].get("notes")) == (0, None), answer.told
    [run] = runs_in(sqlite_uri)
    assert {key for key, _ in whole_images(sqlite_uri, run)} == {"labels", "confusion_matrix"}


def test_a_bucket_that_changed_between_two_looks_is_read_again(tmp_path: Path, s3: S3Server, sqlite_uri: str) -> None:
    write_unfinished(tmp_path / "tree" / "train", 1, 4)
    url = upload(tmp_path / "tree", s3, "grows")
    assert [told.kind.value for told in importer.import_many([url], tracking_uri=sqlite_uri)] == ["imported"]
    grow(tmp_path / "tree" / "train", 1, 4)
    for path in ("results.csv", "weights/last.pt", "args.yaml"):
        s3.client().upload_file(str(tmp_path / "tree" / "train" / path), "grows", f"train/{path}")
    assert [told.kind.value for told in importer.import_many([url], tracking_uri=sqlite_uri)] == ["updated"]
    assert importer.verify_run(f"{url}/train", tracking_uri=sqlite_uri) == []
