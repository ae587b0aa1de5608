"""What the page on the long tail shows."""

from __future__ import annotations

from collections.abc import Sequence

from lucida.lab.experiment import Section
from lucida.lab.experiments.long_tail import (
    ADJUSTED,
    ADJUSTED_LATER,
    ALWAYS,
    CLAIMED,
    CONTEXTS,
    COSINES,
    CURVES,
    FOCAL,
    LDAM_DRW,
    PARTS,
    PLAIN,
    PROFILES,
    SAME_RATE,
    WEIGHTED,
    Tail,
    arms,
)
from lucida.lab.observations import Observations
from lucida.report.lab_page import EffectRow, EffectsFigure, LinesFigure, TableFigure

_ACCURACY = "balanced accuracy"


def present(found: Observations) -> Sequence[Section]:
    """Remedies ranked, class by class, by ratio, and the rate of the weights."""
    contexts = [
        context for context in CONTEXTS if (_ACCURACY, PLAIN, str(Tail(context, "step", CLAIMED))) in found.numbers
    ]
    tails = [Tail(context, profile, CLAIMED) for context in contexts for profile in PROFILES]
    return (_ranked(found, tails), _by_class(found, tails), _by_ratio(found, contexts), _rates(tails))


def _ranked(found: Observations, tails: Sequence[Tail]) -> Section:
    drawings: list[EffectsFigure | TableFigure] = []
    for tail in tails:
        scores = {arm: found.numbers[_ACCURACY, arm, str(tail)].mean() for arm in arms(tail.context)}
        ordered = [arm for arm in sorted(scores, key=lambda arm: -scores[arm]) if arm != SAME_RATE]
        drawings.append(
            EffectsFigure(
                f"Balanced accuracy, {tail}",
                tuple(EffectRow(arm, f"{_ACCURACY}/{arm}/{tail}") for arm in ordered),
                x_label="accuracy on the balanced test, at the remedy's best rate",
                share=True,
            )
        )
        measures = (_ACCURACY, *PARTS.values(), "accuracy on data as skewed")
        rows = [(arm, tuple(f"{measure}/{arm}/{tail}" for measure in measures)) for arm in ordered]
        always = tuple(
            f"{measure}/{ALWAYS}/{tail}" if measure in (measures[0], measures[-1]) else "" for measure in measures
        )
        drawings.append(
            TableFigure(f"By frequency, {tail}", measures, (*rows, (ALWAYS, always)), shares=(True,) * len(measures))
        )
    return Section("The remedies, ranked", RANKED_TEXT, tuple(drawings))


def _by_class(found: Observations, tails: Sequence[Tail]) -> Section:
    figures = tuple(
        LinesFigure(
            f"Recall by class, {tail}",
            tuple(found.series(f"recall/{arm}/{tail}", arm) for arm in CURVES),
            x_label="place of the class, the most frequent first",
            y_label="recall on the balanced test",
            share=True,
        )
        for tail in tails
    )
    return Section("Class by class", CLASS_TEXT, figures)


def _by_ratio(found: Observations, contexts: Sequence[str]) -> Section:
    figures = tuple(
        LinesFigure(
            f"By ratio, {context}, {profile}",
            tuple(found.series(f"by ratio/{context}, {profile}/{arm}", arm) for arm in CURVES),
            x_label="most frequent class over rarest",
            y_label="balanced accuracy",
            log_x=True,
            share=True,
        )
        for context in contexts
        for profile in PROFILES
    )
    return Section("From mild to steep", RATIO_TEXT, figures)


def _rates(tails: Sequence[Tail]) -> Section:
    table = TableFigure(
        "Weighted cross-entropy at two rates",
        ("cross-entropy", "its rate", "weighted, at that rate", "weighted, at its own", "its own rate"),
        tuple(
            (
                str(tail),
                (
                    f"{_ACCURACY}/{PLAIN}/{tail}",
                    f"rate/{PLAIN}, {tail}",
                    f"{_ACCURACY}/{SAME_RATE}/{tail}",
                    f"{_ACCURACY}/{WEIGHTED}/{tail}",
                    f"rate/{WEIGHTED}, {tail}",
                ),
            )
            for tail in tails
        ),
        caption="Balanced accuracy.",
        shares=(True, False, True, True, False),
    )
    return Section("Weights need a rate of their own", RATE_TEXT, (table,))


_DIGITS, _EMOJI = "digits, step, 1:100", "emoji, step, 1:100"


def _of(arm: str, tail: str, measure: str = _ACCURACY) -> str:
    """The place of a number in a text."""
    return f"{{{measure}/{arm}/{tail}:%}}"


RANKED_TEXT = (
    "Cross-entropy learns how frequent a class is and answers accordingly: on the digits' step it finds "
    f"{_of(PLAIN, _DIGITS, PARTS['many'])} of the most frequent third and {_of(PLAIN, _DIGITS, PARTS['few'])} of the "
    "rarest, each of which it knows from one picture. On data as skewed as its own that would be "
    f"{_of(PLAIN, _DIGITS, 'accuracy on data as skewed')} right. The logit-adjusted loss adds the logarithm of the "
    "frequency to the logits while it trains, so that the network need not learn it: "
    f"{_of(ADJUSTED, _DIGITS)} of balanced accuracy against {_of(PLAIN, _DIGITS)}. Taking the logarithm from the "
    f"logits of a finished network costs nothing and gives {_of(ADJUSTED_LATER, _DIGITS)}. LDAM-DRW has "
    f"{_of(LDAM_DRW, _DIGITS)}; its cosines without margins {_of(COSINES, _DIGITS)}. Focal loss, which was made for "
    f"easy negatives and not for rare classes, has {_of(FOCAL, _DIGITS)}.\n\nOn frozen features of emoji, where a "
    f"category is harder to tell, the same step leaves cross-entropy at {_of(PLAIN, _EMOJI)}, the logit-adjusted loss "
    f"at {_of(ADJUSTED, _EMOJI)} and LDAM-DRW at {_of(LDAM_DRW, _EMOJI)}."
)
CLASS_TEXT = (
    "The curves fall from the head to the tail; a remedy turns them. What it gives to the rare classes it takes from "
    "answers that fell to frequent ones. In a step all rare classes have equally few examples, so that the right half "
    "of the curve is level."
)
_MILD, _STEEP = "digits, exponential, 1:10", "digits, exponential, 1:100"
RATIO_TEXT = (
    "Every example that a class lacks costs more than a remedy gives back: on the digits' exponential tail "
    f"cross-entropy falls from {_of(PLAIN, _MILD)} at `1:10` to {_of(PLAIN, _STEEP)} at `1:100`, the logit-adjusted "
    f"loss from {_of(ADJUSTED, _MILD)} to {_of(ADJUSTED, _STEEP)}."
)
RATE_TEXT = (
    "Cao et al. report that class-balanced weights hurt under step imbalance: an error of `38.06 %` against `36.70 %` "
    "of plain cross-entropy (CIFAR-10, `1:100`), all arms with one learning rate. Here each has its own. On the "
    f"digits' step cross-entropy's is {{rate/{PLAIN}, {_DIGITS}}}, and there weights bring balanced accuracy from "
    f"{_of(PLAIN, _DIGITS)} to {_of(SAME_RATE, _DIGITS)}; at {{rate/{WEIGHTED}, {_DIGITS}}}, their own, to "
    f"{_of(WEIGHTED, _DIGITS)}. A batch in which a rare example happens to be has nearly all of its weight on it, so "
    "that its gradient is that of one example: noisier, and large as long as the example is not fitted. On the "
    "emoji's step, with a linear head, whose loss is convex, weights at cross-entropy's rate have "
    f"{_of(SAME_RATE, _EMOJI)} against {_of(PLAIN, _EMOJI)}."
)
