"""An archive is data from strangers: what it may do to the disk, to the times, and to whoever is told of it."""

from __future__ import annotations

import io
import os
import stat
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support.command import in_zone, ymlf
from support.stores import untouched
from support.trees import by_name, training

from importer.errors import RunDirError
from importer.sources import archive as unpacking
from importer.sources.archive import Archive, UnpackedPath, unpack
from importer.sources.opening import open_source

Writer = Callable[[Path], None]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """The folder that holds the archive and the only folder that may be written to."""
    (tmp_path / "deep" / "top").mkdir(parents=True)
    return tmp_path


def unpacked(outside: Path, write: Writer) -> tuple[Archive, dict[str, bytes]]:
    """What became of an archive's members, and the files that there are now, by where they are below `outside`."""
    archive = outside / "archive"
    write(archive)
    told = unpack(archive, "given.zip", outside / "deep" / "top")
    archive.unlink()
    files = [path for path in outside.rglob("*") if path.is_file()]
    return told, {path.relative_to(outside).as_posix(): path.read_bytes() for path in files}


def a_zip(*members: tuple[str | zipfile.ZipInfo, bytes]) -> Writer:
    """What writes a zip of these members."""

    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members:
                archive.writestr(name, content)

    return write


def a_tar(*members: tuple[tarfile.TarInfo | str, bytes], mode: str = "w:gz") -> Writer:
    """What writes a tar of these members."""

    def write(path: Path) -> None:
        with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
            for member, content in members:
                info = tarfile.TarInfo(member) if isinstance(member, str) else member
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))

    return write


def zip_of_kind(name: str, kind: int) -> zipfile.ZipInfo:
    """A member of a zip that a Unix made of such a file."""
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (kind | 0o644) << 16
    return info


def tar_of_kind(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """A member of a tar that is no plain file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


# What is left in the archive


@pytest.mark.parametrize(
    ("write", "left_out"),
    [
        pytest.param(a_zip(("/etc/x", b"x")), "its name leads out of the archive", id="absolute, zip"),
        pytest.param(a_zip(("../x", b"x")), "its name leads out of the archive", id="above, zip"),
        pytest.param(a_zip(("a/../../../x", b"x")), "its name leads out of the archive", id="above by a folder, zip"),
        pytest.param(a_zip(("..\\x", b"x")), "its name leads out of the archive", id="above on Windows, zip"),
        pytest.param(a_zip(("C:/x", b"x")), "its name leads out of the archive", id="drive, zip"),
        pytest.param(a_zip(("\\\\host\\share\\x", b"x")), "its name leads out of the archive", id="share, zip"),
        pytest.param(a_zip((zip_of_kind("x", stat.S_IFLNK), b"/etc/passwd")), "it is a link", id="link, zip"),
        pytest.param(a_zip((zip_of_kind("x", stat.S_IFIFO), b"")), "it is no plain file", id="pipe, zip"),
        pytest.param(a_zip(("x" * 300, b"x")), "its name is too long", id="long name, zip"),
        pytest.param(a_tar(("/etc/x", b"x")), "its name leads out of the archive", id="absolute, tar"),
        pytest.param(a_tar(("../x", b"x")), "its name leads out of the archive", id="above, tar"),
        pytest.param(a_tar((tar_of_kind("x", tarfile.SYMTYPE, "/etc/passwd"), b"")), "it is a link", id="link, tar"),
        pytest.param(a_tar((tar_of_kind("x", tarfile.LNKTYPE, "y"), b"")), "it is a link", id="hard link, tar"),
        pytest.param(a_tar((tar_of_kind("x", tarfile.CHRTYPE), b"")), "it is no plain file", id="device, tar"),
        pytest.param(a_tar((tar_of_kind("x", tarfile.FIFOTYPE), b"")), "it is no plain file", id="pipe, tar"),
    ],
)
def test_a_member_that_may_not_be_written_stays_in_the_archive(outside: Path, write: Writer, left_out: str) -> None:
    told, files = unpacked(outside, write)
    assert [why for _, why in told.left_out] == [left_out]
    assert files == {}


def test_a_link_is_not_written_through(outside: Path) -> None:
    link = tar_of_kind("folder", tarfile.SYMTYPE, str(outside))
    told, files = unpacked(outside, a_tar((link, b""), ("folder/x", b"x")))
    assert told.left_out == (("folder", "it is a link"),)
    assert files == {"deep/top/folder/x": b"x"}


def test_of_two_members_of_one_name_the_later_holds_and_a_file_is_no_folder(outside: Path) -> None:
    told, files = unpacked(outside, a_tar(("a", b"1"), ("a", b"2"), ("a/b", b"3"), ("c/d", b"4"), ("c", b"5")))
    assert told.left_out == (("a/b", "another member has its name"), ("c", "another member has its name"))
    assert files == {"deep/top/a": b"2", "deep/top/c/d": b"4"}


# What is refused as a whole


def truncated(write: Writer, share: float) -> Writer:
    """The archive without its end."""

    def cut(path: Path) -> None:
        write(path)
        os.truncate(path, int(path.stat().st_size * share))

    return cut


def changed(write: Writer, change: Callable[[bytes], bytes]) -> Writer:
    """The archive with other bytes."""

    def rewrite(path: Path) -> None:
        write(path)
        path.write_bytes(change(path.read_bytes()))

    return rewrite


def encrypted(raw: bytes) -> bytes:
    """The zip with the first member's flag of encryption set, in its head and in the directory."""
    told = bytearray(raw)
    told[6] |= 1
    told[raw.find(b"PK\1\2") + 8] |= 1
    return bytes(told)


def announcing(size: int) -> Callable[[bytes], bytes]:
    """The zip whose first member announces another size."""

    def change(raw: bytes) -> bytes:
        told = bytearray(raw)
        at = raw.find(b"PK\1\2")
        told[at + 24 : at + 28] = told[22:26] = struct.pack("<I", size)
        return bytes(told)

    return change


NOISE = os.urandom(200_000)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        pytest.param(lambda path: path.write_bytes(b"no archive"), "cannot be unpacked: ", id="text"),
        pytest.param(lambda path: path.write_bytes(b""), "cannot be unpacked: ", id="empty"),
        pytest.param(truncated(a_zip(("x", NOISE)), 0.5), "cannot be unpacked: ", id="cut zip"),
        pytest.param(truncated(a_tar(("x", NOISE)), 0.5), "cannot be unpacked: ", id="cut tar.gz"),
        pytest.param(truncated(a_tar(("x", NOISE), mode="w"), 0.5), "", id="cut tar"),
        pytest.param(changed(a_zip(("x", b"x" * 9)), encrypted), "x is encrypted", id="encrypted"),
        pytest.param(changed(a_zip(("x", NOISE)), announcing(100_000)), "cannot be unpacked: ", id="holds more"),
        pytest.param(changed(a_zip(("x", NOISE)), announcing(300_000)), "", id="holds less"),
        pytest.param(changed(a_zip(("x", b"")), announcing(2**32 - 2)), "unpacks to 4,294,967,294 bytes", id="claims"),
        pytest.param(a_zip(("x", bytes(80_000_000))), "unpacks to 80,000,000 bytes or more", id="zip bomb"),
        pytest.param(a_tar(("x", bytes(80_000_000))), "unpacks to 80,000,000 bytes or more", id="tar.gz bomb"),
        pytest.param(a_zip(*[(f"x{n}", b"") for n in range(11)]), "has more than 10 members", id="many, zip"),
        pytest.param(a_tar(*[(f"x{n}", b"") for n in range(11)]), "has more than 10 members", id="many, tar"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    outside: Path, write: Writer, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "MAX_MEMBERS", 10)
    with pytest.raises(RunDirError) as refused:
        unpacked(outside, write)
    assert refused.value.message.startswith(f"given.zip: {message}")


def test_a_disk_without_room_is_told_before_anything_is_written(outside: Path) -> None:
    folder = unpacking._Folder(outside / "deep" / "top", "given.zip", 1)
    with pytest.raises(RunDirError, match=r"given.zip: unpacks to 1,\d*,000,000,000,000,000,000 bytes"):
        folder.require_room(1_000_000_000_000_000_000_000)


def test_a_refused_archive_stops_no_other_and_leaves_nothing(
    tmp_path: Path, sqlite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    training(1).write(tmp_path / "train")
    truncated(a_tar(("runs/x", NOISE)), 0.5)(tmp_path / "kept.tar.gz")
    answer = ymlf("import", "kept.tar.gz", "train", "--tracking-uri", sqlite_uri, "--json", "-j", "1", cwd=tmp_path)
    assert answer.status == 1
    assert {name: told["outcome"] for name, told in by_name(answer).items()} == {
        "kept.tar.gz": "refused",
        "train": "imported",
    }
    assert [path for path in (tmp_path / "tmp").iterdir() if path.suffix != ".lock"] == []


def test_a_batch_of_nothing_but_a_refused_archive_writes_nothing(tmp_path: Path, sqlite_uri: str) -> None:
    (tmp_path / "kept.zip").write_bytes(b"text")
    assert ymlf("import", tmp_path / "kept.zip", "--tracking-uri", sqlite_uri).status == 1
    assert untouched(sqlite_uri)


# What is told


def test_a_run_has_notes_on_its_own_members_that_were_left_out(tmp_path: Path) -> None:
    links = [tar_of_kind(f"{folder}/weights/best.pt", tarfile.SYMTYPE, "last.pt") for folder in ("train", "other")]
    args = (b"task: detect\nsave_dir: runs/train\n", b"epoch,train/box_loss\n1,0.5\n")
    members = [(link, b"") for link in links]
    a_tar(*members, ("train/args.yaml", args[0]), ("train/results.csv", args[1]))(tmp_path / "kept.tgz")
    (planned,) = ymlf("plan", tmp_path / "kept.tgz", "--json").told
    told = [note for note in planned["notes"] if note["code"] == "archive-member"]  # type: ignore[attr-defined]
    assert told == [{"code": "archive-member", "text": "weights/best.pt was left in the archive: it is a link"}]


# Times


def mtime(place: Path, name: str) -> float:
    """The file time of a member."""
    return (place / name).stat().st_mtime


def test_a_tar_keeps_file_times(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.mtime = 1_709_294_401.25  # type: ignore[assignment]
    a_tar((info, b"x"))(tmp_path / "kept.tgz")
    assert mtime(open_source(tmp_path / "kept.tgz"), "x") == 1_709_294_401.25


@pytest.mark.parametrize(("zone", "mtime_seconds"), [("UTC0", 1_709_294_402), ("EST5", 1_709_312_402)])
def test_the_times_of_a_zip_are_local_ones_and_a_note_says_so(tmp_path: Path, zone: str, mtime_seconds: int) -> None:
    a_zip((zipfile.ZipInfo("x", (2024, 3, 1, 12, 0, 2)), b"x"))(tmp_path / "kept.zip")
    with in_zone(zone):
        place = open_source(tmp_path / "kept.zip")
        assert mtime(place, "x") == mtime_seconds
    assert isinstance(place, UnpackedPath)
    assert [note.code for note in place.notes()] == ["archive-zone"]


def test_the_time_that_info_zip_adds_is_true_everywhere(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("x", (2024, 3, 1, 12, 0, 2))
    info.extra = struct.pack("<HHBi", 0x5455, 5, 1, 1_709_294_401)
    a_zip((info, b"x"))(tmp_path / "kept.zip")
    with in_zone("EST5"):
        place = open_source(tmp_path / "kept.zip")
    assert mtime(place, "x") == 1_709_294_401
    assert isinstance(place, UnpackedPath)
    assert place.notes() == []


@pytest.mark.parametrize("date", [(1980, 0, 0, 0, 0, 0), (2107, 15, 31, 31, 63, 62)])
def test_a_time_that_there_is_not_stops_nothing(tmp_path: Path, date: tuple[int, int, int, int, int, int]) -> None:
    a_zip((zipfile.ZipInfo("x", date), b"x"))(tmp_path / "kept.zip")
    assert (open_source(tmp_path / "kept.zip") / "x").read_bytes() == b"x"
