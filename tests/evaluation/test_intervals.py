"""Intervals by cluster: against core's, against resampling, and against what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucida.core.statistics import auroc, cluster_bootstrap, mean_interval, wilson
from lucida.evaluation.intervals import (
    auroc_by_cluster,
    cluster_codes,
    mean_by_cluster,
    share_by_cluster,
    share_difference,
)


@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_independent_trials_give_wilsons_interval(hits: list[bool]) -> None:
    metric, expected = share_by_cluster(hits), wilson(sum(hits), len(hits))
    assert metric.value == expected.value
    assert metric.n == expected.n
    assert metric.ci95 == pytest.approx(expected.ci95)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=50))
def test_independent_values_give_students_interval(values: list[float]) -> None:
    metric, expected = mean_by_cluster(values), mean_interval(values)
    assert (metric.value, metric.n) == (pytest.approx(expected.value), expected.n)
    assert metric.ci95 == pytest.approx(expected.ci95, abs=1e-9)


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(2, 6))
def test_repeating_an_answer_adds_no_evidence(hits: list[bool], times: int) -> None:
    repeated = share_by_cluster(np.repeat(hits, times), clusters=np.repeat(np.arange(len(hits)), times))
    once = share_by_cluster(hits)
    assert repeated.n == once.n == len(hits)
    assert np.ptp(repeated.ci95) >= np.ptp(once.ci95) - 1e-9
    if len(hits) > 20:
        assert np.ptp(repeated.ci95) == pytest.approx(np.ptp(once.ci95), rel=0.1)


def test_clusters_keep_any_names() -> None:
    assert cluster_codes(["b", "a", "b", 1, "1"], 5).tolist() == [0, 1, 0, 2, 3]
    with pytest.raises(ValueError, match="2 clusters for 3 rows"):
        share_by_cluster([1, 0, 1], clusters=["a", "b"])


def test_nothing_measured_is_nan() -> None:
    for metric in (share_by_cluster([]), share_by_cluster([0, 0], [0, 0]), mean_by_cluster([])):
        assert (math.isnan(metric.value), metric.ci95, metric.n) == (True, None, 0)
    assert math.isnan(auroc_by_cluster([0.1, 0.2], [True, True]).value)
    assert mean_by_cluster([1.0, 2.0], ["a", "a"]).ci95 is None


def test_a_ratio_agrees_with_resampling() -> None:
    generator = np.random.default_rng(0)
    sizes = generator.integers(1, 7, 150)
    pictures = np.repeat(np.arange(150), sizes)
    right = generator.random(len(pictures)) < np.repeat(generator.beta(2, 1, 150), sizes)
    trials = generator.random(len(pictures)) < 0.6
    metric = share_by_cluster(right & trials, trials, pictures)
    resampled = cluster_bootstrap(lambda rows: (right & trials)[rows].sum() / trials[rows].sum(), pictures.tolist())
    assert metric.value == pytest.approx(resampled.value)
    assert metric.ci95 == pytest.approx(resampled.ci95, abs=0.012)


@pytest.mark.parametrize("pictures", [8, 60])
@pytest.mark.parametrize(("share", "spread"), [(0.6, 2.0), (0.9, 4.0), (0.97, 30.0)])
def test_a_share_covers_the_truth(share: float, spread: float, pictures: int) -> None:
    """Pictures of different difficulty (beta-binomial), 6 questions each."""
    generator, covered = np.random.default_rng(1), []
    clusters = np.repeat(np.arange(pictures), 6)
    for _ in range(400):
        right = generator.binomial(1, np.repeat(generator.beta(share * spread, (1 - share) * spread, pictures), 6))
        low, high = share_by_cluster(right, clusters=clusters).ci95
        covered.append(low <= share <= high)
    assert 0.91 < np.mean(covered) <= 1


@pytest.mark.parametrize("shift", [0.5, 1.5, 2.5])
def test_auroc_covers_the_truth(shift: float) -> None:
    """Scores share a term within a picture; 40 pictures of 3 + 3 questions. The truth: a large sample."""
    generator, covered = np.random.default_rng(2), []

    def draw(pictures: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        truth, clusters = np.tile([True] * 3 + [False] * 3, pictures), np.repeat(np.arange(pictures), 6)
        shared = np.repeat(generator.normal(size=pictures), 6)
        return shared + generator.normal(size=6 * pictures) + shift * truth, truth, clusters

    true = auroc(*draw(20_000)[:2])
    for _ in range(300):
        low, high = auroc_by_cluster(*draw(40)).ci95
        covered.append(low <= true <= high)
    assert 0.91 < np.mean(covered) <= 1


@given(st.integers(0, 999), st.integers(2, 40))
def test_auroc_is_cores_and_lies_in_its_interval(seed: int, n: int) -> None:
    generator = np.random.default_rng(seed)
    scores, truth = generator.integers(0, 5, n), generator.random(n) < 0.5
    metric = auroc_by_cluster(scores, truth, generator.integers(0, 6, n))
    assert metric.value == pytest.approx(auroc(scores, truth), nan_ok=True)
    if metric.ci95:
        assert 0 <= metric.ci95[0] <= metric.value <= metric.ci95[1] <= 1


def test_a_perfect_ranking_is_not_certain() -> None:
    metric = auroc_by_cluster([0.1, 0.2, 0.8, 0.9], [False, False, True, True])
    assert metric.value == 1
    assert metric.ci95[0] < 0.6


@given(st.integers(0, 10_000))
def test_a_paired_difference_of_shares_is_that_of_the_shares(seed: int) -> None:
    draw = np.random.default_rng(seed)
    trials = draw.integers(0, 4, (2, 40))
    hits = draw.binomial(trials, 0.4)
    clusters = draw.integers(0, 12, 40)
    found = share_difference((hits[0], trials[0]), (hits[1], trials[1]), clusters)
    shares = [share_by_cluster(h, t, clusters).value for h, t in zip(hits, trials, strict=True)]
    assert found.value == pytest.approx(shares[0] - shares[1])
    assert found.ci95 is not None
    assert found.ci95[0] <= found.value <= found.ci95[1]
    same = share_difference((hits[0], trials[0]), (hits[0], trials[0]), clusters)
    assert same.ci95 == (0, 0)  # what both have in common cancels


def test_the_interval_of_a_paired_difference_covers() -> None:
    draw, held = np.random.default_rng(0), 0
    for _ in range(400):
        own = draw.beta(4, 4, 60)[:, None]  # pictures differ, and both models with them
        hits = draw.random((2, 60, 3)) < np.clip(np.stack([own + 0.1, own]), 0, 1)
        low, high = share_difference(
            (hits[0].ravel(), np.ones(180)), (hits[1].ravel(), np.ones(180)), np.repeat(np.arange(60), 3)
        ).ci95 or (0, 0)
        held += low <= 0.0997 <= high  # of which the clipping takes a little
    assert 0.92 <= held / 400 <= 0.98
