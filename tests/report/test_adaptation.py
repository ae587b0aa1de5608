"""Before and after of an adaptation, from the names in results."""

from __future__ import annotations

from lucida.core.results import Metric
from lucida.report.adaptation import adaptation_exams, adaptation_figures, adaptation_lead, adaptation_table

METRICS = {
    "adaptation/first_artist/before/accuracy": Metric(0.9, (0.85, 0.95), 40),
    "adaptation/first_artist/after/accuracy": Metric(0.8, (0.7, 0.9), 40),
    "adaptation/first_artist/gain": Metric(-0.1, (-0.15, -0.05), 40),
    "adaptation/second_artist_other_kinds/before/accuracy": Metric(0.6, (0.5, 0.7), 40),
    "adaptation/second_artist_other_kinds/after/accuracy": Metric(0.61, (0.5, 0.7), 40),
    "adaptation/second_artist_other_kinds/gain": Metric(0.01, (-0.05, 0.07), 40),
    "adaptation/half_done/before/accuracy": Metric(0.5),
    "adaptation/parameters/trained": Metric(1000),
    "adaptation/parameters/all": Metric(50_000),
    "pope/random/accuracy": Metric(0.9),
}


def test_exams_need_both_sides() -> None:
    assert list(adaptation_exams(METRICS)) == ["first_artist", "second_artist_other_kinds"]


def test_figures_say_what_was_gained_and_whether_it_is_noise() -> None:
    lost, none = adaptation_figures(METRICS)
    assert lost.title == "First artist"
    assert "-10.0 points (-15.0 to -5.0)" in lost.caption
    assert "no change" not in lost.caption
    assert "the interval includes no change" in none.caption


def test_the_table_and_the_lead_count() -> None:
    table = adaptation_table(METRICS)
    assert table is not None
    assert [row.label for row in table.rows] == ["First artist", "Second artist other kinds"]
    assert table.rows[0].cells[2].text == "-10.0"
    assert "1,000 numbers (2.0\N{NO-BREAK SPACE}% of the model)" in adaptation_lead(METRICS)


def test_without_an_adaptation_there_is_nothing() -> None:
    assert adaptation_table({"pope/random/accuracy": Metric(1)}) is None
    assert adaptation_figures({}) == []
    assert adaptation_lead({}) == ""
