"""Drawings of the lab: curves with their bands, effects with their intervals, the interval of a claim.

Curves are told apart by colour, by dash and by marker, and named at their ends; every number in a drawing names its
source (see :mod:`lucida.report.sourced`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from lucida.core.results import Metric
from lucida.report.axes import SMALL, Axis, axis, draw_axes, placed, text_width, wrapped
from lucida.report.figures import WIDTH, Canvas
from lucida.report.lab_page import EffectsFigure, LinesFigure, Series, Word
from lucida.report.sourced import formatted, shown, shown_metric, value_form

STYLES = 6  # colours and dashes of curves; more curves than that take them up again, with other markers
_MOST_MARKERS = 12
_POINTS = 400  # of a curve: more than can be told apart at this width
_LINE = 15.0
_NAME = 14.0  # of the curves' names: what their bold letters of 12.5 units take up in a wide font
_TOP = 22.0
_BEYOND = 1.2  # times the smallest effect is on the scale, so that the shaded side is seen
_WIDER = 1.1  # what fonts may be wider than text_width thinks, where a label and a number share a line

Point = tuple[float, float]


@dataclass(frozen=True)
class _End:
    """The name of a curve: where its last point lies, the lines of its name, and its number."""

    x: float
    y: float
    lines: list[str]
    value: Markup
    words: str  # where the name stands in the results file
    dashed: bool = False

    @property
    def height(self) -> float:
        return _LINE * (len(self.lines) + bool(self.value)) + 4


def lines_plot(figure: LinesFigure, path: str = "") -> Markup:
    """Curves on common axes, each with its 95 % band and its name at its end.

    Args:
        figure: the curves; where a value is missing (or not positive, on a logarithmic axis) there is a gap.
        path: of the figure in the results file, for the numbers at the curves' ends.
    """
    room = _label_room(figure.series)
    texts = [wrapped(series.label, room, size=_NAME, lines=5) for series in figure.series]
    full = sum(_LINE * (len(lines) + 1) + 4 for lines in texts)
    bare = sum(_LINE * min(len(lines), 2) + 4 for lines in texts)  # with many curves the names go without numbers
    bottom = _TOP + max(176.0, min(full, 400.0), bare)
    up = axis(list(_heights(figure)), (bottom, _TOP), log=figure.log_y, share=figure.share)
    left = 8 + max(text_width(text, SMALL) for _, text in up.labelled(14))
    across = axis([x for s in figure.series for x in s.x], (left, WIDTH - room - 26), log=figure.log_x, tight=True)
    canvas = Canvas(bottom + 40, figure.title)
    draw_axes(canvas, across, up, x_label=figure.x_label, y_label=figure.y_label)
    for index, series in enumerate(figure.series):
        _band(canvas, series, across, up, index)
    ends = []
    for index, (series, lines) in enumerate(zip(figure.series, texts, strict=True)):
        runs = list(_runs(series.x, series.y, across, up))
        _curve(canvas, runs, index, dashed=series.dashed)
        ends.append(_end(series, lines, runs, f"{path}/series/{index}", figure.share))
    _names(canvas, ends, across.end, bottom)
    if all(math.isnan(end.y) for end in ends):
        canvas.text((across.start + across.end) / 2, (_TOP + bottom) / 2, "not measured", "small", "middle")
    return canvas.svg()


def _label_room(series: Sequence[Series]) -> float:
    """Units right of the curves: as few as let every name stand in two lines, within limits."""
    least, most = 58.0, 132.0
    longest_word = max((text_width(word, _NAME) for s in series for word in s.label.split()), default=0.0)
    room = max(least, longest_word + 2)
    while room < most and any(len(wrapped(s.label, room, size=_NAME, lines=9)) > 2 for s in series):
        room += 6
    return min(room, most)


def _heights(figure: LinesFigure) -> Iterator[float]:
    """All heights that are to be seen; the interval of a share is cut where it reaches beyond what a share can be."""
    for series in figure.series:
        yield from (value for value in series.y if value is not None)
        for value in (*series.low, *series.high):
            if value is not None:
                yield min(max(value, 0.0), 1.0) if figure.share else value


def _runs(x: Sequence[float], y: Sequence[float | None], across: Axis, up: Axis) -> Iterator[list[Point]]:
    """Stretches without a gap, in units of the drawing."""
    run: list[Point] = []
    for a, b in zip(x, y, strict=False):
        if _drawable(a, across) and _drawable(b, up):
            run.append((across(a), up(float(b))))  # type: ignore[arg-type]  # drawable: a number
        elif run:
            yield run
            run = []
    if run:
        yield run


def _drawable(value: float | None, scale: Axis) -> bool:
    return value is not None and math.isfinite(value) and (value > 0 or not scale.log)


def thinned(points: Sequence[Point], most: int = _POINTS) -> list[Point]:
    """The same course with fewer points: of each bin its highest and its lowest, so that no spike is lost."""
    if len(points) <= most:
        return list(points)
    bins = most // 2
    kept: list[Point] = [points[0]]
    for k in range(bins):
        part = range(round(k * len(points) / bins), round((k + 1) * len(points) / bins))
        ends = {min(part, key=lambda i: points[i][1]), max(part, key=lambda i: points[i][1])}
        kept += [points[i] for i in sorted(ends)]
    return [*kept, points[-1]]


def _band(canvas: Canvas, series: Series, across: Axis, up: Axis, index: int) -> None:
    bounds = zip(series.x, series.low, series.high, strict=False)
    run: list[tuple[float, float, float]] = []
    for x, low, high in [*bounds, (math.nan, None, None)]:
        if _drawable(x, across) and _drawable(high, up) and low is not None and math.isfinite(low):
            floor = up.low if up.log and low <= 0 else low
            run.append((across(x), up(floor), up(float(high))))  # type: ignore[arg-type]  # drawable: a number
            continue
        if len(run) > 1:
            lower = thinned([(x, low) for x, low, _ in run])
            upper = thinned([(x, high) for x, _, high in run])
            canvas.add("polygon", points=_listed([*lower, *reversed(upper)]), class_=f"band s{index % STYLES}")
        run = []


def _curve(canvas: Canvas, runs: Sequence[Sequence[Point]], index: int, *, dashed: bool) -> None:
    kind = "predicted" if dashed else "measured"
    for run in runs:
        if len(run) > 1:
            canvas.add("polyline", points=_listed(thinned(run)), class_=f"curve {kind} s{index % STYLES}")
    if dashed:
        return
    points = [point for run in runs for point in run]
    if len(points) > _MOST_MARKERS:  # at other places for each curve, so that curves on one another stay visible
        gap = max(1, len(points) // 5)
        points = [*points[(index * gap) // STYLES :: gap], points[-1]]
    points += [run[0] for run in runs if len(run) == 1]
    for x, y in dict.fromkeys(points):
        marker(canvas, x, y, index)


def marker(canvas: Canvas, x: float, y: float, index: int, *, class_: str = "marker") -> None:
    """The mark of a series: colour and shape together differ for the first 36."""
    shape = (
        "M-3,0a3,3 0 1,0 6,0a3,3 0 1,0 -6,0z",
        "M-2.8,-2.8h5.6v5.6h-5.6z",
        "M0,-3.8L3.6,2.6H-3.6z",
        "M0,-4L4,0L0,4L-4,0z",
        "M0,3.8L3.6,-2.6H-3.6z",
        "M-1.2,-3.6h2.4v2.4h2.4v2.4h-2.4v2.4h-2.4v-2.4h-2.4v-2.4h2.4z",
    )[(index + index // STYLES) % 6]
    canvas.add("path", d=shape, transform=f"translate({x:.1f} {y:.1f})", class_=f"{class_} s{index % STYLES}")


def _listed(points: Sequence[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _end(series: Series, lines: list[str], runs: Sequence[Sequence[Point]], path: str, share: bool) -> _End:
    measured = [k for k, y in enumerate(series.y) if y is not None and math.isfinite(y)]
    value = Markup("")
    if measured:
        value = shown(series.y[measured[-1]], f"{path}/y/{measured[-1]}", "% brief" if share else "brief", "tspan")
    if not runs:
        return _End(math.nan, math.nan, lines, value, f"{path}/label", series.dashed)
    return _End(*runs[-1][-1], lines, value, f"{path}/label", series.dashed)


def _names(canvas: Canvas, ends: Sequence[_End], right: float, bottom: float) -> None:
    """Names and last values right of the curves, moved apart, with a thin line to the end that they name."""
    heights = [end.height for end in ends]
    if sum(heights) > bottom - _TOP + 16:  # too many for their numbers, which the table below the drawing holds
        ends = [replace(end, lines=end.lines[:2], value=Markup("")) for end in ends]
        heights = [end.height for end in ends]
    wanted = [end.y if math.isfinite(end.y) else bottom for end in ends]
    for index, (end, height, y) in enumerate(
        zip(ends, heights, placed(wanted, heights, _TOP - 8, bottom + 8), strict=True)
    ):
        if math.isfinite(end.y) and (abs(y - end.y) > 3 or right - end.x > 3):
            canvas.add(
                "polyline", points=_listed([(end.x + 4, end.y), (right + 9, y)]), class_=f"leader s{index % STYLES}"
            )
        top = y - height / 2 + 2
        if end.dashed:
            places = _listed([(right + 11, top + 7), (right + 21, top + 7)])
            canvas.add("polyline", points=places, class_=f"curve predicted s{index % STYLES}")
        else:
            marker(canvas, right + 16, top + 7, index)
        for k, line in enumerate(end.lines):
            place = {"x": right + 25, "y": top + 11 + k * _LINE}
            canvas.add("text", line, **place, class_=f"name s{index % STYLES}", data_words=end.words)
        if end.value:
            canvas.add("text", end.value, x=right + 25, y=top + 10 + len(end.lines) * _LINE, class_="small")


def effects_plot(figure: EffectsFigure, metrics: Mapping[str, Metric], path: str = "") -> Markup:
    """Rows of a dot with its 95 % interval on one scale; zero and the smallest effect that matters are marked.

    Args:
        figure: names the metrics, from top to bottom.
        metrics: where they are; one that is missing is said to be so.
        path: of the figure in the results file.
    """
    rows = [
        Row(row.label, row.metric, metrics.get(row.metric), words=f"{path}/rows/{index}/label")
        for index, row in enumerate(figure.rows)
    ]
    form = "%" if figure.share else ""
    mark = None if figure.smallest_effect is None else (figure.smallest_effect, f"{path}/smallest_effect")
    return interval_rows(figure.title, rows, form=form, smallest=mark, x_label=figure.x_label)


@dataclass(frozen=True)
class Row:
    """A row of :func:`interval_rows`.

    Attributes:
        label: above the interval; without one the row has no numbers either.
        name: of the metric.
        metric: ``None`` if it was not measured.
        word: colours the row by verdict.
        words: where the label stands in the results file.
    """

    label: str
    name: str
    metric: Metric | None
    word: Word | None = None
    words: str = ""

    @property
    def bounds(self) -> list[float]:
        """Finite ends of what is drawn."""
        if self.metric is None:
            return []
        return [v for v in (self.metric.value, *(self.metric.ci95 or ())) if math.isfinite(v)]


def interval_rows(
    title: str,
    rows: Sequence[Row],
    *,
    form: str = "",
    smallest: tuple[float, str] | None = None,
    x_label: str = "",
) -> Markup:
    """Dots with intervals below their labels and numbers, on one scale.

    Args:
        title: for readers who do not see the drawing.
        rows: from top to bottom.
        form: how numbers are written.
        smallest: the smallest effect that matters and its place in the results file; the part of the scale beyond it
            is shaded.
        x_label: below the scale.
    """
    bounds = [bound for row in rows for bound in row.bounds] + ([_BEYOND * smallest[0]] if smallest else [])
    zero = smallest is not None or min(bounds, default=0.0) < 0
    across = axis(bounds, (8.0, WIDTH - 8.0), share="%" in form or "points" in form, zero=zero)
    top = 18.0 if smallest else 0.0
    labels = [wrapped(row.label, WIDTH - _WIDER * _value_width(row, form) - 12, lines=3) for row in rows]
    heights = [27.0 + _LINE * len(lines) if row.label else 26.0 for row, lines in zip(rows, labels, strict=True)]
    bottom = top + sum(heights)
    canvas = Canvas(bottom + (36 if x_label else 18), title)
    if smallest:
        _name_smallest(canvas, across, smallest, form)
    y = top
    for row, lines, height in zip(rows, labels, heights, strict=True):
        _track(canvas, across, y + height - 13, smallest[0] if smallest else None)
        _row_text(canvas, row, lines, y, form)
        _interval(canvas, row, y + height - 13, across, row.word or "own", 5.0)
        y += height
    _scale(canvas, across, bottom, x_label, points="points" in form)
    return canvas.svg()


def _value_width(row: Row, form: str) -> float:
    if row.metric is None:
        return text_width("not measured")
    bounds = ", ".join(formatted(b, f"{form} bare") for b in row.metric.ci95 or ())
    return text_width(f"{formatted(row.metric.value, value_form(row.metric, form))} [{bounds}]")


def _track(canvas: Canvas, across: Axis, middle: float, smallest: float | None) -> None:
    """What a row's interval is read against; the lines stop between the rows, where the labels stand."""
    if smallest is not None:
        x, far = across(smallest), across.end if smallest > 0 else across.start
        canvas.add("rect", x=min(x, far), y=middle - 10, width=abs(far - x), height=20, class_="region")
        canvas.line(x, middle - 10, x, middle + 10, "smallest")
    canvas.line(across.start, middle, across.end, middle, "grid")
    for tick in across.ticks:
        canvas.line(across(tick), middle - 4, across(tick), middle + 4, "grid")
    if across.low <= 0 <= across.high:
        canvas.line(across(0), middle - 10, across(0), middle + 10, "zero")


def _scale(canvas: Canvas, across: Axis, bottom: float, x_label: str, *, points: bool) -> None:
    room = max(text_width(text, SMALL) for _, text in across.labelled(0)) + 8
    for tick, text in across.labelled(room):
        half = text_width(text, SMALL) / 2
        text = text.replace("\N{NO-BREAK SPACE}%", "") if points else text
        canvas.text(min(max(across(tick), half), WIDTH - half), bottom + 11, text, "tick", "middle")
    for line in wrapped(x_label, WIDTH, size=SMALL, lines=1) if x_label else []:
        canvas.text(WIDTH / 2, bottom + 29, line, "tick", "middle")


def _name_smallest(canvas: Canvas, across: Axis, smallest: tuple[float, str], form: str) -> None:
    value, path = smallest
    text = Markup("smallest effect that matters: {}").format(shown(value, path, f"{form} brief", "tspan"))
    half = text_width(f"smallest effect that matters: {formatted(value, f'{form} brief')}", SMALL) / 2 + 4
    x = min(max(across(value), half), WIDTH - half)
    canvas.add("text", text, x=x, y=11, class_="small", text_anchor="middle")


def _row_text(canvas: Canvas, row: Row, lines: Sequence[str], y: float, form: str) -> None:
    if not row.label:
        return
    for k, line in enumerate(lines):
        canvas.add("text", line, x=0, y=y + 13 + k * _LINE, class_="label", data_words=row.words)
    value = shown_metric(row.name, row.metric, form, "tspan") if row.metric else Markup("not measured")
    canvas.add("text", value, x=WIDTH, y=y + 13, class_="value", text_anchor="end")


def _interval(canvas: Canvas, row: Row, middle: float, across: Axis, tone: str, radius: float) -> None:
    metric = row.metric
    if metric is None or not math.isfinite(metric.value):
        return
    if metric.ci95 is not None and all(map(math.isfinite, metric.ci95)):
        low, high = (across(bound) for bound in metric.ci95)
        canvas.line(low, middle, high, middle, f"interval {tone}")
        for end in (low, high):
            canvas.line(end, middle - radius + 1, end, middle + radius - 1, f"interval {tone}")
    canvas.add("circle", cx=across(metric.value), cy=middle, r=radius, class_=f"dot {tone}")


def interval_mark(effect: Metric, smallest_effect: float, word: Word, title: str, width: float = 150.0) -> Markup:
    """A claim's interval without numbers, small enough to stand in a line: zero, smallest effect, interval, dot."""
    row = Row("", "", effect, word)
    across = axis([*row.bounds, _BEYOND * smallest_effect], (6.0, width - 6.0), zero=True)
    canvas = Canvas(26, title, width)
    x, far = across(smallest_effect), across.end if smallest_effect > 0 else across.start
    canvas.add("rect", x=min(x, far), y=1, width=abs(far - x), height=24, class_="region")
    canvas.line(across.start, 13, across.end, 13, "grid")
    canvas.line(across(0), 1, across(0), 25, "zero")
    canvas.line(x, 1, x, 25, "smallest")
    _interval(canvas, row, 13, across, word, 4.5)
    return canvas.svg()
