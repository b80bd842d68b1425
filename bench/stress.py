"""Is a tree whole after it was imported under stress? `python bench/stress.py kill|twice|faults|grow`

    kill    the import is SIGKILLed at random moments, workers and all, and started again each time
    twice   two imports of the tree run at the same time
    faults  the import goes through a proxy that harms 5 % of the requests in each of seven ways, to a server that is
            SIGKILLed and started again three times; where the import gives up it is started again, at most twice
    grow    the tree grows, and is looked at --looks times through a server that is SIGKILLed --times times

The first three end with `ymlf verify` over the tree and a count of the runs in the store: one per directory, none
left RUNNING. The last ends with a comparison of each run with a plain import's.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from growing import grow
from make_tree import make_tree
from support.services.bad_network import by_chance, restart_at
from support.services.fault_proxy import fault_proxy
from support.services.mlflow_server import mlflow_server
from support.services.postgres import postgres
from support.services.process import answers_ok, wait_until

YMLF = (sys.executable, "-m", "importer")


def start(tree: Path, uri: str, artifacts: Path) -> subprocess.Popen[bytes]:
    """An import in a process group of its own."""
    command = [*YMLF, "import", str(tree), "--tracking-uri", uri, "--artifact-location", str(artifacts), "-q"]
    return subprocess.Popen(command, start_new_session=True)


def kill(tree: Path, uri: str, artifacts: Path, times: int, seconds: float, dice: random.Random) -> None:
    """Kill imports of the tree, then let one go through."""
    for turn in range(times):
        process = start(tree, uri, artifacts)
        pause = dice.uniform(0.5, seconds)
        time.sleep(pause)
        ended = process.poll()
        os.killpg(process.pid, signal.SIGKILL) if ended is None else None
        process.wait()
        print(f"  kill {turn + 1} after {pause:.1f} s" if ended is None else "  ended by itself", file=sys.stderr)
    assert start(tree, uri, artifacts).wait() == 0, "the last import failed"


def twice(tree: Path, uri: str, artifacts: Path) -> None:
    """Two imports at once."""
    both = [start(tree, uri, artifacts) for _ in range(2)]
    statuses = [process.wait() for process in both]
    assert statuses == [0, 0], statuses


def faults(tree: Path, backend_uri: str, artifacts: Path, runs: int) -> dict[str, object]:
    """An import through a bad network. What became of it is asked of the server itself, as the proxy is no more."""
    with mlflow_server(backend_uri, str(artifacts)) as server:
        with fault_proxy(server.url, delay_seconds=0.3) as proxy:
            proxy.script = by_chance
            at = [runs * part // 4 for part in (1, 2, 3)]
            restarts = threading.Thread(target=restart_at, args=(server, proxy, at, 900))
            restarts.start()
            statuses: list[int] = []
            while len(statuses) < 3 and 0 not in statuses:
                wait_until(lambda: answers_ok(f"{server.url}/health"), "the server is back")
                command = [*YMLF, "import", str(tree), "--tracking-uri", proxy.url, "-q"]
                statuses.append(subprocess.run(command).returncode)
                print(f"  start {len(statuses)} ended with {statuses[-1]}", file=sys.stderr)
            restarts.join()
            starts = server.log.count("Started server process")
            told = {
                "statuses": statuses,
                "server starts": starts,
                "requests": proxy.counts.total(),
                "harmed": dict(proxy.faulted),
            }
        return {**told, **examine(tree, server.url)}


def examine(tree: Path, uri: str) -> dict[str, object]:
    """What `ymlf verify` says of each run, and how many runs the store has, by status and by state."""
    from mlflow import MlflowClient

    done = subprocess.run([*YMLF, "verify", str(tree), "--tracking-uri", uri, "--json"], capture_output=True, text=True)
    told = json.loads(done.stdout.splitlines()[-1])
    client = MlflowClient(uri)
    runs, keys, token = Counter(), Counter(), None
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    while True:
        page = client.search_runs(ids, max_results=500, page_token=token)
        for run in page:
            runs[f"{run.info.status} {run.data.tags.get('ymlf.state')}"] += 1
            keys.update(value for name, value in run.data.tags.items() if name.startswith("ymlf.key."))
        token = page.token
        if not token:
            break
    twice_there = sum(1 for count in keys.values() if count > 1)
    return {"verify": told["summary"], "exit": done.returncode, "store": dict(runs), "keys twice": twice_there}


def main() -> None:
    """Do what the command line asks for and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kill", "twice", "faults", "grow"])
    parser.add_argument("--store", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--looks", type=int, default=1440)
    parser.add_argument("--seconds", type=float, default=25.0, help="a kill comes at most this long after the start")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ymlf-stress-")))
        uri = f"sqlite:///{folder}/mlflow.db"
        if options.store == "postgres":
            uri = stack.enter_context(postgres()).create_database("stress")
        artifacts = folder / "artifacts"
        if options.what == "grow":
            with mlflow_server(uri, str(artifacts)) as server:
                print(json.dumps(grow(folder / "tree", server, vars(options))))
            return
        make_tree(folder / "tree", options.runs)
        began = time.perf_counter()
        told: dict[str, object] = {"what": options.what, "store": options.store, "runs": options.runs}
        if options.what == "faults":
            told |= faults(folder / "tree", uri, artifacts, options.runs)
        elif options.what == "kill":
            kill(folder / "tree", uri, artifacts, options.times, options.seconds, random.Random(options.seed))
        else:
            twice(folder / "tree", uri, artifacts)
        told["seconds"] = round(time.perf_counter() - began, 1)
        print(json.dumps(told if options.what == "faults" else {**told, **examine(folder / "tree", uri)}))


if __name__ == "__main__":
    main()
