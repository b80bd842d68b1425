"""Read args.yaml, opt.yaml, hyp.yaml and their like as data from strangers."""

from __future__ import annotations

import re
from collections import Counter

import yaml

from importer.errors import RunDirError
from importer.formats.text_file import read_text
from importer.model import Note, RunPath

MAX_BYTES = 1_000_000  # the largest args.yaml seen has 5 kB
MAX_DEPTH = 40
MAX_NODES = 20_000
TOO_DEEP = "exceeded maximum nesting depth"  # by libyaml 0.2.6 and later
MAX_DIGITS = 400  # of a number; PyYAML reads 1:1:1... in base 60, in time that grows with the square

_NUMBER = re.compile(r"[-+]?[0-9][-+0-9_.:eE]*")
# What the trainers write, one option a line, blocks a few levels deep at most: such a text cannot hide anything.
_FLAT = re.compile(r"(?:(?: {0,16}(?:- )?[\w'\"./~][^\[{&*!\n]{0,300})?\n){0,2000}")
_NAME = re.compile(r"^([\w-]+):(?:\s|$)", re.MULTILINE)

_Safe: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Safe):  # type: ignore[valid-type,misc]
    """A safe loader that refuses sets: the order, and so the text, of a set differs between processes."""


_Loader.add_constructor("tag:yaml.org,2002:set", yaml.constructor.SafeConstructor.construct_undefined)


def read_yaml(path: RunPath) -> tuple[dict[str, object], list[Note]]:
    """Return the mapping of a YAML file, empty for an empty file, and notes on what is odd about it.

    Errors: RunDirError when it is too large, no mapping, no YAML, or has Python objects or aliases without end.
    """
    text, notes = read_text(path, MAX_BYTES)
    try:
        if _FLAT.fullmatch(text) is None:
            _check_shape(text, path)
        loaded = yaml.load(text, Loader=_Loader)  # noqa: S506  a safe loader, C or Python
    except RecursionError as error:
        raise _beyond(path) from error
    except yaml.YAMLError as error:
        if getattr(error, "problem", None) == TOO_DEEP:
            raise _beyond(path) from error
        raise RunDirError(f"{path}: {_problem(error)}", hint=_hint(text)) from error
    except (ValueError, OverflowError, TypeError, AttributeError) as error:
        # A timestamp of month 13, an integer of 5,000 digits: the resolver matches, the constructor fails.
        raise RunDirError(f"{path}: a value cannot be read: {error}", hint="mend the value or quote it") from error
    if loaded is None:
        return {}, [*notes, Note("empty-args", f"{path.name} is empty")]
    if not isinstance(loaded, dict):
        hint = "restore the file as the trainer wrote it, or move it away to import without it"
        raise RunDirError(f"{path}: holds a {type(loaded).__name__}, not a mapping of names to values", hint=hint)
    repeated = ", ".join(name for name, count in Counter(_NAME.findall(text)).items() if count > 1)
    if repeated:
        notes.append(Note("repeated-keys", f"{repeated[:80]}: more than once in {path.name}; the last one holds"))
    return {str(key): value for key, value in loaded.items()}, notes


def _check_shape(text: str, path: RunPath) -> None:
    """Walk the parser's events, which build nothing, and count the nodes with every alias written out."""
    if text.count("[") + text.count("{") > MAX_NODES:  # libyaml's time grows with the square of the depth
        raise _beyond(path)
    open_nodes: list[tuple[str | None, int]] = [(None, 0)]  # (anchor, nodes so far) of each open collection
    sizes: dict[str, int] = {}  # of the anchored nodes that are complete
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.events.CollectionStartEvent):
            open_nodes.append((event.anchor, 1))
            continue
        if isinstance(event, yaml.events.AliasEvent):
            anchor, size = None, sizes.get(str(event.anchor), MAX_NODES + 1)  # not complete: it holds itself
        elif isinstance(event, yaml.events.ScalarEvent):
            anchor, size = event.anchor, 1
            if len(event.value) > MAX_DIGITS and (event.implicit[0] or event.tag) and _NUMBER.fullmatch(event.value):
                raise _beyond(path)
        elif isinstance(event, yaml.events.CollectionEndEvent):
            anchor, size = open_nodes.pop()
        else:
            continue
        if anchor is not None:
            sizes[anchor] = size
        outer, count = open_nodes[-1]
        open_nodes[-1] = (outer, count + size)
        if count + size > MAX_NODES or len(open_nodes) > MAX_DEPTH:
            raise _beyond(path)


def _beyond(path: RunPath) -> RunDirError:
    return RunDirError(f"{path}: nested or long beyond what a trainer writes", hint="is it the right file?")


def _problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    parts = [part for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part]
    problem = ", ".join(parts) or "is no YAML"
    return f"line {mark.line + 1}: {problem}" if mark is not None else problem


def _hint(text: str) -> str:
    if "<<<<<<<" in text:
        return "it holds the markers of a merge conflict; resolve it"
    if "!!python" in text:
        return "it asks for Python objects, which are never built from a file"
    return "mend the file, or move it away to import without it"
