"""What has come of a batch so far, and how long the rest will take."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from importer.report import WROTE, Kind, Outcome, duration, size

if TYPE_CHECKING:
    from importer.batch.gather import Batch
    from importer.batch.scheduler import Stop


class Tally:
    """What has come of a batch so far.

    `settled` outcomes are there before it begins; `below` is how many runs a tune has, by its key and by its source.
    """

    def __init__(
        self, total: int, settled: int = 0, below: Mapping[str, int] | None = None, stop: Stop | None = None
    ) -> None:
        self.total, self.settled, self.stop = total, settled, stop
        self.below = dict(below or {})
        self.began = time.monotonic()
        self.counts: Counter[Kind] = Counter()
        self.points = 0
        self.bytes = 0
        self.told: list[Outcome] = []  # those that a person has to look at
        self.undated = 0  # runs that were written and that nothing dates

    @classmethod
    def of(cls, work: Batch, stop: Stop | None = None) -> Tally:
        """The tally of work that is yet to be done."""
        tunes = [told for told in work.summaries if told.runs > 1]
        below = {name: told.runs - 1 for told in tunes for name in (told.key, told.save_dir)}
        return cls(work.total, len(work.settled), below, stop)

    def add(self, outcome: Outcome) -> None:
        """Count one outcome. A tune that has no run now has no iterations to wait for."""
        below = max(self.below.pop(name, 0) for name in (outcome.key or "", outcome.source))
        if outcome.run_id is None:
            self.total -= below
        self.counts[outcome.kind] += 1
        if outcome.kind in WROTE:
            self.points += outcome.points
            self.bytes += outcome.artifact_bytes
            self.undated += any(note.code == "time-unknown" for note in outcome.notes)
        elif outcome.kind not in (Kind.ALREADY_THERE, Kind.VERIFIED) or outcome.reason:
            self.told.append(outcome)

    @property
    def done(self) -> int:
        """How many runs have been looked at."""
        return sum(self.counts.values()) - self.counts[Kind.NOT_TRIED]

    @property
    def known(self) -> int:
        """How many runs there are, as far as is known by now."""
        return max(self.total, self.done)

    def progress(self) -> str:
        """One line: runs done, of those known by now; rates; time left."""
        return ", ".join(filter(None, (f"{self.done}/{self.known} runs", self.rates())))

    def rates(self) -> str:
        """What is written in a second, or looked at where nothing is written, and the time left where it is known."""
        passed = max(1e-9, time.monotonic() - self.began)
        done, left = self.done - self.settled, self.known - self.done
        told = []
        if self.points or self.bytes:
            told += [f"{self.points / passed:,.0f} points/s", f"{size(self.bytes / passed)}/s"]
        elif done > 0:
            told.append(f"{done / passed:,.1f} runs/s")
        is_ending = self.counts[Kind.NOT_TRIED] or (self.stop is not None and self.stop.asked)
        if done > 0 and left and not is_ending:  # before that nothing tells how long a run takes
            told.append(f"{duration(left * passed / done)} left")
        return ", ".join(told)

    def as_json(self, **more: object) -> dict[str, object]:
        """The closing line of a report."""
        return {
            "summary": {kind.value: count for kind, count in sorted(self.counts.items())},
            "runs": sum(self.counts.values()),
            "points": self.points,
            "artifact_bytes": self.bytes,
            "seconds": round(time.monotonic() - self.began, 3),
            **more,
        }
