"""From draws of a metric to its 95 % interval."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lucida.core.results import Metric
from lucida.evaluation.intervals import share_by_cluster, wilson_bounds
from lucida.evaluation.labelled_scores import LabelledScores
from lucida.evaluation.resampling import Floats

_TAIL = 0.025


def percentile_metric(value: float, drawn: Floats, n: int) -> Metric:
    """A value with the middle 95 % of what was drawn, widened to hold the value."""
    finite = drawn[np.isfinite(drawn)]
    if finite.size == 0 or not np.isfinite(value):
        return Metric(value, None, n)
    low, high = np.quantile(finite, [_TAIL, 1 - _TAIL]).tolist()
    return Metric(value, (min(low, value), max(high, value)), n)


def area_metric(values: Floats, drawn: Floats, positives: NDArray[np.int64], n: int) -> Metric:
    """A mean of areas under curves with Wilson's interval at the number of trials that its variance is worth.

    Few positives show too little of their spread, and none at all when they are ranked first. So the variance of each
    class is blended with that of two yes/no outcomes and widened as Student's is for its number of positives.

    Args:
        values: the area of each class, ``[K]``.
        drawn: the same under ``R`` sets of weights, ``[K, R]``.
        positives: independent positives of each class, ``[K]``.
        n: independent units in all.
    """
    value = float(values.mean())
    if drawn.size == 0 or not np.isfinite(value):
        return Metric(value, None, n)
    shrunk = (values * positives + 1) / (positives + 2)
    own = drawn.var(axis=1)
    blended = (own * (positives + 1) * positives + 2 * shrunk * (1 - shrunk)) / (positives + 2) / positives
    few = stats.t.ppf(1 - _TAIL, np.maximum(positives - 1, 1)) / stats.norm.ppf(1 - _TAIL)
    # Draws of the mean know how classes go together; what few positives hide is added class by class.
    variance = float(drawn.mean(axis=0).var() + ((blended * few**2 - own) / len(values) ** 2).sum())
    centre = float(shrunk.mean())
    low, high = wilson_bounds(value, centre * (1 - centre) / variance, 1 - 2 * _TAIL)
    return Metric(value, (low, high), n)


def worst_recall(scored: LabelledScores) -> Metric:
    """The lowest recall of all classes that have rows.

    The lowest of many noisy numbers lies too low, and so would every draw of it. The interval is one that holds the
    lowest true recall for sure: from the lowest lower bound of all classes to their lowest upper bound, the latter at
    a level shared by the classes (Bonferroni).
    """
    present = np.flatnonzero(scored.support)
    right, groups = scored.labels == scored.predicted, scored.clusters
    wide, plain = [], []
    for k in present:
        rows = scored.labels == k
        plain.append(share_by_cluster(right[rows], clusters=groups[rows]))
        confidence = 1 - 2 * _TAIL / len(present)
        wide.append(share_by_cluster(right[rows], clusters=groups[rows], confidence=confidence))
    worst = min(plain, key=lambda metric: metric.value)
    low = min(metric.ci95[0] for metric in plain if metric.ci95)
    high = min(metric.ci95[1] for metric in wide if metric.ci95)
    return Metric(worst.value, (low, max(high, worst.value)), worst.n)
