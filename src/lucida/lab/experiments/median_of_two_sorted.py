"""The median of two sorted sequences: comparisons counted, of the search in the shorter side and of its rivals.

The search is :func:`lucida.algorithms.median_of_two_sorted` itself, on elements that count how often they are compared.
Merging is counted without being done: it compares once for every element it passes, until the middle is reached or a
side has ended, and where that is two binary searches tell (a test merges and counts).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucida.algorithms import median_of_two_sorted
from lucida.core.seeds import stream
from lucida.lab.experiment import Bench
from lucida.lab.observations import Observations

DATA = ("alike", "clustered", "apart")
SEARCH, LONGER, DISCARD, MERGE = "search in the shorter", "search in the longer", "discard halves", "merge"
SHORT = 100  # elements of the shorter side where one side alone grows
SHAPES = ("equal sides", "unequal sides")
GROWS_BOTH, GROWS_ONE = "both sides grow", "the longer side grows"


@dataclass(frozen=True)
class Settings:
    """The numbers of a scale.

    Attributes:
        sizes: of a side, a decade apart; the claims are judged at the last.
        calls: of which the median is a time.
    """

    sizes: tuple[int, ...]
    calls: int


class Counted(float):
    """A number that counts how often it is compared with another."""

    comparisons = 0

    def __lt__(self, other: float) -> bool:
        Counted.comparisons += 1
        return float.__lt__(self, other)

    def __gt__(self, other: float) -> bool:
        Counted.comparisons += 1
        return float.__gt__(self, other)


class Counting(Sequence[float]):
    """An array whose elements count."""

    def __init__(self, values: NDArray):
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, place: Any) -> Any:
        return Counted(self.values[place])


def counted(method: Callable[[Any, Any], Any], a: NDArray, b: NDArray) -> int:
    """Comparisons of a method.

    >>> counted(median_of_two_sorted, np.arange(7.0), np.arange(1000.0)) <= 3 + 2
    True
    """
    Counted.comparisons = 0
    method(Counting(a), Counting(b))
    return Counted.comparisons


def searching_longer(a: Any, b: Any) -> float:
    """The same search in the longer side, between the places that can be right."""
    short, long = sorted((a, b), key=len)
    total = len(a) + len(b)
    lower = (total + 1) // 2
    low, high = max(0, lower - len(short)), min(lower, len(long))
    while low < high:
        middle = (low + high) // 2
        if long[middle] < short[lower - 1 - middle]:
            low = middle + 1
        else:
            high = middle
    below = max(side[count - 1] for side, count in ((long, low), (short, lower - low)) if count > 0)
    if total % 2:
        return float(below)
    above = min(side[count] for side, count in ((long, low), (short, lower - low)) if count < len(side))
    return (below + above) / 2


def discarding_halves(a: Any, b: Any) -> float:
    """By giving up about k / 2 elements that cannot be the k-th of both, again and again until it comes next."""
    total = len(a) + len(b)
    i, j, k = 0, 0, (total + 1) // 2
    while i < len(a) and j < len(b) and k > 1:
        step_a, step_b = min(k // 2, len(a) - i), min(k // 2, len(b) - j)
        if a[i + step_a - 1] < b[j + step_b - 1]:
            i, k = i + step_a, k - step_a
        else:
            j, k = j + step_b, k - step_b
    i, j = (i, j + k - 1) if i == len(a) else (i + k - 1, j)  # k is 1 unless a side has ended
    found = []
    for _ in range(1 if total % 2 else 2):
        if j == len(b) or (i < len(a) and a[i] < b[j]):
            found.append(a[i])
            i += 1
        else:
            found.append(b[j])
            j += 1
    return sum(found) / len(found)


def merging(a: NDArray, b: NDArray) -> int:
    """Comparisons of a merge that stops when it has passed the middle: ``⌊(m + n) / 2⌋ + 1`` elements."""
    both_left = min(len(a) + int(np.searchsorted(b, a[-1])), len(b) + int(np.searchsorted(a, b[-1], side="right")))
    return min(both_left, (len(a) + len(b)) // 2 + 1)


def drawn(seed: int, data: str, m: int, n: int) -> tuple[NDArray, NDArray]:
    """Two sorted arrays of random steps: alike, in clusters (a few steps are huge), or one behind the other."""
    generator = stream(seed, "median of two sorted", data, m, n)
    sides = []
    for size in (m, n):
        steps = generator.pareto(0.8, size) if data == "clustered" else generator.exponential(1.0, size)
        sides.append(np.cumsum(steps) / steps.mean() / size)  # both span about 0 to 1
    return sides[0], sides[1] + (2.0 if data == "apart" else 0.0)


_METHODS: dict[str, Callable[[Any, Any], Any]] = {
    SEARCH: median_of_two_sorted, LONGER: searching_longer, DISCARD: discarding_halves,
}  # fmt: skip


def measure(bench: Bench, settings: Settings) -> Observations:
    """Comparisons while both sides grow, and while the longer one alone does; then times."""
    found = Observations()
    last = settings.sizes[-1]
    for data in DATA:
        both = _comparisons(bench, data, [(size, size) for size in settings.sizes])
        one = _comparisons(bench, data, [(min(SHORT, size), size) for size in settings.sizes])
        for arm in (*_METHODS, MERGE):
            found.draw(f"both/{data}/{arm}", settings.sizes, both[arm])
            found.draw(f"one/{data}/{arm}", settings.sizes, one[arm])
            found.record("comparisons", arm, both[arm][:, -1], data)
            found.record("decades of comparisons", arm, np.log10(both[arm][:, -1]), data)
            found.record("comparisons, unequal sides", arm, one[arm][:, -1], data)
            if data == DATA[0]:
                found.record("comparisons by shape", arm, both[arm][:, -1], SHAPES[0])
                found.record("comparisons by shape", arm, one[arm][:, -1], SHAPES[1])
        for arm, counts in ((GROWS_BOTH, both), (GROWS_ONE, one)):
            found.record("comparisons a decade", arm, _slopes(settings.sizes, counts[SEARCH]), data)
    found.facts["bound of comparisons"] = math.ceil(math.log2(last + 1)) + 2
    found.facts["largest size"] = last
    _times(bench, settings, found)
    return found


def _comparisons(bench: Bench, data: str, shapes: Sequence[tuple[int, int]]) -> dict[str, NDArray]:
    """By method, ``[seeds, shapes]``."""

    def compute() -> dict[str, NDArray]:
        counts = {arm: np.empty((len(bench.seeds), len(shapes))) for arm in (*_METHODS, MERGE)}
        for (k, seed), (column, (m, n)) in product(enumerate(bench.seeds), enumerate(shapes)):
            a, b = drawn(seed, data, m, n)
            for arm, method in _METHODS.items():
                counts[arm][k, column] = counted(method, a, b)
            counts[MERGE][k, column] = merging(a, b)
        return counts

    return bench.remember(f"comparisons, {data}, up to {shapes[-1]}", (bench.seeds, list(shapes)), compute)


def _slopes(sizes: Sequence[int], counts: NDArray) -> NDArray:
    """Comparisons by decade of the longer side, from the size of :data:`SHORT` on, ``[seeds]``."""
    from_short = [k for k, size in enumerate(sizes) if size >= SHORT]
    return np.polyfit(np.log10(np.asarray(sizes)[from_short]), counts[:, from_short].T, 1)[0]


def _times(bench: Bench, settings: Settings, found: Observations) -> None:
    """Microseconds of a call, and of NumPy's median of both in one array."""

    def compute() -> dict[str, NDArray]:
        taken = {arm: np.empty((len(bench.seeds), len(settings.sizes))) for arm in ("search", "numpy")}
        for (k, seed), (column, size) in product(enumerate(bench.seeds), enumerate(settings.sizes)):
            a, b = drawn(seed, DATA[0], size, size)
            taken["search"][k, column] = _microseconds(median_of_two_sorted, a, b, settings.calls)
            taken["numpy"][k, column] = _microseconds(_copied_and_partitioned, a, b, 1)
        return taken

    for arm, taken in bench.remember("times", (bench.seeds, settings.sizes, settings.calls), compute).items():
        found.draw(f"time/{arm}", settings.sizes, taken)
        found.record_ratio("microseconds at the largest size", arm, np.log2(taken[:, -1]))


def _copied_and_partitioned(a: NDArray, b: NDArray) -> Any:
    return np.median(np.concatenate((a, b)))


def _microseconds(method: Callable[[Any, Any], Any], a: NDArray, b: NDArray, calls: int) -> float:
    taken = []
    for _ in range(calls):
        began = time.perf_counter()
        method(a, b)
        taken.append(time.perf_counter() - began)
    return 1e6 * float(np.median(taken))
