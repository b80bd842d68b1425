"""Tune directories: one parent with the best hyperparameters, one child for each iteration."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from importer import best
from importer.errors import RunDirError
from importer.model import ImportOptions, TrainingRun
from importer.read.discover import find_runs
from importer.read.registry import read_run
from importer.replay.identity import training_key
from importer.replay.plan import plan_import

HOST = "/home/somebody/project/runs/detect"  # where the tune ran
METRICS = ("metrics/precision(B)", "metrics/recall(B)", "metrics/mAP50(B)", "metrics/mAP50-95(B)")
ITERATIONS = [
    {"lr0": 0.01, "momentum": 0.937, "box": 7.5},
    {"lr0": 0.00871, "momentum": 0.93211, "box": 7.61234},
    {"lr0": 0.00902, "momentum": 0.91, "box": 7.13333},
]
FITNESS = [0.5, 0.71234, 0.6]


def training(folder: Path, hyperparameters: dict[str, float], fitness: float) -> Path:
    """The directory of an Ultralytics training that reached this mAP50-95 in its second epoch."""
    folder.mkdir(parents=True)
    args = {"task": "detect", "mode": "train", "epochs": 2, "seed": 0, "name": folder.name, "save_dir": str(folder)}
    (folder / "args.yaml").write_text(
        "".join(f"{key}: {value}\n" for key, value in {**args, **hyperparameters}.items())
    )
    rows = [["epoch", "time", "train/box_loss", *METRICS, "lr/pg0"]]
    rows += [[epoch, epoch * 2.5, 1.5, 0.1, 0.2, 0.3, value, 0.01] for epoch, value in ((1, fitness / 2), (2, fitness))]
    (folder / "results.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    return folder


def best_yaml(tune: Path, recorded: str, *, progress: str = "3/300") -> None:
    lines = [
        f"# {progress} iterations complete ✅ (12.34s)",
        f"# Results saved to {recorded}",
        "# Best fitness=0.71234",
    ]
    lines += [f"{key}: {value}" for key, value in ITERATIONS[1].items()]
    (tune / "best_hyperparameters.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def record(number: int, *, datasets: tuple[str, ...] = ("coco8",), recorded: str = HOST) -> dict[str, object]:
    multitrain = "multitrain" if number == 1 else f"multitrain-{number}"
    metrics = {**dict.fromkeys(METRICS, FITNESS[number - 1]), "val/box_loss": 1.25, "fitness": FITNESS[number - 1]}
    return {
        "iteration": number,
        "fitness": FITNESS[number - 1],
        "hyperparameters": ITERATIONS[number - 1],
        "datasets": dict.fromkeys(datasets, metrics),
        "save_dirs": {dataset: f"{recorded}/{multitrain}/{dataset}" for dataset in datasets},
    }


def ndjson_tune(tune: Path, records: list[dict[str, object]], recorded: str | None = f"{HOST}/tune") -> Path:
    (tune / "weights").mkdir(parents=True)
    (tune / "weights" / "best.pt").write_bytes(b"\x80\x02}q\x00.")
    (tune / "tune_fitness.png").write_bytes(b"\x89PNG")
    (tune / "tune_results.ndjson").write_text("".join(json.dumps(record) + "\n" for record in records))
    if recorded is not None:
        best_yaml(tune, recorded)
    return tune


def csv_tune(tune: Path, iterations: list[dict[str, float]], fitness: list[float]) -> Path:
    tune.mkdir(parents=True)
    rows = [["fitness", *iterations[0]], *([reached, *varied.values()] for reached, varied in zip(fitness, iterations))]  # noqa: B905
    (tune / "tune_results.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    best_yaml(tune, r"runs\detect\tune")
    return tune


def names(run: TrainingRun) -> list[str]:
    return [child.name for child in run.children]


def codes(run: TrainingRun) -> set[str]:
    return {note.code for note in run.notes}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tune of three iterations, of which only the best still has its directory."""
    detect = tmp_path / "runs" / "detect"
    ndjson_tune(detect / "tune", [record(1), record(2), record(3)])
    training(detect / "multitrain-2" / "coco8", ITERATIONS[1], FITNESS[1])
    (detect / "multitrain").mkdir()
    return detect


def test_the_parent_has_the_best_hyperparameters_the_fitness_of_each_iteration_and_the_plots(tree: Path) -> None:
    run = read_run(tree / "tune")

    assert (run.family, run.name, run.task, run.planned_epochs) == ("tune", "tune", "detect", 300)
    assert run.args == {**ITERATIONS[1], "save_dir": f"{HOST}/tune"}
    plan = plan_import(run)
    assert plan.status == "FINISHED"
    assert [(point.key, point.value, point.step) for point in plan.points] == [
        ("fitness", 0.5, 0),
        ("fitness", 0.71234, 1),
        ("fitness", 0.6, 2),
    ]
    logged = {artifact.artifact_path for artifact in plan.artifacts}
    assert logged == {"best_hyperparameters.yaml", "tune_fitness.png", "tune_results.ndjson", "weights/best.pt"}
    assert plan.best_epoch == 1


def test_an_iteration_whose_directory_is_there_is_the_whole_training(tree: Path) -> None:
    child = read_run(tree / "tune").children[1]

    assert (child.family, child.save_dir) == ("ultralytics", str(tree / "multitrain-2" / "coco8"))
    assert child.epochs == read_run(tree / "multitrain-2" / "coco8").epochs


def test_of_a_tune_the_iterations_that_have_a_directory_are_ranked(tree: Path) -> None:
    [table] = best(tree).tables
    assert [(row.best.source, row.best.value(table.by)) for row in table.rows] == [
        (str(tree / "multitrain-2" / "coco8"), FITNESS[1])
    ]


def test_an_iteration_whose_directory_is_gone_is_what_the_table_says(tree: Path) -> None:
    run = read_run(tree / "tune")

    child = run.children[2]
    assert (child.family, child.name) == ("tune", "tune iteration 3")
    assert child.args == {**ITERATIONS[2], "iteration": 3, "save_dir": f"{HOST}/multitrain-3/coco8"}
    points = {point.key: (point.value, point.step) for point in plan_import(child).points}
    assert points["fitness"] == (0.6, 0)
    assert points["metrics/mAP50-95B"] == (0.6, 0) and points["val/box_loss"] == (1.25, 0)
    assert "iterations-without-directory" in codes(run)


def test_the_note_of_a_tune_speaks_of_iterations_and_that_of_an_iteration_of_what_is_left(tree: Path) -> None:
    plan = plan_import(read_run(tree / "tune"), ImportOptions(iterations="all"))
    note, whole, gone = (plan.tags["mlflow.note.content"] for plan in (plan, plan.children[1], plan.children[2]))

    assert " from the Ultralytics tuner directory of 3 iterations.\n" in note
    assert "- **best iteration**: 2, at step 1, by fitness\n" in note
    assert " run directory of 2 epochs.\n" in whole
    assert (
        " from the table of the Ultralytics tuner directory, which is all that is left of this iteration.\n" in gone
        and "epoch" not in gone
    )


def test_keys_differ_by_iteration_and_hold_when_the_tree_moves(tree: Path, tmp_path: Path) -> None:
    run = read_run(tree / "tune")
    keys = [training_key(each, place="") for each in (run, *run.children)]
    shutil.move(tree, tmp_path / "elsewhere")
    moved = read_run(tmp_path / "elsewhere" / "tune")

    assert len(set(keys)) == 4
    assert [training_key(each, place="") for each in (moved, *moved.children)] == keys


def test_the_key_of_a_tune_does_not_change_as_it_grows(tmp_path: Path) -> None:
    short = read_run(ndjson_tune(tmp_path / "a" / "tune", [record(1)]))
    grown = read_run(ndjson_tune(tmp_path / "b" / "tune", [record(1), record(2)]))

    assert training_key(short, place="") == training_key(grown, place="")
    assert training_key(short.children[0], place="") == training_key(grown.children[0], place="")


def test_children_are_the_runs_that_discovery_finds_beside_the_tune(tree: Path) -> None:
    run = read_run(tree / "tune")
    owned = {Path(child.save_dir) for child in run.children if child.family != "tune"}

    assert {found.save_dir for found in find_runs([tree])} == owned | {tree / "tune"}


@pytest.mark.parametrize("recorded", [f"{HOST}/tune", None, "/elsewhere/tune", "runs/detect/tune"])
def test_directories_are_found_by_their_place_beside_the_tune(tmp_path: Path, recorded: str | None) -> None:
    ndjson_tune(tmp_path / "renamed", [record(1)], recorded)
    training(tmp_path / "multitrain" / "coco8", ITERATIONS[0], FITNESS[0])

    assert names(read_run(tmp_path / "renamed")) == ["coco8"]


def test_paths_of_windows_are_found_on_any_system(tmp_path: Path) -> None:
    first = record(1)
    first["save_dirs"] = {"coco8": r"C:\Users\me\runs\detect\train"}
    ndjson_tune(tmp_path / "tune", [first], r"C:\Users\me\runs\detect\tune")
    training(tmp_path / "train", ITERATIONS[0], FITNESS[0])

    assert names(read_run(tmp_path / "tune")) == ["train"]


def test_a_directory_with_other_hyperparameters_is_not_believed(tmp_path: Path) -> None:
    ndjson_tune(tmp_path / "tune", [record(1)])
    training(tmp_path / "multitrain" / "coco8", ITERATIONS[2], FITNESS[0])

    assert names(read_run(tmp_path / "tune")) == ["tune iteration 1"]


def test_a_directory_that_two_iterations_claim_belongs_to_the_later(tmp_path: Path) -> None:
    again = {**record(1), "iteration": 2}
    ndjson_tune(tmp_path / "tune", [record(1), again])
    training(tmp_path / "multitrain" / "coco8", ITERATIONS[0], FITNESS[0])

    assert names(read_run(tmp_path / "tune")) == ["tune iteration 1", "coco8"]


@pytest.mark.parametrize(
    "text",
    [
        "/",
        "",
        "../../secret",
        "/home/somebody/project/runs/detect/../../secret",
        "a\0b",
        "a" * 5000,
        "tune",
        "x/\ud800",
    ],
)
def test_a_strange_place_is_no_directory(tmp_path: Path, text: str) -> None:
    training(tmp_path / "secret", ITERATIONS[0], FITNESS[0])
    first = {**record(1), "save_dirs": {"coco8": text}}
    tune = ndjson_tune(tmp_path / "runs" / "detect" / "tune", [first])

    assert names(read_run(tune)) == ["tune iteration 1"]


def test_a_link_that_leaves_the_tree_is_followed_only_if_asked(tmp_path: Path) -> None:
    outside = training(tmp_path / "outside" / "coco8", ITERATIONS[0], FITNESS[0])
    tune = ndjson_tune(tmp_path / "runs" / "tune", [record(1)])
    (tmp_path / "runs" / "multitrain").mkdir()
    (tmp_path / "runs" / "multitrain" / "coco8").symlink_to(outside, target_is_directory=True)

    assert names(read_run(tune)) == ["tune iteration 1"]
    assert names(read_run(tune, follow_symlinks=True)) == ["coco8"]


def test_of_several_datasets_each_is_a_child_and_the_rest_is_what_the_table_says(tmp_path: Path) -> None:
    ndjson_tune(tmp_path / "tune", [record(1, datasets=("coco8", "dota8"))])
    training(tmp_path / "multitrain" / "dota8", ITERATIONS[0], FITNESS[0])

    dota8, rest = read_run(tmp_path / "tune").children

    assert dota8.name == "dota8"
    assert "coco8/metrics/mAP50(B)" in rest.epochs.columns
    assert not any(column.startswith("dota8/") for column in rest.epochs.columns)


@pytest.mark.parametrize("siblings", [("train", "train2", "train3"), ("train", "train-2", "train-3")])
def test_a_classic_tune_has_its_trainings_beside_it_in_their_order(tmp_path: Path, siblings: tuple[str, ...]) -> None:
    csv_tune(tmp_path / "tune", ITERATIONS, FITNESS)
    for name, varied, fitness in zip(siblings, ITERATIONS, FITNESS, strict=True):
        training(tmp_path / name, varied, fitness)

    run = read_run(tmp_path / "tune")

    assert names(run) == list(siblings)
    assert run.args["lr0"] == 0.00871
    assert run.args["save_dir"] == r"runs\detect\tune"


def test_equal_iterations_and_directories_go_together_in_order(tmp_path: Path) -> None:
    csv_tune(tmp_path / "tune", [ITERATIONS[0], ITERATIONS[0]], [0.5, 0.5])
    for name in ("train2", "train10"):
        training(tmp_path / name, ITERATIONS[0], 0.5)

    assert names(read_run(tmp_path / "tune")) == ["train2", "train10"]


@pytest.mark.parametrize(
    ("varied", "fitness"),
    [
        pytest.param(ITERATIONS[1], 0.5, id="other hyperparameters"),
        pytest.param(ITERATIONS[0], 0.4, id="another fitness"),
    ],
)
def test_a_training_of_the_user_beside_a_classic_tune_is_left_alone(
    tmp_path: Path, varied: dict[str, float], fitness: float
) -> None:
    csv_tune(tmp_path / "tune", ITERATIONS[:1], FITNESS[:1])
    training(tmp_path / "train", varied, fitness)

    assert names(read_run(tmp_path / "tune")) == ["tune iteration 1"]


def test_of_two_trainings_that_fit_one_iteration_neither_is_guessed(tmp_path: Path) -> None:
    csv_tune(tmp_path / "tune", ITERATIONS[:1], FITNESS[:1])
    for name in ("train", "train2"):
        training(tmp_path / name, ITERATIONS[0], FITNESS[0])

    assert names(read_run(tmp_path / "tune")) == ["tune iteration 1"]


def test_without_a_file_of_the_best_the_best_row_is_it_the_first_of_equals(tmp_path: Path) -> None:
    tune = csv_tune(tmp_path / "tune", ITERATIONS, [0.5, 0.7, 0.7])
    (tune / "best_hyperparameters.yaml").unlink()

    run = read_run(tune)

    assert run.args == ITERATIONS[1]
    assert "best-from-table" in codes(run)


EVOLVE = ("metrics/precision", "metrics/recall", "metrics/mAP_0.5", "metrics/mAP_0.5:0.95", "val/box_loss")


def evolve_directory(folder: Path, generations: int) -> Path:
    folder.mkdir(parents=True)
    header = ",".join(f"{name:>20}" for name in (*EVOLVE, "lr0", "box"))
    rows = [[0.1, 0.2, 0.5, 0.25 + at / 100, 0.05, 0.01 + at / 1000, 0.05] for at in range(generations)]
    lines = [header, *(",".join(f"{cell:>20.5g}" for cell in row) for row in rows)]
    (folder / "evolve.csv").write_text("\n".join(lines) + "\n")
    (folder / "hyp_evolve.yaml").write_text("# YOLOv5 Hyperparameter Evolution Results\nlr0: 0.011\nbox: 0.05\n")
    return folder


def test_yolov5s_evolution_is_a_tune_with_a_fitness_by_its_own_rule(tmp_path: Path) -> None:
    run = read_run(evolve_directory(tmp_path / "evolve" / "exp", 2))

    assert (run.family, run.generator, run.task) == ("tune", "YOLOv5 evolve", "detect")
    assert run.args == {"lr0": 0.011, "box": 0.05}
    assert run.epochs.columns == (*EVOLVE, "fitness")
    assert run.epochs.rows[1][-1] == pytest.approx(0.1 * 0.5 + 0.9 * 0.26)
    assert [child.args["iteration"] for child in run.children] == [1, 2]
    assert "fitness-computed" in codes(run)


def test_a_results_csv_without_an_epoch_does_not_stop_an_evolution(tmp_path: Path) -> None:
    folder = evolve_directory(tmp_path / "exp", 1)
    (folder / "results.csv").write_text(",".join(["epoch", *EVOLVE]) + "\n")

    assert "results-unmatched" in codes(read_run(folder))


@pytest.mark.parametrize("mean", [0.26, 0.27], ids=["matching", "of another evolution"])
def test_the_epochs_of_each_generation_are_read_where_they_end_as_evolve_csv_says(tmp_path: Path, mean: float) -> None:
    folder = evolve_directory(tmp_path / "exp", 2)
    rows = [[epoch, 0.9 - epoch / 10, 0.1, 0.2, 0.5, last, 0.05] for last in (0.25, mean) for epoch in (0, 1)]
    header = ["epoch", "train/box_loss", *EVOLVE]
    (folder / "results.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in [header, *rows]))

    run = read_run(folder)

    matching = mean == 0.26
    assert [len(child.epochs) for child in run.children] == ([2, 2] if matching else [1, 1])
    assert ("results-unmatched" in codes(run)) != matching
    points = [(point.key, point.step) for point in plan_import(run.children[1]).points if point.key == "fitness"]
    assert points == [("fitness", 1 if matching else 0)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("tune_results.csv", "eta,max_depth,avg_top1\n0.1,6,1.0\n", id="a tuning of XGBoost"),
        pytest.param("tune_results.ndjson", '{"trial": 1, "loss": 0.5}\n', id="a tuning of something else"),
        pytest.param("evolve.csv", "generation,score\n1,0.5\n", id="an evolution of something else"),
    ],
)
def test_tables_of_other_programs_are_no_run(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)

    with pytest.raises(RunDirError, match="no run directory here"):
        read_run(tmp_path)


GOOD = json.dumps({"iteration": 1, "fitness": 0.5, "hyperparameters": {"lr0": 0.01}})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        pytest.param("tune_results.csv", "fitness,lr0\n0.1,x\n", "line 2, column lr0: 'x' is not a number", id="text"),
        pytest.param("tune_results.csv", "fitness,lr0\n0.1\n", "holds no iteration", id="cut"),
        pytest.param("tune_results.csv", "fitness,lr0\n,0.1\n", "iteration 1 has no fitness", id="blank"),
        pytest.param("tune_results.csv", "fitness,lr0\n", "holds no iteration", id="header only"),
        pytest.param("tune_results.ndjson", GOOD + "\n" + GOOD[:20] + "\n", "line 2: no JSON", id="broken record"),
        pytest.param("tune_results.ndjson", GOOD[:40], "holds no iteration", id="the only record is cut"),
        pytest.param("tune_results.ndjson", GOOD + "\n[1]\n", "line 2: a list, not a record", id="no record"),
        pytest.param("tune_results.ndjson", GOOD.replace("0.5", '"a"'), "fitness is 'a', not a number", id="word"),
        pytest.param("tune_results.ndjson", GOOD.replace(": 1,", ": 0,"), "iteration is '0'", id="iteration 0"),
        pytest.param("tune_results.ndjson", GOOD.replace("0.01", "[1]"), "lr0 is a list", id="nested"),
        pytest.param("tune_results.ndjson", GOOD + "\n" + "[" * 200_000, "line 2: no JSON", id="nested too deep"),
        pytest.param("tune_results.ndjson", GOOD.replace("0.5", "1" + "0" * 400), "not a number", id="beyond a float"),
        pytest.param("tune_results.ndjson", GOOD.replace("0.5", "1" * 5000), "line 1: no JSON", id="beyond an int"),
    ],
)
def test_what_cannot_be_read_is_refused_by_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)

    with pytest.raises(RunDirError, match=message):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "iterations", "code"),
    [
        pytest.param("tune_results.ndjson", f"{GOOD}\n{GOOD[:40]}", 1, "no-final-newline", id="a cut record"),
        pytest.param("tune_results.ndjson", GOOD, 1, None, id="a whole record without a line end"),
        pytest.param("tune_results.csv", "fitness,lr0\n0.1,1\n0.2,0.0", 1, "no-final-newline", id="a cut cell"),
        pytest.param("tune_results.csv", "fitness,lr0\n0.1,1\n0.2", 1, "no-final-newline", id="a cut line"),
        pytest.param("tune_results.csv", "fitness,lr0\n0.1,1\n0.2\n", 1, "ragged-row", id="a short line"),
    ],
)
def test_a_table_that_is_cut_in_its_last_record_is_read_without_it(
    tmp_path: Path, name: str, text: str, iterations: int, code: str | None
) -> None:
    (tmp_path / name).write_text(text)
    run = read_run(tmp_path)
    assert len(run.epochs) == iterations
    assert codes(run) & {"no-final-newline", "ragged-row"} == ({code} if code else set())


def test_a_record_that_stands_twice_counts_once(tmp_path: Path) -> None:
    run = read_run(ndjson_tune(tmp_path / "tune", [record(1), {**record(1), "fitness": 0.9}, record(2)]))

    assert (run.epochs.steps, run.epochs.rows[0]) == ((0, 1), (0.9,))
    assert "repeated-iterations" in codes(run)
