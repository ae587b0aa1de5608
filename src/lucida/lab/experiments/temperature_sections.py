"""What the page on the temperature shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lucida.lab.dual_encoders import RETRIEVAL, SECOND_ARTIST, ZERO_SHOT
from lucida.lab.experiment import Section
from lucida.lab.experiments.temperature import (
    BEST,
    BEST_SCALE,
    CLEAN,
    FREE,
    FROM_COLD,
    FROM_HOT,
    HELD,
    LEARNED_SCALE,
    LEVELS,
    QUICK_FROM_COLD,
    QUICK_FROM_HOT,
    SCALE,
    STATISTICS,
    USUAL,
    WRONG,
    held,
)
from lucida.lab.observations import Observations
from lucida.report.lab_page import EffectRow, EffectsFigure, LinesFigure, TableFigure

LEARNED = (USUAL, FROM_HOT, FROM_COLD, QUICK_FROM_HOT, QUICK_FROM_COLD, FREE)
ALL = (*(held(scale) for scale in HELD), BEST, *LEARNED)


def present(found: Observations) -> Sequence[Section]:
    """Scales that are held; scales that are learned; every arm; what the scale does to the features."""
    return (_held(found), _learned(found), _arms(), _features(found))


def _by_scale(found: Observations, title: str, measure: str, label: str, *, share: bool = True) -> LinesFigure:
    return LinesFigure(
        title,
        tuple(found.series(f"{measure} by scale/{level}", level) for level in LEVELS),
        x_label="scale that is held (one over the temperature)",
        y_label=label,
        log_x=True,
        share=share,
    )


def _held(found: Observations) -> Section:
    table = TableFigure(
        "The best scale",
        ("best scale held, by seed", "scale that was learned"),
        tuple((level, (f"{BEST_SCALE}/{level}", f"{LEARNED_SCALE}/{level}")) for level in LEVELS),
        caption="Geometric means over seeds.",
    )
    return Section(
        "Scales that are held",
        HELD_TEXT,
        (
            _by_scale(found, "Unseen concepts named right, by scale", ZERO_SHOT, "named right"),
            _by_scale(found, "The second artist's pictures named right, by scale", SECOND_ARTIST, "named right"),
            table,
        ),
    )


def _learned(found: Observations) -> Section:
    figures = tuple(
        LinesFigure(
            f"The scale along the training, {level}",
            tuple(found.log_series(f"scales/{name}/{level}", name) for name in LEARNED),
            x_label="share of the training",
            y_label="scale",
            log_y=True,
        )
        for level in LEVELS
    )
    return Section("Scales that are learned", LEARNED_TEXT, figures)


def _arms() -> Section:
    figures = tuple(_worth(f"Unseen concepts named right, {level}", ALL, level) for level in LEVELS)
    table = TableFigure(
        "Every arm",
        ("second artist", "retrieval", "scale at the end"),
        tuple(
            (f"{arm}, {level}", tuple(f"{name}/{arm}/{level}" for name in (SECOND_ARTIST, RETRIEVAL, SCALE)))
            for level in LEVELS
            for arm in ALL
        ),
        shares=(True, True, False),
    )
    return Section("Every arm", ARMS_TEXT, (*figures, table))


def _worth(title: str, arms: Iterable[str], level: str) -> EffectsFigure:
    rows = tuple(EffectRow(arm, f"{ZERO_SHOT}/{arm}/{level}") for arm in arms)
    return EffectsFigure(title, rows, x_label="named right, each arm at its best rate", share=True)


def _features(found: Observations) -> Section:
    table = TableFigure(
        "How the features lie",
        STATISTICS,
        tuple((f"{arm}, {CLEAN}", tuple(f"{name}/{arm}/{CLEAN}" for name in STATISTICS)) for arm in ALL),
        caption="Of pictures and names of unseen concepts.",
    )
    figures = (
        _by_scale(found, "Alignment, by scale", "alignment", "squared distance of a picture and its name", share=False),
        _by_scale(found, "Uniformity, by scale", "uniformity of pictures", "uniformity of pictures", share=False),
    )
    return Section("What the scale does to the features", FEATURES_TEXT, (*figures, table))


HELD_TEXT = (
    "The loss sees cosines times the scale. With a small scale (hot) even perfect features leave the softmax "
    "undecided, and pushing goes on; with a large one (cold) only the negatives that are nearest count. "
    f"At scale `1` {{{ZERO_SHOT}/{held(1)}/{CLEAN}:%}} are named right, at `10` {{{ZERO_SHOT}/{held(10)}/{CLEAN}:%}}, "
    f"at `100` {{{ZERO_SHOT}/{held(100)}/{CLEAN}:%}}; with many wrong names {{{ZERO_SHOT}/{held(1)}/{WRONG}:%}}, "
    f"{{{ZERO_SHOT}/{held(10)}/{WRONG}:%}} and {{{ZERO_SHOT}/{held(100)}/{WRONG}:%}}."
)
LEARNED_TEXT = (
    "Adam moves the logarithm of the scale by about the learning rate a step, so a scale travels no further than the "
    "rate times the number of steps. The quick arms let the "
    "logarithm move ten times as fast as the weights. Learned from CLIP's start the scale ends at "
    f"{{{LEARNED_SCALE}/{CLEAN}}} with true names and at {{{LEARNED_SCALE}/{WRONG}}} with many wrong ones; from scale "
    f"`1` at {{{SCALE}/{FROM_HOT}/{CLEAN}}}, quickly at {{{SCALE}/{QUICK_FROM_HOT}/{CLEAN}}}."
)
ARMS_TEXT = (
    "Each arm at the learning rate that is best for it. The best scale that is held was chosen on the tuning seeds, "
    "which no result uses; it takes a training for every value that is tried."
)
FEATURES_TEXT = (
    "Alignment is the mean squared distance of a picture and its name, uniformity the logarithm of the mean of "
    "`exp(-2 d²)` over pairs of pictures: the lower, the more evenly they cover the sphere. The modality gap is the "
    "distance of the mean picture from the mean name."
)
