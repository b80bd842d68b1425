"""What `ymlf import --dry-run --json` says of a fixture, word for word: a person reviews each change of it.

`PYTHONPATH=tests python tests/replay/test_golden_plans.py --write` writes the plans again.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from support.command import ymlf
from support.directories import FIXTURES, copy_fixture, fixture_names, fixture_path, golden_plan


def planned(name: str, here: Path) -> dict[str, object]:
    """Return what a dry run prints in a folder that has the fixture below it, of a host on UTC, with an empty store."""
    path = f"fixtures/{fixture_path(name)}"
    copy_fixture(name, (here / path).parent)
    answer = ymlf("import", "--dry-run", "--json", path, cwd=here, zone="UTC")
    assert answer.status == 0, answer.err
    plan, closing = answer.told
    assert closing["summary"] == {"imported": 1}
    return plan


def laid_out(plan: dict[str, object]) -> str:
    """The same JSON with one param, tag, series, artifact or note a line."""
    lines = [f"{_json(name)}: {_value(value)}" for name, value in plan.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _value(value: object) -> str:
    items: Iterable[str]
    if isinstance(value, dict) and value:
        items, (opens, closes) = (f"{_json(key)}: {_json(item)}" for key, item in value.items()), "{}"
    elif isinstance(value, list) and value:
        items, (opens, closes) = map(_json, value), "[]"
    else:
        return _json(value)
    return f"{opens}\n  " + ",\n  ".join(items) + f"\n{closes}"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


@pytest.mark.parametrize("name", fixture_names())
def test_the_plan_of_a_fixture_is_its_golden_plan(name: str, tmp_path: Path) -> None:
    assert laid_out(planned(name, tmp_path)) == golden_plan(name).read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["fixtures"], "a dry run leaves nothing behind"


def test_every_fixture_that_shows_one_thing_has_a_golden_plan_and_two_of_the_demo_runs_have() -> None:
    one_thing = {path.name for path in FIXTURES.iterdir() if path.is_dir() and path.name != "runs"}
    assert set(fixture_names()) == one_thing | {"train-2", "train-5"}


def test_every_file_of_a_fixture_has_the_time_of_its_training() -> None:
    times = json.loads((FIXTURES / "times.json").read_text())
    files = {path.relative_to(FIXTURES).as_posix() for path in FIXTURES.glob("*/**/*") if path.is_file()}
    assert files == {f"{fixture}/{name}" for fixture in times for name in times[fixture]}


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: PYTHONPATH=tests python tests/replay/test_golden_plans.py --write")
    for fixture in fixture_names():
        with tempfile.TemporaryDirectory() as folder:
            golden_plan(fixture).write_text(laid_out(planned(fixture, Path(folder))), encoding="utf-8")
