"""Intervals and tests, with numpy and scipy only.

Every measured share or mean goes through one of these, so that no number stands without its interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from lucida.core.results import Metric


def wilson(successes: int, n: int, *, confidence: float = 0.95) -> Metric:
    """A share with Wilson's score interval (Wilson 1927); for independent yes/no outcomes.

    >>> m = wilson(8, 10)
    >>> m.value, [round(x, 3) for x in m.ci95]
    (0.8, [0.49, 0.943])
    """
    if n == 0:
        return Metric(float("nan"), None, 0)
    interval = stats.binomtest(int(successes), n).proportion_ci(confidence, method="wilson")
    return Metric(successes / n, (float(interval.low), float(interval.high)), n)


def mean_interval(values: ArrayLike, *, confidence: float = 0.95, stretch: float = 1.0) -> Metric:
    """A mean over independent runs with Student's interval; no interval for fewer than two values.

    ``stretch`` multiplies its width, for runs that share what they are measured on.

    >>> m = mean_interval([1.0, 2.0, 3.0])
    >>> m.value, [round(x, 2) for x in m.ci95], m.n
    (2.0, [-0.48, 4.48], 3)
    """
    x = np.asarray(values, dtype=float)
    if x.size < 2:
        return Metric(float(x.mean()) if x.size else float("nan"), None, x.size)
    half = stats.t.ppf((1 + confidence) / 2, x.size - 1) * x.std(ddof=1) / np.sqrt(x.size) * stretch
    return Metric(float(x.mean()), (float(x.mean() - half), float(x.mean() + half)), x.size)


def cluster_bootstrap(
    statistic: Callable[[NDArray[np.intp]], float],
    clusters: Sequence[object],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Metric:
    """Percentile bootstrap that resamples whole clusters (all questions of a picture stay together).

    Args:
        statistic: maps row indices (with repetitions) to a number.
        clusters: the cluster of each row; rows of one cluster are not independent.

    Returns:
        The statistic on all rows, its interval, and ``n`` = the number of clusters.
    """
    _, codes = np.unique(np.asarray([str(c) for c in clusters]), return_inverse=True)
    rows = np.argsort(codes, kind="stable")
    everything = np.arange(len(codes))
    if len(codes) == 0:
        return Metric(float("nan"), None, 0)
    members = np.split(rows, np.cumsum(np.bincount(codes))[:-1])
    generator = np.random.default_rng(seed)
    draws = [
        statistic(np.concatenate([members[c] for c in generator.integers(len(members), size=len(members))]))
        for _ in range(resamples)
    ]
    tail = (1 - confidence) / 2
    finite = np.asarray(draws)[np.isfinite(draws)]
    interval = None if finite.size == 0 else tuple(float(q) for q in np.quantile(finite, [tail, 1 - tail]))
    return Metric(float(statistic(everything)), interval, len(members))  # type: ignore[arg-type]


def auroc(scores: ArrayLike, positive: ArrayLike) -> float:
    """Area under the ROC curve: the share of (positive, negative) pairs in the right order, ties counted half.

    >>> auroc([0.1, 0.4, 0.35, 0.8], [False, False, True, True])
    0.75
    """
    s, y = np.asarray(scores, dtype=float), np.asarray(positive, dtype=bool)
    positives, negatives = int(y.sum()), int((~y).sum())
    if positives == 0 or negatives == 0:
        return float("nan")
    ranks = stats.rankdata(s)
    return float((ranks[y].sum() - positives * (positives + 1) / 2) / (positives * negatives))
