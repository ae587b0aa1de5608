"""What a terminal can draw a number with: short words, sparklines, bars on a log scale; each one line of rich ``Text``.

``None`` stands for a number that was not recorded, NaN and infinity for one that is not finite; both are seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from rich.text import Text

ACCENT, BAD, QUIET = "cyan", "bold red", "dim"
NOT_FINITE = "not finite"
DECADES = 12
"""A bar's scale reaches at most so many powers of ten below its largest number; what is below has no length."""


@dataclass(frozen=True)
class Marks:
    """The characters of a drawing.

    Attributes:
        levels: of a sparkline, the lowest first; eighths: parts of a cell that is filled from the left.
        full, span: a filled cell, and one between the smallest and the largest of a group.
        bad, gap, dots, rule, point: not finite; not recorded; cut off; of a heading's line; before a finding.
    """

    levels: str
    eighths: str
    full: str
    span: str
    bad: str
    gap: str
    dots: str
    rule: str
    point: str


BLOCKS = Marks("▁▂▃▄▅▆▇█", "▏▎▍▌▋▊▉", "█", "░", "×", " ", "…", "─", "▲")
LETTERS = Marks("_.:-=+*#", "", "#", "-", "x", " ", "...", "-", "!")
"""For terminals that know no more than ASCII."""


def brief(value: float | None) -> str:
    """A number in at most ten characters.

    >>> [brief(x) for x in (0.4213, 12.34, 1234.5, 0.000123, 5e7, 0.0, math.nan, None)]
    ['0.421', '12.3', '1,234', '1.2e-4', '5.0e7', '0', 'not finite', '–']
    """
    if value is None:
        return "–"
    if not math.isfinite(value):
        return NOT_FINITE
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e3:
        return f"{value:.3g}"
    if 1e3 <= abs(value) < 1e6:
        return f"{value:,.0f}"
    digits, _, power = f"{value:.1e}".partition("e")
    return f"{digits}e{int(power)}"


def shortened(name: str, width: int, marks: Marks = BLOCKS) -> str:
    """A name in ``width`` characters; its end stays, which tells one layer from the next.

    >>> shortened("encoder.layers.11.linear2", 14), shortened("fc", 14)
    ('…rs.11.linear2', 'fc            ')
    """
    if len(name) > width:
        name = marks.dots + name[len(name) - width + len(marks.dots) :]
    return name.ljust(width)[:width]


def sparkline(values: Sequence[float | None], width: int, *, log: bool = False, marks: Marks = BLOCKS) -> Text:
    """The course of a number, one character a value, between its smallest and its largest.

    Args:
        values: ``[n]``, of which the last ``width`` are drawn.
        log: by powers of ten; what is not above 0 is drawn lowest.

    >>> sparkline([4.0, 3.0, None, 2.0, math.nan, 1.0], 6).plain
    '█▆ ▃×▁'
    """
    values = values[-width:] if width > 0 else []
    heights = [_height(value, log) for value in values]
    known = [h for h in heights if h is not None and math.isfinite(h)]
    low, high = min(known, default=0.0), max(known, default=0.0)

    def drawn(value: float | None, height: float | None) -> tuple[str, str]:
        if value is not None and not math.isfinite(value):
            return BAD, marks.bad
        if height is None:
            return "", marks.gap
        share = max(0.0, (height - low) / (high - low)) if high > low else 0.5
        return ACCENT, marks.levels[round(share * (len(marks.levels) - 1))]

    line = Text(no_wrap=True)
    cells = [drawn(value, height) for value, height in zip(values, heights, strict=True)]
    for style, run in groupby(cells, key=itemgetter(0)):  # few pieces: each has its own colour codes
        line.append("".join(mark for _, mark in run), style)
    return line


def _height(value: float | None, log: bool) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return (math.log10(value) if value > 0 else -math.inf) if log else value


def decades(values: Sequence[float | None]) -> tuple[int, int] | None:
    """The powers of ten around the numbers above 0; ``None`` where there are none.

    >>> decades([0.003, 0.2, 0.0, None]), decades([1e-30, 1.0]), decades([0.01]), decades([math.nan])
    ((-3, 0), (-12, 0), (-3, -2), None)
    """
    known = [math.log10(x) for x in values if x is not None and x > 0 and math.isfinite(x)]
    if not known:
        return None
    high = math.ceil(max(known))
    return max(high - DECADES, min(high - 1, math.floor(min(known)))), high


def log_bar(low: float, high: float, scale: tuple[int, int], width: int, *, marks: Marks = BLOCKS) -> Text:
    """A bar on a log scale: filled up to ``low``, lightly from there to ``high``.

    Args:
        low, high: the smallest and the largest of a group, above 0 and finite; the same for a single number.
        scale: the powers of ten at its ends.

    >>> log_bar(1e-2, 1e-2, (-4, 0), 8).plain, log_bar(1e-3, 1e-1, (-4, 0), 8).plain
    ('████    ', '██░░░░  ')
    """
    first, last = scale

    def cells(value: float) -> float:
        return min(1.0, max(0.0, (math.log10(value) - first) / (last - first))) * width

    start, end = cells(low), cells(high)
    line = Text(marks.full * int(start), ACCENT, no_wrap=True)
    if round(end) > round(start):
        line.append(marks.span * (round(end) - int(start)), ACCENT)
    elif marks.eighths and (eighth := int(8 * (start - int(start)))):
        line.append(marks.eighths[eighth - 1], ACCENT)
    line.pad_right(width - len(line))
    return line
