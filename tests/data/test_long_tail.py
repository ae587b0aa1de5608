"""Long-tailed selections: the published counts, nested tails, fair draws, and one line for what cannot be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.data.long_tail import long_tailed_counts, long_tailed_rows

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 500))


def counts_of(rows):
    return np.bincount(LABELS[rows], minlength=10)


@pytest.mark.parametrize(
    ("ratio", "published"),
    [
        (100, [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]),  # 12,406 pictures: CIFAR-10-LT
        (10, [5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500]),  # 20,431
        (50, [5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100]),
    ],
)
def test_counts_are_those_of_long_tailed_cifar_10(ratio, published):
    assert long_tailed_counts(10, ratio, largest=5000).tolist() == published


def test_step_halves_the_classes():
    assert long_tailed_counts(10, 100, largest=5000, profile="step").tolist() == [5000] * 5 + [50] * 5
    assert long_tailed_counts(5, 10, largest=90, profile="step").tolist() == [90, 90, 90, 9, 9]


@pytest.mark.parametrize("profile", ["exponential", "step"])
@given(
    ratio=st.floats(1, 500),
    seed=st.integers(0, 2**40),
    order=st.permutations(range(10)),
)
def test_rows_are_distinct_and_counted_as_asked(profile, ratio, seed, order):
    rows = long_tailed_rows(LABELS, ratio, profile=profile, order=order, seed=seed)
    assert (np.diff(rows) > 0).all()
    expected = long_tailed_counts(10, ratio, largest=500, profile=profile)
    assert counts_of(rows)[order].tolist() == expected.tolist()
    assert (np.diff(expected) <= 0).all()
    assert rows.tolist() == long_tailed_rows(LABELS, ratio, profile=profile, order=order, seed=seed).tolist()


def test_tails_of_one_seed_nest():
    seen = [set(long_tailed_rows(LABELS, ratio, seed=3).tolist()) for ratio in (1, 2, 10, 100)]
    assert seen[0] > seen[1] > seen[2] > seen[3]
    step = set(long_tailed_rows(LABELS, 100, profile="step", seed=3).tolist())
    rare = {row for row in seen[3] if LABELS[row] == 9}
    assert rare <= step


def test_every_row_of_a_class_is_as_likely_as_any_other():
    drawn = np.zeros(len(LABELS))
    for seed in range(400):
        drawn[long_tailed_rows(LABELS, 10, seed=seed)] += 1
    share = drawn[LABELS == 9] / 400  # each is kept with chance 50 / 500
    assert abs(share.mean() - 0.1) < 1e-9
    assert share.std() < 1.2 * np.sqrt(0.1 * 0.9 / 400)


def test_classes_are_shuffled_independently():
    labels = np.repeat(["a", "b"], 100)
    rows = long_tailed_rows(labels, 1, largest=10, seed=0)
    assert (rows[:10] + 100).tolist() != rows[10:].tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 0.5}, "cannot be 0.5 times"),
        ({"ratio": float("nan")}, "cannot be nan times"),
        ({"ratio": 1000}, "would keep no row"),
        ({"ratio": 2, "profile": "linear"}, "no profile 'linear'"),
        ({"ratio": 2, "largest": 600}, "class 0 has 500 rows and should keep 600"),
        ({"ratio": 2, "order": range(9)}, "order must list each of the 10 classes"),
        ({"ratio": 2, "order": [0] * 10}, "order must list each of the 10 classes"),
    ],
)
def test_what_cannot_be_is_one_line(options, message):
    with pytest.raises(LucidaError, match=message):
        long_tailed_rows(LABELS, seed=0, **options)


def test_one_class_has_no_tail():
    with pytest.raises(LucidaError, match="1 class has no tail"):
        long_tailed_rows(np.zeros(5), 2, seed=0)
