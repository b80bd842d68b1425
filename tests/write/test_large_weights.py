"""Weights go to a server, and come back from it to be verified, in little memory."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.directories import Training
from support.services.mlflow_server import mlflow_server
from support.torch_saves import pickled

GIB = 1 << 30
MEGABYTES = 150  # of memory, more than an import takes without the weights
# The kernel counts what a process took before it became another program, too; this one in between is small.
WEIGH = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
kilobyte = 1000 if sys.platform == "darwin" else 1
print(status, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // kilobyte // 1000)
"""


class Sparse:
    """A file that is written from start to end, and takes no room on the disk where it is zero."""

    def __init__(self, path: Path) -> None:
        self.handle = path.open("wb")

    def write(self, block: bytes) -> int:
        if block.count(0) == len(block) >= 4096:
            return self.handle.seek(len(block), 1)
        return self.handle.write(block)

    def flush(self) -> None:
        self.handle.flush()

    def tell(self) -> int:
        return self.handle.tell()


def write_checkpoint(path: Path, facts: object, *, size: int) -> None:
    """A checkpoint as torch.save writes it, with one tensor of that many bytes, all zero."""
    target = Sparse(path)
    with zipfile.ZipFile(target, "w") as archive:  # type: ignore[arg-type]  # for it needs no more of a file
        archive.writestr("best/data.pkl", pickled(facts))
        with archive.open("best/data/0", "w", force_zip64=True) as member:
            for _ in range(size >> 20):
                member.write(bytes(1 << 20))
        archive.writestr("best/version", "3\n")
    target.handle.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of which nothing is kept, as pytest keeps its own."""
    with tempfile.TemporaryDirectory(prefix="ymlf-large-") as name:
        yield Path(name)


def megabytes_of(*words: str | Path) -> int:
    """The most memory that `ymlf WORDS`, which comes through, has at a time."""
    command = [sys.executable, "-m", "importer", *map(str, words), "--quiet"]
    answer = subprocess.run([sys.executable, "-c", WEIGH, *command], capture_output=True, text=True, check=True)
    status, megabytes = answer.stdout.split()
    assert status == "0", answer.stderr
    return int(megabytes)


@pytest.mark.stress
def test_two_gigabytes_go_through_a_server_and_back_in_little_memory(folder: Path) -> None:
    small, large = Training().write(folder / "small"), Training().write(folder / "large")
    write_checkpoint(large / "weights" / "best.pt", Training().checkpoint({}, large), size=2 * GIB)
    with mlflow_server(f"sqlite:///{folder / 'mlflow.db'}", str(folder / "artifacts")) as server:
        baseline = megabytes_of("import", small, "--tracking-uri", server.url, "--experiment", "small")
        words = (large, "--tracking-uri", server.url, "--experiment", "large")
        taken = {"import": megabytes_of("import", *words), "verify": megabytes_of("verify", *words, "--deep")}
    [stored] = folder.glob("artifacts/**/best.pt")
    assert stored.stat().st_size > 2 * GIB
    assert max(taken.values()) - baseline < MEGABYTES, (baseline, taken)
