"""What `ymlf import --dry-run --json` says of each fixture, word for word: a change of it is for a person to look at.

`python tests/test_golden_plans.py --write` writes the plans anew.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from support.command import ymlf
from support.directories import FIXTURES, copy_fixture, fixture_names


def planned(name: str, here: Path) -> dict[str, object]:
    """What a dry run prints in a folder that has the fixture below it, of a host on UTC, with an empty store."""
    copy_fixture(name, here / "fixtures")
    answer = ymlf("import", "--dry-run", "--json", f"fixtures/{name}", cwd=here, zone="UTC")
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
    assert laid_out(planned(name, tmp_path)) == (FIXTURES / f"{name}.json").read_text(encoding="utf-8")


def test_a_dry_run_leaves_nothing_behind(tmp_path: Path) -> None:
    planned("finished", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["fixtures"]


def test_every_fixture_has_a_golden_plan_and_every_file_a_time() -> None:
    directories = {path.name for path in FIXTURES.iterdir() if path.is_dir()}
    plans = {path.stem for path in FIXTURES.glob("*.json")} - {"times", "tracked-live"}
    assert directories == set(fixture_names()) == plans
    times = json.loads((FIXTURES / "times.json").read_text())
    for name in directories:
        files = [path for path in (FIXTURES / name).rglob("*") if path.is_file()]
        assert {path.relative_to(FIXTURES / name).as_posix() for path in files} == set(times[name])


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python tests/test_golden_plans.py --write")
    for fixture in fixture_names():
        with tempfile.TemporaryDirectory() as folder:
            (FIXTURES / f"{fixture}.json").write_text(laid_out(planned(fixture, Path(folder))), encoding="utf-8")
