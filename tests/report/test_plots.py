"""Drawings of the lab: inside their frame, where the values are, told apart without colour, and readable."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

import lucida.report.book as book_module
from lucida.core.results import Metric
from lucida.report.axes import axis, log_ticks, placed, text_width, tick_texts, wrapped
from lucida.report.figures import WIDTH
from lucida.report.grids import SHADES, cell_form, grid_plot, is_wide, numbers_of, shade, table
from lucida.report.lab_page import EffectRow, EffectsFigure, GridFigure, LinesFigure, Series, TableFigure
from lucida.report.plots import STYLES, effects_plot, interval_mark, lines_plot, thinned

NAN = float("nan")
printable = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufffe\uffff"), max_size=50)
heights = st.one_of(st.none(), st.floats(-1e9, 1e9), st.just(NAN), st.floats(1e-30, 1e-3))


def elements(svg: Markup, tag: str, class_: str = "") -> list[ET.Element]:
    found = (e for e in ET.fromstring(svg).iter() if e.tag == tag)
    return [e for e in found if class_ in e.attrib.get("class", "").split() or not class_]


def texts(svg: Markup) -> list[str]:
    return ["".join(e.itertext()) for e in elements(svg, "text")]


def assert_inside(svg: Markup) -> None:
    """Every coordinate lies in the drawing and is a number, and no two texts stand on one another."""
    root = ET.fromstring(svg)
    width, height = (float(v) for v in root.attrib["viewBox"].split()[2:])
    limits = {"x": width, "x1": width, "x2": width, "cx": width, "y": height, "y1": height, "y2": height, "cy": height}
    values = [(float(v), limits[k]) for e in root.iter() for k, v in e.attrib.items() if k in limits]
    points = [p.split(",") for e in root.iter() if "points" in e.attrib for p in e.attrib["points"].split()]
    points += [re.findall(r"[-\d.]+", e.attrib["transform"]) for e in root.iter() if "transform" in e.attrib]
    values += [pair for x, y in points for pair in ((float(x), width), (float(y), height))]
    assert values
    assert all(-0.5 <= value <= limit + 0.5 for value, limit in values)
    names = sorted((float(e.attrib["y"]), "".join(e.itertext())) for e in elements(svg, "text", "name"))
    assert all(b - a >= 10 for (a, _), (b, _) in pairwise(names)), names


def figure(*series: Series, **options: bool) -> LinesFigure:
    return LinesFigure("a title", series, "step", "loss", **options)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(printable, st.lists(heights, min_size=1, max_size=9), st.booleans()), min_size=1, max_size=8),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_curves_stay_inside_whatever_they_hold(
    curves: list[tuple[str, list[float | None], bool]], log_x: bool, log_y: bool, share: bool
) -> None:
    series = [
        Series(label, tuple(range(1, len(y) + 1)), tuple(y), tuple(y) if band else (), tuple(y) if band else ())
        for label, y, band in curves
    ]
    svg = lines_plot(figure(*series, log_x=log_x, log_y=log_y, share=share), "details/page/drawings/0")
    assert_inside(svg)


def test_many_curves_have_room_for_their_names() -> None:
    names = [f"a rather long name of the arm number {k}" for k in range(20)]
    svg = lines_plot(figure(*(Series(name, (0.0, 1.0), (1.0, 1.0)) for name in names)))
    assert_inside(svg)
    assert len(elements(svg, "text", "name")) == 40


def test_a_gap_splits_the_curve_and_its_band() -> None:
    y = (1.0, 2.0, None, 2.0, 1.0)
    svg = lines_plot(figure(Series("a", (0.0, 1.0, 2.0, 3.0, 4.0), y, y, y)))
    assert len(elements(svg, "polyline", "curve")) == 2
    assert len(elements(svg, "polygon", "band")) == 2


def test_what_is_not_positive_is_a_gap_on_a_logarithmic_axis() -> None:
    svg = lines_plot(figure(Series("a", (1.0, 2.0, 3.0, 4.0), (1.0, 10.0, 0.0, 100.0)), log_y=True))
    assert len(elements(svg, "polyline", "curve")) == 1
    assert {"1", "10", "100"} <= set(texts(svg))


def test_curves_differ_in_marker_and_dash_and_not_in_colour_alone() -> None:
    svg = lines_plot(figure(*(Series(f"arm {k}", (0.0, 1.0), (float(k), k + 1.0)) for k in range(STYLES))))
    shapes = {e.attrib["class"]: e.attrib["d"] for e in elements(svg, "path", "marker")}
    assert len(set(shapes.values())) == STYLES
    dashes = re.findall(r"\.curve\.measured\.s\d \{ stroke-dasharray: ([^;]+);", book_module.style())
    assert len(set(dashes)) == STYLES - 1  # and one is solid


def test_a_prediction_has_no_markers_on_its_curve() -> None:
    svg = lines_plot(figure(Series("bound", (0.0, 1.0), (1.0, 2.0), dashed=True)))
    assert elements(svg, "path", "marker") == []
    assert elements(svg, "polyline", "predicted")


def test_the_name_stands_whole_and_its_number_names_its_source() -> None:
    label = "SGD with momentum, tuned"
    svg = lines_plot(figure(Series(label, (0.0, 1.0, 2.0), (3.0, 0.25, None))), "details/page/drawings/7")
    assert " ".join("".join(e.itertext()) for e in elements(svg, "text", "name")) == label
    (number,) = elements(svg, "tspan")
    assert (number.text, number.attrib["data-from"]) == ("0.25", "details/page/drawings/7/series/0/y/1")


def test_thinning_keeps_a_spike() -> None:
    points = [(float(i), 50.0 if i == 3333 else 1.0) for i in range(10_000)]
    kept = thinned(points)
    assert len(kept) < 500
    assert (3333.0, 50.0) in kept
    assert kept[0] == points[0]
    assert kept[-1] == points[-1]
    assert kept == sorted(kept)


@given(st.floats(1e-300, 1e300), st.floats(1, 1e30))
def test_logarithmic_ticks_enclose_the_range_and_are_few(low: float, ratio: float) -> None:
    high = min(low * ratio, 1e300)
    ticks = log_ticks(low, high)
    assert ticks[0] <= low * (1 + 1e-6)
    assert ticks[-1] >= high * (1 - 1e-6)
    assert 2 <= len(ticks) <= 9
    assert ticks == sorted(set(ticks))


def test_small_logarithmic_ranges_have_ticks_at_1_2_5() -> None:
    assert log_ticks(3, 30) == [2, 5, 10, 20, 50]
    assert tick_texts([1e-6, 1.0, 1e6], log=True) == ["10⁻⁶", "1", "10⁶"]


def test_what_runs_along_an_axis_fills_it() -> None:
    layers = axis([1, 2, 3, 4, 5], (0, 100), tight=True)
    assert (layers.ticks, layers(1), layers(5)) == ((1, 2, 3, 4, 5), 0, 100)
    batches = axis([1, 1024], (0, 100), log=True, tight=True)
    assert (batches.ticks[-1], batches(1024)) == (1000, 100)


@given(st.lists(st.tuples(st.floats(0, 200), st.floats(5, 40)), min_size=1, max_size=8))
def test_labels_of_different_heights_do_not_overlap(labels: list[tuple[float, float]]) -> None:
    sizes = [height for _, height in labels]
    moved = placed([centre for centre, _ in labels], sizes, 0, sum(sizes) + 50)
    boxes = sorted((y - h / 2, y + h / 2) for y, h in zip(moved, sizes, strict=True))
    assert boxes[0][0] >= -1e-6
    assert boxes[-1][1] <= sum(sizes) + 50 + 1e-6
    assert all(below[0] >= above[1] - 1e-6 for above, below in pairwise(boxes))


@given(printable, st.floats(40, 200))
def test_wrapped_lines_fit(text: str, width: float) -> None:
    lines = wrapped(text, width)
    assert 1 <= len(lines) <= 3
    assert all(text_width(line) <= width for line in lines)


EFFECTS = EffectsFigure(
    "effects", (EffectRow("a", "a"), EffectRow("b", "b"), EffectRow("c", "absent")), "points", smallest_effect=0.1
)


@settings(deadline=None, max_examples=60)
@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.floats(1e-6, 1e5), st.booleans(), printable)
def test_effects_stay_inside(value: float, half: float, smallest: float, share: bool, label: str) -> None:
    rows = (EffectRow(label, "a"), EffectRow("b", "b"))
    shown = EffectsFigure("t", rows, label, smallest_effect=-smallest, share=share)
    metrics = {"a": Metric(value, (value - half, value + half)), "b": Metric(NAN, (NAN, NAN))}
    svg = effects_plot(shown, metrics, "details/page/drawings/0")
    assert_inside(svg)
    assert len(elements(svg, "circle")) == 1
    assert_inside(interval_mark(metrics["a"], smallest, "refuted", "t"))


def test_zero_and_the_smallest_effect_are_marked_in_every_row() -> None:
    svg = effects_plot(EFFECTS, {"a": Metric(0.3, (0.2, 0.4), 8), "b": Metric(-0.1)})
    zeros, smallest = elements(svg, "line", "zero"), elements(svg, "line", "smallest")
    assert len(zeros) == len(smallest) == 3
    assert float(zeros[0].attrib["x1"]) < float(smallest[0].attrib["x1"]) < WIDTH
    assert "not measured" in texts(svg)
    assert "0.300 [0.200, 0.400]" in texts(svg)


def test_values_far_from_zero_are_not_squeezed_by_it() -> None:
    rows = (EffectRow("a", "a"), EffectRow("b", "b"))
    svg = effects_plot(EffectsFigure("t", rows, "accuracy", share=True), {"a": Metric(0.97), "b": Metric(0.99)})
    left, right = (float(c.attrib["cx"]) for c in elements(svg, "circle"))
    assert right - left > WIDTH / 2


GRID = GridFigure("g", ("r0", "r1"), ("c0", "c1"), ((0.1, None), (0.5, 0.9)), "rows", "columns", "value", share=True)


def test_a_grid_writes_every_value_and_marks_what_is_missing() -> None:
    html = grid_plot(GRID, "details/page/drawings/3")
    cells = re.findall(r'<td class="(\w+)"><span data-from="([^"]+)" data-as="[^"]*">([^<]+)<', html)
    assert [(c, text) for c, _, text in cells] == [("q0", "10"), ("unmeasured", "–"), ("q4", "50"), ("q8", "90")]
    assert cells[2][1] == "details/page/drawings/3/values/1/0"
    ET.fromstring(f"<div>{html}</div>")


@given(st.lists(st.one_of(st.none(), st.floats(allow_infinity=False, width=32)), min_size=1, max_size=12))
def test_shades_follow_the_values(row: list[float | None]) -> None:
    html = grid_plot(GridFigure("g", ("r",), tuple(map(str, range(len(row)))), (tuple(row),), "", "", ""))
    ET.fromstring(f"<div>{html}</div>")
    finite = sorted(v for v in row if v is not None and math.isfinite(v))
    shades = [shade(v, finite, log=False) for v in finite]
    assert shades == sorted(shades)
    assert all(0 <= k < SHADES for k in shades)


def test_cells_tell_apart_what_differs() -> None:
    assert cell_form([0.5, 0.52], share=False) == "2"
    assert cell_form([1e-9, 1.0], share=False) == "brief"
    assert is_wide(GridFigure("g", ("r",), tuple("abcdefghijkl"), ((1.0,) * 12,), "", "", ""))
    assert not is_wide(GRID)


def test_a_table_shows_intervals_blanks_and_what_was_not_measured() -> None:
    shown = TableFigure("t", ("share", "value"), (("row", ("a", "")), ("other", ("absent", "b"))), shares=(True, False))
    html = table(shown, {"a": Metric(0.5, (0.4, 0.6)), "b": Metric(2.0)})
    text = re.sub(r"<[^>]+>", " ", html)
    for said in ("50.0\N{NO-BREAK SPACE}%", "40.0", "not measured", "2.00"):
        assert said in text
    ET.fromstring(f"<div>{html}</div>")


def test_the_numbers_of_a_long_curve_are_a_short_table_with_its_end() -> None:
    xs = tuple(float(i) for i in range(1001))
    html = numbers_of(figure(Series("a", xs, xs), Series("b", (0.0, 1000.0), (1.0, None))), "details/page/drawings/0")
    assert html.count("<tr>") <= 44
    assert "series/0/y/1000" in html
    assert "–" in html


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(a: str, b: str) -> float:
    low, high = sorted((_luminance(a), _luminance(b)))
    return (high + 0.05) / (low + 0.05)


def _palettes() -> list[dict[str, str]]:
    """Colours in light and in dark: of the report, and of the book."""
    folder = Path(book_module.__file__).parent / "templates"
    blocks = [re.findall(r":root \{([^}]*)\}", (folder / name).read_text()) for name in ("page.css", "book.css")]
    pairs = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", a + b)) for a, b in zip(*blocks, strict=True)]
    assert len(pairs) == 3
    return pairs


@pytest.mark.parametrize("palette", _palettes(), ids=("light", "dark", "print"))
def test_text_can_be_read_on_its_ground(palette: dict[str, str]) -> None:
    paper = palette.get("paper", "#ffffff")
    for k in range(SHADES):
        assert _contrast(palette[f"q{k}"], palette["low-ink" if k < 5 else "high-ink"]) >= 4.5, k
    for name in ("supported", "refuted", "depends", "inconclusive", *(f"s{k}" for k in range(STYLES))):
        assert _contrast(palette[name], paper) >= 4.5, name
