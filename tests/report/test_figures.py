"""Figures: well-formed whatever they are given, in the right place, inside the drawing."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from lucida.core.results import Metric
from lucida.report.figures import (
    WIDTH,
    Dot,
    Line,
    bar_plot,
    calibration_plot,
    dot_plot,
    kind_bars,
    line_plot,
    nice_ticks,
    spread,
    thinned,
)
from lucida.report.material import CalibrationBin, KindRate

NAN = float("nan")
printable = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufffe\uffff"), max_size=60)
finite = st.floats(-1e6, 1e6)


def elements(svg: Markup, tag: str) -> list[ET.Element]:
    return [e for e in ET.fromstring(svg).iter() if e.tag == tag]


def inside(svg: Markup) -> bool:
    """Whether every coordinate lies in the drawing and is a number."""
    root = ET.fromstring(svg)
    width, height = (float(v) for v in root.attrib["viewBox"].split()[2:])
    limits = {"x": width, "x1": width, "x2": width, "cx": width, "y": height, "y1": height, "y2": height, "cy": height}
    values = [(float(v), limits[k]) for e in root.iter() for k, v in e.attrib.items() if k in limits]
    points = [p.split(",") for e in root.iter() if "points" in e.attrib for p in e.attrib["points"].split()]
    values += [pair for x, y in points for pair in ((float(x), width), (float(y), height))]
    return bool(values) and all(-0.5 <= value <= limit + 0.5 for value, limit in values)


@given(finite, finite)
def test_ticks_enclose_the_range_and_are_few(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    ticks = nice_ticks(low, high)
    slack = 1e-6 * max(1.0, abs(low), abs(high))
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    assert 2 <= len(ticks) <= 8
    assert ticks == sorted(set(ticks))


@settings(deadline=None)
@given(st.lists(st.tuples(printable, st.floats(0, 1), st.floats(0, 0.2)), min_size=1, max_size=6))
def test_a_dot_plot_is_well_formed_and_stays_inside(rows: list[tuple[str, float, float]]) -> None:
    dots = [Dot(label, Metric(v, (max(0, v - half), min(1, v + half)), 10)) for label, v, half in rows]
    svg = dot_plot("<title> & more", dots, share=True)
    assert inside(svg)
    assert len(elements(svg, "circle")) == len(rows)


def test_dots_stand_where_their_values_are() -> None:
    svg = dot_plot("t", [Dot("a", Metric(0.25)), Dot("b", Metric(0.75))], share=True, top=1.0)
    left, right = sorted(float(c.attrib["cx"]) for c in elements(svg, "circle"))
    assert right - left == pytest.approx((WIDTH - 20) / 2, abs=0.1)


def test_what_was_not_measured_has_a_label_but_no_dot() -> None:
    svg = dot_plot("t", [Dot("a", Metric(NAN, (NAN, NAN), 0)), Dot("b", Metric(0.5))], share=True)
    assert inside(svg)
    assert len(elements(svg, "circle")) == 1
    assert "–" in svg


def test_a_share_of_one_does_not_stretch_the_scale_beyond_it() -> None:
    texts = [e.text for e in elements(dot_plot("t", [Dot("a", Metric(0.999))], share=True), "text")]
    assert "100 %" in texts
    assert "120 %" not in texts


def test_text_is_escaped() -> None:
    svg = bar_plot('"quoted" <b>', [("<script>alert(1)</script>", 1.0, "1 & 2")])
    assert "<script>" not in svg
    assert any(e.text == "<script>alert(1)</script>" for e in elements(svg, "text"))


@settings(deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=600))
def test_curves_stay_inside(values: list[float]) -> None:
    line = Line("training", [float(i) for i in range(len(values))], values, noisy=True)
    assert inside(line_plot("t", [line], x_label="steps"))


def test_a_curve_at_step_zero_alone_is_drawn() -> None:
    assert inside(line_plot("t", [Line("v", [0.0, 0.0], [1.0, 1.0])], x_label="steps"))


def test_thinning_keeps_the_course() -> None:
    line = thinned(Line("a", list(range(10_000)), [2 * i for i in range(10_000)]))
    assert len(line.x) == len(line.y) <= 300
    assert all(y == pytest.approx(2 * x) for x, y in zip(line.x, line.y, strict=True))


@given(st.lists(st.floats(0, 200), max_size=6))
def test_labels_keep_their_distance_and_order(places: list[float]) -> None:
    moved = spread(places, 30)
    order = sorted(range(len(places)), key=lambda i: places[i])
    assert all(moved[b] - moved[a] >= 30 - 1e-6 for a, b in pairwise(order))
    below = spread(places, 30, least=12)
    assert min(below, default=12) >= 12  # what lies above would stand in the figure's title
    assert all(below[b] - below[a] >= 30 - 1e-6 for a, b in pairwise(order))


def test_kinds_are_ranked_and_those_without_errors_left_out() -> None:
    kinds = [KindRate("cat", 1, 10, 0, 5), KindRate("dog", 4, 10, 1, 5), KindRate("cow", 0, 0, 5, 5)]
    texts = [e.text for e in elements(kind_bars("t", kinds, "made_up"), "text")]
    assert texts == ["dog", "40 % (4 of 10)", "cat", "10 % (1 of 10)"]
    assert elements(kind_bars("t", kinds, "missed"), "text")[0].text == "cow"
    assert kind_bars("t", [KindRate("cat", 0, 10, 0, 5)], "made_up") == ""


def test_calibration_stays_inside_and_skips_empty_bins() -> None:
    svg = calibration_plot("t", [CalibrationBin(0.0, 0, 3), CalibrationBin(0.5, 0, 0), CalibrationBin(1.0, 9, 9)])
    assert inside(svg)
    assert len(elements(svg, "circle")) == 2


def test_numbers_in_the_drawing_are_short() -> None:
    svg = dot_plot("t", [Dot("a", Metric(1 / 3))], share=True)
    assert not re.search(r"\d\.\d{3,}", svg)
    assert math.isfinite(float(ET.fromstring(svg).attrib["viewBox"].split()[3]))
