"""What the page on LoRA and prompts shows."""

from __future__ import annotations

from collections.abc import Sequence

from lucida.lab.experiment import Section
from lucida.lab.experiments.lora_or_prompts import EQUALS
from lucida.lab.experiments.lora_or_prompts_settings import (
    ACCURACY,
    AGAIN,
    AGREEMENT,
    ASKED_FOR,
    AWAY,
    CONTEXT,
    COSTS,
    FEW,
    LABELS,
    LIKENESS,
    LORA,
    METHODS,
    MOST,
    OTHER,
    PLAINLY,
    RECOGNISED,
    SEARCHED,
    SLOWER,
    SOFT,
    TRAINED,
    as_right_as,
    labelled,
)
from lucida.lab.observations import Observations
from lucida.report.lab_page import LinesFigure, Series, TableFigure


def present(found: Observations) -> Sequence[Section]:
    """Accuracy by labels, what was missing, what is forgotten, what each costs, what is the same at equal accuracy."""
    return (_labels(found), _missing(), _forgetting(found), _costs(), _alike())


def _labels(found: Observations) -> Section:
    def counted(series: Series) -> Series:
        return Series(series.label, tuple(x + 1 for x in series.x), series.y, series.low, series.high)

    figures = tuple(
        LinesFigure(
            title,
            tuple(counted(found.series(f"by labels/{name}", name)) for name in names),
            x_label="labels, plus one",
            y_label="held-out pictures of the second artist named right",
            log_x=True,
            share=True,
        )
        for title, names in (
            ("Words and examples", METHODS[:4]),
            ("Words, a soft prompt and LoRA", (SEARCHED, SOFT, LORA)),
        )
    )
    table = TableFigure(
        "Right answers",
        tuple(labelled(n) for n in LABELS),
        tuple((name, tuple(f"{ACCURACY}/{name}/{labelled(n)}" for n in LABELS)) for name in METHODS),
        caption="Without labels every method is the plain prompt.",
        shares=(True,) * len(LABELS),
    )
    return Section("What labels are worth", LABELS_TEXT, (*figures, table))


def _missing() -> Section:
    table = TableFigure(
        f"Two things that can be missing, after {labelled(MOST)}",
        ("answers the fine question", "right if only fine names count", "right"),
        tuple(
            (name, (f"{ASKED_FOR}/{name}", f"{RECOGNISED}/{name}", f"{ACCURACY}/{name}/{labelled(MOST)}"))
            for name in METHODS
        ),
        caption="Held-out pictures of the second artist. First column: the most likely word of the whole vocabulary is "
        "one of the eight fine names. Second: the most likely of those eight is the right one.",
        shares=(True, True, True),
    )
    return Section("Asked wrongly, or not known", MISSING_TEXT, (table,))


def _forgetting(found: Observations) -> Section:
    names = (*METHODS, SLOWER)
    table = TableFigure(
        f"After {labelled(MOST)} of the second artist",
        ("second artist, fine", "first artist, fine", "first artist, coarse"),
        tuple((name, tuple(f"{m}/{name}/{labelled(MOST)}" for m in (ACCURACY, AWAY, OTHER))) for name in names),
        caption="The coarse question is asked in the wording that asks for it most clearly, with prompt, examples or "
        "adapters left on.",
        shares=(True, True, True),
    )

    def bare(series: Series) -> Series:
        return Series(series.label, series.x, series.y)  # a band around a line that turns back cannot be read

    figure = LinesFigure(
        "What is left, by what was learned, rate by rate",
        tuple(bare(found.series(f"left by learned/{name}", name)) for name in TRAINED),
        x_label="second artist, fine: share right, mean over seeds",
        y_label="first artist, coarse: share right",
        share=True,
        caption="Each point is one learning rate, from the smallest to the largest of the grid along the line; "
        "intervals are in the results file.",
    )
    return Section("Out of its domain, and what is forgotten", FORGETTING_TEXT, (table, figure))


def _costs() -> Section:
    table = TableFigure(
        "What each costs",
        ("numbers trained", "tokens", "Mops an answer", "ms an answer", "Mops to adapt"),
        tuple((name, tuple(f"{cost}/{name}" for cost in COSTS)) for name in METHODS),
        caption="Mops are millions of operations, of the blocks' matrix products, two for each weight and token; of "
        "adapting, a search's model calls, or two passes for each token that was trained on (there, and back to the "
        "inputs; frozen weights need no third). Milliseconds: of one answer, on one thread, adapters merged.",
    )
    return Section("What it costs", COSTS_TEXT, (table,))


def _alike() -> Section:
    def row(other: str, partner: str) -> tuple[str, tuple[str, ...]]:
        level = as_right_as(other)
        pair = f"{LORA} and {partner}/{level}"
        right = (f"right when stopped/{name}/{level}" for name in (LORA, partner))
        return f"{LORA} and {partner}, {level}", (*right, f"{AGREEMENT}/{pair}", f"{LIKENESS}/{pair}")

    table = TableFigure(
        "At equal accuracy",
        ("LoRA right", "the other right", "agreement beyond chance", "likeness of features"),
        tuple(row(other, partner) for other in EQUALS for partner in (other, AGAIN)),
        caption=f"LoRA with {labelled(MOST)} is stopped at the step where it names as many validation pictures right "
        "as the other method does with the same seed. Agreement is Cohen's kappa of the answers about held-out "
        "pictures; likeness the linear centred kernel alignment of the states that answers are read from. LoRA from "
        "another start, with another order of labels, stopped in the same way, is what another method can be held "
        "against.",
        shares=(True, True, False, False),
    )
    return Section("What is the same, at equal accuracy", ALIKE_TEXT, (table,))


_ALL, _SOFT = labelled(MOST), as_right_as(SOFT)
LABELS_TEXT = (
    f"Asked plainly the model is right in {{{ACCURACY}/{PLAINLY}/{labelled(0)}:%}}. A search finds a noun that says "
    f"what is meant: with four labels {{{ACCURACY}/{SEARCHED}/{labelled(FEW)}:%}}. The same labels shown as examples "
    f"say it too: {{{ACCURACY}/{CONTEXT}/{labelled(FEW)}:%}}. How many of `256` labels are best shown "
    f"was asked on the tuning seeds: {{examples shown/{_ALL}:0}}."
)
MISSING_TEXT = (
    "The model can name pictures finely and coarsely, and the most frequent noun asks for either. Asked with it, "
    f"plainly, it gives a fine name in {{{ASKED_FOR}/{PLAINLY}:%}} of its answers; better words raise that to "
    f"{{{ASKED_FOR}/{SEARCHED}:%}}, examples to {{{ASKED_FOR}/{CONTEXT}:%}}. If only fine names count, the plain "
    f"prompt is right in {{{RECOGNISED}/{PLAINLY}:%}} and the searched one in {{{RECOGNISED}/{SEARCHED}:%}}: words say "
    "what is meant, they do not teach what the second artist's pictures look like. A soft prompt has "
    f"{{{RECOGNISED}/{SOFT}:%}}, LoRA {{{RECOGNISED}/{LORA}:%}}."
)
FORGETTING_TEXT = (
    "A wording changes nothing in the model, and no other question either. A soft prompt stands before every question, "
    "adapters stand in every layer: with them left on, the coarse question about the first artist's pictures is "
    f"answered right in {{{OTHER}/{SOFT}/{_ALL}:%}} and {{{OTHER}/{LORA}/{_ALL}:%}}, where the model before had "
    f"{{{OTHER}/{PLAINLY}/{_ALL}:%}}. That compares the rates which learn most, {{rate/{SOFT}}} for the soft prompt "
    f"and {{rate/{LORA}}} for LoRA, and how much is lost hangs on the rate. The smallest of LoRA's rates that learns "
    "as much as the soft prompt on the tuning seeds, {rate of the slower LoRA}, names "
    f"{{{ACCURACY}/{SLOWER}/{_ALL}:%}} of the second artist's pictures right (the soft prompt "
    f"{{{ACCURACY}/{SOFT}/{_ALL}:%}}) and keeps {{{OTHER}/{SLOWER}/{_ALL}:%}} of the coarse question. All of them can "
    "be taken away, and then the model is bit for bit what it was; merged adapters cannot."
)
COSTS_TEXT = (
    "Words and adapters cost nothing at inference once found (adapters can be merged); soft prompts and examples are "
    "tokens that are read again with every question, unless their keys and values are kept. Training passes over every "
    "label in every step, a search only asks."
)
ALIKE_TEXT = (
    "Do methods that are equally good give the same answers? Stopped where it is as right as the soft prompt "
    f"(after {{steps when stopped/{LORA}/{_SOFT}:0}} steps on average), LoRA agrees with it beyond chance by "
    f"{{{AGREEMENT}/{LORA} and {SOFT}/{_SOFT}}}, and with itself from another start by "
    f"{{{AGREEMENT}/{LORA} and {AGAIN}/{_SOFT}}}; their features are alike by "
    f"{{{LIKENESS}/{LORA} and {SOFT}/{_SOFT}}} and {{{LIKENESS}/{LORA} and {AGAIN}/{_SOFT}}}. As right as the searched "
    f"prompt (after {{steps when stopped/{LORA}/{as_right_as(SEARCHED)}:0}} steps) it agrees with that by "
    f"{{{AGREEMENT}/{LORA} and {SEARCHED}/{as_right_as(SEARCHED)}}}, with itself by "
    f"{{{AGREEMENT}/{LORA} and {AGAIN}/{as_right_as(SEARCHED)}}}."
)
