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
    class is widened as Student's is for its number of positives, and blended with that of two yes/no outcomes.

    Args:
        values: the area of each class, ``[K]``.
        drawn: the same under ``R`` sets of weights, ``[K, R]``.
        positives: independent positives of each class, ``[K]``.
        n: independent units in all.
    """
    value = float(values.mean())
    if drawn.size == 0 or not np.isfinite(value):
        return Metric(value, None, n)
    variance = _area_variance(values, drawn, positives)
    centre = float(_shrunk(values, positives).mean())
    low, high = wilson_bounds(value, centre * (1 - centre) / variance, 1 - 2 * _TAIL)
    return Metric(value, (low, high), n)


def area_difference(pair: tuple[Floats, Floats], drawn: Floats, positives: NDArray[np.int64], n: int) -> Metric:
    """The difference between two means of areas, with the normal interval at the variance of :func:`area_metric`.

    Args:
        pair: the areas of both models, ``[K]`` each.
        drawn: their difference under ``R`` sets of weights, ``[K, R]``.
        positives, n: as there.
    """
    value = float((pair[0] - pair[1]).mean())
    if drawn.size == 0 or not np.isfinite(value):
        return Metric(value, None, n)
    variance = _area_variance((pair[0] + pair[1]) / 2, drawn, positives)
    half = float(stats.norm.ppf(1 - _TAIL)) * float(np.sqrt(variance))
    return Metric(value, (max(value - half, -1.0), min(value + half, 1.0)), n)


def _shrunk(areas: Floats, positives: NDArray[np.int64]) -> Floats:
    """Areas as means over positives, with one more of 1 and one of 0."""
    return (areas * positives + 1) / (positives + 2)


def _area_variance(areas: Floats, drawn: Floats, positives: NDArray[np.int64]) -> float:
    """The variance of a mean over classes of what was drawn, ``[K, R]``, mended for few positives."""
    few = stats.t.ppf(1 - _TAIL, np.maximum(positives - 1, 1)) / stats.norm.ppf(1 - _TAIL)
    own, two = drawn.var(axis=1), _shrunk(areas, positives)
    of_one = own * few**2 * (positives + 1)
    blended = (of_one * positives + 2 * two * (1 - two)) / (positives + 2) / positives
    # Draws of the mean know how classes go together; what few positives hide is added class by class.
    return float(drawn.mean(axis=0).var() + ((blended - own) / len(areas) ** 2).sum())


def worst_recall(scored: LabelledScores) -> Metric:
    """The lowest recall of all classes that have rows.

    The lowest of many noisy numbers lies too low, and so would every draw of it. The interval is one that holds the
    lowest true recall at least 95 times in 100: from the lowest lower bound of all classes to their lowest upper bound,
    the latter at a level shared by the classes (Bonferroni), both exact (Clopper and Pearson 1934; clusters as trials).
    """
    present = np.flatnonzero(scored.support)
    right, groups = scored.labels == scored.predicted, scored.clusters
    recalls = [share_by_cluster(right[rows], clusters=groups[rows]) for rows in (scored.labels == k for k in present)]
    worst = min(recalls, key=lambda metric: metric.value)
    values, trials = (np.array(column, dtype=float) for column in zip(*((m.value, m.n) for m in recalls), strict=True))
    hits, misses = values * trials, (1 - values) * trials
    lowest = stats.beta.ppf(_TAIL, hits, misses + 1)
    highest = stats.beta.ppf(1 - _TAIL / len(present), hits + 1, misses)
    return Metric(
        worst.value, (float(np.nan_to_num(lowest).min()), float(np.nan_to_num(highest, nan=1.0).min())), worst.n
    )
