"""Whether a model looks: the same questions with another picture, with none, and without the object asked for.

And what its captions say of objects that are there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from lucida.core.results import Metric
from lucida.report.figures import Dot, Tone, dot_plot
from lucida.report.sections import Figure, Metrics, Row, Table, cell
from lucida.report.wording import capitalised, humanised, interval, is_share

_PICTURES = ("true", "shuffled", "blank")


def blind_figures(metrics: Metrics) -> list[Figure]:
    """The same questions with the true, a shuffled and a blank picture, one figure a measure."""
    groups: dict[str, dict[str, Metric]] = {}
    for name, metric in metrics.items():
        words = re.split(r"[/_]", name)
        shown = next((p for p in _PICTURES if p in words[1:]), None)
        if words[0] == "blind" and shown:
            measure = re.sub(rf"(?:^|[/_]){shown}(?=[/_]|$)", "", name.partition("/")[2]).strip("/_")
            if not measure.startswith("gap"):  # the difference of two rows that are shown, with its own name
                groups.setdefault(measure, {})[shown] = metric
    figures = []
    for measure, group in groups.items():
        rows = [Dot(f"{p} picture", group[p], "own" if p == "true" else "baseline") for p in _PICTURES if p in group]
        title = f"{capitalised(humanised(measure)) or 'Score'} with the true and with no picture"
        caption = "A model that looks does clearly best with the true picture; equal values would mean that it guesses."
        if (gap := metrics.get("blind/gap")) and measure == "accuracy" and math.isfinite(gap.value):
            text = f"{100 * gap.value:+.1f} points {interval(gap, share=True)}".strip()
            caption = f"Looking is worth {text} over a picture of another question. {caption}"
        figures.append(Figure(title, dot_plot(title, rows, share=is_share(measure)), caption))
    return figures


_TWINS: Mapping[str, tuple[str, Tone]] = {
    "recall": ("as it is: yes", "own"),
    "flip_rate": ("object gone: then no", "own"),
    "control_flip_rate": ("other gone: then no", "baseline"),
}


_PASTED: Mapping[str, tuple[str, Tone]] = {
    "pasted/no_ratio": ("as it is: no", "own"),
    "pasted/flip_rate": ("object put in: then yes", "own"),
    "pasted/control_flip_rate": ("other put in: then yes", "baseline"),
}


def twin_figures(metrics: Metrics) -> list[Figure]:
    """What becomes of a yes when the object is taken out of the picture, and of a no when it is put in."""
    shown = (
        (
            _TWINS,
            "The same question when the object is taken out",
            "A model that looks says yes first and no without the object, and keeps its yes when something else is "
            "gone; one that goes by what is usual keeps it either way.",
        ),
        (
            _PASTED,
            "The same question when the object is put in",
            "A model that looks says no first and yes with the object, and keeps its no when something else is put in "
            "at the same place; one that goes by what is usual keeps it either way.",
        ),
    )
    figures = []
    for names, title, caption in shown:
        rows = [
            Dot(label, metrics[f"twins/{name}"], kind)
            for name, (label, kind) in names.items()
            if f"twins/{name}" in metrics and math.isfinite(metrics[f"twins/{name}"].value)
        ]
        if rows:
            figures.append(Figure(title, dot_plot(title, rows, share=True, top=1.0), caption))
    return figures


_FAMILIES = {"count": "How many there are", "place": "Where it is", "relation": "How two stand to each other"}


def caption_facts_table(metrics: Metrics) -> Table | None:
    """What captions say of objects that are there: a row a kind of statement."""
    rows = tuple(
        Row(label, tuple(cell(name, metrics.get(f"caption_facts/{name}")) for name in names))
        for family, label in _FAMILIES.items()
        if f"caption_facts/{family}_error" in metrics
        for names in [(f"{family}_error", f"{family}_statements")]
    )
    caption = (
        "Only what the picture decides was checked; objects that are not there are counted by CHAIR. Below each number "
        "its 95 % interval."
    )
    return Table("Captions (statements)", ("wrong", "checked a caption"), rows, caption) if rows else None


def risk_figures(metrics: Metrics) -> list[Figure]:
    """How many answers are wrong if only the surest are given."""
    found = {name: re.fullmatch(r"risk/at_(\d+)/wrong_share", name) for name in metrics}
    shown = sorted((int(match[1]), metrics[name]) for name, match in found.items() if match)
    if not shown:
        return []
    rows = [
        Dot("all answers" if percent == 100 else f"surest {percent} %", metric, "baseline" if percent == 100 else "own")
        for percent, metric in shown
    ]
    title = "Wrong answers, if only the surest are given"
    caption = "A model that knows when it does not know makes fewer mistakes the less it has to answer."
    return [Figure(title, dot_plot(title, rows, share=True), caption)]
