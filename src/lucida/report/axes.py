"""Axes and labels of the lab's drawings: linear and logarithmic scales, and texts that fit where they stand."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lucida.report.figures import Canvas, nice_ticks, spread
from lucida.report.sourced import powers

SMALL = 11.5  # letters of ticks and of the axes' names
_NARROW, _WIDE = set("iIjlft.,:;'|!()[] "), set("mwMW%@—")


def text_width(text: str, size: float = 13.0) -> float:
    """About how wide a text is in the page's fonts, in the units of ``size``."""
    return size * sum(
        1.0 if ord(letter) > 0x2E7F else 0.32 if letter in _NARROW else 0.85 if letter in _WIDE else 0.56
        for letter in text
    )


def wrapped(text: str, width: float, *, size: float = 13.0, lines: int = 3) -> list[str]:
    """The text in at most ``lines`` lines that fit; what does not is marked by an ellipsis.

    >>> wrapped("sigmoid, Xavier, residual", 110)
    ['sigmoid, Xavier,', 'residual']
    """
    done: list[str] = []
    for word in _breakable(text):
        joined = f"{done[-1]}{word}" if done else word.lstrip()
        if not done or text_width(joined.rstrip(), size) > width:
            done.append(word.lstrip())
        else:
            done[-1] = joined
    done = [line.rstrip() for line in done] or [""]
    if len(done) > lines:
        done = [*done[: lines - 1], " ".join(done[lines - 1 :])]
    return [_fitted(line, width, size) for line in done]


def _breakable(text: str) -> Iterable[str]:
    """Words with the space before them; letters of scripts that are written without spaces one by one."""
    word = ""
    for letter in text:
        if letter == " " or ord(letter) > 0x2E7F or (word and ord(word[-1]) > 0x2E7F) or word.endswith(("/", "-")):
            if word:
                yield word
            word = ""
        word += letter
    if word:
        yield word


def _fitted(line: str, width: float, size: float) -> str:
    if text_width(line, size) <= width:
        return line
    while line and text_width(f"{line}…", size) > width:
        line = line[:-1]
    return f"{line.rstrip()}…"


@dataclass(frozen=True)
class Axis:
    """A scale between two ends of the drawing.

    Attributes:
        start, end: where the scale starts and ends, in units of the drawing.
        low, high: the values there.
        ticks: round values between them.
        log: whether equal ratios are equal distances.
        share: whether ticks are written in percent.
    """

    start: float
    end: float
    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False
    share: bool = False

    def __call__(self, value: float) -> float:
        """Where a value lies; what is beyond the ends lies on the edge."""
        low, high = self.low, self.high
        clipped = min(max(value, low), high)
        if self.log:
            low, high, clipped = math.log(low), math.log(high), math.log(clipped)
        part = (clipped - low) / (high - low)
        return self.start + (self.end - self.start) * part

    def labelled(self, room: float) -> list[tuple[float, str]]:
        """The ticks with their labels, as many as fit at a distance of ``room`` units."""
        texts = tick_texts(self.ticks, log=self.log, share=self.share)
        pairs = list(zip(self.ticks, texts, strict=True))
        step = 1
        while step < len(pairs) and any(
            abs(self(b) - self(a)) < room for (a, _), (b, _) in zip(pairs[::step], pairs[step::step], strict=False)
        ):
            step += 1
        return pairs[::step]


def axis(
    values: Iterable[float],
    ends: tuple[float, float],
    *,
    log: bool = False,
    share: bool = False,
    zero: bool = False,
    tight: bool = False,
) -> Axis:
    """The scale that shows all values.

    Args:
        values: what is to be shown; what is not finite (or not positive, on a logarithmic scale) is passed over.
        ends: where the scale starts and ends in the drawing.
        log: logarithmic, with ticks at powers of ten, or at 1, 2, 5 where the range is small.
        share: shares do not leave 0 to 1 because of round ticks.
        zero: whether zero is on the scale whatever the values.
        tight: end at the least and largest value instead of round ones: for what runs along an axis, such as steps.
    """
    least = sys.float_info.min if log else -math.inf  # the powers of ten around smaller numbers are not exact, or 0
    finite = [v for v in values if math.isfinite(v) and v >= least]
    if not finite:
        finite = [1.0, 10.0] if log else [0.0, 1.0]
    low, high = min(finite), max(finite)
    if log:
        ticks = log_ticks(low, high)
    else:
        if zero or (not tight and 0 <= low < 0.4 * high):
            low, high = min(0.0, low), max(0.0, high)
        ticks = nice_ticks(low, high)
        if share and high <= 1 < ticks[-1]:
            ticks = [*(t for t in ticks if t < 1), 1.0] if low < 1 else nice_ticks(0.0, 1.0)
    inside = [t for t in ticks if low * (1 - 1e-9) <= t <= high * (1 + 1e-9)]
    if tight and len(inside) > 1:
        if not log and low == round(low) and inside[0] - low > 0.5 * (inside[1] - inside[0]):
            inside.insert(0, low)  # the first layer, the first step
        return Axis(*ends, low, high, tuple(inside), log, share)
    return Axis(*ends, ticks[0], ticks[-1], tuple(ticks), log, share)


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten around a range of positive numbers; 1, 2, 5 where it is small; few where it is huge.

    >>> log_ticks(0.002, 0.3), log_ticks(20, 90), log_ticks(1e-13, 1)
    ([0.001, 0.01, 0.1, 1.0], [20.0, 50.0, 100.0], [1e-15, 1e-12, 1e-09, 1e-06, 0.001, 1.0])
    """
    first, last = math.log10(low), math.log10(high)
    if last - first < 1.5:
        fine = [float(f"{m}e{p}") for p in range(math.floor(first) - 1, math.ceil(last) + 2) for m in (1, 2, 5)]
        start = max(i for i, tick in enumerate(fine) if tick <= low * (1 + 1e-9))
        stop = min(i for i, tick in enumerate(fine) if tick >= high * (1 - 1e-9))
        return fine[start : max(stop, start + 1) + 1]
    step = max(1, math.ceil((last - first) / 6))
    bottom = math.floor(math.floor(first + 1e-9) / step) * step
    top = math.ceil(math.ceil(last - 1e-9) / step) * step
    return [float(f"1e{power}") for power in range(bottom, top + 1, step)]


def tick_texts(ticks: Sequence[float], *, log: bool = False, share: bool = False) -> list[str]:
    """Labels of ticks, all in one style: powers of ten where plain numbers would be long.

    >>> tick_texts([0.0, 0.5]), tick_texts([1e-6, 1e-3, 1.0], log=True)
    (['0', '0.5'], ['10⁻⁶', '10⁻³', '1'])
    """
    if share:
        texts = [f"{100 * tick:.4g}" for tick in ticks]
        texts[-1] += "\N{NO-BREAK SPACE}%"
        return [text.replace("-", "−") for text in texts]
    sizes = [abs(tick) for tick in ticks if tick]
    if not sizes or (max(sizes) < 1e6 and min(sizes) >= 1e-3):
        texts = [f"{tick:,.6g}" for tick in ticks]
    elif log:
        texts = [_power(tick) for tick in ticks]
    else:
        texts = [f"{tick:.4g}" if tick == 0 or 1e-3 <= abs(tick) < 1e4 else _power(tick) for tick in ticks]
    return [text.replace("-", "−") for text in texts]


def _power(value: float) -> str:
    if value == 1:
        return "1"
    size, _, power = f"{value:.2e}".partition("e")
    return powers(f"{float(size):g}e{power}")


def placed(centres: Sequence[float], heights: Sequence[float], low: float, high: float) -> list[float]:
    """Centres of labels of different heights, moved apart and kept between ``low`` and ``high``, the order kept."""
    order = sorted(range(len(centres)), key=lambda i: centres[i])
    moved = spread(centres, max(heights, default=0.0))
    edge = low
    for i in order:
        moved[i] = max(moved[i], edge + heights[i] / 2)
        edge = moved[i] + heights[i] / 2
    edge = high
    for i in reversed(order):
        moved[i] = min(moved[i], edge - heights[i] / 2)
        edge = moved[i] - heights[i] / 2
    return moved


def draw_axes(canvas: Canvas, across: Axis, up: Axis, *, x_label: str, y_label: str) -> None:
    """Lines, ticks and labels of both scales; ``up`` is named above its ticks, ``across`` below them."""
    left, right, bottom = across.start, across.end, up.start
    for tick, text in up.labelled(14):
        canvas.line(left, up(tick), right, up(tick), "zero" if tick == 0 else "grid")
        canvas.text(left - 6, up(tick) + 4, text, "tick", "end")
    shown_ticks = across.labelled(1.3 * max(text_width(t, SMALL) for _, t in across.labelled(0)) + 8)
    for tick, text in shown_ticks:
        canvas.line(across(tick), bottom, across(tick), bottom + 4, "axis")
        half = text_width(text, SMALL) / 2  # the last one keeps clear of the curves' names
        canvas.text(min(across(tick), right + 8 - half), bottom + 17, text, "tick", "middle")
    canvas.line(left, bottom, right, bottom, "axis")
    for line in wrapped(x_label, canvas.width - 4, size=SMALL, lines=1):
        middle = (left + right) / 2
        half = text_width(line, SMALL) / 2
        canvas.text(min(max(middle, half), canvas.width - half), bottom + 34, line, "tick", "middle")
    for line in wrapped(y_label, canvas.width, size=SMALL, lines=1):
        canvas.text(0, up.end - 11, line, "tick")
