"""README and docs/ are true: their examples do what they show, their tables leave nothing out and invent nothing."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click
import pytest
import yaml
from mlflow import MlflowClient
from support.directories import copy_all_fixtures, touch_all
from support.documents import PAGES, ROOT, Block, answer, blocks, code, commands, examples, rows, set_up, shows
from support.stores import runs_in

from importer.cli.commands import cli
from importer.cli.progress import Totals
from importer.model import TrainingRun
from importer.record import ImportRecord
from importer.replay.identity import REWRITTEN
from importer.replay.record import CLOCKS, SHAPING, filter_tags
from importer.report import Kind, Outcome

EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
RUN = TrainingRun("train", "train", "ultralytics", "Ultralytics", "detect", {"model": "yolo11n.pt"})
NOT_PLAIN = "told|whoever|anew|gone about|stands for|that which|is none|are none|nobody answers"
PACKAGE = sorted((ROOT / "importer").rglob("*.py"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which a page's session begins: file times of a clone, 100 columns, a fast host on UTC."""
    for save_dir in copy_all_fixtures(tmp_path / "fixtures"):
        touch_all(save_dir, int(time.time() * 1000))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setattr("importer.cli.progress.LINE_SECONDS", 3600.0)  # a slow host tells how far it is
    time.tzset()
    yield tmp_path
    monkeypatch.undo()
    time.tzset()


@EVERY_PAGE
def test_the_examples_of_a_page_do_what_they_show(page: Path, folder: Path, empty_database: Path) -> None:
    if "new store: " not in page.read_text(encoding="utf-8"):
        shutil.copyfile(empty_database, folder / "mlflow.db")
    for block in blocks(page):
        if block.language == "sh":
            for words in set_up(block):
                assert answer(words)[0] == 0, words
        elif block.language == "console":
            for example in examples(block):
                status, printed = answer(example.words)
                if not shows(example.shown, printed):
                    assert list(example.shown) == printed, example.words
                assert status == 0, example.words
        elif block.language == "python" and _installed(block):
            exec(compile(block.text, str(page), "exec"), {"__name__": "example"})


def _installed(block: Block) -> bool:
    names = re.findall(r"^(?:from|import) (\w+)", block.text, re.MULTILINE)
    return all(importlib.util.find_spec(name) is not None for name in names)


@EVERY_PAGE
def test_every_command_on_a_page_is_one_that_there_is(page: Path) -> None:
    for block in blocks(page):
        for words in commands(block) if block.language in ("sh", "yaml", "python") else ():
            with click.Context(cli, info_name="ymlf") as context:
                name, command, rest = cli.resolve_command(context, list(words))
                assert command is not None
                command.make_context(name, list(rest), parent=context)


def test_the_commands_of_the_examples_are_ones_that_there_are() -> None:
    cronjob = yaml.safe_load((ROOT / "examples" / "cronjob.yaml").read_text())
    [container] = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    service = (ROOT / "examples" / "ymlf.service").read_text()
    [started] = re.findall(r"^ExecStart=(.*)$", service, re.MULTILINE)
    for words in (container["command"], started.split()):
        with click.Context(cli, info_name="ymlf") as context:
            name, command, rest = cli.resolve_command(context, words[1:])
            assert command is not None
            command.make_context(name, list(rest), parent=context)


def test_the_set_up_on_the_first_screen_is_two_lines() -> None:
    first, second = (block.text.splitlines() for block in blocks(ROOT / "README.md") if block.language == "sh")
    assert (len(first), len(second)) == (1, 1)
    assert "pip install ." in first[0] and "ymlf import fixtures/" in first[0]
    assert "'.[test]'" in second[0] and "pytest" in second[0]


def test_the_first_command_of_the_readme_prints_no_note(folder: Path, empty_database: Path) -> None:
    shutil.copyfile(empty_database, folder / "mlflow.db")
    first, *_ = (block for block in blocks(ROOT / "README.md") if block.language == "sh")
    [words] = set_up(first)
    status, printed = answer(words)
    said = [line.split(" ")[0] for line in printed if not line.startswith(" ")]
    assert (status, said) == (0, ["imported:", "look", "experiment", "`ymlf"])


def test_every_command_has_a_row() -> None:
    named = {name for row in rows("docs/reference.md", "Commands") for name in re.findall(r"`ymlf (\w+)", row[0])}
    assert named == set(cli.commands)


def test_every_option_of_every_command_has_a_row() -> None:
    options = {
        max(option.opts, key=len)
        for command in cli.commands.values()
        for option in command.params
        if isinstance(option, click.Option)
    }
    assert {code(row[0]) for row in rows("docs/reference.md", "Options") if row[0].startswith("`--")} == options


def test_options_that_shape_a_run_are_said_to_be_kept_in_the_record() -> None:
    shaping = {name.removesuffix("_ms") for name in SHAPING}
    kept = {max(option.opts, key=len) for option in cli.commands["import"].params if option.name in shaping}
    listed = {code(row[0]) for row in rows("docs/reference.md", "What is logged") if row[2].startswith("record")}
    assert listed == kept


def test_every_note_has_a_row_and_every_row_a_note() -> None:
    assert sorted(code(row[0]) for row in rows("docs/formats.md", "Notes")) == sorted(_note_codes())


def _note_codes() -> set[str]:
    """The first argument of each `Note(...)` and `.note(...)`, each `code=...`, and the keys of tables of notes."""
    return {found for path in PACKAGE for node in ast.walk(ast.parse(path.read_text())) for found in _codes_in(node)}


def _codes_in(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call):
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        given = node.args[:1] if name in ("Note", "note") else []
        yield from _texts([*given, *(word.value for word in node.keywords if word.arg == "code")])
    elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
        if any(isinstance(target, ast.Name) and target.id.endswith(("_NOTES", "_HINTS")) for target in node.targets):
            yield from _texts(node.value.keys)
    elif isinstance(node, ast.FunctionDef):
        for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
            yield from _texts([default] if argument.arg == "code" else [])


def _texts(nodes: list[ast.expr] | list[ast.expr | None]) -> Iterator[str]:
    yield from (node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


def test_every_difference_from_live_names_tests_that_there_are() -> None:
    tests = {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    for row in rows("docs/differences.md", "Differences from live"):
        named = set(re.findall(r"`(test_\w+)`", row[-1]))
        assert named and named <= tests, row[0]


def test_every_outcome_has_a_row() -> None:
    listed = {found for row in rows("docs/backfill.md") for found in re.findall(r"`([^`]+)`", row[0])}
    assert {kind.value for kind in Kind} - listed == set()


def test_every_clock_has_a_row() -> None:
    assert [code(row[0]) for row in rows("docs/differences.md", "Times")] == [
        name for name in CLOCKS if name != "start-time"
    ]


def test_every_arg_that_is_not_compared_has_a_row() -> None:
    listed = [name for row in rows("docs/formats.md", "Args that are not compared") for name in _codes(row[0])]
    assert sorted(listed) == sorted(REWRITTEN)


def test_every_tag_and_every_field_of_the_record_has_a_row(folder: Path, empty_database: Path) -> None:
    shutil.copyfile(empty_database, folder / "mlflow.db")
    assert answer(("import", "fixtures", "--include", "*/train-2"))[0] == 0
    listed = {name for row in rows("docs/differences.md", "Tags") for name in _codes(row[0])}
    [run] = runs_in(f"sqlite:///{folder / 'mlflow.db'}")
    tags = {re.sub(r"^ymlf\.key\..*", "ymlf.key.<digit>", name) for name in run.data.tags}
    record = {"format", *(field.name for field in fields(ImportRecord))}
    assert listed == record | {"ymlf.update_id", "ymlf.live_status", "ymlf.continued_in"} | tags - {"mlflow.runName"}


def test_every_tag_to_filter_by_has_a_search_that_finds_runs(folder: Path, empty_database: Path) -> None:
    shutil.copyfile(empty_database, folder / "mlflow.db")
    assert answer(("import", "fixtures"))[0] == 0
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    table = rows("docs/best.md", "Filter runs")
    assert {code(row[0]) for row in table} == set(filter_tags(RUN, None, "detect", ())) | {"ymlf.dataset"}
    for tag, _, search in table:
        expression = re.findall("``(.*)``", search)[0]
        found = client.search_runs(experiments, expression)
        assert f"tags.`{code(tag)}`" in expression and len(found) > 0, expression


def _codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@EVERY_PAGE
def test_links_lead_somewhere_on_a_git_host(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]*)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        if "://" not in link:
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not anchor or anchor in _anchors(target), link


def _anchors(page: Path) -> set[str]:
    """The names that a Git host gives to the headings of a page."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_docs_are_ten_pages_and_the_site_has_each() -> None:
    [*pages] = (ROOT / "docs").glob("*.md")
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert len(pages) <= 10
    assert sorted(name for entry in site["nav"] for name in entry.values()) == sorted(page.name for page in pages)


@EVERY_PAGE
def test_a_page_reads_the_same_on_a_git_host_as_on_the_site(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"^(?::::|!!!|\?\?\?|--8<--).*$|\{[:.#][^}`]*\}\s*$", text, re.MULTILINE) == []


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_a_page_is_in_plain_words_and_gives_nobody_the_advice_to_delete_a_store(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(rf"(?i)\b(?:{NOT_PLAIN})\b", text) == []
    assert re.findall(r"(?i)(?:\brm\b|\bdelete\b|\bremove\b)[^.\n]*mlflow\.db", text) == []


def test_the_package_is_in_plain_words() -> None:
    found = {path.name: re.findall(rf"\b(?:{NOT_PLAIN})\b", path.read_text(encoding="utf-8")) for path in PACKAGE}
    assert {name: words for name, words in found.items() if words} == {}


def test_the_notebook_runs_from_its_first_cell_to_its_last(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "examples").mkdir()
    monkeypatch.chdir(folder / "examples")
    notebook = json.loads((ROOT / "examples" / "ranking.ipynb").read_text(encoding="utf-8"))
    assert (notebook["nbformat"], {cell["cell_type"] for cell in notebook["cells"]}) == (4, {"code", "markdown"})
    names: dict[str, object] = {"__name__": "__main__"}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec(compile("".join(cell["source"]), "ranking.ipynb", "exec"), names)
    [run] = runs_in(f"sqlite:///{folder / 'examples' / 'ranking.db'}")
    assert run.info.run_name == "train-2"


def test_every_message_of_the_troubleshooting_is_one_that_there_is() -> None:
    texts = {
        node.value
        for path in PACKAGE
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    for row in rows("docs/troubleshooting.md", "Messages"):
        assert any(code(row[1]) in text for text in texts), row[1]


def test_every_field_of_the_json_has_a_row(folder: Path) -> None:
    listed = {row: _fields("docs/automation.md", row) for row in ("Reports", "Plans as JSON")}
    _, (line,) = answer(("plan", "fixtures/crashed", "--json", "--images"))
    assert listed["Plans as JSON"] == set(json.loads(line))
    closing = {*Totals(0).as_json(), "exit_status"}
    assert listed["Reports"] == {field.name for field in fields(Outcome)} - {"kind"} | {"outcome"} | closing


def _fields(page: str, heading: str) -> set[str]:
    return {name for row in rows(page, heading) for name in re.findall(r"`(\w+)`", row[0])}


def test_every_module_of_the_package_is_on_the_page_for_developers() -> None:
    page = (ROOT / "docs/developers.md").read_text()
    named = set(re.findall(r"`([a-z_]+)/?`", page))
    there = {path.stem for path in (ROOT / "importer").iterdir() if path.is_dir() or path.suffix == ".py"}
    assert there - named <= {"__init__", "__main__", "__pycache__"}


def test_how_to_write_a_reader_names_all_that_one_offers() -> None:
    text = (ROOT / "docs/developers.md").read_text()
    for name in ("LOOKS_FOR", "recognise(save_dir, names)", "read(directory)"):
        assert f"`{name}`" in text


def test_the_map_for_developers_names_files_that_hold_the_named_functions() -> None:
    page = (ROOT / "docs" / "developers.md").read_text()
    rows = re.findall(r"^\| (.+?) \| `(importer/[\w/]+\.py)` \| `(\w+)` \|$", page, re.MULTILINE)
    assert len(rows) == 8
    for _, path, name in rows:
        defined = {node.name for node in ast.walk(ast.parse((ROOT / path).read_text())) if hasattr(node, "name")}
        assert name in defined, f"{path} has no {name}"
