"""What is said when a batch is over: what was passed over and why, and how many there were of each outcome."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from importer.cli.console import print_table
from importer.report import SOURCE_FAULTS, Kind, Outcome, kind_words, outcome_line, size

if TYPE_CHECKING:
    from importer.cli.reporter import Terminal
    from importer.cli.totals import Tally

OF_A_KIND = 5  # directories that were passed over for one reason and are told each; of more, how many


def close(terminal: Terminal, tally: Tally, *, few: bool, would: bool = False) -> None:
    """Say what came, or `would` come, of a batch, unless quiet or JSON is asked for; `few` were told each already."""
    if terminal.as_json or terminal.quiet:
        return
    if not few and not terminal.verbose:
        _tell_passed(terminal, [told for told in tally.told if told.kind not in SOURCE_FAULTS | {Kind.FAILED}])
    if tally.counts.total() > 1:
        _print_counts(terminal, tally, would=would)


def _tell_passed(terminal: Terminal, passed: Iterable[Outcome]) -> None:
    """What was passed over, by outcome: a few of each, how many more, and what to do, once."""
    groups: dict[Kind, list[Outcome]] = {}
    for outcome in passed:
        groups.setdefault(outcome.kind, []).append(outcome)
    for kind, outcomes in groups.items():
        if kind is Kind.NOT_TRIED:  # all that was left
            for reason in dict.fromkeys(told.reason for told in outcomes):
                terminal.say(f"{kind.value}: {_number(outcomes)}: {reason}")
        else:
            for outcome in outcomes[:OF_A_KIND]:
                terminal.say(outcome_line(outcome))
            if len(outcomes) > OF_A_KIND:
                terminal.say(f"... and {len(outcomes) - OF_A_KIND} more (-v names them)")
        for hint in dict.fromkeys(told.hint for told in outcomes if told.hint):
            terminal.say(f"  hint: {hint}")


def _number(outcomes: list[Outcome]) -> str:
    return f"{len(outcomes)} run {'directory' if len(outcomes) == 1 else 'directories'}"


def _print_counts(terminal: Terminal, tally: Tally, *, would: bool) -> None:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for kind, count in sorted(tally.counts.items()):
        table.add_row(f"{count:>6}", kind_words(kind, would=would))
    print_table(terminal.out, table)
    if tally.points or tally.bytes:
        written = "would be written" if would else "written"
        terminal.say(f"{tally.points:,} points and {size(tally.bytes)} of artifacts {written}")
    if tally.undated:
        dated, which = ("would be", "-v") if would else ("are", "`ymlf verify -v`")
        words = f"{tally.undated} of these runs {dated} dated at the import; {which} tells which"
        terminal.warn(f"note: time-unknown: {words}")
