"""Remedies side by side: what is made up against what is named, and false yes against the cost of decoding."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lucida.core.results import Metric
from lucida.report.axes import Axis, axis, draw_axes, text_width, wrapped
from lucida.report.figures import Canvas
from lucida.report.labels import Box, Point, along, around, beside
from lucida.report.plots import STYLES, marker
from lucida.report.sections import Metrics

WIDTH, _PANEL, _TOP = 720.0, 400.0, 24.0
_LEFT, _RIGHT, _BELOW, _BETWEEN = 52.0, 14.0, 42.0, 26.0
_EDGE = 8.0  # left and right of the drawing
_NAME, _LINE, _ROOM = 12.5, 15.0, 150.0
_WIDER = 1.12  # what fonts may be wider than text_width thinks
_FAR = 12.0  # a name beyond this distance has a line to its point
_LEAST = 1e-3  # the share at which a logarithmic scale ends at the latest: nothing made up lies there
_COLOURS = ("#0a62a6", "#b34708", "#1c7f54", "#8a3f9e", "#8b6a00", "#c02d5b")
_LOOK = " ".join(
    (
        "text { font-family: system-ui, sans-serif; font-size: 13px; fill: #1c1c1a; }",
        ".tick { font-size: 11.5px; fill: #55534d; }",
        ".grid { stroke: #e4e1d9; } .zero, .axis { stroke: #1c1c1a; }",
        ".interval { stroke-width: 1; opacity: .45; } .leader { fill: none; stroke-width: .75; opacity: .6; }",
        ".pair { stroke-width: 1; stroke-dasharray: 1.5 3; opacity: .8; }",
        *(f".s{k} {{ stroke: {colour}; fill: {colour}; }}" for k, colour in enumerate(_COLOURS)),
        ".name { font-size: 12.5px; stroke: none; } .hollow { stroke-width: 1.5; fill: #ffffff; }",
    )
)


@dataclass(frozen=True)
class Scale:
    """What one direction of a drawing shows.

    Attributes:
        measure: of the results file, behind the remedy's name.
        label: for the reader.
        share, log: see :func:`lucida.report.axes.axis`.
    """

    measure: str
    label: str
    share: bool = True
    log: bool = False


NAMED = Scale("recall", "named, of what is there (recall)")
MADE_UP = Scale("chair_i", "made up, of what is named (CHAIR_i)", log=True)
COST = Scale("decoding_cost", "time of decoding, as it is = 1", share=False)
FALSE_YES = Scale("adversarial/false_yes_at_true_yes", "yes to what is not there, at as many yes as are true")


def frontier_picture(metrics: Metrics, remedies: Sequence[str]) -> str:
    """Both drawings as a picture file of its own, SVG.

    Likeliest words are filled marks, sampled ones hollow, joined by a dotted line; thin lines are 95 % intervals. What
    was not measured is not drawn.

    Args:
        metrics: ``{remedy}/{measure}``, sampled words ``{remedy}/sampled/{measure}``.
        remedies: in the order of their colours.
    """
    second = _TOP + _PANEL + _BELOW + _BETWEEN
    canvas = Canvas(second + _TOP + _PANEL + _BELOW, "Remedies: made up and named, false yes and cost", WIDTH)
    told = "filled: likeliest words, hollow: sampled words"
    _panel(canvas, metrics, remedies, (NAMED, MADE_UP), _TOP, told)
    _panel(canvas, metrics, remedies, (COST, FALSE_YES), second + _TOP, "")
    return canvas.file(_LOOK, _EDGE)


@dataclass(frozen=True)
class _Mark:
    """A remedy in a drawing: its number, and its two measures."""

    index: int
    x: Metric
    y: Metric
    hollow: bool


def _marks(metrics: Metrics, remedies: Sequence[str], scales: tuple[Scale, Scale]) -> Iterator[_Mark]:
    for hollow, kind in ((False, ""), (True, "sampled/")):
        for index, name in enumerate(remedies):
            x, y = (metrics.get(f"{name}/{kind}{scale.measure}") for scale in scales)
            if x and y and math.isfinite(x.value) and math.isfinite(y.value):
                yield _Mark(index, x, y, hollow)


def _panel(
    canvas: Canvas,
    metrics: Metrics,
    remedies: Sequence[str],
    scales: tuple[Scale, Scale],
    top: float,
    told: str,
) -> None:
    marks = list(_marks(metrics, remedies, scales))
    across = _scale([mark.x for mark in marks], scales[0], (_LEFT, WIDTH - _RIGHT))
    up = _scale([mark.y for mark in marks], scales[1], (top + _PANEL, top))
    draw_axes(canvas, across, up, x_label=scales[0].label, y_label=scales[1].label)
    canvas.text(WIDTH - _RIGHT, top - 11, told if any(mark.hollow for mark in marks) else "", "tick", "end")
    lines = [line for mark in marks for line in _lines(mark, across, up)]
    points = {(mark.index, mark.hollow): (across(mark.x.value), up(mark.y.value)) for mark in marks}
    pairs = {k: (points[k, False], points[k, True]) for k, hollow in points if hollow and (k, False) in points}
    for index, start, end in lines:
        canvas.line(*start, *end, f"interval s{index % STYLES}")
    for index, (start, end) in pairs.items():
        canvas.line(*start, *end, f"pair s{index % STYLES}")
    taken = [box for _, start, end in lines for box in along(start, end)]
    taken += [box for start, end in pairs.values() for box in along(start, end)]
    _names(canvas, {k: at for (k, hollow), at in points.items() if not hollow}, remedies, points, taken, top)
    for (index, hollow), at in reversed(points.items()):
        marker(canvas, *at, index, class_="marker hollow" if hollow else "marker")


def _scale(measured: Sequence[Metric], scale: Scale, ends: tuple[float, float]) -> Axis:
    """Over values and upper bounds; on a logarithmic scale a lower bound may lie beyond its end."""
    values = [max(m.value, _LEAST if scale.log else -math.inf) for m in measured]
    values += [m.ci95[1] for m in measured if m.ci95]
    values += [m.ci95[0] for m in measured if m.ci95 and not scale.log]
    return axis(values, ends, log=scale.log, share=scale.share)


def _lines(mark: _Mark, across: Axis, up: Axis) -> Iterator[tuple[int, Point, Point]]:
    x, y = across(mark.x.value), up(mark.y.value)
    for low, high in [mark.x.ci95] if mark.x.ci95 else []:
        yield mark.index, (across(low), y), (across(high), y)
    for low, high in [mark.y.ci95] if mark.y.ci95 else []:
        yield mark.index, (x, up(low)), (x, up(high))


def _names(
    canvas: Canvas,
    named: Mapping[int, Point],
    remedies: Sequence[str],
    points: Mapping[tuple[int, bool], Point],
    lines: Sequence[Box],
    top: float,
) -> None:
    texts = {k: wrapped(remedies[k], _ROOM, size=_NAME, lines=3) for k in named}
    sizes = [(max(text_width(line, _WIDER * _NAME) for line in texts[k]), _LINE * len(texts[k])) for k in named]
    taken = [*(box for at in points.values() for box in [around(at, 6.0)] * 3), *lines]  # marks matter more than lines
    frame = Box(_LEFT + 4, top, WIDTH - 2, top + _PANEL - 3)
    for (k, point), box in zip(named.items(), beside([*named.values()], sizes, taken, frame), strict=True):
        edge = box.nearest(point)
        if math.dist(edge, point) > _FAR:
            canvas.line(*point, *edge, f"leader s{k % STYLES}")
        side = "end" if box.right < point[0] else "start" if box.left > point[0] else "middle"
        x = {"start": box.left, "middle": (box.left + box.right) / 2, "end": box.right}[side]
        for n, line in enumerate(texts[k]):
            canvas.text(x, box.top + 11.5 + n * _LINE, line, f"name s{k % STYLES}", side)
