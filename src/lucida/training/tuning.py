"""The settings of a remedy, chosen by cross-validation inside the training part: no other row is ever looked at."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from lucida.training.classifier import ClassifierConfig
from lucida.training.frozen_features import FrozenFeatures
from lucida.training.imbalance import Remedy, held_out_logits
from lucida.training.post_hoc import score


@dataclass(frozen=True)
class Tuning:
    """What a search found.

    Attributes:
        remedy: with the best settings.
        settings: the best ones; empty where there was nothing to tune.
        scores: every combination of settings that was tried, with its score.
        trainings: how many classifiers were trained.
        seconds: the search took.
    """

    remedy: Remedy
    settings: Mapping[str, Any]
    scores: Sequence[tuple[Mapping[str, Any], float]] = ()
    trainings: int = 0
    seconds: float = 0.0


def tuned(
    remedy: Remedy,
    features: NDArray | Tensor,
    labels: NDArray | Tensor,
    classes: int,
    settings: ClassifierConfig | None = None,
    *,
    seed: int,
    views: NDArray | Tensor | None = None,
    folds: int = 5,
    metric: str = "balanced_accuracy",
) -> Tuning:
    """The remedy with the settings of its grid that do best on rows held out of the training.

    Stratified cross-validation: every row is held out once (of a class with one row, never), and the score is that of
    all held-out answers together, so a class with five examples counts with all five and no fold stands for it alone.
    The folds depend on labels and seed, not on the remedy: all remedies are tuned on the same ones. Of equal scores the
    one nearest to the middle of the grid wins.

    Args:
        remedy: what to tune.
        features, labels, classes, settings, seed, views: as :func:`~lucida.training.imbalance.fit_classifier` takes
            them.
        folds: parts; each is held out once.
        metric: one of :data:`~lucida.training.post_hoc.SCORES`.

    Raises:
        LucidaError: as ``fit_classifier``; an unknown score; fewer than two folds.
    """
    began = time.perf_counter()
    combinations = [dict(zip(remedy.grid, values, strict=True)) for values in itertools.product(*remedy.grid.values())]
    if combinations == [{}]:
        return Tuning(remedy, {})
    data, config = FrozenFeatures(features, labels, classes, views), settings or ClassifierConfig()
    remedies = [remedy.with_settings(**combination) for combination in combinations]
    logits, truth, trainings = held_out_logits(data, remedies, config, seed, folds)
    scores = [(combination, score(rows, truth, metric)) for combination, rows in zip(combinations, logits, strict=True)]
    middle = (len(scores) - 1) / 2
    best = max(range(len(scores)), key=lambda i: (scores[i][1], -abs(i - middle)))
    return Tuning(remedies[best], scores[best][0], scores, trainings, time.perf_counter() - began)
