"""Where names stand beside their points: near, inside the drawing, and on nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_GAPS = (7.0, 12.0, 20.0, 32.0, 50.0, 75.0)  # between a point and its name, the nearest first
_WAYS = 16  # around a point
_GRID = 20.0  # where nothing near is free, anywhere in the drawing in such steps
_ON_NAME, _ON_MARK = 60.0, 2.5  # what covering costs, a square unit; nearness costs one a unit
_OVER_NAME, _OVER_MARK = 20.0, 0.4  # the same for the line from a name to its point
_CLEAR = 2.0  # kept free around a name
_SWEEPS, _PARTS = 3, 12

Point = tuple[float, float]


class Box(NamedTuple):
    """A rectangle of the drawing; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def wider(self, by: float) -> Box:
        """With so much more on every side."""
        return Box(self.left - by, self.top - by, self.right + by, self.bottom + by)

    def nearest(self, point: Point) -> Point:
        """Its place that is nearest to a point."""
        return min(max(point[0], self.left), self.right), min(max(point[1], self.top), self.bottom)

    def holds(self, other: Box) -> bool:
        """Whether the other one lies inside."""
        inside = self.left <= other.left and other.right <= self.right
        return inside and self.top <= other.top and other.bottom <= self.bottom


def around(point: Point, reach: float) -> Box:
    """A square with a point in its middle."""
    return Box(*point, *point).wider(reach)


def along(start: Point, end: Point, parts: int = 25) -> list[Box]:
    """A straight line as small squares."""
    steps = [k / (parts - 1) for k in range(parts)]
    return [around((start[0] + (end[0] - start[0]) * k, start[1] + (end[1] - start[1]) * k), 1.0) for k in steps]


def beside(
    points: Sequence[Point], sizes: Sequence[tuple[float, float]], marks: Sequence[Box], frame: Box
) -> list[Box]:
    """A place for the name of each point.

    One name after the other takes its cheapest place, those in the densest parts first; then each moves again, now
    that the others are known.

    Args:
        points: that are named.
        sizes: width and height of each name.
        marks: what names should not cover: points and lines.
        frame: which they do not leave; it has room for all.
    """
    places: dict[int, Box] = {}
    order = sorted(range(len(points)), key=lambda i: sum(math.dist(points[i], other) for other in points))
    choices = [[*_candidates(point, size, frame)] for point, size in zip(points, sizes, strict=True)]
    own = [_own_costs(boxes, point, marks) for boxes, point in zip(choices, points, strict=True)]
    for _ in range(_SWEEPS):
        for i in order:
            others = [place for k, place in places.items() if k != i]
            costs = own[i] + _costs_among(choices[i], points[i], others)
            places[i] = choices[i][int(costs.round(6).argmin())]  # equal ones are equal on every machine
    return [places[i] for i in range(len(points))]


def _candidates(point: Point, size: tuple[float, float], frame: Box) -> Iterator[Box]:
    width, height = size
    for gap in _GAPS:
        for way in range(_WAYS):
            angle = 2 * math.pi * way / _WAYS
            x = point[0] + math.cos(angle) * (width / 2 + gap)
            y = point[1] + math.sin(angle) * (height / 2 + gap)
            near = Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            if frame.holds(near):
                yield near
    for row in range(max(1, int((frame.bottom - frame.top - height) / _GRID) + 1)):
        for column in range(max(1, int((frame.right - frame.left - width) / _GRID) + 1)):
            left, top = frame.left + _GRID * column, frame.top + _GRID * row
            yield Box(left, top, left + width, top + height)


def _own_costs(boxes: Sequence[Box], point: Point, marks: Sequence[Box]) -> NDArray[np.float64]:
    """Of each place, ``[C]``: its distance from the point, and the marks that it or its line covers."""
    distances = np.array([math.dist(point, box.nearest(point)) for box in boxes])
    covered = _covered([box.wider(_CLEAR) for box in boxes], marks)
    return distances + _ON_MARK * covered + _OVER_MARK * _crossed(boxes, point, marks)


def _costs_among(boxes: Sequence[Box], point: Point, names: Sequence[Box]) -> NDArray[np.float64]:
    """Of each place, ``[C]``: the names that it covers, and those that the line to its point crosses."""
    covered = _covered([box.wider(_CLEAR) for box in boxes], names)
    return _ON_NAME * covered + _OVER_NAME * _crossed(boxes, point, names)


def _crossed(boxes: Sequence[Box], point: Point, others: Sequence[Box]) -> NDArray[np.float64]:
    """The area of the others on the line from each place to its point, ``[C]``."""
    leaders = [part for box in boxes for part in along(point, box.nearest(point), _PARTS)]
    area: NDArray[np.float64] = _covered(leaders, others).reshape(len(boxes), -1).sum(axis=1)
    return area


def _covered(boxes: Sequence[Box], others: Sequence[Box]) -> NDArray[np.float64]:
    """The area of the others that each box covers, ``[C]``."""
    own, taken = (np.array([*some], float).reshape(-1, 4) for some in (boxes, others))
    across = np.minimum(own[:, None, 2], taken[:, 2]) - np.maximum(own[:, None, 0], taken[:, 0])
    down = np.minimum(own[:, None, 3], taken[:, 3]) - np.maximum(own[:, None, 1], taken[:, 1])
    area: NDArray[np.float64] = (across.clip(min=0) * down.clip(min=0)).sum(axis=1)
    return area
