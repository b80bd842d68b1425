"""What an import would do, said without doing it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

from importer.batch.gather import Work
from importer.batch.summary import read_surveyed
from importer.cli.closing import close
from importer.cli.facts import print_plan
from importer.cli.progress import show_words
from importer.cli.reporter import FEW, Terminal, open_report
from importer.cli.totals import Tally
from importer.errors import StoreError, YmlfError
from importer.model import ImportPlan
from importer.outcome import WROTE, Kind, Outcome, exit_status, of_plan
from importer.redaction import redact
from importer.report import dumps, facts_of, kind_words, plan_as_json
from importer.store.opening import open_existing_store
from importer.store.store import Store
from importer.write.decision import decide_all


def dry_run_all(terminal: Terminal, work: Work, tracking_uri: str | None, report: str | None) -> int:
    """Plan and look up each run, and say what an import would do; the exit status that it would have now."""
    store = open_existing_store(tracking_uri)
    tally = terminal.tally = Tally(work.total, len(work.settled))
    directories = len(work.surveys) + len(work.settled)
    few = directories <= FEW

    def words() -> str:
        return f"looking up: {tally.done:,} of {tally.known:,} runs"

    with ExitStack() as stack:
        target = stack.enter_context(open_report(report)) if report else None
        stack.enter_context(show_words(terminal.err, words, quiet=terminal.quiet, beside_json=terminal.mixes_json))
        for outcome, plan, is_child in _outcomes(work, store):
            tally.add(outcome)
            line = redact(dumps({"would_be": outcome.kind.value, **facts_of(outcome)}))
            if target is not None:
                target.write(line + "\n")
            if plan is None or not (few or terminal.as_json):
                terminal.tell(outcome, directories, None, would=True)
                if terminal.as_json:
                    terminal.echo_json(line)
            elif is_child:  # its plan is in that of the tune
                continue
            elif terminal.as_json:
                terminal.write_json({"would_be": outcome.kind.value, **plan_as_json(plan)})
            elif not terminal.quiet:
                print_plan(terminal.out, plan)
                terminal.say(
                    f"{kind_words(outcome.kind, would=True)}{f' ({outcome.reason})' if outcome.reason else ''}"
                )
        status = exit_status(tally.counts)
        closing = dumps(tally.as_json(exit_status=status))
        if target is not None:
            target.write(closing + "\n")
    if terminal.as_json:
        terminal.echo_json(closing)
    close(terminal, tally, few=few, would=True)
    terminal.tell_left_out(work)
    return status


def _outcomes(work: Work, store: Store) -> Iterator[tuple[Outcome, ImportPlan | None, bool]]:
    """What would come of each run, its plan where it has one, and whether it is an iteration of a tune."""
    yield from ((settled, None, False) for settled in work.settled)
    for told in work.surveys:
        options = replace(work.options, root=told.root)
        try:
            for at, decision in enumerate(decide_all(read_surveyed(told, options), store, options)):
                kind, plan = decision.kind, decision.plan
                outcome = of_plan(kind, plan, wrote=kind in WROTE, reason=decision.reason, hint=decision.hint)
                yield outcome, plan, at > 0
        except StoreError:
            raise
        except YmlfError as error:
            yield Outcome(Kind.REFUSED, told.save_dir, error.message, error.hint, key=told.key), None, False
