"""results.csv: every layout of it becomes the same epochs, and a damaged one none."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.directories import Training

from importer.errors import RunDirError
from importer.formats.csv_table import ShortRow, read_results
from importer.model import Epochs, WrittenRow
from importer.read.epochs import build_epochs, epoch_base, epoch_numbers, split_trainings
from importer.read.registry import read_run, read_summary

HEADER = "epoch,time,train/loss,lr/pg0\n"


def epochs_of(text: str | bytes, tmp_path: Path) -> Epochs:
    """The epochs of the last training of a results.csv with this text, of no known release."""
    path = tmp_path / "results.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    table = read_results(path)
    numbers = epoch_numbers(table, path)
    base, _ = epoch_base(numbers, has_time="time" in table.header, version=None, planned=None)
    epochs, _ = build_epochs(table, numbers, base, split_trainings(numbers, base)[-1])
    return epochs


SAME = [
    pytest.param("epoch,time,train/loss,lr/pg0\n1,10,0.5,0.01\n2,20,0.25,0.02\n", id="compact"),
    pytest.param("  epoch,  time, train/loss,lr/pg0\n   1,  10,  0.5, 0.01\n   2,  20, 0.25, 0.02\n", id="padded"),
    pytest.param("epoch,time,train/loss,lr/pg0\r\n1,10,0.5,0.01\r\n2,20,0.25,0.02\r\n", id="CRLF"),
    pytest.param(b"\xef\xbb\xbfepoch,time,train/loss,lr/pg0\n1,10,0.5,0.01\n2,20,0.25,0.02\n", id="BOM"),
    pytest.param("epoch,time,train/loss,lr/pg0\n\n1,10,0.5,0.01\n\n2,20,0.25,0.02\n\n", id="blank lines"),
    pytest.param("epoch,time,train/loss,lr/pg0\n1,10,5e-1,1e-2\n2,20,2.5E-1,+0.02\n", id="exponents and signs"),
    pytest.param("epoch,time,train/loss,lr/pg0\n0,10,0.5,0.01\n1,20,0.25,0.02\n", id="epochs from 0"),
    pytest.param("epoch,time,train/loss,lr/pg0\n1.0,10,0.5,0.01\n2.0,20,0.25,0.02\n", id="epochs as floats"),
]


@pytest.mark.parametrize("text", SAME)
def test_however_a_table_is_written_its_epochs_are_the_same(text: str | bytes, tmp_path: Path) -> None:
    epochs = epochs_of(text, tmp_path)
    first = epochs.written[0].epoch  # 0 or 1
    assert epochs == Epochs(
        columns=("train/loss", "lr/pg0"),
        steps=(0, 1),
        rows=((0.5, 0.01), (0.25, 0.02)),
        seconds=(10.0, 20.0),
        session_starts=(0,),
        written=(WrittenRow(first, 10.0, (0.5, 0.01)), WrittenRow(first + 1, 20.0, (0.25, 0.02))),
    )


@pytest.mark.parametrize("text", ["6.1e-05", "0.1", "1e-320", "123456789.123456789", "-0.0", "1.7976931348623157e308"])
def test_a_value_is_the_nearest_double_bit_for_bit(text: str, tmp_path: Path) -> None:
    [[value, _]] = epochs_of(f"{HEADER}1,10,{text},0\n", tmp_path).rows
    assert value is not None and value.hex() == float(text).hex()


@given(cell=st.text("0123456789.eE+-_ nainftyINFx\t\xa0", max_size=9))
@settings(derandomize=True, database=None, deadline=None, max_examples=500)
def test_a_cell_is_what_python_takes_it_for_or_is_refused(cell: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.getbasetemp() / "any_cell.csv"
    place.write_text(f"epoch,train/loss\n1,{cell}\n2,0.5\n")
    try:
        expected = float(cell) if cell.strip() else None
        if "_" in cell:
            raise ValueError(cell)
    except ValueError:
        with pytest.raises(RunDirError, match="is not a number"):
            read_results(place)
        return
    assert repr(read_results(place).rows[0][1]) == repr(expected)


def test_nan_and_inf_stay_what_they_are_and_a_blank_cell_is_none(tmp_path: Path) -> None:
    rows = epochs_of(f"{HEADER}1,10,nan,inf\n2,20,,-inf\n", tmp_path).rows
    assert math.isnan(rows[0][0] or 0.0)
    assert rows[0][1] == math.inf
    assert rows[1] == (None, -math.inf)


SESSIONS = [
    pytest.param(
        "1,10,.1,0\n2,20,.2,0\n3,8,.3,0\n4,18,.4,0\n", (0, 1, 2, 3), (0.1, 0.2, 0.3, 0.4), (10, 20, 28, 38), (0, 2),
        id="`time` starts again where it was resumed",
    ),
    pytest.param(
        "1,10,.1,0\n2,20,.2,0\n3,8,.3,0\n4,5,.4,0\n", (0, 1, 2, 3), (0.1, 0.2, 0.3, 0.4), (10, 20, 28, 33), (0, 2, 3),
        id="resumed twice",
    ),
    pytest.param(
        "1,10,.1,0\n2,20,.2,0\n2,9,.25,0\n3,18,.3,0\n", (0, 1, 2), (0.1, 0.25, 0.3), (10, 29, 38), (0, 1),
        id="a repeated epoch keeps its last row",
    ),
    pytest.param(
        "1,10,.1,0\n2,20,.2,0\n3,30,.3,0\n2,9,.25,0\n3,18,.35,0\n", (0, 1, 2), (0.1, 0.25, 0.35), (10, 39, 48), (0, 1),
        id="resumed from an earlier epoch",
    ),
    pytest.param("2,20,.2,0\n3,30,.3,0\n", (1, 2), (0.2, 0.3), (20, 30), (0,), id="the first epochs are lost"),
    pytest.param("1,10,.1,0\n3,30,.3,0\n", (0, 2), (0.1, 0.3), (10, 30), (0,), id="an epoch is lost"),
    pytest.param(
        "1,10,.1,0\n2,20,.2,0\n1,11,.5,0\n2,22,.6,0\n", (0, 1), (0.5, 0.6), (11, 22), (0,),
        id="of two trainings in one file the last",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "steps", "losses", "seconds", "starts"), SESSIONS)
def test_sessions_of_one_training_are_put_one_after_the_other(
    lines: str,
    steps: tuple[int, ...],
    losses: tuple[float, ...],
    seconds: tuple[float, ...],
    starts: tuple[int, ...],
    tmp_path: Path,
) -> None:
    epochs = epochs_of(HEADER + lines, tmp_path)
    assert epochs.steps == steps
    assert tuple(row[0] for row in epochs.rows) == losses
    assert epochs.seconds == seconds
    assert epochs.session_starts == starts


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        pytest.param("1,10,.1,0\n1,10.3,.2,0\n2,20,.1,0\n2,20.3,.2,0\n3,30,.1,0\n3,30.4,.2,0\n", (10.3, 20.3, 30.4),
                     id="one after the other"),
        pytest.param("1,10,.1,0\n1,9.8,.2,0\n2,19.8,.1,0\n2,20.1,.2,0\n3,30,.1,0\n3,29.4,.2,0\n", (9.8, 20.1, 29.4),
                     id="in turns"),
        pytest.param("1,10,.1,0\n1,14,.2,0\n2,20,.1,0\n2,24,.2,0\n3,30,.1,0\n3,34,.2,0\n", (14, 24, 34),
                     id="one began later"),
        pytest.param("1,10,.1,0\n1,14,.2,0\n1,15,.2,0\n2,20,.1,0\n2,23,.2,0\n2,24,.2,0\n3,30,.1,0\n3,33,.2,0\n",
                     (15, 24, 33), id="three of them"),
        pytest.param("1,10,.1,0\n1,11,.2,0\n2,20,.1,0\n2,21,.2,0\n3,30,.1,0\n4,40,.1,0\n", (11, 21, 30, 40),
                     id="one ended early"),
        pytest.param("1,10,.1,0\n2,20,.1,0\n1,10.5,.2,0\n3,30,.1,0\n2,20.6,.2,0\n4,40,.1,0\n3,30.7,.2,0\n",
                     (10.5, 20.6, 30.7, 40), id="one is an epoch behind"),
        pytest.param("1,10,.1,0\n1,14,.2,0\n2,20,.1,0\n2,28,.2,0\n3,30,.1,0\n4,40,.1,0\n3,42,.2,0\n4,56,.2,0\n",
                     (14, 28, 42, 56), id="one is slower"),
    ],
)  # fmt: skip
def test_rows_of_jobs_that_ran_at_once_are_no_resumes(lines: str, seconds: tuple[float, ...], tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text(HEADER.replace("loss", "box_loss") + lines)
    run = read_run(tmp_path)
    assert (run.epochs.seconds, run.epochs.session_starts, run.trainings) == (seconds, (0,), 1)
    assert [note.code for note in run.notes if note.code in NOTES_ON_SESSIONS] == ["jobs-at-once"]


NOTES_ON_SESSIONS = ("jobs-at-once", "resumed", "repeated-epochs", "several-trainings")


@pytest.mark.parametrize(
    ("lines", "codes"),
    [
        pytest.param("1,10,.1,0\n2,20,.2,0\n2,10.2,.2,0\n3,20.3,.2,0\n", ["repeated-epochs", "resumed"],
                     id="resumed at its second epoch"),
        pytest.param("1,10,.1,0\n2,12,.2,0\n2,11.9,.2,0\n3,14,.2,0\n", ["repeated-epochs", "resumed"],
                     id="resumed, and the first epoch of each session is slow"),
        pytest.param("1,10,.1,0\n2,20,.2,0\n1,10.1,.2,0\n2,20.2,.2,0\n", ["several-trainings"],
                     id="trained twice, alike"),
        pytest.param("1,10,.1,0\n1,10.1,.1,0\n2,20,.2,0\n", ["several-trainings"], id="trained again after an epoch"),
        pytest.param("1,10,.1,0\n2,20,.2,0\n1,10,.1,0\n2,20.2,.2,0\n3,30,.3,0\n4,40,.3,0\n", ["several-trainings"],
                     id="trained again for longer"),
        pytest.param("1,10,.1,0\n2,20,.2,0\n2,10,.2,0\n3,20,.3,0\n3,25,.3,0\n4,35,.3,0\n",
                     ["repeated-epochs", "resumed"], id="resumed twice, the second time slowly"),
    ],
)  # fmt: skip
def test_a_resume_is_not_taken_for_jobs_that_ran_at_once(lines: str, codes: list[str], tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text(HEADER.replace("loss", "box_loss") + lines)
    assert [note.code for note in read_run(tmp_path).notes if note.code in NOTES_ON_SESSIONS] == codes


def test_rows_of_jobs_that_ran_at_once_are_known_without_time(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("epoch,train/box_loss\n1,1\n1,2\n2,3\n2,4\n3,5\n3,6\n")
    run = read_run(tmp_path)
    assert (run.epochs.rows, run.epochs.session_starts) == (((2,), (4,), (6,)), (0,))


@pytest.mark.parametrize(
    ("resume", "times", "starts", "last"),
    [
        pytest.param("weights/last.pt", (10, 12, 22, 32), (0, 1), 42, id="an epoch that seems to take no time"),
        pytest.param("weights/last.pt", (10, 20, 95, 105), (0, 2), 125, id="an epoch that seems to take long"),
        pytest.param("weights/last.pt", (10, 20, 30, 40), (0,), 40, id="no epoch is odd"),
        pytest.param("false", (10, 12, 22, 32), (0,), 32, id="not resumed"),
        pytest.param("true", (10, 20, 8, 18), (0, 2), 38, id="`time` starts again"),
    ],
)
def test_the_place_of_a_resume_that_args_yaml_knows_of_is_an_odd_epoch(
    resume: str, times: tuple[int, ...], starts: tuple[int, ...], last: float, tmp_path: Path
) -> None:
    rows = "".join(f"{epoch},{time},0.5,0\n" for epoch, time in enumerate(times, start=1))
    (tmp_path / "results.csv").write_text(HEADER.replace("loss", "box_loss") + rows)
    (tmp_path / "args.yaml").write_text(f"task: detect\nmode: train\nresume: {resume}\n")
    epochs = read_run(tmp_path).epochs
    assert epochs.seconds is not None
    assert (epochs.session_starts, epochs.seconds[-1]) == (starts, last)


def test_every_row_is_kept_as_it_was_written(tmp_path: Path) -> None:
    written = epochs_of(f"{HEADER}1,10,0.1,0\n2,20,0.2,0\n2,9,0.25,0\n", tmp_path).written
    assert written == (WrittenRow(1, 10, (0.1, 0)), WrittenRow(2, 20, (0.2, 0)), WrittenRow(2, 9, (0.25, 0)))


@pytest.mark.parametrize("times", [("", "20"), ("nan", "20"), ("-1", "20"), ("inf", "20")], ids=str)
def test_a_time_that_is_none_leaves_only_the_epochs(times: tuple[str, str], tmp_path: Path) -> None:
    epochs = epochs_of(f"{HEADER}1,{times[0]},0.1,0\n2,{times[1]},0.2,0\n", tmp_path)
    assert (epochs.steps, epochs.seconds) == ((0, 1), None)


@pytest.mark.parametrize(
    ("numbers", "has_time", "version", "planned", "base", "noted"),
    [
        pytest.param((0, 1, 2), False, None, None, 0, False, id="there is an epoch 0"),
        pytest.param((1, 2, 3), False, None, None, 1, False, id="there is an epoch 1 and no 0"),
        pytest.param((5, 6), True, None, None, 1, False, id="`time` came when epochs were counted from 1"),
        pytest.param((5, 6), False, "8.0.161", None, 0, False, id="the release counted from 0"),
        pytest.param((5, 6), False, "8.0.162", None, 1, False, id="the release counted from 1"),
        pytest.param((5, 6), False, None, 7, 0, True, id="the last of seven epochs is 6"),
        pytest.param((5, 6), False, None, 6, 1, True, id="the last of six epochs is 6"),
        pytest.param((), False, None, 6, 1, False, id="there is no epoch"),
    ],
)
def test_epochs_are_counted_from_0_or_1(
    numbers: tuple[int, ...], has_time: bool, version: str | None, planned: int | None, base: int, noted: bool
) -> None:
    found, note = epoch_base(numbers, has_time=has_time, version=version, planned=planned)
    assert (found, note is not None) == (base, noted)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(f"{HEADER}1,10,0.5\n2,20,0.2", "line 2 has 3 values, the header has 4", id="only short lines"),
        pytest.param(f"{HEADER}1,10,0.5,0,7\n", "line 2 has 5 values, the header has 4", id="a long line"),
        pytest.param(f"{HEADER}1,10,0.5,fast\n", "line 2, column lr/pg0: 'fast' is not a number", id="text"),
        pytest.param(f"{HEADER}1,10,1_000,0\n", "'1_000' is not a number", id="an underscore"),
        pytest.param(f"{HEADER}1.5,10,0,0\n", "epoch 1.5 is not a whole number", id="half an epoch"),
        pytest.param(f"{HEADER}nan,10,0,0\n", "epoch nan is not a whole number", id="an epoch of nan"),
        pytest.param(f"{HEADER},10,0,0\n", "epoch None is not a whole number", id="a blank epoch"),
        pytest.param("step,loss\n1,2\n", "has no `epoch` column; found step, loss", id="no epoch column"),
        pytest.param("epoch,epoch,a\n1,2,3\n", "two columns are called 'epoch'", id="the epoch twice"),
        pytest.param(f"{HEADER}1,10,0.5", "line 2 has 3 values, the header has 4", id="only a cut line"),
    ],
)
def test_a_damaged_table_is_refused_with_the_place(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RunDirError, match=r"results\.csv: ") as refused:
        epochs_of(text, tmp_path)
    assert message in refused.value.message


def test_a_last_line_that_is_whole_but_short_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text(f"{HEADER}1,10,0.5,0.01\n1,0.7,0.8\n")
    table = read_results(path)
    assert (len(table.rows), table.short_rows) == (1, (ShortRow(3, 1, (1.0, 0.7, 0.8)),))


@pytest.mark.parametrize("layout", [{}, {"padded": True}, {"base": 0}, {"has_time": False, "padded": True}], ids=str)
def test_a_directory_of_any_release_has_the_steps_and_values_of_its_trainer(
    layout: dict[str, object], tmp_path: Path
) -> None:
    training = Training(epochs=4).with_(**layout)
    epochs = read_run(training.write(tmp_path / "train")).epochs
    assert epochs.steps == (0, 1, 2, 3)
    assert epochs.columns == training.columns
    assert epochs.rows == tuple(tuple(training.value_of(name, row) for name in epochs.columns) for row in range(4))
    assert (epochs.seconds is None) is not training.has_time


@pytest.mark.parametrize(
    ("text", "steps", "note"),
    [
        pytest.param(f"{HEADER}1,10,0.5\n2,20,0.2,0\n3,30,0.1,0\n", (1, 2), "1 row", id="a short line"),
        pytest.param(f"{HEADER}1,10,0.5,0\n2,20,0.2,0.5,7\n3,30,0.1,0.5,7\n", (0,), "2 rows", id="wider rows"),
        pytest.param(f"{HEADER}1,10,0.5,02,20,0.2,0\n3,30,0.1,0\n", (2,), "1 row", id="two lines in one"),
    ],
)
def test_rows_that_do_not_fit_cost_no_other_epoch(text: str, steps: tuple[int, ...], note: str, tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text(text)
    table = read_results(tmp_path / "results.csv")
    assert tuple(int(epoch or 0) - 1 for epoch in table.column("epoch")) == steps
    [left_out] = [found.text for found in table.notes if found.code == "rows-left-out"]
    assert left_out.startswith(f"{note} of results.csv with another number of cells than the header: left out")


UNENDED = [
    pytest.param("2,20,0.2,0.0", id="a cell is cut"),
    pytest.param("2,20,0.2,1e-", id="a number is cut to text"),
    pytest.param("2,20,0.2", id="a cell is missing"),
    pytest.param("2,20,0.2,0.02", id="nothing is missing"),
]


@pytest.mark.parametrize("line", UNENDED)
def test_a_last_line_without_an_end_is_left_out(line: str, tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text(f"{HEADER}1,10,0.5,0.01\n{line}")
    table = read_results(tmp_path / "results.csv")
    assert table.rows == ((1.0, 10.0, 0.5, 0.01),)
    assert [note.code for note in table.notes] == ["no-final-newline"]


@pytest.mark.parametrize(
    ("cut", "checkpoint", "kept"),
    [
        pytest.param(0, {}, True, id="the checkpoint has the row"),
        pytest.param(1, {}, False, id="the last cell is cut"),
        pytest.param(0, None, False, id="no checkpoint"),
        pytest.param(0, {"train_results": {"epoch": [1, 2]}}, False, id="the checkpoint has not all columns"),
    ],
)
def test_a_last_line_without_an_end_is_read_where_a_checkpoint_has_it(
    cut: int, checkpoint: dict[str, object] | None, kept: bool, tmp_path: Path
) -> None:
    training = Training(has_time=False, last=checkpoint)
    save_dir = training.write(tmp_path / "train")
    text = training.csv()
    (save_dir / "results.csv").write_text(text[: len(text) - 1 - cut])
    for run in (read_run(save_dir), read_summary(save_dir)):
        assert run.epochs.steps == ((0, 1, 2) if kept else (0, 1))
        assert ("no-final-newline" in [note.code for note in run.notes]) is not kept


def test_the_epoch_that_ray_tune_put_before_the_rates_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text(f"{HEADER}1,10,0.5,0.01\n2,20,0.4,1,0.02\n3,30,0.3,1,0.03\n4,40,0.2,9,0.04\n")
    table = read_results(path)
    assert table.column("lr/pg0") == (0.01, 0.02, 0.03)  # in the last row, 9 is no epoch
    assert {note.code for note in table.notes} == {"ray-cell", "rows-left-out"}


def test_a_quoted_name_may_hold_a_comma_and_a_none_is_blank(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text('epoch,time,train/loss,"AP50/car, red"\n1,10,0.5,None\n2,20,0.4,"0.25"\n')
    table = read_results(path)
    assert table.header == ("epoch", "time", "train/loss", "AP50/car, red")
    assert table.column("AP50/car, red") == (None, 0.25)


def test_files_that_macos_puts_beside_others_are_no_artifacts(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    for name in ("results.csv", "._results.csv", "._results.png", "weights/._best.pt"):
        (tmp_path / name).write_text(f"{HEADER}1,10,0.5,0.01\n")
    assert [file.path for file in read_run(tmp_path).files] == ["results.csv"]
