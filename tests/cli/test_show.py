"""`ymlf show`: one run on a terminal, whatever the terminal."""

from __future__ import annotations

import io
import math
import os
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console
from support.command import ymlf, ymlf_process
from support.directories import COLUMNS, Training, copy_fixture, tune_table

from importer.cli.chart import PLOT_LINES, draw_chart, place_side_by_side
from importer.cli.console import is_plain_locale
from importer.cli.show import coloured

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "images" / "show.svg"
BRAILLE = re.compile("[\u2800-\u28ff]")


def chart(values: list[float], width: int = 24, first: int = 0) -> list[str]:
    """An ASCII chart of values at steps from `first` on."""
    return [line.rstrip() for line in draw_chart("loss", list(enumerate(values, first)), width, ascii_only=True)]


def _dots(braille: str) -> int:
    """The dots of a character as bits."""
    return ord(braille) - 0x2800


def test_a_chart_tells_the_bounds_of_its_axes() -> None:
    assert chart([4, 3, 2, 1, 0], width=18) == [
        "loss",
        "      4|**",
        "       |  **",
        "       |    **",
        "       |      ***",
        "      0|         *",
        "       +----------",
        "        0        4",
    ]


@pytest.mark.parametrize(
    ("values", "sign"),
    [
        pytest.param([1, 2, math.nan, 4, 5], "1 nan or inf", id="nan"),
        pytest.param([1, 2, math.inf, -math.inf, 5], "2 nan or inf", id="inf"),
    ],
)
def test_what_is_not_finite_leaves_a_gap_and_is_counted(values: list[float], sign: str) -> None:
    plot = chart(values, width=40)
    columns = [{line[at] for line in plot[1 : PLOT_LINES + 1] if at < len(line)} for at in range(8, 40)]
    drawn = ["*" in column for column in columns]
    assert drawn[0] and drawn[-1] and not all(drawn)
    assert sign in plot[-1] and "inf" not in plot[1] and "nan" not in plot[1]


def test_a_step_without_a_value_leaves_a_gap() -> None:
    whole = "".join(draw_chart("loss", [(0, 0.0), (1, 1.0), (2, 2.0)], 40, ascii_only=True)).count("*")
    holed = "".join(draw_chart("loss", [(0, 0.0), (2, 2.0)], 40, ascii_only=True)).count("*")
    assert holed == 2 < whole


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        pytest.param([0.5], ["0.5"], id="one epoch"),
        pytest.param([0.25, 0.25, 0.25], ["0.25"], id="never changes"),
        pytest.param([1e308, -1e308], ["1e+308", "-1e+308"], id="the difference would overflow"),
        pytest.param([5e-324, 0.0], ["4.9407e-324", "0"], id="the difference would vanish"),
    ],
)
def test_a_chart_of_any_finite_values_draws_them(values: list[float], labels: list[str]) -> None:
    plot = chart(values, width=40)[1 : PLOT_LINES + 1]
    assert [line.split("|")[0].strip() for line in plot if line.split("|")[0].strip()] == labels
    assert "*" in "".join(plot)


def test_a_chart_of_nothing_finite_says_so() -> None:
    assert chart([math.nan, math.inf], width=40) == ["loss", "  nothing to draw: 2 nan or inf"]


def test_no_line_of_a_chart_is_wider_than_asked_for() -> None:
    series = [(step, 1 / (step + 1)) for step in range(1000)]
    assert {len(line) for line in draw_chart("a" * 60, series, 40, ascii_only=False)} == {40}


def test_charts_stand_side_by_side_row_after_row() -> None:
    assert place_side_by_side([["a ", "a "], ["b "], ["c "]], 2) == ["a   b", "a", "c"]


def test_a_run_is_shown_with_its_facts_values_charts_and_notes(tmp_path: Path) -> None:
    answer = ymlf("show", copy_fixture("event-file", tmp_path))
    assert answer.status == 0, answer.err
    for sign in ("Ultralytics 8.3.0", "the wall times of the TensorBoard event file", "last", "best", "final"):
        assert sign in answer.out
    assert answer.out.count("metrics/mAP50-95P") == 2, "once in the table of values, once above its chart"
    assert BRAILLE.search(answer.out) and "note: " in answer.out
    assert "lr/pg0" not in answer.out


def test_last_and_best_values_are_those_of_results_csv(tmp_path: Path) -> None:
    rows = tuple({"metrics/mAP50-95(B)": value} for value in (0.125, 0.5, 0.25))
    shown = ymlf("show", Training(rows=rows, last=None).write(tmp_path / "train")).out
    assert re.search(r"last +best\n +step 2 +step 1\n", shown)
    assert re.search(r"metrics/mAP50-95B +0\.25 +0\.5\n", shown)


def test_an_empty_run_is_shown_without_charts(tmp_path: Path) -> None:
    answer = ymlf("show", Training(epochs=0, planned=3, last=None).write(tmp_path / "train"))
    assert answer.status == 0, answer.err
    assert "no epoch has ended: no values to show" in answer.out and not BRAILLE.search(answer.out)


def test_one_epoch_is_a_dot(tmp_path: Path) -> None:
    answer = ymlf("show", Training(epochs=1).write(tmp_path / "train"))
    assert answer.status == 0, answer.err
    assert {found.bit_count() for found in map(_dots, BRAILLE.findall(answer.out))} == {1}
    assert len(BRAILLE.findall(answer.out)) == len(COLUMNS) - len([name for name in COLUMNS if name.startswith("lr/")])


def test_a_tune_is_shown_with_its_iterations(tmp_path: Path) -> None:
    answer = ymlf("show", tune_table(tmp_path / "tune", (0.25, 0.75)))
    assert answer.status == 0, answer.err
    assert re.search(r"^iterations +2, best is iteration 2$", answer.out, re.M)
    assert re.search(r"^run +iteration +epochs +status +fitness +metrics/mAP50-95B$", answer.out, re.M)
    assert re.search(r"^tune iteration 2 +2 +FINISHED +0\.75 +0\.75$", answer.out, re.M)
    assert re.search(r"^ +1 +2$", answer.out, re.M), "the axis of the chart counts iterations as the table does"
    assert "step" not in answer.out and "epochs  " not in answer.out.splitlines()[2]
    assert "below it" not in answer.out
    all_of_them = ymlf("show", tmp_path / "tune", "--iterations", "all").out
    assert re.search(r"^below it +2 runs$", all_of_them, re.M)


def test_of_a_long_tune_the_fittest_are_shown(tmp_path: Path) -> None:
    tune = tune_table(tmp_path / "tune", [(number * 7 % 30) / 100 for number in range(30)])
    short = ymlf("show", tune).out
    shown = [float(line.split()[5]) for line in short.splitlines() if line.startswith("tune iteration ")]
    assert sorted(shown) == [number / 100 for number in range(10, 30)]
    assert "... and 10 more that are less fit (-v shows them)\n" in short
    assert len(re.findall(r"^tune iteration \d+ ", ymlf("show", tune, "-v").out, re.M)) == 30


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_no_line_but_a_name_or_a_note_is_wider_than_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = ymlf("show", copy_fixture("train-2", tmp_path)).out.splitlines()
    assert max(len(line) for line in shown[1:] if not line.startswith("note: ")) <= columns


@pytest.mark.parametrize(
    "env",
    [
        pytest.param({"LC_ALL": "C"}, id="the C locale"),
        pytest.param({"PYTHONIOENCODING": "latin-1", "LC_ALL": ""}, id="a Latin-1 stream"),
    ],
)
def test_charts_are_ascii_where_the_terminal_knows_no_unicode(tmp_path: Path, env: dict[str, str]) -> None:
    answer = ymlf_process("show", copy_fixture("crashed", tmp_path), env=env)
    assert answer.status == 0, answer.err
    assert answer.out.isascii() and "*" in answer.out and "+---" in answer.out


@pytest.mark.parametrize(
    ("variables", "is_plain"),
    [
        pytest.param({"LC_ALL": "POSIX", "LANG": "C.UTF-8"}, True, id="POSIX"),
        pytest.param({"LC_CTYPE": "C"}, True, id="C for characters"),
        pytest.param({"LC_ALL": "", "LANG": "C.UTF-8"}, False, id="C with UTF-8"),
        pytest.param({}, False, id="no word of it"),
    ],
)
def test_the_c_locale_and_posix_are_plain(
    variables: dict[str, str], is_plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_plain_locale() == is_plain


def test_json_is_that_of_plan(tmp_path: Path) -> None:
    save_dir = copy_fixture("train-2", tmp_path)
    assert ymlf("show", "--json", save_dir).told == ymlf("plan", "--json", save_dir).told


def test_a_folder_that_is_no_run_is_refused_with_what_lies_below(tmp_path: Path) -> None:
    for name in ("train", "train2"):
        Training().write(tmp_path / "runs" / name)
    answer = ymlf("show", tmp_path / "runs")
    assert answer.status == 1 and answer.out == ""
    assert f"2 lie below, such as {tmp_path}/runs/train\n" in answer.err


def test_of_a_folder_with_one_run_that_is_shown(tmp_path: Path) -> None:
    save_dir = Training().write(tmp_path / "runs" / "train")
    assert ymlf("show", tmp_path).out == ymlf("show", save_dir).out


def test_a_plan_of_no_epochs_says_that_an_import_passes_it_over(tmp_path: Path) -> None:
    save_dir = Training().write(tmp_path / "train")
    (save_dir / "results.csv").write_text("epoch,train/box_loss\n")
    (save_dir / "weights" / "last.pt").unlink()
    for command in ("plan", "show"):
        assert (
            ymlf(command, save_dir).err == "note: no epochs: an import passes it over; with --also empty it logs this\n"
        )


def test_the_picture_in_the_docs_is_what_show_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With YMLF_PICTURES=docs/images it is drawn anew."""
    monkeypatch.setenv("COLUMNS", "96")
    copy_fixture("train-2", tmp_path / "fixtures" / "runs" / "detect")
    shown = ymlf("show", "fixtures/runs/detect/train-2", cwd=tmp_path, zone="UTC").out
    if os.environ.get("YMLF_PICTURES"):
        _draw(shown, Path(os.environ["YMLF_PICTURES"], "show.svg"))
    assert _lines_of(PICTURE) == [line.replace(" ", "") for line in shown.splitlines() if line.strip()]


def _draw(shown: str, path: Path) -> None:
    console = Console(record=True, width=96, file=io.StringIO(), markup=False, highlight=False)
    for line in shown.splitlines():
        console.print(coloured(line))
    svg = console.export_svg(title="ymlf show fixtures/runs/detect/train-2", unique_id="ymlf")
    path.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL), encoding="utf-8")


def _lines_of(picture: Path) -> list[str]:
    """The lines of a terminal in SVG, less their spaces and the window's title."""
    lines: dict[str, str] = {}
    for text in ElementTree.parse(picture).iter("{http://www.w3.org/2000/svg}text"):
        if text.get("y") is not None and "title" not in (text.get("class") or ""):
            lines.setdefault(text.get("y", ""), "")
            lines[text.get("y", "")] += "".join(text.itertext()).replace("\xa0", "").strip()
    return [line for line in lines.values() if line]
