"""Figures as inline SVG: small, sharp on paper, coloured by the page's style sheet (so they follow light and dark).

Every figure is drawn for a width of :data:`WIDTH` units, which is a phone's width in pixels: the page sets wide screens
in columns instead of blowing figures up, and no label ever shrinks below what can be read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from markupsafe import Markup

from lucida.core.results import Metric
from lucida.core.statistics import wilson
from lucida.report.material import CalibrationBin, KindRate
from lucida.report.wording import cut, interval, number

WIDTH = 360
_TRACK = (8.0, WIDTH - 12.0)  # of a dot plot
_XMLNS = Markup('xmlns="http://www.w3.org/2000/svg"')  # of a file of its own
_POINTS = 240  # of a curve: more than can be told apart at this width

Tone = Literal["own", "start", "baseline"]


@dataclass(frozen=True)
class Dot:
    """A row of a dot plot: this run's own number, what it started from, or a baseline such as chance."""

    label: str
    metric: Metric
    tone: Tone = "own"
    text: str = ""  # instead of the number and its interval


@dataclass(frozen=True)
class Line:
    """A curve: ``noisy`` ones are pale, with a smoothed line over them; ``quiet`` ones are grey, for comparison."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    noisy: bool = False
    quiet: bool = False


class Canvas:
    """Collects SVG elements; classes, not colours, so that the page decides how they look."""

    def __init__(self, height: float, title: str, width: float = WIDTH):
        self.height, self.title, self.width = height, title, width
        self.parts: list[Markup] = []

    def add(self, tag: str, text: str | None = None, **attributes: str | float) -> None:
        """One element; underscores in attribute names become hyphens, a trailing one is dropped."""
        listed = Markup("").join(
            Markup(' {}="{}"').format(name.rstrip("_").replace("_", "-"), _plain(value))
            for name, value in attributes.items()
        )
        body = Markup("/>") if text is None else Markup(">{}</{}>").format(text, Markup(tag))
        self.parts.append(Markup("<{}{}{}").format(Markup(tag), listed, body))

    def text(self, x: float, y: float, text: str, class_: str = "", anchor: str = "start") -> None:
        """A label; ``anchor`` is start, middle or end."""
        self.add("text", text, x=x, y=y, class_=class_, text_anchor=anchor)

    def line(self, x1: float, y1: float, x2: float, y2: float, class_: str) -> None:
        """A straight line."""
        self.add("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)

    def svg(self) -> Markup:
        """The figure; its title is read out in place of the drawing."""
        return self._framed(Markup(""), 0.0, Markup('class="figure"'))

    def file(self, look: str, edge: float) -> str:
        """The figure as a file of its own, on white.

        Args:
            look: its style sheet.
            edge: left free on both sides.
        """
        style = Markup("<style>svg {{ background: #ffffff; }} {}</style>").format(Markup(look))
        return f"{self._framed(style, edge, _XMLNS)}\n"

    def _framed(self, before: Markup, edge: float, more: Markup) -> Markup:
        box = " ".join(map(_plain, (0.0 - edge, 0.0, self.width + 2 * edge, self.height)))
        start = Markup('<svg viewBox="{}" role="img" aria-label="{}" {}>').format(box, self.title, more)
        return start + before + Markup("").join(self.parts) + Markup("</svg>")


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers from at most ``low`` to at least ``high``.

    >>> nice_ticks(0, 0.37), nice_ticks(1.2, 6.9)
    ([0.0, 0.1, 0.2, 0.3, 0.4], [0.0, 2.0, 4.0, 6.0, 8.0])
    """
    span = high - low
    if span < max(1e-12, 1e-9 * abs(high), 1e-9 * abs(low)):  # nothing to tell apart: any round scale does
        span = max(abs(low), abs(high)) if max(abs(low), abs(high)) > 1e-12 else 1.0
    raw = span / count
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(m * size for m in (1, 2, 2.5, 5, 10) if m * size >= raw * 0.9)
    first, last = math.floor(low / step + 1e-9), math.ceil((low + span) / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, max(last, first + 1) + 1)]


def dot_plot(title: str, rows: Sequence[Dot], *, share: bool, top: float | None = None) -> Markup:
    """Rows of a dot with its 95 % interval on one scale, each with its label and number written above its track.

    Args:
        title: for readers who do not see the drawing.
        rows: from top to bottom.
        share: numbers are shares; the scale starts at 0 and its labels are in percent.
        top: end of the scale, so that several plots compare; by default from the rows.
    """
    bounds = [b for row in rows for b in (row.metric.value, *(row.metric.ci95 or ())) if math.isfinite(b)]
    ticks = nice_ticks(min([0.0, *bounds]), max([top or 0.0, *bounds]) or 1.0)
    if share and ticks[-1] > 1 >= max(bounds, default=0):
        ticks = [t for t in ticks if t < 1] + [1.0]
    left, right, step = _TRACK[0], _TRACK[1], 40.0
    canvas = Canvas(len(rows) * step + 22, title)

    def place(value: float) -> float:
        return left + (right - left) * (value - ticks[0]) / (ticks[-1] - ticks[0])

    for tick in ticks:
        for index in range(len(rows)):
            canvas.line(place(tick), index * step + 27, place(tick), index * step + 33, "grid")
        anchor, edge = ("end", WIDTH - right) if tick == ticks[-1] else ("middle", 0.0)
        label = f"{100 * tick:.4g}" + (" %" if tick == ticks[-1] else "") if share else f"{tick:.4g}"
        canvas.text(place(tick) + edge, len(rows) * step + 17, label, "tick", anchor)
    for index, row in enumerate(rows):
        _dot_row(canvas, row, index * step, place, share=share)
    return canvas.svg()


def _dot_row(canvas: Canvas, row: Dot, y: float, place: Callable[[float], float], *, share: bool) -> None:
    value = row.metric.value
    wide = row.text or f"{number(value, share=share)} {interval(row.metric, share=share)}".strip()
    canvas.text(0, y + 16, cut(row.label, 48 - len(wide)), f"label {row.tone}")
    canvas.text(WIDTH, y + 16, wide, f"value {row.tone}", "end")
    middle = y + 30
    canvas.line(_TRACK[0], middle, _TRACK[1], middle, "grid")
    if not math.isfinite(value):
        return
    if row.metric.ci95 is not None and all(map(math.isfinite, row.metric.ci95)):
        low, high = (place(bound) for bound in row.metric.ci95)
        canvas.line(low, middle, high, middle, f"interval {row.tone}")
        for end in (low, high):
            canvas.line(end, middle - 4, end, middle + 4, f"interval {row.tone}")
    if row.tone == "baseline":
        canvas.line(place(value), middle - 7, place(value), middle + 7, "mark baseline")
    else:
        canvas.add("circle", cx=place(value), cy=middle, r=5, class_=f"mark {row.tone}")


def smoothed(values: Sequence[float], window: int) -> list[float]:
    """Mean over a centred window that shrinks at the ends.

    >>> smoothed([0.0, 3.0, 0.0, 3.0], 3)
    [1.5, 1.0, 2.0, 1.5]
    """
    half = window // 2
    parts = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
    return [sum(part) / len(part) for part in parts]


def thinned(line: Line, points: int = _POINTS) -> Line:
    """The same curve with at most ``points`` points, each the mean of its neighbours."""
    if len(line.x) <= points:
        return line
    edges = [round(i * len(line.x) / points) for i in range(points + 1)]
    pairs = list(pairwise(edges))
    return Line(
        line.label,
        [sum(line.x[a:b]) / (b - a) for a, b in pairs],
        [sum(line.y[a:b]) / (b - a) for a, b in pairs],
        line.noisy,
    )


def line_plot(title: str, lines: Sequence[Line], *, x_label: str, share: bool = False) -> Markup:
    """Curves with their names at their ends; noisy ones pale behind their smoothed course.

    Values outside the range of the smoothed curves (the first steps' spikes) leave the drawing.
    """
    left, right, top, bottom = 44.0, 284.0, 12.0, 186.0
    drawn = [
        (line, thinned(Line(line.label, line.x, smoothed(line.y, max(5, len(line.y) // 25)))) if line.noisy else line)
        for line in lines
    ]
    ys = [y for _, line in drawn for y in line.y]
    x_end = max(max(line.x) for line in lines) or 1.0
    y_ticks, x_ticks = nice_ticks(min(ys), max(ys)), nice_ticks(0, x_end)
    canvas = Canvas(bottom + 40, title)

    def place(x: float, y: float) -> tuple[float, float]:
        clipped = min(max(y, y_ticks[0]), y_ticks[-1])
        return (
            left + (right - left) * x / x_end,
            bottom - (bottom - top) * (clipped - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]),
        )

    for tick in y_ticks:
        y = place(0, tick)[1]
        canvas.line(left, y, right, y, "grid")
        canvas.text(left - 6, y + 4, f"{100 * tick:.4g} %" if share else f"{tick:.4g}", "tick", "end")
    for tick in [t for t in x_ticks if t <= x_end]:
        anchor = "end" if tick == x_end else "middle"  # beside the last one stand the names of the curves
        canvas.text(place(tick, 0)[0], bottom + 16, f"{tick:,.0f}", "tick", anchor)
    canvas.text((left + right) / 2, bottom + 34, x_label, "tick", "middle")
    for line in lines:
        if line.noisy:
            _polyline(canvas, thinned(line), place, "curve noise")
    ends = []
    for line, course in drawn:
        kind = "train" if line.noisy or line.quiet else "own"
        _polyline(canvas, course, place, f"curve {kind}")
        if kind == "own":
            for x, y in zip(course.x, course.y, strict=True):
                canvas.add("circle", cx=place(x, y)[0], cy=place(x, y)[1], r=2.5, class_="mark own")
        text = number(line.y[-1] if not line.noisy else course.y[-1], share=share)
        ends.append((place(0, course.y[-1])[1], line.label, text, kind))
    for y, (_, label, text, kind) in zip(spread([e[0] for e in ends], 32, least=top), ends, strict=True):
        canvas.text(right + 6, y + 2, label, f"label {kind}")
        canvas.text(right + 6, y + 16, text, f"small {kind}")
    return canvas.svg()


def _polyline(canvas: Canvas, line: Line, place: Callable[[float, float], tuple[float, float]], class_: str) -> None:
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in (place(x, y) for x, y in zip(line.x, line.y, strict=True)))
    canvas.add("polyline", points=points, class_=class_)


def spread(places: Sequence[float], gap: float, *, least: float = -math.inf) -> list[float]:
    """Positions of labels, moved apart to at least ``gap``, the order kept, none below ``least``.

    >>> spread([10, 12, 100], 20), spread([10, 12, 35], 20, least=10)
    ([1.0, 21.0, 100.0], [10.0, 30.0, 50.0])
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    groups: list[list[int]] = []
    centres: list[float] = []
    for i in order:
        groups.append([i])
        centres.append(float(places[i]))
        while len(groups) > 1 and centres[-1] - centres[-2] < gap * (len(groups[-1]) + len(groups[-2])) / 2:
            last, centre = groups.pop(), centres.pop()
            size = len(groups[-1])
            centres[-1] = (centres[-1] * size + centre * len(last)) / (size + len(last))
            groups[-1] += last
    moved = [0.0] * len(places)
    for group, centre in zip(groups, centres, strict=True):
        for k, i in enumerate(group):
            moved[i] = centre + gap * (k - (len(group) - 1) / 2)
    for i in order:
        moved[i] = max(moved[i], float(least))
        least = moved[i] + gap
    return moved


def bar_plot(
    title: str, rows: Sequence[tuple[str, float, str]], *, tone: str = "own", longest: float | None = None
) -> Markup:
    """Horizontal bars from zero, each below its label and its number: (label, length, number as text).

    ``longest`` is the value that would fill the width, so that several plots compare; by default the largest.
    """
    longest = longest or max((value for _, value, _ in rows), default=0) or 1.0
    step = 34.0
    canvas = Canvas(len(rows) * step + 2, title)
    for index, (label, value, text) in enumerate(rows):
        y = index * step
        canvas.text(0, y + 15, cut(label, 50 - len(text)), "label")
        canvas.text(WIDTH, y + 15, text, "value", "end")
        canvas.line(0, y + 25, WIDTH, y + 25, "grid")
        canvas.add("rect", x=0, y=y + 21, width=max(1.0, WIDTH * value / longest), height=8, class_=f"bar {tone}")
    return canvas.svg()


def kind_bars(title: str, kinds: Sequence[KindRate], which: Literal["made_up", "missed"], *, most: int = 10) -> Markup:
    """The kinds of objects that are most often made up or missed, with their counts; empty if there is none."""
    counted = [(k.kind, *((k.made_up, k.absent) if which == "made_up" else (k.missed, k.present))) for k in kinds]
    worst = sorted(((n / of, n, of, kind) for kind, n, of in counted if n and of), key=lambda r: (-r[0], -r[1], r[3]))
    rows = [(kind, rate, f"{100 * rate:.0f} % ({n:,} of {of:,})") for rate, n, of, kind in worst[:most]]
    return bar_plot(title, rows, tone="wrong" if which == "made_up" else "start") if rows else Markup("")


def calibration_plot(title: str, bins: Sequence[CalibrationBin]) -> Markup:
    """Share of right answers against confidence; points on the diagonal mean that the confidence can be trusted."""
    left, right, top, bottom = 52.0, 332.0, 10.0, 290.0
    canvas = Canvas(bottom + 42, title)

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (right - left) * x, bottom - (bottom - top) * y

    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = place(tick, tick)
        canvas.line(left, y, right, y, "grid")
        canvas.line(x, top, x, bottom, "grid")
        canvas.text(left - 7, y + 4, f"{100 * tick:.0f} %", "tick", "end")
        canvas.text(x, bottom + 17, f"{100 * tick:.0f} %", "tick", "middle")
    canvas.line(*place(0, 0), *place(1, 1), "diagonal")
    canvas.text((left + right) / 2, bottom + 36, "confidence of the answer", "tick", "middle")
    canvas.add("text", "share that is right", x=13, y=(top + bottom) / 2, class_="tick", text_anchor="middle",
               transform=f"rotate(-90 13 {(top + bottom) / 2})")  # fmt: skip
    largest = max(b.n for b in bins)
    for b in (b for b in bins if b.n):
        share = wilson(b.right, b.n)
        x, y = place(b.confidence, share.value)
        for low, high in [share.ci95] if share.ci95 else []:
            canvas.line(x, place(0, low)[1], x, place(0, high)[1], "interval own")
        canvas.add("circle", cx=x, cy=y, r=3 + 6 * math.sqrt(b.n / largest), class_="mark own")
    return canvas.svg()
