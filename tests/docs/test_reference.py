"""The generated parts of docs/reference.md are those of the program: the help of each command, and the public names.

`PYTHONPATH=tests python tests/docs/test_reference.py --write` writes them again.
"""

from __future__ import annotations

import enum
import inspect
import re
import sys
from collections.abc import Iterator

import click
from support.documents import ROOT

import importer
from importer.cli.commands import cli

PAGE = ROOT / "docs" / "reference.md"
WIDTH = 98  # as click takes it in a terminal of 100 columns


def help_of_each_command() -> str:
    context = cli.make_context("ymlf", [], resilient_parsing=True, terminal_width=WIDTH)
    parts = [_help(context)]
    for name in cli.list_commands(context):
        command = cli.commands[name].make_context(name, [], context, resilient_parsing=True, terminal_width=WIDTH)
        parts.append(f"### `ymlf {name}`\n\n{_help(command)}")
    return "\n".join(parts)


def _help(context: click.Context) -> str:
    lines = "\n".join(line.rstrip() for line in context.command.get_help(context).splitlines())
    return f"```text\n{lines}\n```\n"


def library() -> str:
    """Return a section for each public name of the package, in three groups."""
    groups: dict[str, list[str]] = {"Functions": [], "What they take and return": [], "Errors": []}
    for name in sorted(importer.__all__, key=str.lower):
        thing = getattr(importer, name)
        is_error = isinstance(thing, type) and issubclass(thing, Exception)
        group = "Errors" if is_error else "What they take and return" if isinstance(thing, type) else "Functions"
        groups[group].append(f"#### `importer.{name}`\n\n" + "\n\n".join(_parts(name, thing)) + "\n")
    return "\n".join(f"### {title}\n\n" + "\n".join(sections) for title, sections in groups.items())


def _parts(name: str, thing: object) -> Iterator[str]:
    yield f"```text\n{_signature(name, thing)}\n```"
    yield (inspect.getdoc(thing) or "").replace("<", "&lt;")
    if isinstance(thing, type) and not issubclass(thing, Exception):
        for own, value in vars(thing).items():
            if isinstance(value, property) or inspect.isfunction(value):
                said = inspect.getdoc(value)
                if not own.startswith("_") and said:
                    yield f"- `{own}{'' if isinstance(value, property) else '()'}`: {' '.join(said.split())}"


def _signature(name: str, thing: object) -> str:
    """Return how a name is called, one argument a line where there are several; of an enum, its values."""
    if isinstance(thing, enum.EnumMeta):
        return "\n".join(f"{name}.{member.name} = {member.value!r}" for member in thing)
    assert callable(thing)
    arguments = [_argument(argument) for argument in _with_star(inspect.signature(thing))]
    inside = f"\n    {chr(10).join(f'    {argument},' for argument in arguments).strip()}\n" if arguments else ""
    returned = inspect.signature(thing).return_annotation
    returns = "" if isinstance(thing, type) or returned is inspect.Signature.empty else f" -> {returned}"
    return f"{name}({inside}){returns}"


def _with_star(signature: inspect.Signature) -> Iterator[inspect.Parameter | None]:
    """Yield the parameters, and None before the first that is given by its name only."""
    starred = False
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not starred:
            starred = True
            yield None
        yield parameter


def _argument(parameter: inspect.Parameter | None) -> str:
    if parameter is None:
        return "*"
    annotation = getattr(parameter.annotation, "__forward_arg__", parameter.annotation)
    default = "" if parameter.default is inspect.Parameter.empty else f" = {parameter.default!r}"
    default = " = ..." if "<" in default else default
    return f"{parameter.name}: {annotation}{default}"


def generated() -> str:
    """Return the page with the parts between its marks written by the program."""
    text = PAGE.read_text(encoding="utf-8")
    for mark, part in (("help", help_of_each_command()), ("library", library())):
        between = re.compile(rf"(?<=<!-- {mark}: begin -->\n).*?(?=<!-- {mark}: end -->)", re.DOTALL)
        assert len(between.findall(text)) == 1, mark
        text = between.sub(lambda _, part=part: f"\n{part}\n", text)
    return text


def test_the_help_and_the_library_of_the_reference_are_those_of_the_program() -> None:
    assert PAGE.read_text(encoding="utf-8") == generated()


def test_the_library_of_the_reference_has_every_public_name_and_no_other() -> None:
    named = re.findall(r"^#### `importer\.(\w+)`$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(importer.__all__)


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: PYTHONPATH=tests python tests/docs/test_reference.py --write")
    PAGE.write_text(generated(), encoding="utf-8")
