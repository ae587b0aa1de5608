"""Few positives: one in ten, in a hundred, in a thousand, tested as skewed as trained; and inside a contrastive loss.

Every part has forty positives; what varies is how many negatives there are. A seed draws which category is positive.
One in ten is also measured on real features; of rarer positives there are not enough real negatives, so those are
planted: normal numbers with the means and covariances of the real features, whose best possible answer is known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lucida.evaluation.classification import classification_metrics
from lucida.lab.datasets import load
from lucida.lab.experiment import Bench, Score
from lucida.lab.experiments.few_positives_pairs import PairSettings, measure_pairs
from lucida.lab.frozen_features import clouds
from lucida.lab.networks import perceptron_for
from lucida.lab.observations import Observations
from lucida.lab.skew import Skew
from lucida.lab.stack import Updates
from lucida.lab.training import Moment, Outcome, Training
from lucida.training.batches import Batch
from lucida.training.imbalance import REMEDIES, Remedy, adjusted_logits, moved_thresholds

POSITIVES = 40  # in each part
REAL, PLANTED = "emoji", "planted"
DATA = {REAL: "emoji features, short", PLANTED: "planted features"}
PRECISION = 0.5  # at which recall is told
OFF = "doublings off the share of positives"  # of the mean probability, whichever side

PLAIN, WEIGHTED, FOCAL, ADJUSTED = "cross-entropy", "weighted", "focal", "logit-adjusted loss"
OVER, SMOTE, UNDER, UNDER_ONCE = "oversampling", "SMOTE", "undersampling", "undersampling, one draw"
NEVER, BEST = "always no", "the best possible"
REMEDY: dict[str, Remedy] = {
    PLAIN: REMEDIES["cross_entropy"],
    WEIGHTED: REMEDIES["weighted"],
    FOCAL: REMEDIES["focal"],
    ADJUSTED: REMEDIES["logit_adjustment_loss"],
    OVER: REMEDIES["oversampling"],
    SMOTE: REMEDIES["smote"],
    UNDER: REMEDIES["undersampling"],
    UNDER_ONCE: REMEDIES["cross_entropy"],  # on a balanced part of the training examples
}
MEASURES = (
    "PR-AUC", "ROC-AUC", "accuracy", "balanced accuracy", "F1", "MCC", "recall at precision one half",
    "calibration error", "times too many positives",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """The numbers of a scale.

    Attributes:
        ratios: negatives for each positive, of the planted data.
        width: of the perceptron's hidden layer.
        batch_size, steps: of training.
        rates: where tuning of Adam starts.
        pairs: of the contrastive part.
    """

    ratios: tuple[int, ...]
    width: int
    batch_size: int
    steps: int
    rates: tuple[float, ...]
    pairs: PairSettings


class Place(NamedTuple):
    """Where a remedy is tried."""

    data: str
    ratio: int

    def __str__(self) -> str:
        return f"{self.data}, 1:{self.ratio}"

    def skew(self) -> Skew:
        """Counts of the parts: all as skewed."""
        counts = (POSITIVES * self.ratio, POSITIVES)
        return Skew(counts, counts, counts)


PLACES = (Place(REAL, 10), *(Place(PLANTED, ratio) for ratio in (10, 100, 1000)))


def moved(arm: str) -> str:
    """The arm whose threshold is the one with the best F1 on validation data.

    >>> moved("weighted")
    'weighted, threshold moved'
    """
    return f"{arm}, threshold moved"


def measure(bench: Bench, settings: Settings) -> Observations:
    """Every remedy at every ratio, then the pairs."""
    found = Observations()
    places = (Place(REAL, 10), *(Place(PLANTED, ratio) for ratio in settings.ratios))
    for place in places:
        for arm in REMEDY:
            _arm(bench, settings, found, place, arm)
        _never(bench, found, place)
        if place.data == PLANTED:
            _best(bench, found, place)
    for arm, name in product((*REMEDY, BEST), ("PR-AUC",)):
        scores = [found.numbers[name, arm, str(p)] for p in places if p.data == PLANTED]
        found.draw(f"by ratio/{name}/{arm}", settings.ratios, np.stack(scores, axis=1))
    measure_pairs(bench, settings.pairs, found)
    return found


def _arm(bench: Bench, settings: Settings, found: Observations, place: Place, arm: str) -> None:
    """Tune a remedy by the ranking of validation data, train it, record how it tests."""
    name, skew, data = f"{arm}, {place}", place.skew(), DATA[place.data]
    if arm == UNDER_ONCE:
        skew = replace(skew, train=(POSITIVES, POSITIVES))
    network = replace(perceptron_for(data, 1, settings.width), classes=2)
    training = Training(
        data, settings.batch_size, settings.steps, every=settings.steps, updates=Updates("adam"), skew=skew,
        remedy=REMEDY[arm],
    )  # fmt: skip
    rate = bench.tuned(name, training, network, settings.rates, BY_RANKING, {"ranking": observe_ranking})
    outcome = bench.over_seeds(name, training, network, rate, {"tested": observe_test})
    both = outcome.observed["tested"][:, -1]
    for k, measured in enumerate(MEASURES):
        for told, values in ((arm, both[:, 0, k]), (moved(arm), both[:, 1, k])):
            record(found, measured, told, values, str(place))


def record(found: Observations, measured: str, arm: str, values: NDArray, level: str) -> None:
    """A measure of an arm; how many times too many positives are predicted is told as a ratio, and how far that is off.

    Probabilities may be wrong without any remedy, so what a remedy spoils is measured as distance from the truth.
    """
    if measured == MEASURES[-1]:
        found.record_ratio(measured, arm, values, level)
        found.record(OFF, arm, np.abs(values), level)
    else:
        found.record(measured, arm, values, level)


def observe_ranking(moment: Moment) -> Tensor:
    """PR-AUC on the validation examples, ``[M]``; before training nothing is looked at."""
    if moment.step == 0:
        return torch.full((moment.stack.members,), torch.nan)
    logits, batch = _logits(moment, moment.validation), moment.validation
    each = zip(logits, batch["labels"], strict=True)
    return torch.tensor([binary_measures(own, labels)[0] for own, labels in each], dtype=torch.float64)


def observe_test(moment: Moment) -> Tensor:
    """All measures on the test examples, at one half and at the threshold of the validation data, ``[M, 2, K]``."""
    if moment.step == 0:
        return torch.full((moment.stack.members, 2, len(MEASURES)), torch.nan)
    validation, test = _logits(moment, moment.validation), _logits(moment, moment.test)
    found = []
    for k, labels in enumerate(moment.test["labels"]):
        offsets = moved_thresholds(validation[k], moment.validation["labels"][k], metric="f1_rarest")
        found.append([binary_measures(test[k], labels), binary_measures(test[k] + offsets, labels)])
    return torch.tensor(np.array(found))


def _logits(moment: Moment, batch: Batch) -> Tensor:
    with torch.no_grad():
        logits = moment.stack.eval()(batch["inputs"])
    moment.stack.train()
    return logits


def binary_measures(logits: Tensor, labels: Tensor) -> NDArray:
    """:data:`MEASURES` of two logits, ``[n, 2]``; the last is a logarithm to the base 2."""
    metrics = classification_metrics(logits, labels, resamples=0, scale="logits")
    names = ("pr_auc", "roc_auc", "accuracy", "balanced_accuracy", "class/1/f1", "mcc")
    gap = (logits[:, 1] - logits[:, 0]).double().numpy()
    positive = labels.numpy() == 1
    probability = 1 / (1 + np.exp(-np.clip(gap, -700, 700)))
    return np.array([
        *(np.nan_to_num(metrics[name].value) for name in names), recall_at_precision(gap, positive, PRECISION),
        metrics["calibration_error"].value, np.log2(max(probability.mean(), 1e-12) / positive.mean()),
    ])  # fmt: skip


def recall_at_precision(scores: NDArray, positive: NDArray, precision: float) -> float:
    """The largest recall at any threshold whose precision is at least this; 0 if there is none.

    >>> recall_at_precision(np.array([3.0, 2, 1, 0]), np.array([True, False, True, False]), 0.6)
    1.0
    """
    order = np.argsort(-scores, kind="stable")
    hits, ranked = np.cumsum(positive[order]), scores[order]
    last = np.r_[ranked[1:] != ranked[:-1], True]  # equal scores come together
    good = last & (hits / np.arange(1, len(hits) + 1) >= precision)
    return float(hits[good].max() / positive.sum()) if good.any() else 0.0


def _by_ranking(outcome: Outcome) -> NDArray:
    return np.where(outcome.alive, 1 - outcome.observed["ranking"][:, -1], 1.0)


BY_RANKING: Score = _by_ranking


def _never(bench: Bench, found: Observations, place: Place) -> None:
    """Who always says no; its scores rank nothing, so its PR-AUC is the share of positives."""
    share = 1 / (place.ratio + 1)
    values = {
        "PR-AUC": share,
        "ROC-AUC": 0.5,
        "accuracy": 1 - share,
        "balanced accuracy": 0.5,
        "calibration error": share,
    }
    for name in MEASURES[:-1]:
        found.record(name, NEVER, np.full(len(bench.seeds), values.get(name, 0.0)), str(place))


def _best(bench: Bench, found: Observations, place: Place) -> None:
    """The odds by which the planted data were drawn."""
    data, skew = load(DATA[PLANTED]), place.skew()
    values, moved_values = [], []
    for seed in bench.seeds:
        parts = skew.parts(data, seed)
        k = int(parts.names.argmax())
        logits = {}
        for name, rows in (("validation", parts.split.validation), ("test", parts.split.test)):
            odds = torch.from_numpy(clouds().log_odds(data.inputs["inputs"][rows].numpy(), k))
            even = torch.stack([torch.zeros_like(odds), odds + np.log(data.classes - 1)], dim=1)
            logits[name] = adjusted_logits(even, (1, place.ratio))  # to the odds of so few positives
        truth = {name: parts.names[data.labels[getattr(parts.split, name)]] for name in logits}
        offsets = moved_thresholds(logits["validation"], truth["validation"], metric="f1_rarest")
        values.append(binary_measures(logits["test"], truth["test"]))
        moved_values.append(binary_measures(logits["test"] + offsets, truth["test"]))
    for j, name in enumerate(MEASURES):
        record(found, name, BEST, np.array(values)[:, j], str(place))
        record(found, name, moved(BEST), np.array(moved_values)[:, j], str(place))
