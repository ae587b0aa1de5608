"""Intervals against published values, against scipy, and against what they promise: coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lucida.core.statistics import auroc, cluster_bootstrap, mean_interval, wilson


# Newcombe (1998), Statistics in Medicine 17, table I, method 3 (the score method): published limits.
@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_equals_the_published_limits(successes: int, n: int, low: float, high: float) -> None:
    metric = wilson(successes, n)
    assert metric.ci95 == pytest.approx((low, high), abs=5e-5)
    assert (metric.value, metric.n) == (successes / n, n)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("n", [30, 200])
def test_wilson_covers_the_truth(share: float, n: int) -> None:
    """Exact coverage by summing over all outcomes: near 95 % on average, never far below (Brown et al. 2001)."""
    intervals = [wilson(k, n).ci95 for k in range(n + 1)]
    covered = [k for k, (low, high) in enumerate(intervals) if low <= share <= high]
    assert 0.90 < stats.binom.pmf(covered, n, share).sum() < 0.995


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_contains_the_share_and_mirrors(counts: tuple[int, int]) -> None:
    successes, n = counts
    low, high = wilson(successes, n).ci95
    assert 0 <= low <= successes / n <= high <= 1 + 1e-12
    assert wilson(n - successes, n).ci95 == pytest.approx((1 - high, 1 - low), abs=1e-12)
    assert wilson(10 * successes, 10 * n).ci95[1] <= high + 1e-12


def test_nothing_measured_has_no_interval() -> None:
    for metric in (wilson(0, 0), mean_interval([]), cluster_bootstrap(lambda rows: 1.0, [])):
        assert math.isnan(metric.value)
        assert (metric.ci95, metric.n) == (None, 0)
    assert mean_interval([3.0]).value == 3
    assert mean_interval([3.0]).ci95 is None


def test_mean_interval_equals_scipy() -> None:
    values = np.random.default_rng(0).normal(2, 3, 12)
    metric = mean_interval(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    assert metric.ci95 == pytest.approx((expected.low, expected.high))
    assert metric.value == pytest.approx(values.mean())


def test_mean_interval_covers_the_truth() -> None:
    draws = np.random.default_rng(1).normal(5, 2, (2000, 5))
    covered = [low <= 5 <= high for low, high in (mean_interval(row).ci95 for row in draws)]
    assert 0.935 < np.mean(covered) < 0.965


def test_bootstrap_of_single_rows_equals_the_normal_interval() -> None:
    values = np.random.default_rng(2).normal(0, 1, 400)
    metric = cluster_bootstrap(lambda rows: values[rows].mean(), range(400))
    half = 1.96 * values.std(ddof=1) / 20
    assert metric.ci95 == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)
    assert (metric.value, metric.n) == (pytest.approx(values.mean()), 400)


def test_bootstrap_keeps_clusters_together() -> None:
    """Six equal answers a picture are one observation: a row bootstrap would be sqrt(6) too sure."""
    per_picture = np.random.default_rng(3).normal(0, 1, 100)
    values, pictures = np.repeat(per_picture, 6), np.repeat(np.arange(100), 6)
    shuffled = np.random.default_rng(4).permutation(600)
    metric = cluster_bootstrap(lambda rows: values[shuffled][rows].mean(), pictures[shuffled])
    one_each = cluster_bootstrap(lambda rows: per_picture[rows].mean(), range(100))
    width, expected = np.diff(metric.ci95)[0], np.diff(one_each.ci95)[0]
    assert metric.n == 100
    assert width == pytest.approx(expected, rel=0.15)


def test_bootstrap_covers_the_truth() -> None:
    generator, covered = np.random.default_rng(5), []
    for seed in range(200):
        sizes = generator.integers(1, 5, 60)
        values = np.repeat(generator.normal(1, 1, 60), sizes)
        clusters = np.repeat(np.arange(60), sizes)
        metric = cluster_bootstrap(lambda rows, v=values: v[rows].mean(), clusters, resamples=200, seed=seed)
        covered.append(metric.ci95[0] <= 1 <= metric.ci95[1])
    assert 0.88 < np.mean(covered) <= 0.99


def test_bootstrap_repeats_itself_and_ignores_undefined_draws() -> None:
    def odd(rows: np.ndarray) -> float:
        return float("nan") if len(set(rows)) < 3 else float(rows.mean())

    one, two = (cluster_bootstrap(odd, ["a", "b", "b", "c"], resamples=50) for _ in range(2))
    assert one == two
    assert all(map(math.isfinite, one.ci95))


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40))
def test_auroc_is_the_share_of_pairs_in_order(rows: list[tuple[int, bool]]) -> None:
    positives = [score for score, positive in rows if positive]
    negatives = [score for score, positive in rows if not positive]
    value = auroc(*zip(*rows, strict=True))
    if not positives or not negatives:
        assert math.isnan(value)
        return
    wins = [(p > n) + 0.5 * (p == n) for p in positives for n in negatives]
    assert value == pytest.approx(np.mean(wins))
    assert auroc([-score for score, _ in rows], [positive for _, positive in rows]) == pytest.approx(1 - value)
