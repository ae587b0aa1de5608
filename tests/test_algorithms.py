"""The two order problems: equal to brute force on more than 100,000 cases each, exact, in bounded time and memory."""

from __future__ import annotations

import math
import statistics
import tracemalloc
from array import array
from collections import deque
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import combinations, combinations_with_replacement, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lucida import algorithms
from lucida.algorithms import median_of_two_sorted, min_swaps_to_gather_ones, swaps_to_gather_ones

# The median.


def exact_median(values: list[Any]) -> Fraction:
    """By sorting all of them, in fractions."""
    ordered = sorted(map(Fraction, values))
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def test_the_median_of_all_small_pairs() -> None:
    sides = [s for size in range(6) for s in combinations_with_replacement(range(4), size)]
    cases = 0
    for a, b in product(sides, repeat=2):
        if a or b:
            assert median_of_two_sorted(a, b) == statistics.median(a + b)
            cases += 1
    assert cases == 126**2 - 1


def test_the_median_of_ninety_thousand_random_pairs() -> None:
    """Lists of Python's integers; with the pairs above more than a hundred thousand."""
    generator = np.random.default_rng(0)
    sizes = generator.integers(0, [[8, 30]], size=(90_000, 2))
    sizes[sizes.sum(axis=1) == 0] = 1
    values = generator.integers(-20, 20, size=sizes.sum()).tolist()
    place = 0
    for m, n in sizes.tolist():
        a, b = sorted(values[place : place + m]), sorted(values[place + m : place + m + n])
        assert median_of_two_sorted(a, b) == median_of_two_sorted(b, a) == statistics.median(a + b)
        place += m + n
    assert place == len(values)


@given(st.lists(st.integers()), st.lists(st.integers() | st.integers(-3, 3), min_size=1))
def test_integers_of_any_size_are_exact(a: list[int], b: list[int]) -> None:
    found = median_of_two_sorted(sorted(a), sorted(b), check=True)
    assert found == exact_median(a + b)
    assert isinstance(found, float | int | Fraction)
    if (len(a) + len(b)) % 2:
        assert isinstance(found, int)
    elif not isinstance(found, float):
        too_large = abs(found) > 2.0**1023
        assert too_large or float(found) != found


@given(
    st.lists(st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)),
    st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.fractions(max_denominator=9), min_size=1),
)
def test_integers_floats_and_fractions_meet_exactly(a: list[Any], b: list[Any]) -> None:
    found, exact = median_of_two_sorted(sorted(a), sorted(b), check=True), exact_median(a + b)
    assert found == exact or (isinstance(found, float) and found == float(exact))


DTYPES = ["int8", "uint8", "int16", "int64", "uint64", ">i4", "bool", "float16", "float32", "float64"]


@pytest.mark.parametrize(("first", "second"), list(product(DTYPES, repeat=2)))
def test_arrays_of_all_kinds(first: str, second: str) -> None:
    generator = np.random.default_rng(1)
    for m, n in ((0, 1), (1, 1), (2, 3), (7, 5), (1, 40), (12, 40)):
        a, b = (np.sort(generator.integers(0, 100, size=k).astype(dtype)) for k, dtype in ((m, first), (n, second)))
        found = median_of_two_sorted(a, b, check=True)
        assert found == exact_median(a.tolist() + b.tolist())
        assert type(found) in (int, float)


def test_what_numpy_would_round_or_overflow() -> None:
    top, wide = np.int64(2**63 - 1), np.uint64(2**64 - 1)
    assert median_of_two_sorted(np.array([top]), np.array([top])) == 2**63 - 1
    assert median_of_two_sorted(np.array([top]), np.array([wide])) == Fraction(2**63 - 1 + 2**64 - 1, 2)
    assert median_of_two_sorted(np.array([top, top]), np.array([2.0**63])) == 2**63 - 1  # as floats they are equal
    assert median_of_two_sorted([2**53 + 1], np.array([2.0**53, 2.0**53 + 4])) == 2**53 + 1
    assert median_of_two_sorted([-1], np.array([1, 2**63], dtype=np.uint64)) == 1
    assert median_of_two_sorted(np.float32([3e38]), np.float32([3e38])) == float(np.float32(3e38))


def test_the_mean_of_floats_is_rounded_once() -> None:
    huge, tiny = 1.7e308, 5e-324
    assert median_of_two_sorted([huge], [huge]) == huge
    assert median_of_two_sorted([-huge], [huge]) == 0
    assert median_of_two_sorted([tiny], [tiny]) == tiny
    assert median_of_two_sorted([0.1], [0.3]) == float((Fraction(0.1) + Fraction(0.3)) / 2)
    assert median_of_two_sorted([1.5], [10**400]) == Fraction(3 + 2 * 10**400, 4)
    assert type(median_of_two_sorted([1], [3])) is float


def test_infinities_are_numbers() -> None:
    inf = math.inf
    assert median_of_two_sorted([-inf, 0.0], [inf]) == 0
    assert median_of_two_sorted([1], [inf]) == median_of_two_sorted([10**400], [inf]) == inf
    assert median_of_two_sorted([-inf], [3.0]) == -inf
    assert median_of_two_sorted([-inf], [Decimal(2)]) == -inf
    assert math.isnan(median_of_two_sorted([-inf], [inf]))


def test_decimals_and_fractions_keep_their_kind() -> None:
    assert repr(median_of_two_sorted([Decimal("0.1")], [Decimal("0.2")])) == "Decimal('0.15')"
    assert repr(median_of_two_sorted([Decimal("0.1")], [2])) == "Decimal('1.05')"
    assert median_of_two_sorted([Fraction(1, 3)], [1]) == Fraction(2, 3)
    assert median_of_two_sorted([Decimal("0.5")], [1.5]) == 1.0


def test_every_kind_of_sequence() -> None:
    for a in ([1, 4, 6], (1, 4, 6), deque([1, 4, 6]), array("q", [1, 4, 6]), bytes([1, 4, 6]), memoryview(b"\1\4\6")):
        assert median_of_two_sorted(a, range(2, 9, 2), check=True) == 4
    assert median_of_two_sorted([True], [False, True], check=True) == 1
    assert type(median_of_two_sorted([True], [])) is int
    assert median_of_two_sorted(np.array([1, 2**80], dtype=object), [2**90], check=True) == 2**80
    assert median_of_two_sorted(np.arange(20)[::2], np.arange(20)[1::2]) == 9.5
    long = median_of_two_sorted(range(10**18), range(5, 10**18 + 4))  # two thousand million million numbers
    assert long == 5 * 10**17 + 2  # of v and all below there are (v + 1) + (v - 4)


class Counted(float):
    """A number that counts how often it is compared with another."""

    compared = 0

    def __lt__(self, other: float) -> bool:
        Counted.compared += 1
        return float(self) < float(other)

    def __gt__(self, other: float) -> bool:
        Counted.compared += 1
        return float(self) > float(other)


class Watched:
    """A sequence of a million million numbers that counts what is read of it."""

    def __init__(self, size: int, shift: float):
        self.size, self.shift, self.read = size, shift, 0

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, place: int) -> Counted:
        assert 0 <= place < self.size
        self.read += 1
        return Counted(place + self.shift)


@pytest.mark.parametrize("shift", [-1e13, -3e6, 0.5, 7e11, 1e13])
@pytest.mark.parametrize("shorter", [0, 1, 2, 3, 1000, 10**6, 10**12])
def test_comparisons_grow_with_the_logarithm_of_the_shorter_side(shorter: int, shift: float) -> None:
    a, b = Watched(shorter, shift), Watched(10**12 + 1, 0.0)
    for pair in ((a, b), (b, a)):
        Counted.compared = a.read = b.read = 0
        median_of_two_sorted(*pair)
        bound = math.ceil(math.log2(shorter + 1)) + 2
        assert Counted.compared <= bound
        assert a.read + b.read <= 2 * bound + 4


def test_nothing_or_nan_is_refused() -> None:
    for a, b in (([], []), ((), np.empty(0))):
        with pytest.raises(ValueError, match="both empty"):
            median_of_two_sorted(a, b)
    for bad in ([math.nan, 1.0], [1.0, math.nan], np.array([1.0, np.nan]), [Decimal("NaN")], [Decimal("sNaN")]):
        for pair in ((bad, [1, 2, 3]), ([], bad)):
            with pytest.raises(ValueError, match=r"[ab]\[\d\] is NaN"):
                median_of_two_sorted(*pair)


@pytest.mark.parametrize("kind", [list, np.asarray, lambda x: np.asarray(x, dtype=np.float32), deque])
def test_check_finds_what_is_out_of_order_and_every_nan(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(algorithms, "_CHUNK", 4)
    ordered = [float(x) for x in range(14)]
    assert median_of_two_sorted(kind(ordered), kind([]), check=True) == 6.5
    for place in range(1, 14):
        swapped = [*ordered[: place - 1], ordered[place], ordered[place - 1], *ordered[place + 1 :]]
        with pytest.raises(ValueError, match=rf"b is not in ascending order: b\[{place}\]"):
            median_of_two_sorted([1], kind(swapped), check=True)
    for place in range(14):
        with pytest.raises(ValueError, match=rf"a\[{place}\] is NaN"):
            median_of_two_sorted(kind([*ordered[:place], math.nan, *ordered[place + 1 :]]), [1], check=True)


def test_what_has_no_order_or_no_places_is_refused() -> None:
    for bad in (iter([1]), (x for x in [1]), {1}, {1: 2}, 5, "ab", ["ab"], [None], [1j], np.array([1j]),
                np.array(["2020-01-01"], dtype="M8[ns]"), np.ma.array([1.0]), np.longdouble([1.0])):  # fmt: skip
        with pytest.raises(TypeError, match=r"\bb\b"):
            median_of_two_sorted([1, 2], bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="b has 2 dimensions"):
        median_of_two_sorted([1], np.zeros((2, 2)))


def test_a_series_is_refused_because_it_is_read_by_label() -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(TypeError, match=r"a\.to_numpy\(\)"):
        median_of_two_sorted(pandas.Series([1, 2], index=[1, 0]), [1])


def test_a_memory_map_is_neither_copied_nor_read_through(tmp_path: Path) -> None:
    size = 4_000_000
    sides = []
    for name, shift in (("a", 0), ("b", 1)):
        written = np.memmap(tmp_path / name, dtype=np.int64, mode="w+", shape=(size,))
        written[:] = np.arange(size) * 2 + shift
        written.flush()
        sides.append(np.memmap(tmp_path / name, dtype=np.int64, mode="r"))
    tracemalloc.start()
    assert median_of_two_sorted(*sides) == size - 0.5
    assert tracemalloc.get_traced_memory()[1] < 50_000
    assert median_of_two_sorted(*sides, check=True) == size - 0.5
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


# The ring.


def all_rings(size: int) -> NDArray:
    """``[2^size, size]``."""
    return (np.arange(2**size)[:, None] >> np.arange(size) & 1).astype(np.uint8)


def brute_force(rings: NDArray) -> NDArray:
    """Zeros in the best window, by counting every window anew."""
    size = rings.shape[1]
    ones = rings.sum(axis=1, dtype=np.int64)
    fewest = np.full(len(rings), size, dtype=np.int64)
    for start in range(size):
        inside = np.zeros(len(rings), dtype=np.int64)
        for step in range(size):
            inside += (step < ones) & (rings[:, (start + step) % size] == 0)
        np.minimum(fewest, inside, out=fewest)
    return fewest


def by_sums(ring: NDArray) -> int:
    """Zeros in the best window, by running sums of the ring twice over."""
    ones = int((ring == 1).sum())
    sums = np.concatenate([[0], np.cumsum(np.concatenate([ring, ring[:ones]]), dtype=np.int64)])
    return ones - int((sums[ones:] - sums[: len(sums) - ones]).max())


def gathered(ring: Any) -> bool:
    """Whether going round once one meets a one after a zero at most once."""
    values = [int(x) for x in ring]
    return sum(x == 1 and before == 0 for x, before in zip(values, [*values[-1:], *values[:-1]], strict=True)) <= 1


@pytest.mark.parametrize("size", range(1, 8))
def test_no_sequence_of_swaps_is_shorter(size: int) -> None:
    """By breadth-first search through all rings, which knows of no window."""
    reached = {tuple(ring): 0 for ring in all_rings(size).tolist() if gathered(ring)}
    front = list(reached)
    while front:
        found = []
        for ring, (i, j) in product(front, combinations(range(size), 2)):
            swapped = list(ring)
            swapped[i], swapped[j] = swapped[j], swapped[i]
            if tuple(swapped) not in reached:
                reached[tuple(swapped)] = reached[ring] + 1
                found.append(tuple(swapped))
        front = found
    assert len(reached) == 2**size
    for ring, swaps in reached.items():
        assert min_swaps_to_gather_ones(ring) == min_swaps_to_gather_ones(np.array(ring)) == swaps


def test_all_rings_of_up_to_sixteen() -> None:
    cases = 0
    for size in range(1, 17):
        rings = all_rings(size)
        for ring, swaps in zip(rings, brute_force(rings).tolist(), strict=True):
            if size < 14:
                assert min_swaps_to_gather_ones(ring) == swaps
            assert min_swaps_to_gather_ones(ring.tobytes() if size < 10 else ring.tolist()) == swaps
            cases += 1
    assert cases == 2**17 - 2


@pytest.mark.parametrize("chunk", [1, 8, 13, 64, 1 << 17])
def test_chunks_change_nothing(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(algorithms, "_CHUNK", chunk)
    monkeypatch.setattr(algorithms, "_FEW", chunk)
    generator = np.random.default_rng(chunk)
    for _ in range(150):
        ring = (generator.random(generator.integers(1, 200)) < generator.random()).astype(np.int8)
        swaps = list(swaps_to_gather_ones(ring))
        assert swaps == list(swaps_to_gather_ones(ring.tolist()))
        assert len(swaps) == min_swaps_to_gather_ones(ring) == by_sums(ring)


rings = st.lists(st.integers(0, 1), max_size=80)


@given(rings, st.sampled_from([list, deque, bytearray, np.array, lambda x: np.array(x, dtype=object)]))
def test_the_swaps_gather_the_ones_while_they_come(values: list[int], kind: Any) -> None:
    ring = kind(values)
    swaps = 0
    for zero, one in swaps_to_gather_ones(ring):
        assert (ring[zero], ring[one]) == (0, 1)
        ring[zero], ring[one] = ring[one], ring[zero]
        swaps += 1
    assert swaps == min_swaps_to_gather_ones(values)
    assert gathered(ring)
    assert sum(ring) == sum(values)


@given(rings, st.integers(-80, 80))
def test_turning_mirroring_and_exchanging_change_nothing(values: list[int], turn: int) -> None:
    turn = turn % len(values) if values else 0
    swaps = min_swaps_to_gather_ones(values)
    assert min_swaps_to_gather_ones(values[turn:] + values[:turn]) == swaps
    assert min_swaps_to_gather_ones(values[::-1]) == swaps
    assert min_swaps_to_gather_ones([1 - x for x in values]) == swaps


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint8", "int16", ">i4", "int64", "uint64", "float16", "float32", "f8"]
)
def test_rings_of_all_kinds_and_strides(dtype: str) -> None:
    generator = np.random.default_rng(2)
    wide = (generator.random(3000) < 0.4).astype(dtype)
    for ring in (wide, wide[::3], wide[::-1], wide[100::-2], wide[:0], wide[:1], np.zeros_like(wide)):
        assert min_swaps_to_gather_ones(ring) == min_swaps_to_gather_ones(ring.tolist())


def test_ones_of_every_kind_of_number() -> None:
    assert min_swaps_to_gather_ones([True, 0.0, Fraction(1), Decimal(0), np.int8(1), 0]) == 1
    assert min_swaps_to_gather_ones([]) == min_swaps_to_gather_ones([1, 1]) == min_swaps_to_gather_ones((0,)) == 0


@pytest.mark.parametrize("bad", [2, -1, 0.5, math.nan, math.inf, 256, "1", None])
@pytest.mark.parametrize("function", [min_swaps_to_gather_ones, swaps_to_gather_ones])
def test_anything_else_is_refused_at_the_call(bad: Any, function: Any) -> None:
    for place in (0, 7, 19):
        values = [0, 1] * 10
        values[place] = bad
        found = [values, deque(values)]
        if not isinstance(bad, str):
            found.append(np.array(values))
        if bad in (2, -1):
            found += [np.array(values, dtype=np.int8), np.array(values).astype(np.uint8)]
        for ring in found:
            with pytest.raises(ValueError, match=rf"ring\[{place}\] is .*: only 0 and 1 are allowed"):
                function(ring)


def test_what_cannot_be_read_twice_is_refused() -> None:
    for bad in (iter([1, 0]), (x for x in [1]), {1}, {1: 0}, 5, np.ma.array([1, 0])):
        with pytest.raises(TypeError, match="ring"):
            min_swaps_to_gather_ones(bad)  # type: ignore[arg-type]
    for wrong in ("0110", np.array(["0", "1"]), np.zeros((2, 2)), np.array(1)):
        with pytest.raises(ValueError, match="ring"):
            min_swaps_to_gather_ones(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
def test_a_long_ring_on_disk_needs_bounded_memory(dtype: str, tmp_path: Path) -> None:
    size = 3_000_001
    written = np.memmap(tmp_path / "ring", dtype=dtype, mode="w+", shape=(size,))
    written[:] = np.random.default_rng(3).random(size) < 0.3
    written.flush()
    ring = np.memmap(tmp_path / "ring", dtype=dtype, mode="r")
    expected = by_sums(ring)
    tracemalloc.start()
    assert min_swaps_to_gather_ones(ring) == expected
    swaps: Iterator[tuple[int, int]] = swaps_to_gather_ones(ring)
    first = [next(swaps) for _ in range(100)]
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
    assert len(first) + sum(1 for _ in swaps) == expected
