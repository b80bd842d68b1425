"""Draw small line charts of text, in Braille or in ASCII."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise, zip_longest

PLOT_LINES = 5
MARGIN = 7  # for `0.12345`, so that charts above each other line up
Points = Sequence[tuple[int, float]]  # step and value
Range = tuple[float, float]  # the least and the greatest
_BRAILLE = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # bit of each dot, by line and column


def draw_chart(title: str, series: Points, width: int, *, ascii_only: bool) -> list[str]:
    """Return the lines of a chart of (step, value), each `width` characters wide.

    The y axis runs from the least to the greatest finite value, the x axis from the first to the last step. A line
    joins two points only where their steps follow each other. Points that are nan or inf leave a gap and are counted.
    """
    drawn = [(step, value) for step, value in series if math.isfinite(value)]
    missing = f" {len(series) - len(drawn)} nan or inf " if len(series) > len(drawn) else ""
    if not drawn:
        return [text[:width].ljust(width) for text in (title, f"  nothing to draw:{missing.rstrip()}")]
    first, last = min(step for step, _ in series), max(step for step, _ in series)
    low, high = min(value for _, value in drawn), max(value for _, value in drawn)
    labels = ["", "", number(low), "", ""] if low == high else [number(high), "", "", "", number(low)]
    margin = max(MARGIN, *map(len, labels))
    columns = max(8, width - margin - 1)
    edge, corner, floor = ("|", "+", "-") if ascii_only else ("│", "└", "─")
    plot = _plot(drawn, (first, last), (low, high), columns, ascii_only)
    ends = str(first), str(last) if last != first else ""
    lines = [
        *(f"{label:>{margin}}{edge}{line}" for label, line in zip(labels, plot, strict=True)),
        " " * margin + corner + floor * columns,
        " " * (margin + 1) + ends[0] + missing.center(columns - len("".join(ends))) + ends[1],
    ]
    return [title[:width].ljust(width), *(line.ljust(width) for line in lines)]


def place_side_by_side(charts: Sequence[Sequence[str]], columns: int) -> list[str]:
    """Return charts of one width in rows of `columns`."""
    lines: list[str] = []
    for first in range(0, len(charts), columns):
        row = charts[first : first + columns]
        blank = " " * len(row[0][0])
        lines += ["  ".join(parts).rstrip() for parts in zip_longest(*row, fillvalue=blank)]
    return lines


def number(value: float | None) -> str:
    """Return a value in five significant digits."""
    return "" if value is None else f"{value:.5g}"


def _plot(drawn: Points, steps: Range, values: Range, columns: int, ascii_only: bool) -> list[str]:
    wide, high = (columns, PLOT_LINES) if ascii_only else (columns * 2, PLOT_LINES * 4)
    dots = [
        (step, round(_share(step, *steps) * (wide - 1)), round((1 - _share(value, *values)) * (high - 1)))
        for step, value in drawn
    ]
    marked = {(x, y) for _, x, y in dots}
    for (step, x, y), (next_step, next_x, next_y) in pairwise(dots):
        if next_step == step + 1:
            across, down = next_x - x, next_y - y
            length = max(abs(across), abs(down), 1)
            marked |= {(x + round(across * at / length), y + round(down * at / length)) for at in range(length)}
    if ascii_only:
        return ["".join("*" if (x, y) in marked else " " for x in range(columns)) for y in range(PLOT_LINES)]
    return ["".join(_braille(marked, x, y) for x in range(columns)) for y in range(PLOT_LINES)]


def _share(value: float, low: float, high: float) -> float:
    """Return where between low and high a value is, from 0 to 1; in halves, whose differences do not overflow."""
    return (value / 2 - low / 2) / (high / 2 - low / 2) if high / 2 > low / 2 else 0.5


def _braille(marked: set[tuple[int, int]], x: int, y: int) -> str:
    bits = sum(
        bit for line, row in enumerate(_BRAILLE) for at, bit in enumerate(row) if (x * 2 + at, y * 4 + line) in marked
    )
    return chr(0x2800 + bits) if bits else " "
