"""The settings of a remedy, chosen by cross-validation inside the training part: no other row is ever looked at."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from lucida.training.classifier import ClassifierConfig
from lucida.training.frozen_features import FrozenFeatures
from lucida.training.imbalance import Remedy, held_out_logits
from lucida.training.post_hoc import score

COSINE_RATE = 10.0
"""A head of cosines turns its directions at ten times the rate that suits a linear one (their lengths do not count)."""


@dataclass(frozen=True)
class Tuning:
    """What a search found.

    Attributes:
        remedy: with the best settings.
        settings: the best ones; empty where there was nothing to tune. ``learning_rate`` is among them if it was tuned.
        config: of the training, with the best rate.
        scores: every combination of settings that was tried, with its score.
        trainings: how many classifiers were trained.
        seconds: the search took.
    """

    remedy: Remedy
    settings: Mapping[str, Any]
    config: ClassifierConfig
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
    rates: Sequence[float] = (),
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
        metric: one of :data:`~lucida.training.post_hoc.SCORES`; thresholds are moved by it too.
        rates: peak learning rates to try (times :data:`COSINE_RATE` for a head of cosines); ``()`` for that of
            ``settings`` alone. What suits plain training need not suit a remedy: a comparison tunes it for
            each. Rates are tried with the remedy as it comes, then its own settings at the best of them.

    Raises:
        LucidaError: as ``fit_classifier``; an unknown score; fewer than two folds.
    """
    began = time.perf_counter()
    config = settings or ClassifierConfig()
    if remedy.post_hoc == "thresholds":
        remedy = remedy.with_settings(metric=metric)
    if not rates and not remedy.grid:
        return Tuning(remedy, {}, config)
    data, trainings = FrozenFeatures(features, labels, classes, views), 0
    scores: list[tuple[Mapping[str, Any], float]] = []
    chosen: dict[str, Any] = {}
    if rates:
        factor = COSINE_RATE if remedy.head == "cosine" else 1.0
        variants = [(remedy, replace(config, learning_rate=rate * factor)) for rate in rates]
        logits, truth, trainings = held_out_logits(data, variants, seed, folds)
        tried = [{"learning_rate": one.learning_rate} for _, one in variants]
        scores = [(one, score(rows, truth, metric)) for one, rows in zip(tried, logits, strict=True)]
        chosen = dict(_best(scores))
        config = replace(config, **chosen)
    if remedy.grid:
        combinations = [
            dict(zip(remedy.grid, values, strict=True)) for values in itertools.product(*remedy.grid.values())
        ]
        variants = [(remedy.with_settings(**combination), config) for combination in combinations]
        logits, truth, done = held_out_logits(data, variants, seed, folds)
        own = [(c, score(rows, truth, metric)) for c, rows in zip(combinations, logits, strict=True)]
        best, scores, trainings = _best(own), [*scores, *own], trainings + done
        remedy, chosen = remedy.with_settings(**best), {**chosen, **best}
    return Tuning(remedy, chosen, config, scores, trainings, time.perf_counter() - began)


def _best(scores: Sequence[tuple[Mapping[str, Any], float]]) -> Mapping[str, Any]:
    """The settings with the highest score, of equal ones those nearest to the middle of the list."""
    middle = (len(scores) - 1) / 2
    return scores[max(range(len(scores)), key=lambda i: (scores[i][1], -abs(i - middle)))][0]
