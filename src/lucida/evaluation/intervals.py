"""Intervals for what several questions, captions or pictures of one cluster measure together.

Questions about one picture are not independent, and a model that is right everywhere has no spread to resample: a
bootstrap would call its accuracy certain after ten pictures. Shares therefore get Wilson's interval with the
*effective* number of trials: the variance of the ratio between clusters (linearised, as for a survey's cluster sample:
Cochran 1977, chapter 11) says how many independent trials the sample is worth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from lucida.core.results import Metric


def cluster_codes(clusters: Sequence[object] | NDArray | None, rows: int) -> NDArray[np.intp]:
    """Numbers 0..C-1 for any cluster names, one a row; every row is its own cluster where ``clusters`` is None.

    Raises:
        ValueError: not one cluster a row.
    """
    if clusters is None:
        return np.arange(rows)
    if len(clusters) != rows:
        raise ValueError(f"{len(clusters)} clusters for {rows} rows")
    if isinstance(clusters, np.ndarray) and np.issubdtype(clusters.dtype, np.integer):
        return np.unique(clusters, return_inverse=True)[1]
    known: dict[object, int] = {}
    return np.asarray([known.setdefault(c, len(known)) for c in clusters], dtype=np.intp)


def wilson_bounds(share: float, trials: float, confidence: float) -> tuple[float, float]:
    """Wilson's interval of a share for a number of independent trials, which need not be whole."""
    z2 = float(stats.norm.ppf((1 + confidence) / 2)) ** 2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = math.sqrt(z2 * (share * (1 - share) / trials + z2 / (4 * trials**2))) / (1 + z2 / trials)
    # The rounding of a share of 0 or 1 must not leave it outside its own interval.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def share_by_cluster(
    hits: ArrayLike,
    trials: ArrayLike | None = None,
    clusters: Sequence[object] | NDArray | None = None,
    *,
    confidence: float = 0.95,
) -> Metric:
    """The share ``sum(hits) / sum(trials)`` with Wilson's interval at the effective number of trials.

    Args:
        hits: per row, between 0 and its trials (parts of a hit are allowed: ties).
        trials: per row; 1 each by default. A row of 0 trials says nothing.
        clusters: the cluster of each row (its picture); rows are independent by default, and then this is Wilson's
            interval of :func:`lucida.core.statistics.wilson`.

    Returns:
        The share, its interval, and ``n`` = the number of clusters with a trial. NaN without trials.

    A share of 0 or 1 shows no spread: then only the clusters count as independent trials. The effective number never
    exceeds the trials.

    >>> m = share_by_cluster([1, 1, 0, 0], clusters=["a", "a", "b", "b"])
    >>> m.value, [round(x, 2) for x in m.ci95], m.n
    (0.5, [0.01, 0.99], 2)
    """
    y = np.asarray(hits, dtype=float)
    x = np.ones_like(y) if trials is None else np.asarray(trials, dtype=float)
    codes = cluster_codes(clusters, len(y))
    y_sums, x_sums = np.bincount(codes, weights=y), np.bincount(codes, weights=x)
    seen = x_sums > 0
    count, total = int(seen.sum()), float(x_sums.sum())
    if count == 0:
        return Metric(float("nan"), None, 0)
    share = float(y_sums.sum()) / total
    trials_worth = _effective_trials(share, y_sums[seen], x_sums[seen], confidence)
    return Metric(share, wilson_bounds(share, trials_worth, confidence), count)


def _effective_trials(share: float, y_sums: NDArray, x_sums: NDArray, confidence: float) -> float:
    """Trials divided by the design effect: variance between clusters over that of as many independent trials."""
    count, total = len(x_sums), float(x_sums.sum())
    independent = share * (1 - share) * total / max(total - 1, 1)  # variance of the sum, times 1/total
    if count < 2 or independent <= 0:
        return float(count)
    between = float(((y_sums - share * x_sums) ** 2).sum()) * count / (count - 1) / total
    trials = total if between <= independent else max(total * independent / between, 1.0)
    return trials * _few_clusters(count, total, confidence)


def _few_clusters(count: int, rows: float, confidence: float) -> float:
    """What is left of the trials when few clusters make their variance uncertain (Korn and Graubard 1998)."""
    level = (1 + confidence) / 2
    return float((stats.t.ppf(level, max(rows - 1, 1)) / stats.t.ppf(level, max(count - 1, 1))) ** 2)


def mean_by_cluster(
    values: ArrayLike, clusters: Sequence[object] | NDArray | None = None, *, confidence: float = 0.95
) -> Metric:
    """A mean over rows with Student's interval from the spread between clusters; ``n`` = the number of clusters.

    For paired comparisons hand in the differences. One cluster has no interval.

    >>> m = mean_by_cluster([1.0, 2.0, 3.0])
    >>> m.value, [round(x, 2) for x in m.ci95]
    (2.0, [-0.48, 4.48])
    """
    y = np.asarray(values, dtype=float)
    if y.size == 0:
        return Metric(float("nan"), None, 0)
    codes = cluster_codes(clusters, len(y))
    sums, sizes = np.bincount(codes, weights=y), np.bincount(codes)
    mean, count = float(y.mean()), len(sizes)
    if count < 2:
        return Metric(mean, None, count)
    spread = math.sqrt(float(((sums - mean * sizes) ** 2).sum()) * count / (count - 1)) / len(y)
    half = float(stats.t.ppf((1 + confidence) / 2, count - 1)) * spread
    return Metric(mean, (mean - half, mean + half), count)


def share_difference(
    first: tuple[ArrayLike, ArrayLike],
    second: tuple[ArrayLike, ArrayLike],
    clusters: Sequence[object] | NDArray | None = None,
    *,
    confidence: float = 0.95,
) -> Metric:
    """The share of ``first`` less that of ``second`` on the same rows, with the interval of the paired difference.

    Each is (hits, trials) by row. What a cluster moves each share by (the linearised ratio, as for
    :func:`share_by_cluster`) is subtracted within the cluster, so that what both have in common cancels; Student's
    interval with the number of clusters that have a trial of either. NaN if one has no trials.

    >>> found = share_difference(([1, 1, 0, 1], [1, 1, 1, 1]), ([1, 0, 0, 1], [1, 1, 1, 1]))
    >>> found.value, found.n
    (0.25, 4)
    """
    rows = [[np.asarray(part, dtype=float) for part in pair] for pair in (first, second)]
    codes = cluster_codes(clusters, len(rows[0][0]))
    if len(codes) == 0 or any(trials.sum() == 0 for _, trials in rows):
        return Metric(float("nan"), None, 0)
    shares, pulls, tried = [], [], np.zeros(int(codes.max()) + 1, dtype=bool)
    for hits, trials in rows:
        sums = [np.bincount(codes, weights=part) for part in (hits, trials)]
        share = float(hits.sum() / trials.sum())
        shares.append(share)
        pulls.append((sums[0] - share * sums[1]) / trials.sum())
        tried |= sums[1] > 0
    value, count = shares[0] - shares[1], int(tried.sum())
    if count < 2:
        return Metric(value, None, count)
    spread = math.sqrt(float(((pulls[0] - pulls[1]) ** 2).sum()) * count / (count - 1))
    half = float(stats.t.ppf((1 + confidence) / 2, count - 1)) * spread
    return Metric(value, (value - half, value + half), count)


def auroc_by_cluster(
    scores: ArrayLike,
    positive: ArrayLike,
    clusters: Sequence[object] | NDArray | None = None,
    *,
    confidence: float = 0.95,
) -> Metric:
    """Area under the ROC curve, ties counted half, with DeLong's variance between clusters (Obuchowski 1997).

    The interval is Wilson's at the number of trials that this variance is worth, at most the smaller class: it stays
    inside [0, 1] and does not shrink to a point for a perfect ranking. NaN if one class is missing.

    Args:
        scores: higher means positive.
        positive: the truth of each row.
        clusters: the cluster (picture) of each row.
    """
    s, truth = np.asarray(scores, dtype=float), np.asarray(positive, dtype=bool)
    codes = cluster_codes(clusters, len(s))
    n_positive, n_negative = int(truth.sum()), int((~truth).sum())
    if n_positive == 0 or n_negative == 0:
        return Metric(float("nan"), None, 0)
    # Each positive's share of negatives below it, each negative's share of positives above it.
    above = np.empty(len(s))
    all_ranks = stats.rankdata(s)
    above[truth] = (all_ranks[truth] - stats.rankdata(s[truth])) / n_negative
    above[~truth] = 1 - (all_ranks[~truth] - stats.rankdata(s[~truth])) / n_positive
    area = float(above[truth].mean())
    # Between clusters: the covariance inside one (its positives against its negatives) is in the squared sum.
    weights = np.where(truth, 1 / n_positive, 1 / n_negative) * (above - area)
    sums = np.bincount(codes, weights=weights)
    count = len(sums)
    variance = float((sums**2).sum()) * count / max(count - 1, 1)
    smaller = min(len(np.unique(codes[truth])), len(np.unique(codes[~truth])))
    trials = float(smaller)
    if variance > 0:
        trials = min(max(area * (1 - area) / variance, 1.0), float(min(n_positive, n_negative)))
        trials *= _few_clusters(count, len(s), confidence)
    return Metric(area, wilson_bounds(min(max(area, 0.0), 1.0), trials, confidence), count)
