"""What an import would do, said without doing it."""

from __future__ import annotations

from contextlib import ExitStack

from importer.batch.gather import Batch
from importer.batch.run import preview_work
from importer.cli.closing import close
from importer.cli.facts import print_plan
from importer.cli.progress import show_words
from importer.cli.reporter import FEW, Terminal, json_line, open_report
from importer.cli.totals import Tally
from importer.report import exit_status, facts_of, kind_words, plan_as_json
from importer.store.opening import open_existing_store


def dry_run_all(terminal: Terminal, work: Batch, tracking_uri: str | None, report: str | None) -> int:
    """Plan and look up each run, and say what an import would do; the exit status that it would have now."""
    store = open_existing_store(tracking_uri)
    tally = terminal.tally = Tally(work.total, len(work.settled))
    directories = len(work.summaries) + len(work.settled)
    few = directories <= FEW

    def words() -> str:
        return f"looking up: {tally.done:,} of {tally.known:,} runs"

    with ExitStack() as stack:
        target = stack.enter_context(open_report(report)) if report else None
        stack.enter_context(show_words(terminal.err, words, quiet=terminal.quiet, beside_json=terminal.mixes_json))
        for preview in preview_work(work, store, with_plans=few or terminal.as_json):
            outcome, plan = preview.outcome, preview.plan
            tally.add(outcome)
            line = json_line({"would_be": outcome.kind.value, **facts_of(outcome)})
            if target is not None:
                target.write(line + "\n")
            if plan is None or not (few or terminal.as_json):
                terminal.tell(outcome, directories, None, would=True)
                if terminal.as_json:
                    terminal.echo_json(line)
            elif preview.is_iteration:  # its plan is in that of the tune
                continue
            elif terminal.as_json:
                terminal.write_json({"would_be": outcome.kind.value, **plan_as_json(plan)})
            elif not terminal.quiet:
                print_plan(terminal.out, plan)
                terminal.say(
                    f"{kind_words(outcome.kind, would=True)}{f' ({outcome.reason})' if outcome.reason else ''}"
                )
        status = exit_status(tally.counts)
        closing = json_line(tally.as_json(exit_status=status))
        if target is not None:
            target.write(closing + "\n")
    if terminal.as_json:
        terminal.echo_json(closing)
    close(terminal, tally, few=few, would=True)
    terminal.tell_left_out(work)
    return status
