"""A tree of trainings that start, crash, are resumed and end, looked at again and again while its server is killed."""

from __future__ import annotations

import contextlib
import random
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from support.services.mlflow_server import MlflowServer
from support.services.process import ServiceError
from support.trees import seen, training

from importer import ImportOptions, StoreError, Workers, import_many, verify_run
from importer.store.opening import quiet_mlflow

EPOCH_MS = 3_600_000  # a training goes on while its last row is younger than three epochs
CRASHED_S = 4 * 3600.0
STARTS = 10
OWN = ("ymlf.record", "ymlf.import_id", "ymlf.update_id")  # tags that no two imports share
KINDS = ("imported", "updated", "already there", "resumed")  # what an undisturbed look may say of a training


@dataclass(frozen=True)
class Scene:
    """A training as it is found from some look on."""

    look: int
    name: str
    seed: int
    epochs: int
    planned: int
    resumed_at: tuple[int, ...] = ()  # rows, from 1 on
    state: str = "going"  # crashed, ended

    def write(self, tree: Path) -> None:
        """Write the directory of the training as it is now."""
        facts: dict[str, Any] = {"epoch_ms": EPOCH_MS, "sessions": self.resumed_at, "planned": self.planned}
        if self.state == "ended":
            shutil.rmtree(tree / self.name)
            facts["started_ms"] = int((time.time() - CRASHED_S) * 1000) - self.epochs * EPOCH_MS
            training(self.seed, epochs=self.epochs, **facts).write(tree / self.name)
        else:
            ago_s = CRASHED_S if self.state == "crashed" else 1
            seen(tree / self.name, self.epochs, ago_s=ago_s, seed=self.seed, **facts)


def scenes(trainings: int, looks: int, dice: random.Random) -> Iterator[Scene]:
    """Yield the scenes of some trainings: half of them crash, and of these half are resumed."""
    for seed in range(trainings):
        name = f"project{seed % 7}/train{seed}"
        planned = dice.randint(2, 7)
        crash = dice.randint(1, planned - 1) if dice.random() < 0.5 else 0
        resumes = dice.random() < 0.5
        gap = looks / 12 / planned
        look = dice.uniform(0, looks * 5 / 6 - 2 * gap) if seed else 0
        for epochs in range(1, planned + 1):
            resumed_at = (crash,) if 0 < crash < epochs else ()
            yield Scene(int(look), name, seed, epochs, planned, resumed_at)
            look += dice.uniform(0, 2 * gap)
            if epochs == crash:
                yield Scene(int(look), name, seed, epochs, planned, state="crashed")
                look += dice.uniform(0, 2 * gap)
                if not resumes:
                    break
        else:
            yield Scene(int(min(look, looks - 1)), name, seed, planned, planned, resumed_at, state="ended")


def grow(tree: Path, server: MlflowServer, options: dict[str, int]) -> dict[str, object]:
    """Look at a growing tree, with a server that is killed amid some looks, and compare what the store has then."""
    dice = random.Random(options["seed"])
    coming = sorted(scenes(options["runs"], options["looks"], dice), key=lambda scene: scene.look)
    kills = dice.sample(range(options["looks"]), options["times"])
    tree.mkdir()
    quiet_mlflow()
    kinds: Counter[str] = Counter()
    disturbed: Counter[str] = Counter()
    began, cpu = time.perf_counter(), time.process_time()
    for number in range(options["looks"]):
        while coming and coming[0].look <= number:
            coming.pop(0).write(tree)
        killer = threading.Timer(dice.uniform(0, 1.5), restart, [server]) if number in kills else None
        if killer is not None:
            killer.start()
        outcomes = Counter(look(tree, server.url))
        (disturbed if killer is not None else kinds).update(outcomes)
        if killer is not None:
            killer.join()
        if number % 60 == 59:
            print(
                f"  look {number + 1}: {time.perf_counter() - began:.0f} s, {dict(kinds)}", file=sys.stderr, flush=True
            )
    times = {"seconds of looks": round(time.perf_counter() - began, 1), "cpu": round(time.process_time() - cpu, 1)}
    look(tree, server.url)  # after a kill amid the last one
    starts = server.log.count("Started server process")
    odd = {kind: count for kind, count in kinds.items() if kind not in KINDS}
    said = {"looks": options["looks"], "server starts": starts, "outcomes": dict(kinds), "amid kills": dict(disturbed)}
    return {**times, **said, "odd outcomes": odd, **compare(tree, server.url)}


def restart(server: MlflowServer) -> None:
    """Kill the server and start it again; on a host that has much to do it may be slow to start."""
    for _ in range(STARTS):
        with contextlib.suppress(ServiceError):
            return server.restart()


def look(tree: Path, uri: str) -> list[str]:
    """Return the outcomes of one look; of one that could not open the store, that it could not."""
    try:
        outcomes = import_many(tree, tracking_uri=uri, options=ImportOptions(unfinished=True))
    except StoreError:
        return ["no store"]
    return [outcome.kind.value for outcome in outcomes]


def compare(tree: Path, uri: str) -> dict[str, object]:
    """Compare the run of each training with that of a plain import into another experiment."""
    client = MlflowClient(uri)
    grown = import_many(tree, tracking_uri=uri)  # which writes nothing
    plain = import_many(tree, tracking_uri=uri, options=ImportOptions(experiment="plain"), workers=Workers(1))
    there = {outcome.source: outcome for outcome in grown}
    unlike = Counter(
        difference
        for outcome in plain
        for difference in differences(client, str(there[outcome.source].run_id), str(outcome.run_id))
    )
    ids = [outcome.experiment_id for outcome in grown if outcome.experiment_id]
    runs = client.search_runs(ids[:1], max_results=5000)
    return {
        "directories": len(grown),
        "last look": dict(Counter(outcome.kind.value for outcome in grown)),
        "active runs": len(runs),
        "statuses": dict(Counter(run.info.status for run in runs)),
        "compared": len(plain),
        "unlike a plain import": dict(unlike),
        "verify": len(verify_run([outcome.source for outcome in grown], tracking_uri=uri)),
    }


def differences(client: MlflowClient, run_id: str, plain_id: str) -> list[str]:
    """Return the words for what two runs do not share, but for the day of the first look."""
    ours, plain = (content(client, client.get_run(each)) for each in (run_id, plain_id))
    return [name for name in plain if ours[name] != plain[name]]


def content(client: MlflowClient, run: Run) -> dict[str, object]:
    """Return what a run holds; times from its first point on."""
    run_id = run.info.run_id
    points = {key: client.get_metric_history(run_id, key) for key in sorted(run.data.metrics)}
    first = min(point.timestamp for series in points.values() for point in series)
    paths = [entry for folder in (None, "weights") for entry in client.list_artifacts(run_id, folder)]
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "params": run.data.params,
        "points": {key: sorted((p.step, p.value) for p in series) for key, series in points.items()},
        "times": {key: sorted((p.step, p.timestamp - first) for p in series) for key, series in points.items()},
        "has an end": run.info.end_time is not None,
        "artifacts": sorted((entry.path, entry.file_size) for entry in paths),
        "tags": {name: text for name, text in run.data.tags.items() if name.startswith("ymlf.") and name not in OWN},
    }
