"""What holds of any table that a trainer could have written, and of any bytes in its place."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.entities import Metric, Run
from support.weigh import weigh
from support.written import Points, Written, evolve, tune, ultralytics, yolov5, yolov7

from importer import (
    ImportOptions,
    ImportPlan,
    Kind,
    PlanError,
    RunDirError,
    import_run,
    read_run,
    verify_run,
)
from importer.replay.identity import training_key
from importer.replay.plan import plan_import

NOW_MS = 1_800_000_000_000
TABLES = ("results.", "tune_results.", "evolve.")
LARGEST = 1.7976931348623157e308  # what a database holds for inf
FORMATS = {"ultralytics": ultralytics, "yolov5": yolov5, "yolov7": yolov7, "tune": tune, "evolve": evolve}

derandomized = settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module")
def store_uri(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[str]:
    """A database for all examples; artifacts go beside it."""
    folder = tmp_path_factory.mktemp("any_table")
    shutil.copyfile(empty_database, folder / "store.db")
    here = Path.cwd()
    os.chdir(folder)
    yield f"sqlite:///{folder / 'store.db'}"
    os.chdir(here)


@pytest.fixture
def numbered(tmp_path: Path) -> Iterator[Path]:
    """Directories that do not exist yet, one for each example."""
    return (tmp_path / str(number) / "train" for number in count())  # type: ignore[return-value]


def histories(client: MlflowClient, run: Run) -> dict[str, list[Metric]]:
    """The points of each metric, by step."""
    named = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return {name: sorted(points, key=lambda point: point.step) for name, points in named.items()}


def same(expected: float, found: float) -> bool:
    if math.isnan(expected):
        return math.isnan(found)
    return found == (math.copysign(LARGEST, expected) if math.isinf(expected) else expected)


def assert_holds(client: MlflowClient, run: Run, expected: Points) -> None:
    """The run has each expected point once and no other, and no time runs backwards."""
    stored = histories(client, run)
    assert sorted((key, point.step) for key, series in stored.items() for point in series) == sorted(expected)
    for key, series in stored.items():
        for point in series:
            assert same(expected[key, point.step], point.value), (key, point.step, point.value)
        times = [run.info.start_time, *(point.timestamp for point in series), run.info.end_time]
        assert times == sorted(times), key


def assert_planned(plan: ImportPlan, expected: Points) -> None:
    """The plan has each expected point once and no other, and no time runs backwards."""
    assert sorted((point.key, point.step) for point in plan.points) == sorted(expected)
    latest: dict[str, int] = {}
    for point in plan.points:
        value = expected[point.key, point.step]
        assert repr(point.value) == repr(value), (point.key, point.step)  # repr, for nan equals nothing and -0.0 is 0.0
        assert latest.get(point.key, plan.timeline.started_ms) <= point.timestamp <= plan.timeline.ended_ms
        latest[point.key] = point.timestamp


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
@settings(derandomized, max_examples=50)
def test_any_table_is_planned_with_every_cell_at_its_step(
    name: str, data: st.DataObject, numbered: Iterator[Path]
) -> None:
    written = data.draw(FORMATS[name]())
    plan = plan_import(read_run(written.write(next(numbered))), ImportOptions(unfinished=True, iterations="all"))
    assert_planned(plan, written.points)
    assert len(plan.children) == len(written.children)
    for child in plan.children:
        assert_planned(child, written.children[child.run_name.rpartition(" ")[2]])


ODD_CELLS = ("nan", "inf", "-inf", "-0.0", "5e-324", "1.7976931348623157e308")
ODD_TABLE = Written(
    {"results.csv": "epoch,train/loss\n" + "".join(f"{row},{cell}\n" for row, cell in enumerate(ODD_CELLS))},
    {("train/loss", row): float(cell) for row, cell in enumerate(ODD_CELLS)},
    (1_600_000_000,),
)


@given(written=st.one_of(*(strategy() for strategy in FORMATS.values())))
@example(written=ODD_TABLE)
@settings(derandomized, max_examples=20)
def test_any_table_comes_back_from_a_database_with_every_cell_at_its_step(
    written: Written, store_uri: str, numbered: Iterator[Path]
) -> None:
    save_dir = written.write(next(numbered))
    options = ImportOptions(experiment=str(save_dir), unfinished=True, iterations="all")
    outcome = import_run(save_dir, tracking_uri=store_uri, options=options)
    assert outcome.kind is Kind.IMPORTED
    client = MlflowClient(store_uri)
    run = client.get_run(outcome.run_id)
    assert_holds(client, run, written.points)
    children = client.search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
    assert len(children) == len(written.children)
    for child in children:
        assert_holds(client, child, written.children[child.info.run_name.rpartition(" ")[2]])
    assert verify_run(save_dir, tracking_uri=store_uri, options=options) == []


HYP = "lr0: 0.01\n"
OPT = "data: a.yaml\nepochs: 3\nbatch_size: 16\nimgsz: 640\nhyp: {lr0: 0.01}\nname: exp\n"
CSV = "epoch,time,train/box_loss,metrics/mAP50(B)\n1,10,0.5,0.1\n2,20,0.25,0.2\n"
CSV5 = "epoch,train/box_loss,metrics/mAP_0.5,x/lr0\n0,0.5,0.1,0.01\n1,0.25,0.2,0.01\n"
TXT = f"0/2 7.27G {'0.5 ' * 13}\n1/2 7.27G {'0.25 ' * 13}\n"
NDJSON = '{"iteration": 1, "fitness": 0.5, "hyperparameters": {"lr0": 0.01}, "datasets": {"a": {"fitness": 0.5}}}\n'
BEST = "# 1/10 iterations complete\n# Results saved to runs/detect/tune\nlr0: 0.01\n"
MULTITRAIN = '{"results": {"train": {"metrics/mAP50(B)": 0.5}}}'
DOCUMENTS = {  # the file that holds any bytes: what it should hold, and the files beside it
    "args.yaml": ("task: detect\nmode: train\nepochs: 2\nproject: null\nname: train\n", {"results.csv": CSV}),
    "opt.yaml": (OPT, {"results.csv": CSV5}),
    "hyp.yaml": (HYP, {"results.csv": CSV5, "opt.yaml": OPT}),
    "results.csv": (CSV, {"args.yaml": "task: detect\n"}),
    "results.txt": (TXT, {"opt.yaml": OPT, "hyp.yaml": HYP}),
    "tune_results.csv": ("fitness,lr0\n0.5,0.01\n0.6,0.02\n", {"best_hyperparameters.yaml": BEST}),
    "tune_results.ndjson": (NDJSON, {"best_hyperparameters.yaml": BEST}),
    "evolve.csv": ("metrics/mAP_0.5,metrics/mAP_0.5:0.95,lr0\n0.5,0.4,0.01\n", {"hyp_evolve.yaml": HYP}),
    "best_hyperparameters.yaml": (BEST, {"tune_results.ndjson": NDJSON}),
    "../multitrain_results.json": (MULTITRAIN, {"results.csv": CSV, "args.yaml": "task: detect\n"}),
}
TOKENS = st.sampled_from([
    b"nan", b"-inf", b"-1", b"1e999", b"1_0", b"0x1F", b"9" * 400, b"0/0", b"\0", b"\xff\xfe", b"\xef\xbb\xbf",
    b"\r\n", b"\n", b"\r", b"\x85", b"\xe2\x80\xa8", b"\x0c", b"\x1c", b" ", b"\t", b",", b",,,", b'"', b"'", b"{",
    b"}", b"[", b"]", b": ", b"- ", b"&a ", b"*a", b"!!python/object:os.system", b"!!binary x", b"<<: ", b"null",
    b"true", b"~", b"2024-13-45", b"1:1:1", b"\\ud800", b"\xed\xa0\x80", b"\\u0000", b"..", b"/", b"epoch", b"%s",
    b"<<<<<<< HEAD\n", b"\xf0\x9f\x90\xa6", b"\xd7\xa9", b"project: a'\"b\n", b"save_dir: [1]\n", b"name: {a: b}\n",
])  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, right: bytes) -> bytes:
    """Any bytes, or the right ones with some put in, taken out or repeated."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.binary(max_size=300))
    text = right
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(text)))
        gone = draw(st.sampled_from([0, 0, 1, 4, 30, 300]))
        put = draw(st.one_of(TOKENS, st.binary(max_size=3), st.just(text[at : at + 60] * 2)))
        text = text[:at] + put + text[at + gone :]
    return text


@pytest.mark.parametrize("name", DOCUMENTS)
@given(data=st.data())
@settings(derandomized, max_examples=30)
def test_any_bytes_end_in_an_import_or_in_a_refusal(
    name: str, data: st.DataObject, store_uri: str, numbered: Iterator[Path]
) -> None:
    right, beside = DOCUMENTS[name]
    save_dir = next(numbered)
    save_dir.mkdir(parents=True)
    for path, text in beside.items():
        (save_dir / path).write_text(text)
    (save_dir / name).write_bytes(data.draw(damaged(right.encode())))
    options = ImportOptions(unfinished=True, empty=True, on_change="replace")
    try:
        outcome = import_run(save_dir, tracking_uri=store_uri, options=options)
    except (RunDirError, PlanError):
        return
    assert outcome.kind in (Kind.IMPORTED, Kind.REPLACED, Kind.ALREADY_THERE)
    if outcome.kind is not Kind.ALREADY_THERE:  # of another example, whose file says the same in other bytes
        assert verify_run(save_dir, tracking_uri=store_uri, options=options) == []


def turned(text: str) -> str:
    """The text with Windows line ends."""
    return text.replace("\n", "\r\n")


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
@settings(derandomized, max_examples=20)
def test_key_and_fingerprint_hold_wherever_whenever_and_with_whatever_line_ends(
    name: str, data: st.DataObject, numbered: Iterator[Path]
) -> None:
    written = data.draw(FORMATS[name]())
    first = written.write(next(numbered))
    plan = plan_import(read_run(first), now_ms=NOW_MS)
    assert repr(plan) == repr(plan_import(read_run(first), now_ms=NOW_MS))  # repr, for nan equals nothing
    files = {path: turned(text) for path, text in written.files.items()}
    elsewhere = replace(written, files=files, mtimes=tuple(at + 777 for at in written.mtimes))
    again = plan_import(read_run(elsewhere.write(next(numbered))), now_ms=NOW_MS + 1)
    assert (again.key, again.fingerprint) == (plan.key, plan.fingerprint)
    points, others = ([(repr(value), key, step) for key, value, _, step in each.points] for each in (plan, again))
    assert points == others


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
@settings(derandomized, max_examples=20)
def test_the_key_holds_as_a_training_goes_on(name: str, data: st.DataObject, numbered: Iterator[Path]) -> None:
    written = data.draw(ultralytics(trainings=1) if name == "ultralytics" else FORMATS[name]())
    path, text = next((path, text) for path, text in written.files.items() if path.startswith(TABLES))
    lines = text.splitlines(keepends=True)
    header = 0 if path in ("results.txt", "tune_results.ndjson") else 1
    begun = "".join(lines[: data.draw(st.integers(header + 1, len(lines)))])
    before = replace(written, files={**written.files, path: begun}).write(next(numbered))
    assert training_key(read_run(before), place="") == training_key(read_run(written.write(next(numbered))), place="")


MEGABYTES_8 = 8_000_000
RECORD = '{"iteration": 1, "fitness": 0.5}\n'
LARGE = [
    pytest.param("results.csv", "epoch," + "," * MEGABYTES_8, id="a csv of commas"),
    pytest.param("results.csv", "epoch,a\n" + "," * 7_900_000, id="a line of commas"),
    pytest.param("results.csv", "epoch,a\n0," + "9" * 7_900_000 + "\n", id="one number"),
    pytest.param("results.csv", "epoch\n" + "9" * 7_900_000 + "\n", id="one epoch"),
    pytest.param("results.csv", "epoch,a\n" + "0,1\n" * 1_900_000, id="a line again and again"),
    pytest.param("results.csv", "epoch,a\n" + "".join(f"{at},1\n" for at in range(99_000)), id="99,000 epochs"),
    pytest.param("results.csv", "epoch,a" + "a" * 7_900_000 + "\n0,1\n", id="one name"),
    pytest.param("results.csv", "epoch,a\n" + "0,1" + " " * 7_900_000 + "\n", id="a line of blanks"),
    pytest.param("results.csv", "epoch,a\n" + "\r" * 7_900_000, id="empty lines"),
    pytest.param("args.yaml", "a: " + "[" * 900_000, id="a YAML of brackets"),
    pytest.param("args.yaml", "".join(f"{'  ' * at}a:\n" for at in range(900)), id="a deep YAML"),
    pytest.param("args.yaml", "a: " + "9" * 900_000, id="a YAML of digits"),
    pytest.param("args.yaml", "a: 1" + ":1" * 400_000, id="a number of base 60"),
    pytest.param("args.yaml", "a: &a [x]\n" + "".join(f"{b}: &{b} [{f'*{a},' * 9}]\n" for a, b in pairwise("abcdefgh")),
                 id="a YAML of aliases"),
    pytest.param("args.yaml", "".join(f"a{at}: 1\n" for at in range(100_000)), id="100,000 args"),
    pytest.param("args.yaml", "? " * 400_000, id="a YAML of question marks"),
    pytest.param("opt.yaml", "- " * 400_000, id="a YAML of dashes"),
    pytest.param("results.txt", "0/9 1G " + "9" * 3_900_000, id="a results.txt of one number"),
    pytest.param("results.txt", f"0/9 1G {'1 ' * 13}\n" * 110_000, id="a results.txt of one epoch"),
    pytest.param("tune_results.ndjson", RECORD * 230_000, id="one iteration again and again"),
    pytest.param("tune_results.ndjson", RECORD + '{"a":' + "[" * 7_000_000, id="a deep JSON"),
    pytest.param("tune_results.ndjson", RECORD + '{"a":[' + "{}," * 330_000 + "{}]}\n", id="a JSON of records"),
    pytest.param("tune_results.ndjson", '{"fitness": 1, "iteration": ' + "9" * 900_000 + "}", id="a JSON of digits"),
    pytest.param("evolve.csv", "metrics/mAP_0.5,lr0\n" + "0,0\n" * 1_900_000, id="an endless evolution"),
]  # fmt: skip


def test_a_file_of_any_size_ends_within_5_s_and_200_mb(tmp_path: Path) -> None:
    for case in LARGE:
        (tmp_path / case.id).mkdir()
        name, text = case.values
        if name == "results.csv":
            (tmp_path / case.id / "args.yaml").write_text("task: detect\nmode: train\n")
        if name == "opt.yaml":
            (tmp_path / case.id / "hyp.yaml").write_text(HYP)
        (tmp_path / case.id / name).write_text(text, newline="")
    costs = weigh("directory", [tmp_path / case.id for case in LARGE], cpu_seconds=5)
    assert len(costs) == len(LARGE)
    assert {name: cost for name, cost in costs.items() if cost.megabytes > 200} == {}
    assert {cost.ended for cost in costs.values()} <= {"read", "RunDirError", "PlanError"}
