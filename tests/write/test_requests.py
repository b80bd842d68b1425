"""What an import asks of a server: few writes, whatever the number of points."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command import ymlf
from support.directories import COLUMNS, Training
from support.services.fault_proxy import FaultProxy, fault_proxy
from support.services.mlflow_server import MlflowServer

API = "/api/2.0/mlflow/"
LOOKS = {"experiments/search", "experiments/get-by-name", "experiments/get", "runs/search", "runs/get"}
LARGE = Training(columns=(*COLUMNS, "train/l1_loss", "val/l1_loss"), last=None)
PARAMS = 110


def of(epochs: int) -> Training:
    """A training of 15 columns and 110 params."""
    known = len(LARGE.all_args(""))
    return LARGE.with_(epochs=epochs, args={f"param{number}": number for number in range(PARAMS - known)})


@pytest.fixture
def proxy(http_server: MlflowServer) -> Iterator[FaultProxy]:
    with fault_proxy(http_server.url) as running:
        yield running


def writes(proxy: FaultProxy) -> Counter[str]:
    """Requests that change something, by their name; those for artifacts are not among them."""
    return Counter({name: count for name, count in asked(proxy).items() if name not in LOOKS})


def asked(proxy: FaultProxy) -> Counter[str]:
    """Requests to the tracking API, by their name."""
    told: Counter[str] = Counter()
    for (_, path), count in proxy.counts.items():
        if path.startswith(API):
            told[path.removeprefix(API)] += count
    return told


@pytest.mark.parametrize(("epochs", "log_batch"), [(3, 2), (100, 2), (300, 5)])
def test_an_import_writes_its_run_in_few_requests(
    epochs: int, log_batch: int, tmp_path: Path, proxy: FaultProxy
) -> None:
    words = (of(epochs).write(tmp_path / "train"), "--tracking-uri", proxy.url, "--experiment", f"{epochs} epochs")
    assert ymlf("import", *words).status == 0
    told = writes(proxy)
    assert told.pop("experiments/create") == 1
    assert told.pop("runs/log-inputs") == 1  # the dataset
    assert told == {"runs/create": 1, "runs/log-batch": log_batch, "runs/update": 1}


def test_an_import_into_an_experiment_that_is_there_looks_up_little(tmp_path: Path, proxy: FaultProxy) -> None:
    words = ("--tracking-uri", proxy.url, "--experiment", "there")
    assert ymlf("import", of(3).write(tmp_path / "train"), *words).status == 0
    proxy.reset()
    other = of(3).with_(args={**of(3).args, "seed": 1})
    assert ymlf("import", other.write(tmp_path / "train2"), *words).status == 0
    looks = Counter({name: count for name, count in asked(proxy).items() if name in LOOKS})
    assert looks.pop("experiments/search") == 1  # is there a server
    assert looks.total() <= 6, looks


def test_a_second_import_writes_nothing(tmp_path: Path, proxy: FaultProxy) -> None:
    words = (of(100).write(tmp_path / "train"), "--tracking-uri", proxy.url, "--experiment", "again")
    assert ymlf("import", *words).status == 0
    proxy.reset()
    told = ymlf("import", *words)
    assert (told.status, told.out.split(":")[0]) == (0, "already there")
    assert writes(proxy) == {}
    assert {path for _, path in proxy.counts if not path.startswith(API)} == set()
