"""Fewest swaps that gather the ones of a ring: what looking for the best window saves, and what it costs.

Three ways to gather: swaps of any two elements into the best window
(:func:`lucida.algorithms.min_swaps_to_gather_ones`), the same into any window (the mean over all of them is
``k (n - k) / n`` for k ones: no computation), and swaps of neighbours alone, where each one walks. What is read is
counted on a sequence that counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucida.algorithms import min_swaps_to_gather_ones
from lucida.core.seeds import stream
from lucida.lab.experiment import Bench
from lucida.lab.observations import Observations

DATA = ("even", "patchy")
BEST, ANY, NEIGHBOURS = "best window", "any window", "neighbours only"
SLIDING, ANEW = "one sliding window", "every window anew"
LONG, SHORTER = "long ring", "short ring"
PATCHES = 16


@dataclass(frozen=True)
class Settings:
    """The numbers of a scale.

    Attributes:
        sizes: of the rings, a decade apart; the claims are judged at the last.
        shorter: two decades or more below the last: what is compared with it.
        walked: the largest size at which neighbours' swaps are counted.
        read: the largest size that Python reads element by element.
    """

    sizes: tuple[int, ...]
    shorter: int
    walked: int
    read: int


class Watched(Sequence[int]):
    """A ring that counts what is read of it."""

    def __init__(self, values: list[int]):
        self.values, self.read = values, 0

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, place: Any) -> Any:
        self.read += 1
        return self.values[place]

    def __iter__(self) -> Iterator[int]:
        for value in self.values:
            self.read += 1
            yield value


def drawn(seed: int, data: str, size: int) -> NDArray:
    """A ring of ``bool [size]``: ones with probability a half, or with one of its own in each of sixteen patches."""
    generator = stream(seed, "fewest swaps", data, size)
    chances = generator.random(PATCHES) if data == "patchy" else np.full(PATCHES, 0.5)
    ring = np.empty(size, dtype=bool)
    for chance, patch in zip(chances, np.array_split(ring, PATCHES), strict=True):  # views: they fill the ring
        patch[:] = generator.random(len(patch), dtype=np.float32) < chance
    if not ring.any():
        ring[int(generator.integers(size))] = True
    return ring


def neighbour_swaps(ring: NDArray) -> int:
    """Fewest swaps of neighbours that gather the ones.

    Ones keep their order, so the i-th of them, at ``p``, has to bring ``p - i`` to a common number: best is the median
    of these, and each of the ways to cut the ring between two ones is tried, by running sums.

    >>> neighbour_swaps(np.array([1, 0, 0, 1, 0])), neighbour_swaps(np.array([1, 0, 0, 0, 1]))
    (1, 0)
    """
    places = np.flatnonzero(ring)
    k = len(places)
    offsets = np.concatenate([places, places + len(ring)]) - np.arange(2 * k)
    sums = np.concatenate([[0], np.cumsum(offsets)])
    starts = np.arange(k)
    middle, half = offsets[starts + k // 2], k // 2
    below = half * middle - (sums[starts + half] - sums[starts])
    above = (sums[starts + k] - sums[starts + half]) - (k - half) * middle
    return int((below + above).min())


def measure(bench: Bench, settings: Settings) -> Observations:
    """Swaps of the three ways, what they read, and seconds."""
    found = Observations()
    for data in DATA:
        swaps = _swaps(bench, settings, data)
        shares = {arm: swaps[arm] / swaps["ones"] for arm in (BEST, ANY)}
        saved = 1 - swaps[BEST] / np.maximum(swaps[ANY], 1e-12)
        walked = settings.sizes.index(settings.walked)
        for arm in (BEST, ANY):
            found.record("share swapped", arm, shares[arm][:, -1], data)
        for arm in (BEST, NEIGHBOURS):
            found.record("decades of swaps", arm, np.log10(np.maximum(swaps[arm][:, walked], 1)), data)
            found.draw(f"swaps/{data}/{arm}", settings.sizes[: walked + 1], swaps[arm][:, : walked + 1])
        for arm, column in ((LONG, -1), (SHORTER, settings.sizes.index(settings.shorter))):
            found.record("decades of the share saved", arm, np.log10(np.maximum(saved[:, column], 1e-9)), data)
            found.record("share saved", arm, saved[:, column], data)
        found.draw(f"saved/{data}", settings.sizes, saved)
    _reads(bench, settings, found)
    _times(bench, settings, found)
    return found


def _swaps(bench: Bench, settings: Settings, data: str) -> dict[str, NDArray]:
    """By way, ``[seeds, sizes]``; of neighbours up to a size."""

    def compute() -> dict[str, NDArray]:
        counts = {arm: np.zeros((len(bench.seeds), len(settings.sizes))) for arm in (BEST, ANY, NEIGHBOURS, "ones")}
        for (k, seed), (column, size) in product(enumerate(bench.seeds), enumerate(settings.sizes)):
            ring = drawn(seed, data, size)
            ones = int(np.count_nonzero(ring))
            counts["ones"][k, column] = ones
            counts[BEST][k, column] = min_swaps_to_gather_ones(ring)
            counts[ANY][k, column] = ones * (size - ones) / size
            if size <= settings.walked:
                counts[NEIGHBOURS][k, column] = neighbour_swaps(ring)
        return counts

    return bench.remember(f"swaps, {data}", (bench.seeds, settings.sizes, settings.walked), compute)


def _reads(bench: Bench, settings: Settings, found: Observations) -> None:
    """Elements read by the window that slides (counted) and by one that is counted anew at every place (n times k)."""
    sizes = [size for size in settings.sizes if size <= settings.read]

    def compute(data: str) -> dict[str, NDArray]:
        reads = {arm: np.empty((len(bench.seeds), len(sizes))) for arm in (SLIDING, ANEW)}
        for (k, seed), (column, size) in product(enumerate(bench.seeds), enumerate(sizes)):
            ring = drawn(seed, data, size)
            watched = Watched(ring.astype(int).tolist())
            min_swaps_to_gather_ones(watched)
            reads[SLIDING][k, column] = watched.read
            reads[ANEW][k, column] = size * (1 + np.count_nonzero(ring))
        return reads

    for data in DATA:
        reads = bench.remember(f"reads, {data}", (bench.seeds, sizes), partial(compute, data))
        for arm, counts in reads.items():
            found.draw(f"reads/{data}/{arm}", sizes, counts)
            slopes = np.polyfit(np.log10(sizes), np.log10(counts).T, 1)[0]
            found.record("decades read a decade", arm, slopes, data)
        found.record("reads of an element", SLIDING, reads[SLIDING][:, -1] / sizes[-1], data)


def _times(bench: Bench, settings: Settings, found: Observations) -> None:
    """Nanoseconds an element: of arrays of NumPy, and of lists."""
    kinds: dict[str, Callable[[NDArray], Any]] = {
        "booleans": lambda ring: ring, "int64": lambda ring: ring.astype(np.int64), "list": lambda ring: ring.tolist(),
    }  # fmt: skip

    def compute() -> dict[str, NDArray]:
        taken = {kind: np.full((len(bench.seeds), len(settings.sizes)), np.nan) for kind in kinds}
        for (k, seed), (column, size) in product(enumerate(bench.seeds), enumerate(settings.sizes)):
            ring = drawn(seed, DATA[0], size)
            for kind, made in kinds.items():
                if kind == "booleans" or size <= settings.read * 10:
                    taken[kind][k, column] = _nanoseconds(made(ring)) / size
        return taken

    for kind, taken in bench.remember("times", (bench.seeds, settings.sizes, settings.read), compute).items():
        there = np.isfinite(taken).all(axis=0)
        found.draw(f"time/{kind}", np.asarray(settings.sizes)[there], taken[:, there])
        found.record_ratio("nanoseconds an element", kind, np.log2(taken[:, there][:, -1]))


def _nanoseconds(ring: Any) -> float:
    """The faster of two calls: the first may wait for memory."""
    taken = []
    for _ in range(2):
        began = time.perf_counter_ns()
        min_swaps_to_gather_ones(ring)
        taken.append(time.perf_counter_ns() - began)
    return float(min(taken))
