"""Calibration: whether P(yes) is what it says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lucida.core.results import Metric
from lucida.core.seeds import stream
from lucida.evaluation.intervals import cluster_codes, share_by_cluster


def calibration_error(
    p_yes: ArrayLike,
    positive: ArrayLike,
    clusters: Sequence[object] | None = None,
    *,
    bins: int = 10,
    resamples: int = 1000,
    seed: int = 0,
) -> Metric:
    """The mean distance between P(yes) and the share of true yes, over equal-width bins weighted by their size.

    The interval comes from resampling clusters. Noise can only add to a distance, so resampled errors lie too high: the
    interval is the reflected one (``2 value - quantile``), cut at 0 and widened to hold the value.
    """
    p, truth = np.asarray(p_yes, dtype=float), np.asarray(positive, dtype=float)
    if p.size == 0:
        return Metric(float("nan"), None, 0)
    codes = cluster_codes(clusters, len(p))
    count, bin_of = int(codes.max()) + 1, np.minimum((p * bins).astype(int), bins - 1)
    gaps, sizes = np.zeros((count, bins)), np.zeros(count)
    np.add.at(gaps, (codes, bin_of), p - truth)
    np.add.at(sizes, codes, 1)
    value = float(np.abs(gaps.sum(axis=0)).sum() / len(p))
    if count < 2:
        return Metric(value, None, count)
    weights = stream(seed, "calibration").multinomial(count, np.full(count, 1 / count), size=resamples).astype(float)
    draws = np.abs(weights @ gaps).sum(axis=1) / (weights @ sizes)
    return reflected(value, draws, count)


def reflected(value: float, draws: ArrayLike, n: int) -> Metric:
    """A calibration error with the reflected interval of its draws, as above.

    >>> reflected(0.25, [0.375, 0.375], 50).ci95
    (0.125, 0.25)
    """
    low, high = np.quantile(np.asarray(draws), [0.025, 0.975]).tolist()
    return Metric(value, (max(0.0, min(value, 2 * value - high)), min(1.0, max(value, 2 * value - low))), n)


COVERAGES = (0.5, 0.7, 0.9, 1.0)
"""Shares of the questions that are answered, the surest first."""


def risk_metrics(
    confidence: ArrayLike,
    right: ArrayLike,
    clusters: Sequence[object] | None = None,
    *,
    coverages: Sequence[float] = COVERAGES,
    prefix: str = "risk",
) -> dict[str, Metric]:
    """How many answers are wrong if only the surest are given: the risk-coverage curve (Geifman & El-Yaniv 2017).

    Answers of equal confidence at the border count in equal parts. The intervals take the border as given.

    Args:
        confidence: of each answer, ``[Q]``.
        right: whether it is right, ``[Q]``.
        clusters: the picture of each.
        coverages: shares to be answered, above 0.
        prefix: of the names.

    Returns:
        ``{prefix}/at_{percent}/wrong_share`` for each coverage.

    >>> found = risk_metrics([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1], coverages=(0.5, 1.0))
    >>> {name: metric.value for name, metric in found.items()}
    {'risk/at_50/wrong_share': 0.0, 'risk/at_100/wrong_share': 0.25}
    """
    sure, wrong = np.asarray(confidence, dtype=float), 1 - np.asarray(right, dtype=float)
    above = _larger(sure)
    equal = len(sure) - above - _larger(-sure)  # itself among them
    found = {}
    for coverage in coverages:
        given = np.clip((coverage * len(sure) - above) / np.maximum(equal, 1), 0, 1)
        found[f"{prefix}/at_{round(100 * coverage)}/wrong_share"] = share_by_cluster(wrong * given, given, clusters)
    return found


def _larger(values: np.ndarray) -> np.ndarray:
    """How many of the values are larger than each."""
    ordered = np.sort(values)
    return len(values) - np.searchsorted(ordered, values, side="right")
