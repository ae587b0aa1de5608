"""What the page on LoRA's parameters shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lucida.lab.experiment import Section
from lucida.lab.experiments.lora_parameters import (
    ACCURACY,
    COPIED,
    DROPOUTS,
    FIRST,
    LEVELS,
    MANY,
    PLAIN,
    RANKS,
    RATE,
    SCALES,
    STABLE,
    TIMES_SCALE,
    UPRIGHT,
    USED,
    rank,
)
from lucida.lab.observations import Observations
from lucida.report.lab_page import EffectRow, EffectsFigure, LinesFigure, TableFigure

_RANKS = tuple(rank(r) for r in RANKS)


def present(found: Observations) -> Sequence[Section]:
    """Accuracies by setting, what alpha does to the best rate, what rank is used for, and what copying a rate does."""
    return (_rank(found), _alpha(), _dropout(), _copied(found))


def _accuracies(title: str, arms: Iterable[str]) -> tuple[EffectsFigure, ...]:
    names = tuple(arms)
    return tuple(
        EffectsFigure(
            f"{title}, {level}",
            tuple(EffectRow(arm, f"{ACCURACY}/{arm}/{level}") for arm in names),
            x_label="lying digits named right, each setting at its best rate",
            share=True,
        )
        for level in LEVELS
    )


def _rank(found: Observations) -> Section:
    spectrum = LinesFigure(
        f"Singular values of what was learned, {MANY}",
        tuple(found.series(f"values/{arm}/{MANY}", arm) for arm in _RANKS[1:]),
        x_label="singular value of the middle layer's change, from the largest",
        y_label="over the largest",
        log_x=True,
    )
    table = TableFigure(
        "What rank is used for",
        ("named right", "directions that matter", "upright digits still right"),
        tuple(
            (f"{arm}, {level}", tuple(f"{name}/{arm}/{level}" for name in (ACCURACY, USED, UPRIGHT)))
            for level in LEVELS
            for arm in _RANKS
        ),
        caption="Directions that matter hold 99 % of the squared singular values of the middle layer's change.",
        shares=(True, False, True),
    )
    return Section("Rank", RANK_TEXT, (*_accuracies("Right answers by rank", _RANKS), spectrum, table))


def _alpha() -> Section:
    table = TableFigure(
        "What alpha does to the best rate",
        ("best learning rate", "times the scale alpha / r"),
        tuple(
            (f"{arm}, {level}", (f"{RATE}/{arm}/{level}", f"{TIMES_SCALE}/{arm}/{level}"))
            for level in LEVELS
            for arm in SCALES
        ),
        caption="Chosen on tuning seeds, among powers of two.",
    )
    return Section("Alpha", ALPHA_TEXT, (*_accuracies("Right answers by alpha", SCALES), table))


def _dropout() -> Section:
    return Section("Dropout", DROPOUT_TEXT, _accuracies("Right answers by dropout", DROPOUTS))


def _copied(found: Observations) -> Section:
    first = LinesFigure(
        "How far one step moves the features",
        tuple(found.series(f"{FIRST}/{way}", way) for way in (PLAIN, STABLE)),
        x_label="rank",
        y_label="change of what the head reads, over its size",
        log_x=True,
        log_y=False,
    )
    table = TableFigure(
        "Right answers with the rate of rank 4",
        (PLAIN, STABLE),
        tuple((arm, (f"{COPIED}/{PLAIN}/{arm}", f"{COPIED}/{STABLE}/{arm}")) for arm in _RANKS),
        shares=(True, True),
    )
    return Section("Copying a rate to another rank", COPIED_TEXT, (first, table))


RANK_TEXT = (
    "A rank bounds what an adapter can say: `B A` has at most r directions. To lay digits on their side is to permute "
    "the pixels, which changes the first layer in all its directions; how many of them the task needs, the accuracies "
    f"tell. With many examples rank `1` gets {{{ACCURACY}/{rank(1)}/{MANY}:%}} right, rank `4` "
    f"{{{ACCURACY}/{rank(4)}/{MANY}:%}}, rank `16` {{{ACCURACY}/{rank(16)}/{MANY}:%}} and rank `64` "
    f"{{{ACCURACY}/{rank(64)}/{MANY}:%}}. The change that rank `64` learns has "
    f"{{{USED}/{rank(64)}/{MANY}}} directions that matter."
)
ALPHA_TEXT = (
    "An adapter counts `alpha / r`. Multiply alpha by a number and divide the learning rate of B by it: from `B = 0`, "
    "Adam then writes the same changes into the output, while A, which the rate moves too, moves less. So alpha is a "
    "learning rate for B beside that for A. With tuning, the best rates should fall as alpha rises, and the ends be "
    "alike as far as the movement of A does not matter."
)
DROPOUT_TEXT = (
    "Dropout zeroes a part of what A reads, in training alone. It is copied from recipe to recipe as a guard against "
    "overfitting; what it guards from, an adapter of few directions has less of."
)
COPIED_TEXT = (
    "From `B = 0`, one step of Adam moves every entry of B by about the rate, and the output by the scale times the "
    "sum over r directions: with `alpha / r` and one alpha for all ranks that is alpha times a mean, which shrinks "
    "like `1 / √r` where the directions do not agree; with `alpha / √r` it keeps its size (Kalajdzievski). "
    "Copied from a small rank to a large one, a rate would train the large one too slowly with the first and at a "
    f"like pace with the second. At rank `64` named right are {{{COPIED}/{PLAIN}/{rank(64)}:%}} with `alpha / r` and "
    f"{{{COPIED}/{STABLE}/{rank(64)}:%}} with `alpha / √r`."
)
