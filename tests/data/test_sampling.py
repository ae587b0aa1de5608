"""Rows for an epoch: what every sampling keeps, whatever the labels."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.data.sampling import SAMPLINGS, Sampling, draw_rows, epoch_size, repeats

labels_of = st.lists(st.integers(0, 5), min_size=1, max_size=60).map(np.array)


@given(labels=labels_of, sampling=st.sampled_from(SAMPLINGS), seed=st.integers(0, 99), size=st.integers(0, 200))
@settings(max_examples=80, deadline=None)
def test_sizes_range_and_seed(labels: np.ndarray, sampling: Sampling, seed: int, size: int) -> None:
    rows = draw_rows(labels, sampling, seed)
    assert rows.dtype == np.int64
    assert len(rows) == epoch_size(np.bincount(labels), sampling)
    assert set(rows.tolist()) <= set(range(len(labels)))
    assert np.array_equal(rows, draw_rows(labels, sampling, seed))
    assert len(draw_rows(labels, sampling, seed, size=size)) == size
    names = np.array(["abcdef"[c] for c in labels])  # names of classes do not matter, their order does
    assert np.array_equal(rows, draw_rows(names, sampling, seed))


@given(labels=labels_of, seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_what_an_epoch_holds(labels: np.ndarray, seed: int) -> None:
    counts = Counter(labels.tolist())
    assert sorted(draw_rows(labels, "instance", seed)) == list(range(len(labels)))
    for sampling, each in (("oversampled", max(counts.values())), ("undersampled", min(counts.values()))):
        rows = draw_rows(labels, sampling, seed)
        assert Counter(labels[rows].tolist()) == dict.fromkeys(counts, each)
        for c in counts:  # every row of a class as often as any other, up to one
            shown = np.bincount(rows[labels[rows] == c], minlength=len(labels))[labels == c]
            assert shown.max() - shown.min() <= 1


@given(labels=labels_of, seed=st.integers(0, 99), epochs=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_several_epochs_follow_each_other(labels: np.ndarray, seed: int, epochs: int) -> None:
    rows = draw_rows(labels, "instance", seed, size=epochs * len(labels) - 1)
    whole = rows[: (epochs - 1) * len(labels)].reshape(epochs - 1, len(labels))
    assert (np.sort(whole, axis=1) == np.arange(len(labels))).all()
    assert len(np.unique(rows[(epochs - 1) * len(labels) :])) == len(labels) - 1


@pytest.mark.parametrize(("sampling", "shares"), [("class_balanced", [1, 1, 1]), ("square_root", [30, 10, 1])])
def test_drawn_classes_have_their_shares(sampling: Sampling, shares: list[float]) -> None:
    labels = np.repeat([0, 1, 2], [900, 100, 1])
    size = 60_000
    found = np.bincount(labels[draw_rows(labels, sampling, 0, size=size)]) / size
    expected = np.array(shares) / sum(shares)
    assert np.abs(found - expected).max() < 5 * np.sqrt(0.25 / size)
    rows = draw_rows(labels, sampling, 1, size=size)
    of_largest = np.bincount(rows[rows < 900], minlength=900)
    assert of_largest.min() > 0
    assert abs(of_largest[:450].sum() - of_largest[450:].sum()) < 5 * np.sqrt(size)  # rows of a class alike


def test_undersampling_shows_other_rows_each_epoch() -> None:
    labels = np.repeat([0, 1], [200, 5])
    rows = draw_rows(labels, "undersampled", 0, size=400)
    assert len(np.unique(rows[labels[rows] == 0])) > 100


def test_a_generator_goes_on() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(20) % 3
    assert not np.array_equal(*(draw_rows(labels, "instance", generator) for _ in range(2)))


@given(rows=st.lists(st.integers(0, 9), max_size=40))
@settings(max_examples=60, deadline=None)
def test_repeats_counts(rows: list[int]) -> None:
    assert repeats(np.array(rows, dtype=np.int64)).tolist() == [rows[:i].count(row) for i, row in enumerate(rows)]


def test_bad_input_is_one_line() -> None:
    with pytest.raises(LucidaError, match=r"no row to draw \(labels\)"):
        draw_rows(np.array([]), "instance", 0)
    with pytest.raises(LucidaError, match=r"no sampling 'all'; use instance, oversampled"):
        draw_rows(np.array([0]), "all", 0)  # type: ignore[arg-type]
