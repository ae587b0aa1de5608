"""What the page on few positives shows."""

from __future__ import annotations

from collections.abc import Sequence

from lucida.lab.experiment import Section
from lucida.lab.experiments.few_positives import (
    BEST,
    MEASURES,
    NEVER,
    OVER,
    PLACES,
    PLAIN,
    PLANTED,
    REMEDY,
    SMOTE,
    UNDER,
    UNDER_ONCE,
    WEIGHTED,
    Place,
    moved,
)
from lucida.lab.experiments.few_positives_claims import BATCHES, FIRST_LOSS, RECALL
from lucida.lab.experiments.few_positives_pairs import ARMS, BALANCED, MINUS_TEN, PRIOR, SOFTMAX, ZERO, batch_level
from lucida.lab.observations import Observations
from lucida.report.lab_page import EffectRow, EffectsFigure, LinesFigure, TableFigure

_RARE, _REAL = "planted, 1:1000", "emoji, 1:10"
_TABLE = ("PR-AUC", "ROC-AUC", "accuracy", "F1", "MCC", "recall at precision one half")
_SHARES = (False, False, True, False, False, True)


def present(found: Observations) -> Sequence[Section]:
    """Accuracy, ranking, thresholds, probabilities, pairs."""
    return (_accuracy(), _ranking(found), _thresholds(), _probabilities(), _pairs(found))


def _arms(place: Place) -> tuple[str, ...]:
    return (*REMEDY, BEST) if place.data == PLANTED else tuple(REMEDY)


def _accuracy() -> Section:
    tables = tuple(
        TableFigure(
            f"All measures at one half, {place}",
            _TABLE,
            tuple((arm, tuple(f"{m}/{arm}/{place}" for m in _TABLE)) for arm in (*_arms(place), NEVER)),
            caption="A positive is said from a probability of one half on; PR-AUC, ROC-AUC and recall at a precision "
            "need no threshold.",
            shares=_SHARES,
        )
        for place in PLACES
    )
    return Section("Where accuracy lies", _accuracy_text(), tables)


def _ranking(found: Observations) -> Section:
    figures = tuple(
        EffectsFigure(
            f"Ranking, {place}",
            tuple(EffectRow(arm, f"PR-AUC/{arm}/{place}") for arm in (*_arms(place), NEVER)),
            x_label="area under the precision-recall curve",
        )
        for place in PLACES
    )
    shown = (PLAIN, WEIGHTED, OVER, SMOTE, UNDER_ONCE, BEST)
    curve = LinesFigure(
        "Ranking by how rare positives are, planted",
        tuple(found.series(f"by ratio/PR-AUC/{arm}", arm) for arm in shown),
        x_label="negatives for each positive",
        y_label="area under the precision-recall curve",
        log_x=True,
    )
    return Section("What helps the ranking", _ranking_text(), (*figures, curve))


def _thresholds() -> Section:
    tables = tuple(
        TableFigure(
            f"F1 by threshold, {place}",
            ("F1 at one half", "F1, threshold moved", "MCC at one half", "MCC, threshold moved", "accuracy, moved"),
            (
                *(
                    (
                        arm,
                        (
                            f"F1/{arm}/{place}",
                            f"F1/{moved(arm)}/{place}",
                            f"MCC/{arm}/{place}",
                            f"MCC/{moved(arm)}/{place}",
                            f"accuracy/{moved(arm)}/{place}",
                        ),
                    )
                    for arm in _arms(place)
                ),
                (NEVER, (f"F1/{NEVER}/{place}", "", f"MCC/{NEVER}/{place}", "", f"accuracy/{NEVER}/{place}")),
            ),
            caption="The threshold with the best F1 on validation data, which has as few positives as the test.",
            shares=(False, False, False, False, True),
        )
        for place in PLACES
    )
    return Section("What only moves the threshold", _threshold_text(), tables)


def _probabilities() -> Section:
    figures = tuple(
        EffectsFigure(
            f"Times too many positives, {place}",
            tuple(EffectRow(arm, f"{MEASURES[-1]}/{arm}/{place}") for arm in _arms(place)),
            x_label="mean probability over share of positives",
        )
        for place in PLACES
    )
    errors = TableFigure(
        "Calibration error",
        tuple(map(str, PLACES)),
        tuple(
            (arm, tuple("" if arm == BEST and p.data != PLANTED else f"calibration error/{arm}/{p}" for p in PLACES))
            for arm in (*REMEDY, BEST, NEVER)
        ),
        caption="Mean distance between confidence and accuracy. Who always says no for certain is wrong as often as "
        "there are positives.",
    )
    return Section("What becomes of the probabilities", _probability_text(), (*figures, errors))


def _pairs(found: Observations) -> Section:
    sizes = LinesFigure(
        "Retrieval by batch size",
        tuple(found.series(f"recall by batch size/{arm}", arm) for arm in ARMS),
        x_label="pairs in a batch",
        y_label="recall at 1, other artist's pictures",
        log_x=True,
        share=True,
    )
    losses = tuple(
        LinesFigure(
            f"First steps, {batch_level(size)}",
            tuple(found.log_series(f"first losses/{arm}/{batch_level(size)}", arm) for arm in ARMS),
            x_label="steps, each arm at its best rate",
            y_label="loss of a picture",
            log_y=True,
        )
        for size in BATCHES
    )
    courses = LinesFigure(
        f"Retrieval along training, {batch_level(BATCHES[-1])}",
        tuple(found.series(f"course/{arm}/{batch_level(BATCHES[-1])}", arm) for arm in ARMS),
        x_label="examples seen",
        y_label="recall at 1",
        share=True,
    )
    columns = ("recall at 1", "its rate", "loss of the first steps", "bias at the end", "scale at the end")
    table = TableFigure(
        "Losses and starts",
        columns,
        tuple(
            (
                f"{arm}, {batch_level(size)}",
                (
                    f"{RECALL}/{arm}/{batch_level(size)}",
                    f"rate/{arm}, {batch_level(size)}",
                    f"{FIRST_LOSS}/{arm}/{batch_level(size)}",
                    "" if arm == SOFTMAX else f"bias at the end/{arm}/{batch_level(size)}",
                    f"scale at the end/{arm}/{batch_level(size)}",
                ),
            )
            for size in BATCHES
            for arm in ARMS
        ),
        caption="Losses of different arms have different units: the sigmoid's counts every pair of a picture, the "
        "softmax's one choice.",
        shares=(True, False, False, False, False),
    )
    return Section("One right pair in a batch", _pairs_text(), (sizes, courses, *losses, table))


def _of(measure: str, arm: str, level: str, form: str = "") -> str:
    """The place of a number in a text."""
    return f"{{{measure}/{arm}/{level}{form}}}"


def _accuracy_text() -> str:
    ten = f"{PLANTED}, 1:10"
    return (
        "With a thousand negatives for each positive, who always says no is right "
        f"{_of('accuracy', NEVER, _RARE, ':% 2')} of the time and finds nothing. Plain cross-entropy has "
        f"{_of('accuracy', PLAIN, _RARE, ':% 2')}, weighted {_of('accuracy', WEIGHTED, _RARE, ':% 2')}: by accuracy "
        "one would train nothing. ROC-AUC does not see how rare positives are, since it compares one positive with "
        f"one negative: from one in ten to one in a thousand it goes from {_of('ROC-AUC', PLAIN, ten)} to "
        f"{_of('ROC-AUC', PLAIN, _RARE)}, while the area under the precision-recall curve, which asks how many of "
        f"those that are called positive are so, goes from {_of('PR-AUC', PLAIN, ten)} to "
        f"{_of('PR-AUC', PLAIN, _RARE)}. Real features are harder than those planted after them: at one in ten "
        f"{_of('PR-AUC', PLAIN, _REAL)}."
    )


def _ranking_text() -> str:
    return (
        f"Which remedy puts positives in front of negatives? At one in a thousand: {_of('PR-AUC', PLAIN, _RARE)} with "
        f"nothing, {_of('PR-AUC', WEIGHTED, _RARE)} with weights, {_of('PR-AUC', OVER, _RARE)} with oversampling, "
        f"{_of('PR-AUC', SMOTE, _RARE)} with SMOTE, {_of('PR-AUC', UNDER, _RARE)} with negatives drawn anew every "
        f"epoch and {_of('PR-AUC', UNDER_ONCE, _RARE)} with as many negatives as positives, drawn once. Who knows how "
        f"the data were made would have {_of('PR-AUC', BEST, _RARE)}: the same forty positives stand "
        "behind all of them, and no weight makes new ones."
    )


def _threshold_text() -> str:
    return (
        "A classifier that is rarely sure says no at a threshold of one half. On real features, one in ten: F1 is "
        f"{_of('F1', PLAIN, _REAL)} with cross-entropy and {_of('F1', WEIGHTED, _REAL)} with weights. Move the "
        f"threshold of the plain one to where validation data have the best F1, and it has "
        f"{_of('F1', moved(PLAIN), _REAL)}; weights and a moved threshold have "
        f"{_of('F1', moved(WEIGHTED), _REAL)}. At one in a thousand the four are "
        f"{_of('F1', PLAIN, _RARE)}, {_of('F1', WEIGHTED, _RARE)}, {_of('F1', moved(PLAIN), _RARE)} and "
        f"{_of('F1', moved(WEIGHTED), _RARE)}. A threshold costs nothing and can be changed when the costs change."
    )


def _probability_text() -> str:
    hundred, many = f"{PLANTED}, 1:100", MEASURES[-1]
    return (
        "Weights and resampling tell the classifier that positives are as frequent as negatives. How far it believes "
        f"that: at one in a hundred its mean probability of a positive is {_of(many, WEIGHTED, hundred)} times the "
        f"share of positives with weights, {_of(many, OVER, hundred)} times with oversampling, "
        f"{_of(many, UNDER_ONCE, hundred)} times with as many negatives as positives, and "
        f"{_of(many, PLAIN, hundred)} times with plain cross-entropy; at one in a thousand "
        f"{_of(many, WEIGHTED, _RARE)}, {_of(many, OVER, _RARE)}, {_of(many, UNDER_ONCE, _RARE)} and "
        f"{_of(many, PLAIN, _RARE)}. Plain cross-entropy is not right by itself, then: what a remedy spoils is told as "
        "a distance from the truth, which a shift may also make smaller. Byrd & Lipton report that a network that has "
        "come to fit every training example keeps little of what weights said. Who needs a probability (an expected "
        "cost, a triage) should measure its mean on held-out data as skewed as life is, and take the shift out of the "
        "logits."
    )


def _pairs_text() -> str:
    big = batch_level(BATCHES[-1])
    return (
        "In a batch of `B` pairs each picture has one right text and `B − 1` wrong ones. The sigmoid loss asks yes or "
        "no of each: with a bias of `0` every pair costs `log 2` at first, nearly all of it for wrong pairs, and the "
        f"first steps do little but learn to say no: {_of(FIRST_LOSS, ZERO, big)} a picture in the first ten steps, in "
        f"{big.replace('batch ', 'batches of `')}` pairs, against {_of(FIRST_LOSS, MINUS_TEN, big)} with the bias from "
        f"`−10` and {_of(FIRST_LOSS, PRIOR, big)} from the log prior. What is left of it at the end, at equal examples "
        f"and each at its best rate: recall at `1` is {_of(RECALL, ZERO, big, ':%')} from `0`, "
        f"{_of(RECALL, MINUS_TEN, big, ':%')} from `−10`, {_of(RECALL, PRIOR, big, ':%')} from the log prior, "
        f"{_of(RECALL, BALANCED, big, ':%')} with the positive weighted by `B − 1`, and "
        f"{_of(RECALL, SOFTMAX, big, ':%')} with the softmax loss, to which the number of wrong texts is no imbalance."
    )
