"""What a person sees of an imported run in MLflow's own UI, in a real browser.

With YMLF_PICTURES=docs/images some pages are kept as the pictures that README and docs show.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from mlflow.entities import Run
from PIL import Image
from support.command import ymlf
from support.directories import copy_all_fixtures, copy_fixture, tune_table
from support.documents import ROOT, blocks, examples, set_up
from support.services.mlflow_server import mlflow_server
from support.services.needs import needed, needed_program
from support.services.older_mlflow import older_python
from support.stores import runs_in

from importer.store.uri import LOCAL_UI

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
PATIENCE_MS = 60_000  # a page takes two seconds; one on two busy cores takes longer
DEMO = ("detect/train", "train-2", "train-3", "train-4", "train-5")


def expect(subject: Locator | Page) -> Any:
    """Playwright's assertions, which wait until they hold."""
    return needed("playwright.sync_api", "test-browser").expect(subject)


class Seen(NamedTuple):
    """The UI of a store, and the runs in it by name."""

    page: Page
    url: str
    runs: dict[str, Run]

    def open_list(self) -> None:
        """The page that lists the runs of the experiment."""
        (experiment_id,) = {run.info.experiment_id for run in self.runs.values()}
        self.page.goto(f"{self.url}/#/experiments/{experiment_id}/runs?workflowType=machine_learning")
        expect(self.page.get_by_text("matching runs")).to_be_visible()

    def open_run(self, name: str, tab: str = "") -> None:
        """A page of a run."""
        run = self.runs[name]
        address = f"{self.url}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}{tab}"
        self.page.goto(f"{address}?workflowType=machine_learning")
        expect(self.page.get_by_role("heading", name=name)).to_be_visible()

    def keep_picture(self, name: str, drawn: Locator) -> None:
        """The page, once `drawn` is on it, as a picture for the docs where those are asked for."""
        if os.environ.get("YMLF_PICTURES"):
            self._close_assistant()
            expect(drawn).to_be_visible()
            picture = Image.open(BytesIO(self.page.screenshot(animations="disabled")))
            picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
                Path(os.environ["YMLF_PICTURES"], f"{name}.png"), optimize=True
            )

    def _close_assistant(self) -> None:
        """MLflow's chat panel, which takes a quarter of the window, is gone."""
        close = self.page.get_by_role("button", name="Close", exact=True)
        if close.count() == 1 and self.page.get_by_role("dialog").count() == 0:  # whose button has that name, too
            close.click()
            expect(close).to_have_count(0)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    path = needed_program("chromium", "chromium")
    playwright_api = needed("playwright.sync_api", "test-browser")
    playwright_api.expect.set_options(timeout=PATIENCE_MS)
    with playwright_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=list(FLAGS), timeout=PATIENCE_MS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, Run]]]:
    """`mlflow server` on a fresh database with the runs of a tree in it."""
    folder = tmp_path_factory.mktemp("browser")
    database = f"sqlite:///{folder / 'mlflow.db'}"
    for name in (*DEMO, "event-file", "crashed", "classify"):
        copy_fixture(name, folder / "runs")
    tune_table(folder / "runs" / "tune", (0.25, 0.75))
    imported = ymlf("import", "runs", "--iterations", "all", "--tracking-uri", database, cwd=folder)
    assert imported.status == 0, imported.err
    with mlflow_server(database, str(folder / "mlartifacts")) as server:
        yield server.url, {run.info.run_name: run for run in runs_in(database)}


@pytest.fixture(scope="module")
def links(ui: tuple[str, dict[str, Run]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The addresses that an import of the demo runs prints: of a run, of the experiment."""
    return printed_links(ui[0], tmp_path_factory.mktemp("demo"))


def printed_links(url: str, folder: Path) -> dict[str, str]:
    """The addresses that imports of the demo runs into a server print, with best values and images."""
    for name in DEMO:
        copy_fixture(name, folder / "runs")
    words = ("--best-metrics", "--images", "--experiment", "gears", "--tracking-uri", url)
    found = {}
    for path in ("runs/train-2", "runs"):
        answer = ymlf("import", path, *words, cwd=folder)
        assert answer.status == 0, answer.err
        found |= dict(re.findall(r"^(experiment|) *.*?(http\S+)$", answer.out, re.MULTILINE))
    return {"experiment": found["experiment"], "run": found[""]}


@pytest.fixture
def seen(browser: Browser, ui: tuple[str, dict[str, Run]]) -> Iterator[Seen]:
    """A browser window on the UI, of someone who is there for the first time."""
    context = browser.new_context(viewport={"width": 1280, "height": 860}, timezone_id="UTC", locale="en-US")
    context.set_default_timeout(PATIENCE_MS)
    yield Seen(context.new_page(), *ui)
    context.close()


def test_the_list_has_each_run_by_name_with_its_dataset_and_how_it_ended(seen: Seen) -> None:
    seen.open_list()
    for name in ("train", "train-2", "train-5", "event-file", "crashed", "classify", "tune"):
        expect(seen.page.get_by_role("link", name=name, exact=True)).to_be_visible()
    expect(seen.page.get_by_text("pose (", exact=False).first).to_be_visible()
    seen.keep_picture("experiment", seen.page.get_by_role("link", name="tune", exact=True))


def test_the_iterations_of_a_tune_are_folded_below_it(seen: Seen) -> None:
    seen.open_list()
    parent = seen.page.get_by_role("link", name="tune", exact=True)
    child = seen.page.get_by_role("link", name="tune iteration 2", exact=True)
    expect(parent).to_be_visible()
    expect(child).to_have_count(0)
    seen.page.get_by_role("row").filter(has=parent).get_by_role("button").first.click()
    expect(child).to_be_visible()


def test_the_overview_shows_the_times_of_the_training_and_the_rendered_note(seen: Seen) -> None:
    seen.open_run("train-2")
    lines = seen.page.locator("body")
    run = seen.runs["train-2"].info
    expect(lines).to_contain_text(f"Duration{(run.end_time - run.start_time) / 60_000:.1f}min")
    note = seen.page.get_by_role("listitem").filter(has_text="the date inside the checkpoint")
    expect(note.locator("strong")).to_have_text("times")
    expect(lines).to_contain_text("Imported by ymlf")


def test_the_charts_draw_every_epoch_by_step_and_by_wall_time(seen: Seen) -> None:
    seen.open_run("event-file", "/model-metrics")
    lines = seen.page.locator(".js-plotly-plot .scatterlayer")
    expect(lines.first.locator(".point")).to_have_count(5)
    expect(seen.page.get_by_text("Step", exact=True).first).to_be_visible()
    seen.page.get_by_label("Configure charts").click()
    seen.page.get_by_text(re.compile("Time.*wall", re.I)).first.click()
    expect(seen.page.locator(".js-plotly-plot").first).to_contain_text("Nov 23, 2026")


def test_losses_are_found_by_their_names(seen: Seen) -> None:
    seen.open_run("train-2", "/model-metrics")
    seen.page.get_by_placeholder("Search metric charts").fill("loss")
    points = seen.page.locator(".js-plotly-plot .scatterlayer").nth(4).locator(".point")
    expect(points).to_have_count(50)
    expect(seen.page.get_by_text("train-2 (train/box_loss)")).to_be_visible()
    expect(seen.page.get_by_text("train-2 (lr/pg0)")).to_have_count(0)
    seen.keep_picture("charts", points.first)


def test_results_png_is_a_picture_in_the_artifact_viewer(seen: Seen) -> None:
    seen.open_run("train-2", "/artifacts/results.png")
    picture = seen.page.locator("img[alt='results.png'], [class*='image'] img").first
    expect(picture).to_be_visible()
    assert picture.evaluate("element => element.naturalWidth") == 1080, "as the fixture has it"


def ranked(page: Page) -> Locator:
    """The names of the runs in the list of an experiment, from the top."""
    return page.get_by_role("link", name=re.compile("^train(-[2-5])?$"))


def test_the_address_of_an_import_opens_its_runs_with_the_best_first(seen: Seen, links: dict[str, str]) -> None:
    seen.page.goto(links["experiment"])
    expect(seen.page.get_by_text("5 matching runs")).to_be_visible()
    expect(ranked(seen.page)).to_have_text(["train-2", "train-3", "train-4", "train-5", "train"])
    expect(seen.page.get_by_text("Sort: best/mAP50-95B")).to_be_visible()


def test_the_address_of_a_run_opens_it_among_the_trainings(seen: Seen, links: dict[str, str]) -> None:
    seen.page.goto(links["run"])
    expect(seen.page.get_by_role("heading", name="train-2")).to_be_visible()
    expect(seen.page.get_by_role("tab", name="Model metrics")).to_be_visible()
    expect(seen.page.get_by_text("Evaluation runs")).to_have_count(0)


def test_the_oldest_mlflow_ranks_once_the_type_is_confirmed_and_has_the_image_grid(seen: Seen, tmp_path: Path) -> None:
    database, page = f"sqlite:///{tmp_path / 'mlflow.db'}", seen.page
    with mlflow_server(database, str(tmp_path / "mlartifacts"), python=older_python("3.7.0")) as server:
        found = printed_links(server.url, tmp_path)
        page.goto(found["experiment"])
        page.get_by_role("button", name="Confirm").click()
        page.goto("about:blank")
        page.goto(found["experiment"])
        expect(ranked(page)).to_have_text(["train-2", "train-3", "train-4", "train-5", "train"])
        page.locator("label").filter(has=page.locator("input[value=CHART]")).click()
        page.get_by_placeholder("Search metric charts").fill("confusion")
        expect(page.get_by_role("heading", name="confusion_matrix", exact=True)).to_be_visible()
        expect(page.get_by_test_id("experiment-view-compare-runs-card").locator("img").first).to_be_visible()
        page.goto(found["run"])
        expect(page.get_by_role("heading", name="train-2")).to_be_visible()


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The last address that the commands print from README's first to the end of the quick start, in a fresh folder."""
    copy_all_fixtures(tmp_path / "fixtures")
    first = next(block for block in blocks(ROOT / "README.md") if block.language == "sh")
    quick_start = ROOT / "docs/index.md"
    [(name, uri)] = re.findall(r"export (\w+)=([\w:/.]+)", quick_start.read_text())
    typed = [
        example.words for block in blocks(quick_start) if block.language == "console" for example in examples(block)
    ]
    run_all(set_up(first), tmp_path)
    monkeypatch.setenv(name, uri)
    printed = run_all(typed, tmp_path)
    found = re.findall(rf"^experiment .*: {LOCAL_UI}(\S+)$", printed, re.MULTILINE)
    with mlflow_server(f"{uri.replace('///', f'///{tmp_path}/')}", str(tmp_path / "mlartifacts")) as server:
        yield server.url + found[-1]


def run_all(commands: list[tuple[str, ...]], folder: Path) -> str:
    """What the commands print in a folder; each succeeds."""
    answers = [ymlf(*words, cwd=folder) for words in commands]
    assert [answer.status for answer in answers] == [0] * len(commands)
    return "".join(answer.out for answer in answers)


def test_the_quick_start_leads_to_the_confusion_matrix_of_the_best_run(seen: Seen, address: str) -> None:
    page = seen.page
    page.goto(address)
    expect(page.get_by_text("6 matching runs")).to_be_visible()
    expect(page.get_by_text("Sort: best/mAP50-95B")).to_be_visible()
    expect(ranked(page).first).to_have_text("train-2")
    page.locator("label").filter(has=page.locator("input[value=CHART]")).click()
    search = page.get_by_placeholder("Search metric charts")
    search.fill("mAP50.*B")  # those of boxes
    expect(page.locator(".js-plotly-plot .barlayer .point").first).to_be_visible()
    page.set_viewport_size({"width": 1280, "height": 1100})
    seen.keep_picture("ranked", page.locator(".js-plotly-plot .scatterlayer .point").first)
    search.fill("confusion")  # which leaves out all that are not images
    title = page.get_by_role("heading", name="confusion_matrix", exact=True)
    grid = page.get_by_test_id("experiment-view-compare-runs-card").filter(has=title)
    grid.get_by_test_id("experiment-view-compare-runs-card-menu").click()
    page.get_by_role("menuitem", name="Configure").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Show run parameters").click()
    dialog.get_by_role("button", name="Save changes").click()
    grid.get_by_role("button").first.click()
    pictures = dialog.locator("img")
    expect(pictures).to_have_count(5)
    expect(dialog).to_contain_text("train-2")
    page.set_viewport_size({"width": 1600, "height": 560})
    boxes = pictures.evaluate_all("images => images.map(image => image.getBoundingClientRect().toJSON())")
    assert len({box["y"] for box in boxes}) == 1 and len({box["x"] for box in boxes}) == 5, "in one row"
    assert pictures.evaluate_all("images => images.every(image => image.naturalWidth === 256)"), "MLflow's small one"
    page.mouse.move(0, 0)
    seen.keep_picture("matrices", pictures.last)
