"""Names beside points: inside, apart, and near where there is room."""

from __future__ import annotations

import math
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from lucida.report.labels import Box, along, around, beside

FRAME = Box(0, 0, 600, 360)
places = st.tuples(st.floats(0, 600), st.floats(0, 360))
sizes = st.tuples(st.floats(20, 150), st.sampled_from([15.0, 30.0]))


def shared(one: Box, other: Box) -> float:
    across = min(one.right, other.right) - max(one.left, other.left)
    down = min(one.bottom, other.bottom) - max(one.top, other.top)
    return across * down if across > 0 and down > 0 else 0.0


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(places, sizes), min_size=1, max_size=10))
def test_names_lie_inside_and_apart(named: list[tuple[tuple[float, float], tuple[float, float]]]) -> None:
    points, wanted = [point for point, _ in named], [size for _, size in named]
    found = beside(points, wanted, [around(point, 6) for point in points], FRAME)
    assert all(FRAME.wider(1e-6).holds(box) for box in found)
    assert all(shared(one, other) == 0 for one, other in combinations(found, 2))
    for box, (width, height) in zip(found, wanted, strict=True):
        assert math.isclose(box.right - box.left, width, abs_tol=1e-6)
        assert math.isclose(box.bottom - box.top, height, abs_tol=1e-6)


def test_a_name_alone_stands_close_and_off_the_lines() -> None:
    point = (300.0, 180.0)
    line = along((300.0, 180.0), (400.0, 180.0))
    (box,) = beside([point], [(80.0, 15.0)], [around(point, 6), *line], FRAME)
    assert math.dist(point, box.nearest(point)) < 20
    assert not any(shared(box, part) for part in line)


def test_a_name_in_a_corner_stays_inside() -> None:
    (box,) = beside([(600.0, 0.0)], [(100.0, 30.0)], [], FRAME)
    assert FRAME.holds(box)
    assert math.dist((600.0, 0.0), box.nearest((600.0, 0.0))) < 40
