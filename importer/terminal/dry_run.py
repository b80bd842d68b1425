"""What an import would do, said without doing it."""

from __future__ import annotations

from dataclasses import replace

from importer.errors import StoreError, YmlfError
from importer.outcome import Kind, exit_status
from importer.report import plan_as_json
from importer.single import decide
from importer.store.opening import open_existing_store
from importer.survey import read_surveyed
from importer.terminal.facts import print_plan
from importer.terminal.output import Terminal
from importer.work import Work


def dry_run_all(terminal: Terminal, work: Work, tracking_uri: str | None) -> int:
    """Plan and look up each run, and say what an import would do; the exit status that it would have now."""
    store = open_existing_store(tracking_uri)
    kinds = []
    for settled in work.settled:
        terminal.tell(settled, 1, None)
        kinds.append(settled.kind)
    for told in work.surveys:
        options = replace(work.options, root=told.root)
        try:
            decision = decide(read_surveyed(told, options), store, options)
        except StoreError:
            raise
        except YmlfError as error:
            terminal.warn(f"error: {error.message}", "red")
            kinds.append(Kind.REFUSED)
            continue
        kinds.append(decision.kind)
        if terminal.as_json:
            terminal.write_json({"would_be": decision.kind.value, **plan_as_json(decision.plan)})
            continue
        if not terminal.quiet:
            print_plan(terminal.out, decision.plan)
        reason = f" ({decision.reason})" if decision.reason else ""
        terminal.say(f"would be {decision.kind.value}{reason}")
    terminal.tell_none_selected(work)
    return exit_status(kinds)
