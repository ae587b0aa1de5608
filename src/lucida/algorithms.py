"""Two order problems: the median of two sorted sequences, and the fewest swaps that gather the ones of a ring.

Both read what they are given where it lies (a list, a range, a NumPy array, a memory map of any size) and keep nothing
of it: the median looks at a few dozen elements, the ring is read in chunks that fit a processor's cache.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping, Set
from decimal import Decimal
from fractions import Fraction
from functools import cache
from itertools import chain, islice, pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["median_of_two_sorted", "min_swaps_to_gather_ones", "swaps_to_gather_ones"]

_CHUNK = 1 << 17  # elements: what a chunk of them needs (about 0.7 MB) stays in a processor's second cache
_FEW = 1 << 12  # elements whose places may stand in a list


class Readable(Protocol):
    """What can be read as often as one likes: it has a length and gives elements by place."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> Any: ...


def median_of_two_sorted(a: Readable, b: Readable, *, check: bool = False) -> int | float | Fraction | Any:
    """The median of all elements of two sequences, each in ascending order.

    A binary search over how many of the lower half come from the shorter side: ⌈log₂(m + 1)⌉ + 2 comparisons for m
    elements there, and as much memory for a terabyte as for ten numbers. Elements of NumPy are compared as Python's
    numbers, so that int64, uint64 and float64 meet exactly. Of a file that is not in memory some forty pages are read;
    ``mmap.madvise(mmap.MADV_RANDOM)`` keeps the system from reading megabytes around each.

    Args:
        a, b: ``[m]`` and ``[n]``, one of them may be empty: any sequence with a length and elements by place, NumPy
            array or memory map. Infinities are numbers like others.
        check: read everything once, in chunks: is it in order, is there a NaN? Without it, what is not in order gives
            some element or mean of two, and a NaN is seen where the search meets it.

    Returns:
        For an odd count the element in the middle, as Python's ``int`` or ``float`` where it was NumPy's or a ``bool``.
        For an even count the mean of the two in the middle: the nearest ``float`` if one of them is a ``float``; of
        integers a ``float`` where it is exact, else an ``int`` or ``Fraction``; of fractions a ``Fraction``; of
        decimals what their context makes of it. The mean of both infinities is NaN.

    Raises:
        ValueError: both are empty, one has several dimensions, a NaN was met (always at the ends, where sorting puts
            it); with ``check``, also one that is not in ascending order, or a NaN anywhere.
        TypeError: a generator, a mapping, a set, a masked array, or elements that are no real numbers.

    >>> median_of_two_sorted([1, 3], [2]), median_of_two_sorted(range(0, 10, 2), [1.5, 7.25, 11.0])
    (2, 5.0)
    >>> median_of_two_sorted([2**60], [2**60 + 1]), median_of_two_sorted([2**60], [2**60 + 2])
    (Fraction(2305843009213693953, 2), 1152921504606846977)
    """
    sides = [_Side(_readable(a, "a"), "a"), _Side(_readable(b, "b"), "b")]
    if not any(side.length for side in sides):
        raise ValueError("the median of nothing: a and b are both empty")
    for side in sides:
        if check:
            side.check()
        elif side.length:
            side.at(0), side.at(side.length - 1)  # read for their NaN
    short, long = sorted(sides, key=lambda side: side.length)
    total = short.length + long.length
    lower = (total + 1) // 2  # size of the lower half, with the middle
    low, high = 0, short.length  # how many of them the shorter side gives
    while low < high:
        middle = (low + high) // 2
        if short.at(middle) < long.at(lower - 1 - middle):
            low = middle + 1
        else:
            high = middle
    below = [side.at(count - 1) for side, count in ((short, low), (long, lower - low)) if count > 0]
    if total % 2:
        return max(below)
    above = [side.at(count) for side, count in ((short, low), (long, lower - low)) if count < side.length]
    return _mean(max(below), min(above))


class _Side:
    """One of the two sequences, whose elements are read as Python's numbers."""

    def __init__(self, values: Any, name: str):
        self.values, self.name, self.length = values, name, len(values)
        if isinstance(values, np.ndarray) and (values.dtype.kind not in "biufO" or values.dtype.itemsize > 8):
            raise TypeError(f"{name} holds {values.dtype}: its elements are not Python's real numbers")

    def at(self, place: int) -> Any:
        """The element at a place.

        Raises:
            ValueError: it is NaN.
        """
        return self._number(self.values[place], place)

    def _number(self, value: Any, place: int) -> Any:
        item = getattr(value, "item", None)  # NumPy's own comparison would round an int64 to meet a float64
        if item is not None:
            value = item()
        if isinstance(value, bool):
            return int(value)
        if value is None or isinstance(value, str | bytes | complex):
            raise TypeError(f"{self.name}[{place}] is {value!r}: not a real number")
        if value.is_nan() if isinstance(value, Decimal) else value != value:
            raise ValueError(f"{self.name}[{place}] is NaN: it has no place in an order")
        return value

    def check(self) -> None:
        """Read everything.

        Raises:
            ValueError: it is not in ascending order, or holds a NaN.
        """
        if isinstance(self.values, np.ndarray) and self.values.dtype.kind != "O":
            self._check_array()
            return
        before: Any = None
        for place, value in enumerate(self.values):
            number = self._number(value, place)
            if place and number < before:
                raise self._unsorted(place)
            before = number

    def _check_array(self) -> None:
        for start in range(0, self.length, _CHUNK):
            part = self.values[start : start + _CHUNK + 1]  # one more than a chunk: its neighbour
            fine = part[:-1] <= part[1:]  # false beside a NaN too
            if not fine.all():
                place = start + int(fine.argmin())
                self.at(place), self.at(place + 1)  # a NaN is told as such
                raise self._unsorted(place + 1)
        if self.length:
            self.at(self.length - 1)  # one element has no neighbour

    def _unsorted(self, place: int) -> ValueError:
        return ValueError(
            f"{self.name} is not in ascending order: {self.name}[{place}] is smaller than the element before it"
        )


def _mean(x: Any, y: Any) -> Any:
    """Of two numbers, rounded once at most; see :func:`median_of_two_sorted` for its type."""
    if isinstance(x, int) and isinstance(y, int):
        exact = Fraction(x + y, 2)
        if (nearest := _nearest(exact)) == exact:
            return nearest
        return exact.numerator if exact.denominator == 1 else exact
    if isinstance(x, float) and isinstance(y, float):
        mean = (x + y) / 2
        return mean if math.isfinite(mean) else x / 2 + y / 2  # the sum may be too large where the mean is not
    if isinstance(x, float) or isinstance(y, float):
        infinite = [float(z) for z in (x, y) if isinstance(z, float | Decimal) and math.isinf(z)]
        return sum(infinite) if infinite else _nearest((Fraction(x) + Fraction(y)) / 2)
    if isinstance(x, Decimal) and isinstance(y, Decimal) and x.is_infinite() and y.is_infinite() and x != y:
        return Decimal("NaN")  # as of floats; their sum would be an error
    return (x + y) / 2


def _nearest(exact: Fraction) -> float | Fraction:
    """As a ``float``; the fraction itself where it is too large for one."""
    try:
        return float(exact)
    except OverflowError:
        return exact


def _readable(values: Any, name: str) -> Any:
    """What was given, as a plain view of NumPy's where it is an array in memory or on disk; never a copy."""
    if isinstance(values, bytes | bytearray | memoryview | array):
        values = np.asarray(memoryview(values))
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, whose gaps have no value; pass {name}.compressed()")
    if hasattr(values, "iloc"):
        raise TypeError(f"{name} is a {type(values).__name__}, read by label, not by place; pass {name}.to_numpy()")
    if not (hasattr(values, "__len__") and hasattr(values, "__getitem__")) or isinstance(values, Mapping | Set):
        raise TypeError(f"{name} is a {type(values).__name__}: a sequence is needed that can be read more than once")
    if getattr(values, "ndim", 1) != 1:
        raise ValueError(f"{name} has {values.ndim} dimensions: one is needed")
    return np.asarray(values) if isinstance(values, np.ndarray) else values


def min_swaps_to_gather_ones(ring: Readable) -> int:
    """Fewest swaps of any two elements that bring all ones of a ring of zeros and ones together.

    The ones end in a window as long as there are ones; each zero in it costs one swap, and no swap mends two. So the
    answer is the fewest zeros in such a window, which slides around the ring once: O(n) time, O(1) memory.

    Args:
        ring: ``[n]``, its last element beside its first: any sequence that can be read more than once, NumPy array or
            memory map; of integers, booleans or floats equal to 0 or 1. Arrays are read three times, others up to
            five.

    Raises:
        ValueError: an element is neither 0 nor 1 (the first is named), or there are several dimensions.
        TypeError: a generator, a mapping, a set or a masked array.

    >>> min_swaps_to_gather_ones([1, 0, 1, 0, 1]), min_swaps_to_gather_ones([1, 1, 0, 0, 1])
    (1, 0)
    """
    window = _best_window(_readable(ring, "ring"))
    return window.length - window.ones


def swaps_to_gather_ones(ring: Readable) -> Iterator[tuple[int, int]]:
    """Such swaps, as few as can be: of a zero in the first best window with a one outside it.

    The ring is read and checked at the call, and read again, chunk by chunk, while the swaps are taken; they may be
    applied to the ring as they come. Errors are those of :func:`min_swaps_to_gather_ones`.

    >>> ring = [1, 0, 1, 0, 0, 1, 0]
    >>> for i, j in swaps_to_gather_ones(ring):
    ...     ring[i], ring[j] = ring[j], ring[i]
    >>> ring
    [1, 1, 1, 0, 0, 0, 0]
    """
    values = _readable(ring, "ring")
    start, length, _ = _best_window(values)
    behind = start + length
    return zip(_places(values, start, behind, 0), _places(values, behind, start + len(values), 1), strict=False)


class _Window(NamedTuple):
    """A piece of a ring, from ``start`` on, and how many ones are in it."""

    start: int
    length: int
    ones: int


def _best_window(ring: Any) -> _Window:
    """The first window as long as there are ones that holds the most of them."""
    as_array = isinstance(ring, np.ndarray) and ring.dtype.kind in "biuf"
    length = _count_array(ring) if as_array else _count(ring)
    if length in (0, len(ring)):
        return _Window(0, length, length)
    return _slide_array(ring, length) if as_array else _slide(ring, length)


def _count(ring: Any) -> int:
    ones = 0
    for place, value in enumerate(ring):
        if value == 1:
            ones += 1
        elif value != 0:  # NaN is neither
            raise _neither(place, value)
    return ones


def _slide(ring: Any, length: int) -> _Window:
    """By two readers, ``length`` apart: the trailing one sees what leaves the window, the other what enters it."""
    ones = sum(1 for value in islice(ring, length) if value == 1)
    best, start = ones, 0
    entering = chain(islice(ring, length, None), ring)
    for place, (leaves, enters) in enumerate(zip(ring, entering, strict=False), 1):
        if enters == 1:
            ones += 1
        if leaves == 1:
            ones -= 1
        if ones > best:
            best, start = ones, place
    return _Window(start, length, best)


def _neither(place: int, value: Any) -> ValueError:
    return ValueError(f"ring[{place}] is {value!r}: only 0 and 1 are allowed")


def _count_array(ring: NDArray) -> int:
    ones, buffer = 0, np.empty(min(_CHUNK, len(ring)), dtype=bool)
    for start in range(0, len(ring), _CHUNK):
        chunk = ring[start : start + _CHUNK]
        if chunk.dtype.itemsize == 1:
            fine = chunk.dtype == bool or chunk.view(np.uint8).max() <= 1
            found = np.count_nonzero(chunk.view(bool))
        else:
            equal = buffer[: len(chunk)]
            found = np.count_nonzero(np.equal(chunk, chunk.dtype.type(1), out=equal))
            fine = found + np.count_nonzero(np.equal(chunk, chunk.dtype.type(0), out=equal)) == len(chunk)
        if not fine:
            place = int(((chunk != 0) & (chunk != 1)).argmax())
            raise _neither(start + place, chunk[place].item())
        ones += int(found)
    return ones


def _slide_array(ring: NDArray, length: int) -> _Window:
    """As :func:`_slide`, eight places at a time.

    Eight elements that enter and eight that leave are two bytes; a table knows for each pair by how much they change
    the window's count, and the highest it comes to on the way.
    """
    changes, peaks = _tables()
    buffer = np.empty(_CHUNK, dtype=bool)
    first, now, highest, start = 0, 0, 0, 0  # ones of the window at 0; how many more now, and at most, and where
    for begin, end in _spans(len(ring), length):
        ahead = (begin + length) % len(ring)
        leaves = _as_bool(ring[begin:end], buffer)
        if begin < length:
            first += int(np.count_nonzero(leaves))
        leaving = np.packbits(leaves)  # the last byte is filled with zeros, which change nothing
        entering = np.packbits(_as_bool(ring[ahead : ahead + end - begin], buffer))
        pairs = entering.astype(np.uint16)
        pairs <<= 8
        pairs |= leaving
        change = changes.take(pairs)
        heights = np.cumsum(change, dtype=np.int32)
        risen = int(heights[-1])
        heights -= change
        heights += peaks.take(pairs)
        if now + int(heights.max()) > highest:
            byte = int(heights.argmax())
            highest = now + int(heights[byte])
            steps = _steps(entering[byte : byte + 1], leaving[byte : byte + 1])
            start = begin + 8 * byte + int(steps.argmax()) + 1
        now += risen
    return _Window(start, length, first + highest)


def _spans(size: int, length: int) -> Iterator[tuple[int, int]]:
    """Pieces of a ring, at most a chunk each, that end where its first window does and where the window wraps."""
    edges = sorted({0, length, size - length, size})
    for low, high in pairwise(edges):
        for begin in range(low, high, _CHUNK):
            yield begin, min(begin + _CHUNK, high)


def _as_bool(chunk: NDArray, buffer: NDArray) -> NDArray:
    """Zeros and ones as booleans: as they lie where they are bytes, else in the buffer."""
    if chunk.dtype.itemsize == 1:
        return chunk.view(bool)
    return np.equal(chunk, chunk.dtype.type(1), out=buffer[: len(chunk)])


@cache
def _tables() -> tuple[NDArray, NDArray]:
    """By ``256 · entering + leaving``: the change after eight places, and the highest after one to eight."""
    byte = np.arange(256, dtype=np.uint8)[:, None]
    steps = _steps(byte[:, None], byte[None, :])
    return steps[..., -1].ravel(), steps.max(axis=-1).ravel()


def _steps(entering: NDArray, leaving: NDArray) -> NDArray:
    """Change after one to eight places, ``[…, 8]``, of bytes ``[…, 1]``."""
    bits = np.unpackbits(entering, axis=-1).view(np.int8) - np.unpackbits(leaving, axis=-1).view(np.int8)
    return np.cumsum(bits, axis=-1, dtype=np.int8)


def _places(ring: Any, begin: int, end: int, wanted: int) -> Iterator[int]:
    """Where a value stands on the ring from ``begin`` to ``end``, both counted on beyond its last place."""
    size = len(ring)
    if not isinstance(ring, np.ndarray):
        around = islice(enumerate(chain(ring, ring)), begin, end)
        yield from (place % size for place, value in around if value == wanted)
        return
    for low, high, turns in ((begin, min(end, size), 0), (max(begin, size), end, 1)):
        for start in range(low - turns * size, high - turns * size, _FEW):
            chunk = ring[start : min(start + _FEW, high - turns * size)]
            yield from (np.flatnonzero(chunk == wanted) + start).tolist()
