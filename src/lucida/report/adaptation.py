"""From the numbers of an adaptation to what a report shows: accuracy before and after, for each exam."""

from __future__ import annotations

import math
import re

from lucida.core.results import Metric
from lucida.report.figures import Dot, dot_plot
from lucida.report.sections import Cell, Figure, Metrics, Row, Table, cell
from lucida.report.wording import capitalised, humanised, number

_NAME = re.compile(r"adaptation/(?P<exam>[^/]+)/(?P<measure>before/\w+|after/\w+|gain)")
_COLUMNS = {
    "before/accuracy": "accuracy before",
    "after/accuracy": "after",
    "gain": "gain, points",
    "before/yes_ratio": "yes-ratio before",
    "after/yes_ratio": "after",
}


def adaptation_exams(metrics: Metrics) -> dict[str, dict[str, Metric]]:
    """What was measured, by exam."""
    exams: dict[str, dict[str, Metric]] = {}
    for name, metric in metrics.items():
        if match := _NAME.fullmatch(name):
            exams.setdefault(match["exam"], {})[match["measure"]] = metric
    return {exam: found for exam, found in exams.items() if {"before/accuracy", "after/accuracy"} <= {*found}}


def adaptation_figures(metrics: Metrics) -> list[Figure]:
    """One dot plot an exam, all on one scale."""
    figures = []
    for exam, found in adaptation_exams(metrics).items():
        title = capitalised(humanised(exam))
        rows = [Dot("before", found["before/accuracy"], "start"), Dot("after", found["after/accuracy"])]
        svg = dot_plot(f"Accuracy of yes/no answers, {title}", rows, share=True, top=1.0)
        figures.append(Figure(title, svg, _gained(found.get("gain"))))
    return figures


def _gained(gain: Metric | None) -> str:
    """The sentence below a figure."""
    if gain is None or not math.isfinite(gain.value) or gain.ci95 is None:
        return "The same questions before and after."
    low, high = (100 * bound for bound in gain.ci95)
    text = f"{100 * gain.value:+.1f} points ({low:+.1f} to {high:+.1f}), the same questions before and after"
    return f"{text}; the interval includes no change." if low <= 0 <= high else f"{text}."


def adaptation_table(metrics: Metrics) -> Table | None:
    """Exams × measures."""
    rows = tuple(
        Row(capitalised(humanised(exam)), tuple(_cell(column, found.get(column)) for column in _COLUMNS))
        for exam, found in adaptation_exams(metrics).items()
    )
    caption = "Below each number its 95 % interval; questions about one picture are kept together."
    return Table("Before and after", tuple(_COLUMNS.values()), rows, caption) if rows else None


def _cell(column: str, metric: Metric | None) -> Cell:
    if metric is None or column != "gain":
        return cell(column.replace("before/", "").replace("after/", ""), metric)
    bounds = f"{100 * metric.ci95[0]:+.1f} to {100 * metric.ci95[1]:+.1f}" if metric.ci95 else ""
    return Cell(f"{100 * metric.value:+.1f}", bounds)


def adaptation_lead(metrics: Metrics) -> str:
    """What was done, in one sentence."""
    trained, everything = (metrics.get(f"adaptation/parameters/{name}") for name in ("trained", "all"))
    if trained is None or everything is None:
        return ""
    share = number(trained.value / everything.value, share=True)
    return (
        f"Low-rank adapters in the language model, {int(trained.value):,} numbers ({share} of the model), were trained "
        "on “is there a …?” about half of the kinds as the second artist draws them, while all else stayed as it was. "
        "The other half of the kinds shows what carries over to pictures nobody trained on, the first artist what was "
        "lost."
    )
