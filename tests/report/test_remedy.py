"""What a report shows of a remedy."""

from __future__ import annotations

from lucida.core.results import Metric
from lucida.report.remedy import remedy_figures, remedy_lead, remedy_measures, remedy_table


def metrics() -> dict[str, Metric]:
    found = {}
    for name, before, after in (
        ("chair_i", 0.2, 0.05),
        ("adversarial/false_yes_share", 0.1, 0.04),
        ("where_accuracy", 0.9, 0.9),
    ):
        found[f"remedy/{name}/before"] = Metric(before, (before - 0.02, before + 0.02), 50)
        found[f"remedy/{name}/after"] = Metric(after, (after - 0.02, after + 0.02), 50)
        found[f"remedy/{name}/change"] = Metric(after - before, (after - before - 0.01, after - before + 0.01), 50)
    return found


def test_measures_stand_before_and_after() -> None:
    assert remedy_measures(metrics())["chair_i"]["after"].value == 0.05
    table = remedy_table(metrics())
    assert table is not None
    assert table.rows[0].label.startswith("made up")
    assert table.rows[0].cells[2].text == "-15.0"
    assert table.rows[-1].cells[2].text == "+0.0"
    assert len(remedy_figures(metrics())) == 2


def test_what_it_is_not_sure_of_is_told_where_it_was_measured() -> None:
    assert remedy_lead({}) == ""
    assert "not sure" not in remedy_lead(metrics())
    unsure = {"not_sure_share": 0.1, "wrong_share": 0.05, "wrong_when_sure_share": 0.01}
    told = remedy_lead(metrics() | {f"remedy/{name}": Metric(value, None, 50) for name, value in unsure.items()})
    assert "10.0\N{NO-BREAK SPACE}%" in told or "10.0 %" in told


def test_being_sure_of_nothing_is_said_in_words() -> None:
    unsure = {"not_sure_share": 1.0, "wrong_share": 0.25}
    told = remedy_lead(metrics() | {f"remedy/{name}": Metric(value, None, 50) for name, value in unsure.items()})
    assert "sure of no answer" in told
    assert "25.0" in told


def test_nothing_is_shown_of_nothing() -> None:
    assert remedy_table({}) is None
    assert remedy_figures({}) == []
