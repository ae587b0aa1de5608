"""What the page on LoRA's start shows."""

from __future__ import annotations

from collections.abc import Sequence

from lucida.lab.experiment import Section
from lucida.lab.experiments.lora_initialisation import (
    A_ZERO,
    ACCURACY,
    ARMS,
    AT_ITS_RATE,
    COPIED,
    DEFAULT,
    FEATURES,
    GAINED,
    GRAD_A,
    GRAD_B,
    KNOWN,
    LARGEST,
    MOVED_A,
    MOVED_B,
    NEITHER,
)
from lucida.lab.observations import Observations
from lucida.report.lab_page import LinesFigure, TableFigure


def present(found: Observations) -> Sequence[Section]:
    """What the starts come to, which rates they bear, and what moves at first."""
    levels = list(dict.fromkeys(level for measure, _, level in found.numbers if measure == ACCURACY))
    return (_rates(found, levels), _ends(levels), _gradients(found, levels), _movement(found, levels[-1]))


def _rates(found: Observations, levels: Sequence[str]) -> Section:
    figures = tuple(
        LinesFigure(
            f"Accuracy by learning rate, {level}",
            tuple(found.series(f"accuracy/{arm}/{level}", arm) for arm in ARMS),
            x_label="learning rate",
            y_label="lying digits named right",
            log_x=True,
            share=True,
        )
        for level in levels
    )
    table = TableFigure(
        "Learning rates",
        ("best", "largest borne"),
        tuple(
            (f"{arm}, {level}", (f"{AT_ITS_RATE}/{arm}/{level}", f"{LARGEST}/{arm}/{level}"))
            for level in levels
            for arm in ARMS
        ),
        caption="The best is chosen on tuning seeds; the largest borne is a geometric mean over seeds.",
    )
    return Section("What a rate makes of each start", RATES_TEXT, (*figures, table))


def _ends(levels: Sequence[str]) -> Section:
    rows = []
    for level in levels:
        rows.append((f"before, {level}", ("", "", f"{KNOWN}/network/{level}")))
        for arm in (*ARMS, NEITHER):
            copied = f"{COPIED}/{arm}/{level}" if arm != NEITHER else ""
            rows.append((f"{arm}, {level}", (f"{ACCURACY}/{arm}/{level}", copied, "")))
    table = TableFigure(
        "Right answers about lying digits",
        ("at its best rate", "at the best rate of B = 0", "upright digits"),
        tuple(rows),
        shares=(True, True, True),
    )
    return Section("Where they end", ENDS_TEXT, (table,))


def _gradients(found: Observations, levels: Sequence[str]) -> Section:
    wide = levels[-1]
    figures = tuple(
        LinesFigure(
            f"Gradient of {factor}, {wide}",
            tuple(found.series(f"grad_{factor.lower()}/{arm}/{wide}", arm) for arm in ARMS),
            x_label="steps",
            y_label=f"norm of the gradient of {factor}",
        )
        for factor in ("A", "B")
    )
    table = TableFigure(
        "The first step",
        ("gradient of A", "gradient of B", "features change by"),
        tuple(
            (f"{arm}, {level}", tuple(f"{name}/{arm}/{level}" for name in (GRAD_A, GRAD_B, FEATURES)))
            for level in levels
            for arm in (*ARMS, NEITHER)
        ),
        caption="Norms over all adapters; features are what the head reads, changed by one step at the best rate of "
        "B = 0, over their size before.",
        shares=(False, False, True),
    )
    return Section("The mechanism: who moves first", GRADIENT_TEXT, (*figures, table))


def _movement(found: Observations, wide: str) -> Section:
    figures = tuple(
        LinesFigure(
            f"{title}, {wide}",
            tuple(found.series(f"{name}/{arm}/{wide}", arm) for arm in ARMS),
            x_label="steps, each start at its best rate",
            y_label=y_label,
        )
        for title, name, y_label in (
            ("How far A moves", "moved_a", "change of A over the size of a random A"),
            ("How far B moves", "moved_b", "change of B over the size of a random B"),
            ("How far the features move", "features", "change of the features over their size"),
        )
    )
    return Section("What has moved at the end", MOVEMENT_TEXT, figures)


RATES_TEXT = (
    "With Adam a step moves every number by about the learning rate, whatever the size of its gradient. Let the layer "
    "have `n` inputs. From `A = 0`, one step makes the entries of A as large as the rate `η`, with signs that add up: "
    "`A x` becomes about `η n`, and a B of ordinary size passes it on, so that the output is moved by `η n` at once. "
    "From `B = 0`, one step makes B as large as `η` in front of an `A x` of ordinary size, and the output is moved by "
    "`η` alone; only as A moves, too, does it grow to `η² n`. A start that moves the output by `η n` bears rates like "
    "`1 / n`, one that moves it by `η² n` rates like `1 / √n` (Hayou et al., where both are derived for a width "
    "that goes to infinity): `B = 0` should bear more, and the more so the wider the network. "
    f"Measured, at the largest width `B = 0` bears rates up to {{{LARGEST}/{DEFAULT}/width 512}}, `A = 0` up to "
    f"{{{LARGEST}/{A_ZERO}/width 512}}; at the smallest {{{LARGEST}/{DEFAULT}/width 32}} and "
    f"{{{LARGEST}/{A_ZERO}/width 32}}."
)
ENDS_TEXT = (
    f"Before, the network names {{{KNOWN}/network/width 128:%}} of upright digits right at the middle width, and lying "
    f"ones hardly better than by chance; adapters of rank {{settings/r}} lead it to "
    f"{{{ACCURACY}/{DEFAULT}/width 128:%}} of those from `B = 0` and to {{{ACCURACY}/{A_ZERO}/width 128:%}} from "
    f"`A = 0`, each at its own best rate. With both zero, accuracy changes by {{{GAINED}/{NEITHER}/width 128:points}}."
)
GRADIENT_TEXT = (
    "The gradients are `∂L/∂B = s g (A x)ᵀ` and `∂L/∂A = s Bᵀ g xᵀ`, with `g` what comes back to the layer's output. "
    "Whichever factor is zero is the only one that moves in the first step: its gradient is a product with the other, "
    "and the other's a product with zero. From the second step on both move. With both zero, both gradients are "
    "products with zero, for ever: this is not a slow start, but none. "
    f"At the largest width the first step from `A = 0` changes the features by {{{FEATURES}/{A_ZERO}/width 512:%}}, "
    f"from `B = 0` by {{{FEATURES}/{DEFAULT}/width 512:%}}, at one and the same rate."
)
MOVEMENT_TEXT = (
    "How far the factors have moved is measured in sizes of a random one. At the largest width and each start's best "
    f"rate, A has moved by {{{MOVED_A}/{DEFAULT}/width 512}} of that from `B = 0` and by "
    f"{{{MOVED_A}/{A_ZERO}/width 512}} from `A = 0`; B by {{{MOVED_B}/{DEFAULT}/width 512}} and "
    f"{{{MOVED_B}/{A_ZERO}/width 512}}. A factor that was random and has moved by much less than one still points "
    "mostly where it was drawn to point: from `B = 0` that is what is read from the input, from `A = 0` what is "
    "written to the output."
)
