"""What the page on LoRA and prompts shows."""

from __future__ import annotations

from collections.abc import Sequence

from lucida.lab.experiment import Section
from lucida.lab.experiments.lora_or_prompts import (
    ACCURACY,
    AGREEMENT,
    AWAY,
    CONTEXT,
    FEW,
    LABELS,
    LIKENESS,
    LORA,
    METHODS,
    MOST,
    OTHER,
    PAIRS,
    PLAINLY,
    SEARCHED,
    SOFT,
    labelled,
)
from lucida.lab.observations import Observations
from lucida.report.lab_page import LinesFigure, Series, TableFigure

COSTS = (
    "numbers trained", "tokens an answer", "million operations an answer", "milliseconds an answer",
    "million operations of adapting",
)  # fmt: skip


def present(found: Observations) -> Sequence[Section]:
    """Accuracy by labels, what is forgotten, what each costs, and what two methods have in common."""
    return (_labels(found), _forgetting(), _costs(), _alike())


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


def _forgetting() -> Section:
    table = TableFigure(
        f"After {labelled(MOST)} of the second artist",
        ("second artist, fine", "first artist, fine", "first artist, coarse"),
        tuple((name, tuple(f"{m}/{name}/{labelled(MOST)}" for m in (ACCURACY, AWAY, OTHER))) for name in METHODS),
        caption="The coarse question is asked in the wording that asks for it most clearly, with prompt or adapters "
        "left on.",
        shares=(True, True, True),
    )
    return Section("Out of its domain, and what is forgotten", FORGETTING_TEXT, (table,))


def _costs() -> Section:
    table = TableFigure(
        "What each costs",
        ("numbers trained", "tokens", "Mops an answer", "ms an answer", "Mops to adapt"),
        tuple((name, tuple(f"{cost}/{name}" for cost in COSTS)) for name in METHODS),
        caption="Mops are millions of operations, of the blocks' matrix products, two for each weight and token; of "
        "adapting, a search's model calls, or three passes for each token that was trained on. Milliseconds: of one "
        "answer, on one thread, adapters merged.",
    )
    return Section("What it costs", COSTS_TEXT, (table,))


def _alike() -> Section:
    table = TableFigure(
        f"Two methods with {labelled(MOST)}",
        ("agreement of answers beyond chance", "likeness of features"),
        tuple(
            (f"{one} and {other}", tuple(f"{m}/{one} and {other}" for m in (AGREEMENT, LIKENESS)))
            for one, other in PAIRS
        ),
        caption="Agreement is Cohen's kappa of the answers about held-out pictures; likeness the linear centred kernel "
        "alignment of the states that answers are read from. The same method from another start, with another order of "
        "labels, is what two methods can be held against.",
    )
    return Section("What is the same", ALIKE_TEXT, (table,))


LABELS_TEXT = (
    "The model can name pictures finely and coarsely, and the most frequent noun asks for either. Asked with it, "
    f"plainly, it is right in {{{ACCURACY}/{PLAINLY}/{labelled(0)}:%}}: often because it answers the other question. A "
    "search finds a noun that says what is meant: with four labels "
    f"{{{ACCURACY}/{SEARCHED}/{labelled(FEW)}:%}}. The same labels shown as examples say it too: "
    f"{{{ACCURACY}/{CONTEXT}/{labelled(FEW)}:%}}. Neither can teach what the second artist's pictures look like; that "
    "is what remains for training."
)
FORGETTING_TEXT = (
    "A wording changes nothing in the model, and no other question either. A soft prompt stands before every question, "
    "adapters stand in every layer: with them left on, the coarse question about the first artist's pictures is "
    f"answered right in {{{OTHER}/{SOFT}/{labelled(MOST)}:%}} and {{{OTHER}/{LORA}/{labelled(MOST)}:%}}, where the "
    f"model before had {{{OTHER}/{PLAINLY}/{labelled(MOST)}:%}}. All of them can be taken away, and then the model is "
    "bit for bit what it was; merged adapters cannot."
)
COSTS_TEXT = (
    "Words and adapters cost nothing at inference once found (adapters can be merged); soft prompts and examples are "
    "tokens that are read again with every question, unless their keys and values are kept. Training passes over every "
    "label in every step, a search only asks."
)
ALIKE_TEXT = (
    "Where two methods are about equally good, do they give the same answers? Beyond chance, LoRA and a soft prompt "
    f"agree by {{{AGREEMENT}/{LORA} and {SOFT}}}; LoRA agrees with itself from another start by "
    f"{{{AGREEMENT}/{LORA} and {LORA}, again}}, a soft prompt with itself by {{{AGREEMENT}/{SOFT} and {SOFT}, again}}. "
    f"With examples in the context LoRA agrees by {{{AGREEMENT}/{LORA} and {CONTEXT}}}."
)
