"""What the page on softmax and sigmoid shows."""

from __future__ import annotations

from collections.abc import Sequence

from lucida.lab.dual_encoders import RETRIEVAL, SECOND_ARTIST, ZERO_SHOT
from lucida.lab.experiment import Section
from lucida.lab.experiments.softmax_or_sigmoid import (
    ADVANTAGE,
    ARMS,
    LEVELS,
    RATE,
    SCALE,
    SIGMOID,
    SIGMOID_FROM_ZERO,
    SOFTMAX,
    SOFTMAX_AT_TEN,
    STATISTICS,
)
from lucida.lab.observations import Observations
from lucida.report.lab_page import EffectRow, EffectsFigure, LinesFigure, TableFigure

_SMALL, _LARGE = LEVELS[0], LEVELS[-1]


def present(found: Observations) -> Sequence[Section]:
    """What is named right by batch size; the difference; the start; what the features look like."""
    return (_batches(found), _difference(), _start(), _features(found))


def _by_batch(found: Observations, title: str, measure: str, label: str, *, share: bool = True) -> LinesFigure:
    return LinesFigure(
        title,
        tuple(found.series(f"{measure} by batch/{arm}", arm) for arm in ARMS),
        x_label="pairs in a batch",
        y_label=label,
        log_x=True,
        share=share,
    )


def _batches(found: Observations) -> Section:
    return Section(
        "By batch size",
        BATCHES_TEXT,
        (
            _by_batch(found, "Unseen concepts named right", ZERO_SHOT, "named right"),
            _by_batch(found, "The second artist's pictures named right", SECOND_ARTIST, "named right"),
            _by_batch(found, "Unseen names whose nearest picture is theirs", RETRIEVAL, "found"),
        ),
    )


def _difference() -> Section:
    rows = tuple(EffectRow(where, f"{ADVANTAGE}/{where}") for where in LEVELS)
    figure = EffectsFigure(
        "Sigmoid less softmax",
        rows,
        x_label="unseen concepts named right, difference",
        smallest_effect=0.01,
        share=True,
    )
    return Section("The difference", DIFFERENCE_TEXT, (figure,))


def _start() -> Section:
    table = TableFigure(
        "Rates and scales",
        ("best learning rate", "scale at the end"),
        tuple(
            (f"{arm}, {where}", (f"{RATE}/{arm}/{where}", f"{SCALE}/{arm}/{where}")) for arm in ARMS for where in LEVELS
        ),
        caption="Rates were chosen on tuning seeds.",
    )
    return Section("The start", START_TEXT, (table,))


def _features(found: Observations) -> Section:
    table = TableFigure(
        "How the features lie",
        STATISTICS,
        tuple(
            (f"{arm}, {where}", tuple(f"{name}/{arm}/{where}" for name in STATISTICS))
            for arm in ARMS
            for where in (_SMALL, _LARGE)
        ),
        caption="Of pictures and names of unseen concepts.",
    )
    gap = _by_batch(
        found, "The modality gap", "modality gap", "distance of the mean picture from the mean name", share=False
    )
    return Section("What they do to the features", FEATURES_TEXT, (gap, table))


BATCHES_TEXT = (
    "All are shown equally many pairs: a small batch takes more steps, and has fewer negatives in each. With batches "
    f"of `8` the softmax names {{{ZERO_SHOT}/{SOFTMAX}/{_SMALL}:%}} right and the sigmoid "
    f"{{{ZERO_SHOT}/{SIGMOID}/{_SMALL}:%}}; with batches of `512` {{{ZERO_SHOT}/{SOFTMAX}/{_LARGE}:%}} and "
    f"{{{ZERO_SHOT}/{SIGMOID}/{_LARGE}:%}}."
)
DIFFERENCE_TEXT = (
    "The softmax asks which of the texts in the batch belongs to a picture, so what it asks depends on the batch; the "
    "sigmoid asks of each pair whether it belongs together, and the batch decides only how many noes there are for "
    "each yes. SigLIP reports the sigmoid ahead at batches below `16 k`, and the two alike beyond. A batch of theirs "
    "is another thing than one here, where `512` is a third of all training pictures."
)
START_TEXT = (
    "The sigmoid starts from scale `10` and bias `-10`, the softmax from CLIP's scale, `1 / 0.07`. A bias moves all "
    "scores alike, which a softmax does not see; so the softmax with the sigmoid's start is the softmax from scale "
    f"`10`. It names {{{ZERO_SHOT}/{SOFTMAX_AT_TEN}/{_SMALL}:%}} right at batch `8` and "
    f"{{{ZERO_SHOT}/{SOFTMAX_AT_TEN}/{_LARGE}:%}} at batch `512`. The sigmoid whose bias starts from zero, where "
    f"every pair is a coin's toss at first, names {{{ZERO_SHOT}/{SIGMOID_FROM_ZERO}/{_SMALL}:%}} and "
    f"{{{ZERO_SHOT}/{SIGMOID_FROM_ZERO}/{_LARGE}:%}}: Adam moves a bias by about the learning rate a step, so the few "
    "steps of large batches do not bring it down."
)
FEATURES_TEXT = (
    "Alignment is the mean squared distance of a picture and its name; uniformity the logarithm of the mean of "
    "`exp(-2 d²)` over pairs of pictures, the lower the more evenly; the modality gap the distance of the means."
)
