"""Which directories hold one training: the rule of identity, scenario by scenario, without a store."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from support.directories import Training, touch_all

from importer.read.registry import read_run
from importer.record import Evidence
from importer.replay.identity import Match, compare_trainings, evidence_of, training_key

TIMED = Training(epochs=6, planned=10, last=None, plots=False)  # killed after six of ten epochs
UNTIMED = TIMED.with_(has_time=False, padded=True)
SLOWER = 10_777  # ms an epoch, in another process
EVENTS = "events.out.tfevents.1700000000.host.1.0"


def evidence(training: Training, save_dir: Path) -> Evidence:
    """The evidence of a training, once it is written to disk and read."""
    return evidence_of(read_run(training.write(save_dir)))


def edited(training: Training, row: int) -> Training:
    """The training with one cell of a row changed."""
    rows = [dict(training.rows[at]) if at < len(training.rows) else {} for at in range(training.epochs)]
    rows[row]["val/cls_loss"] = 9.99
    return training.with_(rows=tuple(rows))


def differing_from(training: Training, row: int, by: float = 3.0) -> Training:
    """The training with other values from a row on, as with another lrf."""
    rows = [{} if at < row else {"train/box_loss": by + at} for at in range(training.epochs)]
    return training.with_(rows=tuple(rows))


def finished(training: Training) -> Training:
    """The training with all of its epochs and the plots of its end."""
    return training.with_(planned=training.epochs, plots=True)


def with_args(training: Training, **args: object) -> Training:
    return training.with_(args={**training.args, **args})


@pytest.mark.parametrize(
    ("ours", "theirs", "in_place", "match"),
    [
        pytest.param(TIMED, TIMED, False, Match.EQUAL, id="a copy"),
        pytest.param(UNTIMED, UNTIMED, False, Match.EQUAL, id="a copy without a clock"),
        pytest.param(with_args(TIMED, name="renamed", save_dir="elsewhere/renamed"), TIMED, False, Match.EQUAL,
                     id="renamed"),
        pytest.param(with_args(UNTIMED, save_dir="/mnt/other/train"), UNTIMED, False, Match.EQUAL, id="moved"),
        pytest.param(TIMED.with_(epochs=8), TIMED, True, Match.LONGER, id="grown"),
        pytest.param(TIMED.with_(epochs=8), TIMED, False, Match.LONGER, id="grown, as a clone elsewhere"),
        pytest.param(TIMED, TIMED.with_(epochs=8), False, Match.SHORTER, id="an older copy"),
        pytest.param(UNTIMED.with_(epochs=8), UNTIMED, True, Match.LONGER, id="grown without a clock"),
        pytest.param(finished(TIMED.with_(epochs=10)), TIMED, True, Match.LONGER, id="grown to its end"),
        pytest.param(with_args(UNTIMED.with_(epochs=8), model="runs/train/weights/last.pt", resume="last.pt",
                               optimizer="AdamW", lr0=0.001, compile=False, workers=0),
                     UNTIMED, True, Match.LONGER, id="grown after a resume under a newer release"),
        pytest.param(with_args(UNTIMED.with_(epochs=8), save_dir="runs/train2", name="train2", resume=True),
                     UNTIMED, False, Match.LONGER, id="resumed with another save_dir"),
        pytest.param(TIMED.with_(epochs=8, sessions=(6,)), TIMED.with_(epochs=7, sessions=(6,), epoch_ms=10_000),
                     False, Match.LONGER, id="resumed on one host, copied meanwhile"),
        pytest.param(edited(TIMED, 3), TIMED, True, Match.EDITED, id="an edited cell, in place"),
        pytest.param(edited(TIMED, 3), TIMED, False, Match.EDITED, id="an edited cell, in a copy"),
        pytest.param(edited(UNTIMED, 3), UNTIMED, True, Match.PARTED, id="an edited cell without a clock, in place"),
        pytest.param(edited(UNTIMED, 3), UNTIMED, False, Match.OTHER, id="an edited cell without a clock, in a copy"),
        pytest.param(differing_from(with_args(TIMED, lrf=0.1), 1).with_(epoch_ms=SLOWER),
                     with_args(TIMED, lrf=0.01), False, Match.OTHER, id="a Kaggle rerun with a clock"),
        pytest.param(differing_from(with_args(UNTIMED, lrf=0.1), 1), with_args(UNTIMED, lrf=0.01), False, Match.OTHER,
                     id="a Kaggle rerun without a clock, with another lrf"),
        pytest.param(with_args(UNTIMED, patience=5), with_args(UNTIMED, patience=50), False, Match.OTHER,
                     id="a Kaggle rerun without a clock, with another patience and equal rows"),
        pytest.param(TIMED.with_(epoch_ms=SLOWER), TIMED, False, Match.OTHER, id="equal values, another clock"),
        pytest.param(with_args(TIMED, lrf=0.1), with_args(TIMED, lrf=0.01), False, Match.OTHER,
                     id="equal to the last digit, times too, but another lrf"),
        pytest.param(with_args(TIMED, lrf=0.1), with_args(TIMED, lrf=0.01), True, Match.EQUAL,
                     id="args that were edited in place"),
        pytest.param(TIMED.with_(epoch_ms=SLOWER), TIMED, True, Match.OTHER,
                     id="trained again in the same directory, deterministic"),
        pytest.param(TIMED.with_(epochs=8), finished(TIMED), False, Match.OTHER,
                     id="a finished short run beside a longer one"),
        pytest.param(finished(UNTIMED), UNTIMED.with_(epochs=8, planned=6), False, Match.OTHER,
                     id="a finished short run beside a longer one, without a clock"),
        pytest.param(TIMED.with_(epoch_ms=SLOWER), TIMED.with_(epochs=1), True, Match.OTHER,
                     id="died after epoch 1, then trained from scratch"),
        pytest.param(with_args(UNTIMED, seed=0), with_args(UNTIMED, seed=0), False, Match.EQUAL,
                     id="k-fold with equal seeds: the same rows are the same training"),
        pytest.param(differing_from(UNTIMED, 0), UNTIMED, False, Match.OTHER, id="k-fold with equal seeds"),
        pytest.param(TIMED.with_(epochs=0), TIMED.with_(epochs=0), True, Match.EQUAL, id="no epochs, in place"),
        pytest.param(TIMED.with_(epochs=0), TIMED.with_(epochs=0), False, Match.OTHER, id="no epochs, elsewhere"),
        pytest.param(TIMED, TIMED.with_(epochs=0), True, Match.OTHER, id="no epochs, then some"),
        pytest.param(TIMED.with_(epochs=700, planned=900), TIMED.with_(epochs=340, planned=900), False, Match.LONGER,
                     id="a long training, compared by blocks of rows"),
        pytest.param(edited(TIMED.with_(epochs=700, planned=900), 101), TIMED.with_(epochs=340, planned=900), False,
                     Match.EDITED, id="a long training with an edited cell"),
    ],
)  # fmt: skip
def test_evidence_decides(ours: Training, theirs: Training, in_place: bool, match: Match, tmp_path: Path) -> None:
    mine, others = evidence(ours, tmp_path / "ours"), evidence(theirs, tmp_path / "theirs")
    assert compare_trainings(mine, others, in_place=in_place).match is match
    mirrored = {Match.LONGER: Match.SHORTER, Match.SHORTER: Match.LONGER}.get(match, match)
    assert compare_trainings(others, mine, in_place=in_place).match is mirrored
    stored = Evidence.from_json(json.loads(json.dumps(others.to_json())))
    assert stored == others


def write_csv(save_dir: Path, training: Training, change: Callable[[list[str]], list[str]]) -> Path:
    """The training on disk, its results.csv changed line by line."""
    training.write(save_dir)
    path = save_dir / "results.csv"
    path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))
    return save_dir


def test_an_epoch_that_was_trained_again_goes_on_with_the_same_training(tmp_path: Path) -> None:
    before = evidence(TIMED, tmp_path / "before")
    again = write_csv(
        tmp_path / "again", TIMED, lambda lines: [*lines, lines[-1].replace("60,", "9.5,", 1), "7" + lines[-1][1:]]
    )
    assert compare_trainings(evidence_of(read_run(again)), before, in_place=True).match is Match.LONGER


def test_a_clone_with_new_file_times_and_without_args_is_the_same_training(tmp_path: Path) -> None:
    original = evidence(UNTIMED, tmp_path / "original")
    clone = UNTIMED.write(tmp_path / "clone")
    touch_all(clone, 1_790_000_000_000)
    (clone / "args.yaml").write_text("")
    assert compare_trainings(evidence_of(read_run(clone)), original, in_place=False).match is Match.EQUAL


def test_two_hosts_that_resume_one_training_make_two_of_it_that_begin_alike(tmp_path: Path) -> None:
    half = TIMED.with_(epochs=4)
    first = evidence(TIMED.with_(sessions=(4,)), tmp_path / "first")
    second = evidence(differing_from(TIMED, 4).with_(sessions=(4,)), tmp_path / "second")
    shorter = evidence(half, tmp_path / "half")
    assert compare_trainings(first, shorter, in_place=False).match is Match.LONGER
    assert compare_trainings(second, shorter, in_place=False).match is Match.LONGER
    assert compare_trainings(first, second, in_place=False).match in (Match.EDITED, Match.PARTED)


def test_the_name_of_an_event_file_shows_the_same_start(tmp_path: Path) -> None:
    sides = []
    for name, training in (("ours", with_args(UNTIMED, lrf=0.5)), ("theirs", with_args(UNTIMED, lrf=0.1))):
        training.write(tmp_path / name)
        (tmp_path / name / EVENTS).write_bytes(b"")
        sides.append(evidence_of(read_run(tmp_path / name)))
    assert compare_trainings(*sides, in_place=False).match is Match.EQUAL
    (tmp_path / "theirs" / EVENTS).rename(tmp_path / "theirs" / EVENTS.replace("host", "other"))
    other = evidence_of(read_run(tmp_path / "theirs"))
    assert compare_trainings(sides[0], other, in_place=False).match is Match.OTHER


def test_a_fact_that_one_side_lacks_counts_neither_for_nor_against(tmp_path: Path) -> None:
    timed = evidence(TIMED, tmp_path / "timed")
    without = evidence(TIMED.with_(has_time=False), tmp_path / "without")
    (tmp_path / "timed" / EVENTS).write_bytes(b"")
    logged = evidence_of(read_run(tmp_path / "timed"))
    assert compare_trainings(timed, without, in_place=False).match is Match.EQUAL
    assert compare_trainings(logged, without, in_place=False).match is Match.EQUAL


def test_the_first_part_of_an_appended_file_is_the_training_that_was_there_alone(tmp_path: Path) -> None:
    alone = evidence(TIMED, tmp_path / "alone")
    appended = TIMED.write(tmp_path / "appended")
    later = TIMED.with_(epochs=3, epoch_ms=SLOWER).csv().splitlines()[1:]
    (appended / "results.csv").write_text(TIMED.csv() + "".join(f"{line}\n" for line in later))
    first = evidence_of(read_run(appended, segment=0))
    assert compare_trainings(first, alone, in_place=True).match is Match.EQUAL
    assert compare_trainings(evidence_of(read_run(appended)), alone, in_place=True).match is Match.OTHER


def tune(save_dir: Path, trials: Mapping[float, float], *, as_csv: bool = False) -> Evidence:
    """The evidence of a tune of trials, each a fitness by its lr0."""
    save_dir.mkdir(parents=True)
    if as_csv:
        lines = ["fitness,lr0,lrf", *(f"{fitness},{lr0},0.1" for lr0, fitness in trials.items())]
        (save_dir / "tune_results.csv").write_text("".join(f"{line}\n" for line in lines))
    else:
        records = [
            {"iteration": number, "fitness": fitness, "hyperparameters": {"lr0": lr0, "lrf": 0.1}}
            for number, (lr0, fitness) in enumerate(trials.items(), start=1)
        ]
        (save_dir / "tune_results.ndjson").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return evidence_of(read_run(save_dir))


FIRST = {0.01: 0.3}  # the defaults, with which every tune begins


@pytest.mark.parametrize(
    ("ours", "theirs", "in_place", "match"),
    [
        pytest.param({**FIRST, 0.02: 0.4}, {**FIRST, 0.02: 0.4}, False, Match.EQUAL, id="a copy"),
        pytest.param({**FIRST, 0.02: 0.4, 0.03: 0.2}, {**FIRST, 0.02: 0.4}, False, Match.LONGER, id="grown"),
        pytest.param({**FIRST, 0.02: 0.4}, {**FIRST, 0.03: 0.2}, False, Match.OTHER, id="two tunes begin alike"),
        pytest.param({**FIRST, 0.02: 0.4}, {**FIRST, 0.03: 0.2}, True, Match.OTHER,
                     id="a new tune in the directory of another"),
        pytest.param({**FIRST, 0.02: 0.4, 0.03: 0.2}, FIRST, False, Match.OTHER, id="one of two tunes has one record"),
        pytest.param({**FIRST, 0.02: 0.4}, FIRST, True, Match.LONGER, id="grown from one record, in place"),
        pytest.param(FIRST, FIRST, False, Match.EQUAL, id="a copy of one record"),
        pytest.param({**FIRST, 0.02: 0.4, 0.03: 0.2}, {**FIRST, 0.02: 0.4, 0.03: 0.9}, True, Match.PARTED,
                     id="an edited record, in place"),
    ],
)  # fmt: skip
def test_the_records_of_tunes_are_compared_as_sets(
    ours: Mapping[float, float], theirs: Mapping[float, float], in_place: bool, match: Match, tmp_path: Path
) -> None:
    mine, others = tune(tmp_path / "ours", ours), tune(tmp_path / "theirs", theirs)
    assert compare_trainings(mine, others, in_place=in_place).match is match


def test_a_tune_whose_table_was_sorted_is_the_same_tune(tmp_path: Path) -> None:
    trials = {**FIRST, 0.02: 0.4, 0.03: 0.2}
    by_fitness = dict(sorted(trials.items(), key=lambda trial: -trial[1]))
    mine, others = tune(tmp_path / "a", trials, as_csv=True), tune(tmp_path / "b", by_fitness, as_csv=True)
    assert compare_trainings(mine, others, in_place=False).match is Match.EQUAL
    keys = {training_key(read_run(tmp_path / name), place="here") for name in "ab"}
    assert len(keys) == 1


def test_a_long_tune_is_compared_by_a_sample_of_its_records(tmp_path: Path) -> None:
    trials = {0.01 + number / 1e5: number / 1000 for number in range(900)}
    grown = {**trials, 0.5: 0.1}
    mine, others = tune(tmp_path / "ours", grown), tune(tmp_path / "theirs", trials)
    assert compare_trainings(mine, others, in_place=False).match is Match.LONGER
    other = tune(tmp_path / "other", {lr0: fitness + 1 for lr0, fitness in trials.items()})
    assert compare_trainings(mine, other, in_place=False).match is Match.OTHER


def test_the_key_of_a_training_does_not_change_as_it_grows_and_is_not_its_place(tmp_path: Path) -> None:
    short, long = (read_run(TIMED.with_(epochs=epochs).write(tmp_path / str(epochs))) for epochs in (1, 6))
    assert training_key(short, place="a:/x") == training_key(long, place="b:/y")
    assert training_key(replace(short, args={}), place="a:/x") == training_key(short, place="a:/x")


def test_the_key_of_a_directory_without_epochs_is_its_path_on_any_host(tmp_path: Path) -> None:
    run = read_run(TIMED.with_(epochs=0).write(tmp_path / "train"))
    assert training_key(run, place="a:/x") == training_key(run, place="b:/x") != training_key(run, place="a:/y")


def test_what_a_person_wrote_into_the_evidence_is_refused() -> None:
    for facts in ({"rows": "many"}, {"times": 3}, {"args": "no base64!"}, {"times": ["soon"]}):
        with pytest.raises((ValueError, TypeError)):
            Evidence.from_json(facts)
