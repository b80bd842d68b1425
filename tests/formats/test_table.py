"""results.csv after people and their programs had it in hand: the same numbers, or a refusal that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from importer import RunDirError, plan_import, read_run

ARGS = "task: detect\nmode: train\nepochs: 3\nname: train\n"
HEADER = "epoch,time,train/box_loss,metrics/mAP50(B),metrics/mAP50-95(B),val/box_loss,lr/pg0"
LINES = [HEADER, "1,10,0.5,0.1,0.05,0.6,0.01", "2,20,0.25,0.2,0.1,0.3,0.02", "3,30,0.125,0.3,0.15,0.2,0.03"]
POINTS = {
    ("train/box_loss", 0): 0.5, ("train/box_loss", 1): 0.25, ("train/box_loss", 2): 0.125,
    ("metrics/mAP50B", 0): 0.1, ("metrics/mAP50B", 1): 0.2, ("metrics/mAP50B", 2): 0.3,
    ("metrics/mAP50-95B", 0): 0.05, ("metrics/mAP50-95B", 1): 0.1, ("metrics/mAP50-95B", 2): 0.15,
    ("val/box_loss", 0): 0.6, ("val/box_loss", 1): 0.3, ("val/box_loss", 2): 0.2,
    ("lr/pg0", 0): 0.01, ("lr/pg0", 1): 0.02, ("lr/pg0", 2): 0.03,
}  # fmt: skip
SIZES = {("metrics/mAP_smallB", 2): 0.7, ("metrics/mAP_mediumB", 2): 0.8, ("metrics/mAP_largeB", 2): 0.9}


def points_of(save_dir: Path) -> dict[tuple[str, int], float]:
    """Return the points that an import of the directory would log, by metric and step."""
    points = plan_import(read_run(save_dir)).points
    by_step = {(point.key, point.step): point.value for point in points}
    assert len(by_step) == len(points)
    return by_step


def quoted(line: str) -> str:
    return ",".join(f'"{cell}"' for cell in line.split(","))


def written(save_dir: Path, lines: list[str]) -> Path:
    """A run directory whose results.csv has these lines."""
    save_dir.mkdir(parents=True)
    (save_dir / "args.yaml").write_text(ARGS)
    (save_dir / "results.csv").write_text("".join(f"{line}\n" for line in lines))
    return save_dir


SAME = [
    pytest.param([quoted(line) for line in LINES], set(), id="quotes around all cells"),
    pytest.param([quoted(HEADER), *LINES[1:]], set(), id="quotes around names"),
    pytest.param([f"{line},,," for line in LINES], set(), id="separators at the end"),
    pytest.param([HEADER, *(f"{line}," for line in LINES[1:])], set(), id="a separator at the end of rows"),
    pytest.param(["", " ", *LINES], set(), id="blank lines in front"),
    pytest.param([*LINES, ",,,,,,"], set(), id="a row of blank cells"),
    pytest.param([f"{at},{line}" for at, line in zip(("", *range(3)), LINES, strict=True)], {"nameless-column"},
                 id="the index of pandas"),
    pytest.param([*LINES[:2], HEADER, *LINES[2:]], {"repeated-header"}, id="the header again"),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "notes"), SAME)
def test_what_spreadsheets_and_people_add_changes_no_number(lines: list[str], notes: set[str], tmp_path: Path) -> None:
    save_dir = written(tmp_path / "train", lines)
    assert points_of(save_dir) == POINTS
    assert {note.code for note in read_run(save_dir).notes} == notes


def test_two_files_one_after_the_other_are_two_trainings(tmp_path: Path) -> None:
    run = read_run(written(tmp_path / "train", [*LINES, *LINES[:3]]))
    assert (run.trainings, run.epochs.steps) == (2, (0, 1))


def test_a_row_with_map_by_size_is_put_under_its_names(tmp_path: Path) -> None:
    wide = LINES[3].replace("0.15,", "0.15,0.7,0.8,0.9,")
    save_dir = written(tmp_path / "train", [*LINES[:3], wide])
    assert points_of(save_dir) == POINTS | SIZES
    assert [note.code for note in read_run(save_dir).notes] == ["wide-row"]


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"


@pytest.mark.parametrize(
    ("name", "text", "message", "hint"),
    [
        pytest.param("results.csv", "\n".join(LINES).replace(",", ";"), "no `epoch` column",
                     "it is separated by semicolons; save it with commas", id="semicolons"),
        pytest.param("results.csv", "\n".join(LINES).replace(",", "\t"), "no `epoch` column",
                     "it is separated by tabs; save it with commas", id="tabs"),
        pytest.param("results.csv", "\n".join(["<<<<<<< HEAD", *LINES, "======="]), "no `epoch` column",
                     "it holds the markers of a merge conflict", id="a merge conflict from the top"),
        pytest.param("results.csv", POINTER, "is a git-LFS pointer", "`git lfs pull`", id="a pointer to results"),
        pytest.param("args.yaml", POINTER, "is a git-LFS pointer", "`git lfs pull`", id="a pointer to args"),
    ],
)  # fmt: skip
def test_what_would_be_guessing_is_refused_with_what_to_do(
    name: str, text: str, message: str, hint: str, tmp_path: Path
) -> None:
    save_dir = written(tmp_path / "train", LINES)
    (save_dir / name).write_text(text)
    with pytest.raises(RunDirError) as refused:
        read_run(save_dir)
    assert refused.value.message.startswith(f"{save_dir}/{name}: ")
    assert message in refused.value.message and str(refused.value.hint).startswith(hint)


def test_a_resume_counts_from_0_also_where_its_first_epoch_took_longer_than_all_before(tmp_path: Path) -> None:
    """Epoch 2 is trained again by a process of its own, which takes 150 s for it."""
    rows = ("1,10", "2,20", "2,150", "3,300")
    run = read_run(written(tmp_path / "train", ["epoch,time,train/box_loss", *(f"{row},0.5" for row in rows)]))
    assert run.epochs.seconds == (10.0, 170.0, 320.0)
    assert run.epochs.session_starts == (0, 1)


def test_a_negative_epoch_is_refused_as_one(tmp_path: Path) -> None:
    with pytest.raises(RunDirError, match=r"row 2: epoch -2.0 is below 0"):
        read_run(written(tmp_path / "train", [*LINES[:2], f"-{LINES[2]}"]))


def test_a_quoted_cell_of_any_length_that_is_no_number_is_refused(tmp_path: Path) -> None:
    long = f'"{"x" * 200_000}"'
    with pytest.raises(RunDirError, match=r"line 3, column train/box_loss: 'x{40}' is not a number"):
        read_run(written(tmp_path / "train", [*LINES[:2], LINES[2].replace("0.25", long)]))


def test_of_a_name_that_stands_twice_in_args_yaml_the_last_holds_and_a_note_says_so(tmp_path: Path) -> None:
    save_dir = written(tmp_path / "train", LINES)
    (save_dir / "args.yaml").write_text(f"{ARGS}epochs: 7\n")
    plan = plan_import(read_run(save_dir))
    assert plan.params["epochs"] == "7"
    assert "repeated-keys" in [note.code for note in plan.notes]
