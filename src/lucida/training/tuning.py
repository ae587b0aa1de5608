"""The settings of a remedy, chosen by cross-validation inside the training part: no other row is ever looked at."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lucida.training.classifier import ClassifierConfig
from lucida.training.frozen_features import FrozenFeatures
from lucida.training.imbalance import Remedy, held_out_logits
from lucida.training.post_hoc import score

COSINE_RATE = 10.0
"""A head of cosines turns its directions at ten times the rate that suits a linear one (their lengths do not count)."""


@dataclass(frozen=True)
class Floor:
    """What a remedy may not take from some classes, say the most frequent ones.

    Attributes:
        classes: numbers of some.
        recall: their mean recall must not fall below.
    """

    classes: tuple[int, ...]
    recall: float


@dataclass(frozen=True)
class Tuning:
    """What a search found.

    Attributes:
        remedy: with the best settings.
        settings: the best ones; empty where there was nothing to tune. ``learning_rate`` is among them if it was tuned.
        config: of the training, with the best rate.
        scores: every combination of settings that was tried, with its score.
        recalls: of the best one's held-out answers, by class, ``[C]``; NaN for a class without any.
        trainings: how many classifiers were trained.
        seconds: the search took.
    """

    remedy: Remedy
    settings: Mapping[str, Any]
    config: ClassifierConfig
    scores: Sequence[tuple[Mapping[str, Any], float]] = ()
    recalls: NDArray | None = None
    trainings: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class _Tried:
    """Settings, and what held-out answers under them were worth."""

    settings: Mapping[str, Any]
    score: float
    recalls: NDArray


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
    floor: Floor | None = None,
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
        floor: settings under which the recall of its classes falls below it are passed over, in the last of the two
            searches; if all do, those that keep most of it are chosen.

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
    tried: list[_Tried] = []
    chosen: dict[str, Any] = {}
    if rates:
        factor = COSINE_RATE if remedy.head == "cosine" else 1.0
        variants = [(remedy, replace(config, learning_rate=rate * factor)) for rate in rates]
        logits, truth, trainings = held_out_logits(data, variants, seed, folds)
        names = [{"learning_rate": one.learning_rate} for _, one in variants]
        tried = [_tried(*one, truth, metric) for one in zip(names, logits, strict=True)]
        best = _best(tried, None if remedy.grid else floor)
        chosen = dict(best.settings)
        config = replace(config, **chosen)
    if remedy.grid:
        combinations = [
            dict(zip(remedy.grid, values, strict=True)) for values in itertools.product(*remedy.grid.values())
        ]
        variants = [(remedy.with_settings(**combination), config) for combination in combinations]
        logits, truth, done = held_out_logits(data, variants, seed, folds)
        own = [_tried(*one, truth, metric) for one in zip(combinations, logits, strict=True)]
        best, tried, trainings = _best(own, floor), [*tried, *own], trainings + done
        remedy, chosen = remedy.with_settings(**best.settings), {**chosen, **best.settings}
    scores = [(one.settings, one.score) for one in tried]
    return Tuning(remedy, chosen, config, scores, best.recalls, trainings, time.perf_counter() - began)


def _tried(settings: Mapping[str, Any], logits: Tensor, truth: Tensor, metric: str) -> _Tried:
    right, numbers = (logits.argmax(dim=1) == truth).numpy(), truth.numpy()
    rows = np.bincount(numbers, minlength=logits.shape[1])
    hits = np.bincount(numbers[right], minlength=logits.shape[1])
    recalls = np.divide(hits, rows, out=np.full(len(rows), np.nan), where=rows > 0)
    return _Tried(settings, score(logits, truth, metric), recalls)


def _best(tried: Sequence[_Tried], floor: Floor | None = None) -> _Tried:
    """The highest score above the floor, of equal ones those nearest to the middle of the list."""
    middle = (len(tried) - 1) / 2
    order = sorted(range(len(tried)), key=lambda i: (-tried[i].score, abs(i - middle)))
    if floor is None:
        return tried[order[0]]
    kept = [float(np.nanmean(one.recalls[list(floor.classes)])) for one in tried]
    return tried[next((i for i in order if kept[i] >= floor.recall), max(order, key=lambda i: kept[i]))]
