"""From the numbers of instruction tuning to what a report shows: kinds trained on, and kinds held out."""

from __future__ import annotations

from lucida.core.results import Metric
from lucida.report.figures import Dot, Tone, dot_plot
from lucida.report.sections import Figure, Metrics, Row, Table, cell
from lucida.report.wording import capitalised, humanised, number

_PARTS = {
    "trained": "Kinds of instruction trained on",
    "held_out": "Kinds that were held out",
    "conversed": "Kinds that conversations had taught before",
}
_COLUMNS = {
    "before_accuracy": "right before",
    "accuracy": "right after",
    "new_wording_accuracy": "in new words",
    "shuffled_accuracy": "another picture",
    "majority_accuracy": "always the same",
    "chance_accuracy": "chance",
}
_KIND = "instructions/kind/"


def instruction_figures(metrics: Metrics) -> list[Figure]:
    """One dot plot a part, all on one scale."""
    figures = []
    for part, title in _PARTS.items():
        found = {name: metrics.get(f"instructions/{part}/{name}") for name in (*_COLUMNS, "blind/shuffled/accuracy")}
        rows: list[tuple[str, Metric | None, Tone]] = [
            ("before", found["before_accuracy"], "start"),
            ("after", found["accuracy"], "own"),
            ("after, another picture", found["blind/shuffled/accuracy"], "baseline"),
            ("always the same answer", found["majority_accuracy"], "baseline"),
        ]
        dots = [Dot(name, metric, tone) for name, metric, tone in rows if metric is not None]
        if found["accuracy"] is not None:
            svg = dot_plot(f"Right answers, {title.lower()}", dots, share=True, top=1.0)
            figures.append(Figure(title, svg, _gained(metrics.get(f"instructions/{part}/gain"))))
    return figures


def _gained(gain: Metric | None) -> str:
    if gain is None or gain.ci95 is None:
        return ""
    low, high = (100 * bound for bound in gain.ci95)
    return f"{100 * gain.value:+.1f} points ({low:+.1f} to {high:+.1f}), the same instructions before and after."


def instruction_table(metrics: Metrics) -> Table | None:
    """Kinds × measures."""
    kinds = dict.fromkeys(name.split("/")[2] for name in metrics if name.startswith(_KIND))
    rows = tuple(
        Row(
            capitalised(humanised(kind)),
            tuple(cell("accuracy", metrics.get(f"{_KIND}{kind}/{column}")) for column in _COLUMNS),
        )
        for kind in kinds
    )
    caption = "Below each number its 95 % interval. Always the same: the best constant answer, found with hindsight."
    return Table("Kind by kind", tuple(_COLUMNS.values()), rows, caption) if rows else None


def instruction_lead(metrics: Metrics) -> str:
    """What was done, in one sentence, and what carried over."""
    held_out, constant = (metrics.get(f"instructions/held_out/{name}") for name in ("accuracy", "majority_accuracy"))
    if held_out is None or constant is None:
        return ""
    return (
        "A copy of the model was tuned on some kinds of instruction and asked about others, which it had never been "
        f"asked. Of those {number(held_out.value, share=True)} are right; the best answers that are always the same "
        f"would be right in {number(constant.value, share=True)}."
    )
