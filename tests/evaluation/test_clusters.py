"""Agreement of clusters equals scikit-learn's, its intervals hold what they should, and chance is zero."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from lucida.evaluation.clusters import adjusted_rand_index, contingency, normalised_mutual_information, purity

pairs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7)), min_size=1, max_size=60)


@settings(deadline=None)
@given(pairs)
def test_both_are_those_of_scikit_learn(found: list[tuple[int, int]]) -> None:
    labels, clusters = ([pair[side] for pair in found] for side in (0, 1))
    rand, information = adjusted_rand_index(labels, clusters), normalised_mutual_information(labels, clusters)
    assert rand.value == pytest.approx(adjusted_rand_score(labels, clusters), abs=1e-12)
    assert information.value == pytest.approx(normalized_mutual_info_score(labels, clusters), abs=1e-9)
    for metric in (rand, information):
        assert metric.n == len(found)
        if metric.ci95 is not None:
            assert metric.ci95[0] <= metric.value <= metric.ci95[1]


@settings(deadline=None)
@given(pairs, st.randoms())
def test_names_and_order_do_not_matter(found: list[tuple[int, int]], random) -> None:
    labels, clusters = ([pair[side] for pair in found] for side in (0, 1))
    shuffled = list(found)
    random.shuffle(shuffled)
    other = adjusted_rand_index([f"label {a}" for a, _ in shuffled], [-b for _, b in shuffled])
    assert other.value == pytest.approx(adjusted_rand_index(labels, clusters).value, abs=1e-12)
    if len(found) > 2:
        assert other.ci95 == pytest.approx(adjusted_rand_index(clusters, labels).ci95, abs=1e-9)


@pytest.mark.parametrize("measure", [adjusted_rand_index, normalised_mutual_information])
def test_the_jackknife_is_the_one_over_pictures(measure) -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(3, size=40)
    clusters = np.where(generator.random(40) < 0.6, labels, generator.integers(4, size=40))
    without = [measure(np.delete(labels, i), np.delete(clusters, i)).value for i in range(40)]
    half = 2.022690920036762 * np.sqrt(39 / 40 * np.square(without - np.mean(without)).sum())  # Student's, 39 degrees
    low, high = measure(labels, clusters).ci95
    assert high - low == pytest.approx(2 * half, rel=1e-9)


def test_intervals_hold_the_measure_of_many_pictures() -> None:
    def drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        generator = np.random.default_rng(seed)
        labels = generator.integers(4, size=n)
        return labels, np.where(generator.random(n) < 0.7, labels, generator.integers(4, size=n))

    truth = adjusted_rand_index(*drawn(400_000, 0)).value
    intervals = [adjusted_rand_index(*drawn(200, seed)).ci95 for seed in range(1, 401)]
    assert 0.92 <= np.mean([low <= truth <= high for low, high in intervals]) <= 0.98


def test_chance_is_zero_and_equality_one() -> None:
    generator = np.random.default_rng(0)
    labels, clusters = generator.integers(5, size=20_000), generator.integers(50, size=20_000)
    assert adjusted_rand_index(labels, clusters).value == pytest.approx(0, abs=0.002)
    assert adjusted_rand_index(labels, labels).ci95 == (1.0, 1.0)


def test_bad_and_empty_input() -> None:
    with pytest.raises(ValueError, match="3 labels for 2 clusters"):
        contingency([1, 2, 3], [1, 2])
    assert np.isnan(adjusted_rand_index([], []).value)
    assert purity([], []) == {}


def test_the_most_frequent_label_of_a_cluster() -> None:
    assert purity(["a", "b", "b", "c"], [0, 0, 0, 2]) == {0: ("b", 2 / 3), 2: ("c", 1.0)}
