"""The two pages on order problems: rivals are right, counts are what is counted, and the pages are whole."""

from __future__ import annotations

from itertools import combinations_with_replacement, product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lucida.algorithms import median_of_two_sorted
from lucida.lab.experiments import fewest_swaps, fewest_swaps_page, median_of_two_sorted_page
from lucida.lab.experiments import median_of_two_sorted as median_page
from tests.lab.drawn_bench import whole_page

SIDES = [np.array(s, dtype=float) for size in range(1, 6) for s in combinations_with_replacement(range(3), size)]


def merged(a: NDArray, b: NDArray) -> tuple[float, int]:
    """The element in the middle by merging, and the comparisons that took."""
    i, j, comparisons = 0, 0, 0
    found = 0.0
    for _ in range((len(a) + len(b)) // 2 + 1):
        if i < len(a) and j < len(b):
            comparisons += 1
            first = a[i] <= b[j]
        else:
            first = i < len(a)
        found = float(a[i] if first else b[j])
        i, j = i + first, j + (not first)
    return found, comparisons


def test_rivals_find_the_median_and_merging_is_counted_right() -> None:
    cases = 0
    for a, b in product(SIDES, repeat=2):
        median = float(np.median(np.concatenate([a, b])))
        assert median_page.searching_longer(a, b) == median
        assert median_page.discarding_halves(a, b) == median
        assert median_page.merging(a, b) == merged(a, b)[1]
        cases += 1
    assert cases == len(SIDES) ** 2 > 2000


@pytest.mark.parametrize("data", median_page.DATA)
def test_what_is_drawn_is_sorted_and_its_own(data: str) -> None:
    a, b = median_page.drawn(0, data, 50, 700)
    assert (len(a), len(b)) == (50, 700)
    assert (np.diff(a) >= 0).all()
    assert (np.diff(b) >= 0).all()
    assert (a[-1] < b[0]) == (data == "apart")
    assert not np.array_equal(a, median_page.drawn(1, data, 50, 700)[0])
    assert 7 <= median_page.counted(median_of_two_sorted, a, b) + 1 <= 9


def walked(ring: tuple[int, ...]) -> dict[tuple[int, ...], int]:
    """Swaps of neighbours from every gathered ring of as many ones to every other, by breadth-first search."""
    size, ones = len(ring), sum(ring)
    front = [tuple(int((i - start) % size < ones) for i in range(size)) for start in range(size)]
    reached = dict.fromkeys(front, 0)
    while front:
        found = []
        for at, i in product(front, range(size)):
            swapped = list(at)
            swapped[i], swapped[i - 1] = swapped[i - 1], swapped[i]
            if tuple(swapped) not in reached:
                reached[tuple(swapped)] = reached[at] + 1
                found.append(tuple(swapped))
        front = found
    return reached


@pytest.mark.parametrize("size", range(2, 10))
def test_swaps_of_neighbours_are_the_fewest(size: int) -> None:
    for ones in range(1, size + 1):
        for ring, swaps in walked((1,) * ones + (0,) * (size - ones)).items():
            assert fewest_swaps.neighbour_swaps(np.array(ring)) == swaps


def test_rings_have_ones_and_patches() -> None:
    for data, size in product(fewest_swaps.DATA, (10, 10_000)):
        ring = fewest_swaps.drawn(3, data, size)
        assert ring.shape == (size,)
        assert ring.any()
        if size == 10_000:
            shares = [patch.mean() for patch in np.array_split(ring, fewest_swaps.PATCHES)]
            assert (np.std(shares) > 0.1) == (data == "patchy")
    watched = fewest_swaps.Watched([0, 1, 1])
    assert (list(watched), watched[1], watched.read) == ([0, 1, 1], 1, 4)


@pytest.mark.parametrize(("page", "cells"), [(median_of_two_sorted_page, 24), (fewest_swaps_page, 4)])
def test_the_page_is_whole(page: Any, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured in full: nothing has to be trained."""
    drawn = whole_page(monkeypatch, page.EXPERIMENT, "quick", cells)
    (answer,) = page.ANSWERS
    assert (drawn.answer, drawn.answer_zh) == (answer.text, answer.text_zh)
    seeds = dict(drawn.design)["Seeds"]
    assert "drawn at random" in seeds
