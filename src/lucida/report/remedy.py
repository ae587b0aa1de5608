"""What a remedy changes: what is made up, told, answered and counted, before and after."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from lucida.core.results import Metric
from lucida.report.figures import Dot, dot_plot
from lucida.report.sections import Cell, Figure, Metrics, Row, Table, cell
from lucida.report.wording import number

_NAME = re.compile(r"remedy/(?P<measure>.+)/(?P<when>before|after|change)")
_MEASURES: Mapping[str, str] = {
    "chair_i": "made up, of what is named (CHAIR_i)",
    "recall": "named, of what is there",
    **{
        f"{kind}/{what}": f"{kind} questions: {words}"
        for kind in ("random", "popular", "adversarial")
        for what, words in (
            ("false_yes_share", "yes to what is not there"),
            ("yes_recall_share", "yes to what is there"),
            ("false_yes_at_equal_yes_share", "yes to what is not there, at as many yes as before"),
        )
    },
    "count_accuracy": "counted right",
    "where_accuracy": "places told right",
}
_SHOWN = {"chair_i": "made up", "recall": "named of what is there", "adversarial/false_yes_share": "false yes"}


def remedy_measures(metrics: Metrics) -> dict[str, dict[str, Metric]]:
    """What was measured before and after, by measure."""
    found: dict[str, dict[str, Metric]] = {}
    for name, metric in metrics.items():
        if match := _NAME.fullmatch(name):
            found.setdefault(match["measure"], {})[match["when"]] = metric
    return found


def remedy_figures(metrics: Metrics) -> list[Figure]:
    """The measures that matter most, each before and after."""
    found, figures = remedy_measures(metrics), []
    for name, title in _SHOWN.items():
        if {"before", "after"} <= {*found.get(name, {})}:
            rows = [Dot("as it is", found[name]["before"], "start"), Dot("grounded", found[name]["after"])]
            figures.append(Figure(title.capitalize(), dot_plot(f"Remedy: {title}", rows, share=True), ""))
    return figures


def remedy_table(metrics: Metrics) -> Table | None:
    """Measures × before, after and the paired change."""
    found = remedy_measures(metrics)
    rows = tuple(
        Row(words, (cell("share", found[name]["before"]), cell("share", found[name]["after"]), _change(found[name])))
        for name, words in _MEASURES.items()
        if name in found
    )
    caption = "The same pictures and questions before and after. Below each number its 95 % interval."
    return Table("Before and after", ("as it is", "grounded", "change, points"), rows, caption) if rows else None


def _change(measured: Mapping[str, Metric]) -> Cell:
    metric = measured["change"]
    if not math.isfinite(metric.value):
        return Cell("", "")
    bounds = f"{100 * metric.ci95[0]:+.1f} to {100 * metric.ci95[1]:+.1f}" if metric.ci95 else ""
    return Cell(f"{100 * metric.value:+.1f}", bounds)


def remedy_lead(metrics: Metrics) -> str:
    """What was done, and what is not answered."""
    if not remedy_measures(metrics):
        return ""
    text = (
        "A name is said only as far as some place of the picture stands for it, and yes and no are weighed with the "
        "same support, as fitted on held-out pictures. No weight of the model changes, and nothing is read twice."
    )
    unsure, wrong, left = (
        metrics.get(f"remedy/{name}") for name in ("not_sure_share", "wrong_share", "wrong_when_sure_share")
    )
    if unsure is None or wrong is None:
        return text
    every = number(wrong.value, share=True)
    if left is None:
        return (
            f"{text} Even then it is sure of no answer to these questions, and says so; given all the same, {every} of "
            "the answers are wrong."
        )
    return (
        f"{text} Where even then it cannot be sure, it says so: of {number(unsure.value, share=True)} of the "
        f"questions. Of the others {number(left.value, share=True)} are answered wrong, of all {every}."
    )
