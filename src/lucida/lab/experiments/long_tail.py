"""The long tail: remedies against rare classes, on tails that fall exponentially or in a step, tested on balanced data.

A seed draws which classes are rare, so that no result is one about the digit 7. Which class comes k-th is all that
differs between seeds of one tail: every class keeps as many examples as its place says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lucida.data.long_tail import Profile, long_tailed_counts
from lucida.evaluation.classification import confusion, parts_by_count
from lucida.lab.datasets import OWN_FEATURES, load, named_pictures
from lucida.lab.experiment import Bench, validation_error
from lucida.lab.networks import NetworkConfig, perceptron_for
from lucida.lab.observations import Observations
from lucida.lab.skew import AdjustedInTests, LinearHead, Skew, WithCosines
from lucida.lab.stack import Updates
from lucida.lab.training import Moment, Training
from lucida.training.imbalance import REMEDIES, Remedy

LARGEST, VALIDATION, TEST = 100, 26, 40  # examples: of the largest class in training, of each class in the other parts
DIGITS, EMOJI, OWN = "digits", "emoji", "own pictures"
CONTEXTS = {DIGITS: "digits", EMOJI: "emoji features", OWN: OWN_FEATURES}
PROFILES: tuple[Profile, ...] = ("exponential", "step")
CLAIMED = 100  # the ratio of the claims
DEPTH = 2

PLAIN, WEIGHTED, FOCAL, BALANCED = "cross-entropy", "weighted", "focal", "class-balanced"
OVER, UNDER, ROOT = "oversampling", "undersampling", "square-root sampling"
COSINES, LDAM, LDAM_DRW, DRW = "cosines, no margins", "LDAM", "LDAM-DRW", "cross-entropy, deferred weights"
ADJUSTED, ADJUSTED_LATER, RETRAINED = "logit-adjusted loss", "logits adjusted afterwards", "classifier re-training"
SAME_RATE = "weighted, at the rate of cross-entropy"
ALWAYS = "always the most frequent class"
_BETA = 0.99  # of the effective number: with a hundred examples 0.9999 is nothing but inverse frequency

REMEDY: dict[str, Remedy] = {
    PLAIN: REMEDIES["cross_entropy"],
    OVER: REMEDIES["oversampling"],
    UNDER: REMEDIES["undersampling"],
    ROOT: REMEDIES["square_root_sampling"],
    WEIGHTED: REMEDIES["weighted"],
    FOCAL: REMEDIES["focal"],
    BALANCED: REMEDIES["class_balanced"].with_settings(beta=_BETA),
    DRW: REMEDIES["cross_entropy_drw"],
    COSINES: REMEDIES["ldam"].with_settings(max_margin=0.0),
    LDAM: REMEDIES["ldam"],
    LDAM_DRW: REMEDIES["ldam_drw"],
    ADJUSTED: REMEDIES["logit_adjustment_loss"],
    ADJUSTED_LATER: REMEDIES["logit_adjustment_post_hoc"],
    RETRAINED: REMEDIES["class_balanced_sampling"],
    SAME_RATE: REMEDIES["weighted"],
}
CURVES = (PLAIN, WEIGHTED, FOCAL, OVER, LDAM_DRW, ADJUSTED)  # at all ratios; the others at the claimed one alone
PARTS = {"many": "most frequent third", "medium": "middle", "few": "rarest third"}


@dataclass(frozen=True)
class Settings:
    """The numbers of a scale.

    Attributes:
        ratios: of the largest class to the smallest.
        width: of the perceptron.
        batch_size, steps: of training.
        retraining_steps: of the head alone, in classifier re-training.
        rates: where tuning of SGD with momentum starts.
    """

    ratios: tuple[float, ...]
    width: int
    batch_size: int
    steps: int
    retraining_steps: int
    rates: tuple[float, ...]


class Tail(NamedTuple):
    """Where a remedy is tried."""

    context: str
    profile: Profile
    ratio: float

    def __str__(self) -> str:
        return f"{self.context}, {self.profile}, 1:{self.ratio:g}"

    def skew(self) -> Skew:
        """Counts of the parts: a tail in training, the same number of each class elsewhere."""
        classes = load(CONTEXTS[self.context]).classes
        train = long_tailed_counts(classes, self.ratio, largest=LARGEST, profile=self.profile)
        return Skew(tuple(map(int, train)), (VALIDATION,) * classes, (TEST,) * classes)


CLAIMED_TAILS = tuple(Tail(context, profile, CLAIMED) for context in (DIGITS, EMOJI) for profile in PROFILES)


def measure(bench: Bench, settings: Settings) -> Observations:
    """Every remedy on every tail."""
    found = Observations()
    contexts = [DIGITS, EMOJI]
    reason = _why_not_own()
    if reason is None:
        contexts.append(OWN)
    else:
        found.left_out[f"balanced accuracy/{OWN}"] = reason
    for context, profile, ratio in product(contexts, PROFILES, settings.ratios):
        tail = Tail(context, profile, ratio)
        for arm in arms(context) if ratio == CLAIMED else CURVES:
            _arm(bench, settings, found, tail, arm)
        found.facts[f"balanced accuracy/{ALWAYS}/{tail}"] = 1 / len(tail.skew().train)
        found.facts[f"accuracy on data as skewed/{ALWAYS}/{tail}"] = LARGEST / sum(tail.skew().train)
    for context, profile, arm in product(contexts, PROFILES, CURVES):
        _by_ratio(found, settings, context, profile, arm)
    return found


def arms(context: str) -> tuple[str, ...]:
    """The remedies that are tried: above frozen features there is nothing but the classifier to be trained again."""
    return tuple(arm for arm in REMEDY if arm != RETRAINED or context == DIGITS)


def _why_not_own() -> str | None:
    """Why nothing is measured on the user's pictures, if nothing is."""
    if named_pictures() is None:
        return "no pictures were named: lucida lab run … --pictures YOUR_PICTURES"
    needed, smallest = LARGEST + VALIDATION + TEST, int(torch.bincount(load(OWN_FEATURES).labels).min())
    return None if smallest >= needed else f"the smallest class of your pictures has {smallest}, it needs {needed}"


def _network(settings: Settings, tail: Tail, arm: str) -> NetworkConfig:
    data = CONTEXTS[tail.context]
    source = load(data)
    network: NetworkConfig = (
        perceptron_for(data, DEPTH, settings.width)
        if tail.context == DIGITS
        else LinearHead(source.inputs["inputs"].shape[1], source.classes)
    )
    if REMEDY[arm].head == "cosine":
        return WithCosines(network)
    return AdjustedInTests(network, tail.skew().train) if arm == ADJUSTED_LATER else network


def _training(settings: Settings, tail: Tail, arm: str) -> Training:
    steps = settings.steps
    return Training(
        CONTEXTS[tail.context], settings.batch_size, steps, every=steps, updates=Updates("momentum"), skew=tail.skew(),
        remedy=REMEDY[arm],
    )  # fmt: skip


def _arm(bench: Bench, settings: Settings, found: Observations, tail: Tail, arm: str) -> None:
    """Tune a remedy, train it, record how it does on each class."""
    name, network, training = f"{arm}, {tail}", _network(settings, tail, arm), _training(settings, tail, arm)
    if arm == RETRAINED:
        steps = settings.retraining_steps
        before = _training(settings, tail, PLAIN), bench.chosen[f"{PLAIN}, {tail}"]
        training = replace(training, steps=steps, every=steps, before=before, head_alone=True)
    if arm == SAME_RATE:
        rate = bench.chosen[f"{PLAIN}, {tail}"]
    else:
        rate = bench.tuned(name, training, network, settings.rates, validation_error)
    outcome = bench.over_seeds(name, training, network, rate, {"recalls": observe_recalls})
    record(found, tail, arm, outcome.observed["recalls"][:, -1])


def observe_recalls(moment: Moment) -> Tensor:
    """The recall of each class on the test examples, most frequent class first, ``[M, C]``."""
    with torch.no_grad():
        logits = moment.stack.eval()(moment.test["inputs"])
    moment.stack.train()
    classes = logits.shape[-1]
    found = []
    for labels, answers in zip(moment.test["labels"], logits.argmax(dim=-1), strict=True):
        table = confusion(labels, answers, classes)
        found.append(np.diag(table) / table.sum(axis=1))
    return torch.from_numpy(np.stack(found))


def record(found: Observations, tail: Tail, arm: str, recalls: NDArray) -> None:
    """Recalls ``[seeds, C]``, most frequent class first: their mean, those of thirds, and the curve."""
    counts = np.array(tail.skew().train)
    level = str(tail)
    found.record("balanced accuracy", arm, recalls.mean(axis=1), level)
    for part, classes in parts_by_count(counts).items():
        found.record(PARTS[part], arm, recalls[:, classes].mean(axis=1), level)
    found.record("accuracy on data as skewed", arm, recalls @ (counts / counts.sum()), level)
    found.draw(f"recall/{arm}/{level}", np.arange(1, len(counts) + 1), recalls)


def _by_ratio(found: Observations, settings: Settings, context: str, profile: Profile, arm: str) -> None:
    """Balanced accuracy by the ratio, as a curve."""
    levels = [str(Tail(context, profile, ratio)) for ratio in settings.ratios]
    scores = np.stack([found.numbers["balanced accuracy", arm, level] for level in levels], axis=1)
    found.draw(f"by ratio/{context}, {profile}/{arm}", settings.ratios, scores)
