"""Long-tailed selections of balanced labels: what a remedy against rare classes is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lucida.core.errors import LucidaError
from lucida.core.seeds import stream

Profile = Literal["exponential", "step"]


def long_tailed_counts(
    classes: int, ratio: float, *, largest: int, profile: Profile = "exponential"
) -> NDArray[np.int64]:
    """How many rows each class keeps, the most frequent class first (Cui et al. 2019; Cao et al. 2019).

    ``"exponential"``: class ``i`` of ``C`` keeps ``largest · ratio^(-i / (C - 1))``; ``"step"``: the first half keep
    ``largest``, the others ``largest / ratio`` (of an odd number, the middle class is frequent). Rounded down.

    Args:
        classes: C, at least two.
        ratio: of the largest class to the smallest, at least 1.
        largest: rows of the largest class.
        profile: the shape of the tail.

    Returns:
        ``int64 [C]``.

    Raises:
        LucidaError: an unknown profile, fewer than two classes, a ratio below 1, or a class would keep no row.

    >>> long_tailed_counts(10, 100, largest=5000).tolist()
    [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    >>> long_tailed_counts(4, 10, largest=100, profile="step").tolist()
    [100, 100, 10, 10]
    """
    if profile not in get_args(Profile):
        raise LucidaError(f"no profile {profile!r}", remedy=f"there are {' and '.join(get_args(Profile))}")
    if classes < 2:
        raise LucidaError(f"{classes} class has no tail", remedy="two classes are the least")
    if not 1 <= ratio < np.inf:
        raise LucidaError(f"the largest class cannot be {ratio} times the smallest", remedy="use a ratio of at least 1")
    rank = np.arange(classes)
    exponent = rank / (classes - 1) if profile == "exponential" else (rank >= (classes + 1) // 2).astype(float)
    counts = np.floor(largest * np.power(float(ratio), -exponent) + 1e-6).astype(np.int64)  # 5000 / 100 is 50, not 49
    if counts[-1] < 1:
        raise LucidaError(
            f"the smallest class would keep no row: {largest} / {ratio:g} is less than 1",
            remedy=f"use a ratio of at most {largest}",
        )
    return counts


def long_tailed_rows(
    labels: ArrayLike,
    ratio: float,
    *,
    profile: Profile = "exponential",
    largest: int | None = None,
    order: Sequence[Any] | None = None,
    seed: int,
) -> NDArray[np.int64]:
    """Rows of a long-tailed selection of labelled examples.

    The usual long-tailed CIFAR-10 is ``long_tailed_rows(labels, 100, seed=…)``: class ``i`` in alphabetical order keeps
    ``5000 · 0.01^(i / 9)`` pictures.

    A class keeps the first rows of one shuffle of it that the seed decides, so that for one seed the tails nest: what
    a ratio of 100 keeps, a ratio of 10 keeps too, and selections differ in nothing but how many rows there are.

    Args:
        labels: ``[N]``, the class of each row: any values that can be sorted.
        ratio: of the largest class to the smallest.
        profile: ``"exponential"`` or ``"step"``; see :func:`long_tailed_counts`.
        largest: rows of the largest class; ``None`` for as many as the first class of ``order`` has.
        order: every class, the most frequent first; ``None`` for sorted.
        seed: of the shuffles.

    Returns:
        ``int64``, ascending.

    Raises:
        LucidaError: ``order`` does not list the classes, a class has fewer rows than it should keep, or as
            :func:`long_tailed_counts` says.

    >>> labels = np.repeat(["cat", "dog", "eel"], 100)
    >>> kept = labels[long_tailed_rows(labels, 25, seed=0)]
    >>> [int((kept == name).sum()) for name in ("cat", "dog", "eel")]
    [100, 20, 4]
    """
    names, codes = np.unique(np.asarray(labels), return_inverse=True)
    ranked = np.arange(len(names)) if order is None else _ranks(names, order)
    sizes = np.bincount(codes)[ranked]
    wanted = long_tailed_counts(
        len(names), ratio, largest=int(sizes[0]) if largest is None else largest, profile=profile
    )
    for code, size, count in zip(ranked, sizes, wanted, strict=True):
        if size < count:
            raise LucidaError(
                f"class {names[code]} has {size} rows and should keep {count}",
                where="labels",
                remedy="lower largest, or put that class further back in order",
            )
    chosen = []
    for code, count in zip(ranked, wanted, strict=True):
        rows = np.flatnonzero(codes == code)
        chosen.append(stream(seed, "long_tail", str(names[code])).permutation(rows)[:count])
    return np.sort(np.concatenate(chosen))


def _ranks(names: NDArray, order: Sequence[Any]) -> NDArray[np.int64]:
    """The codes of the classes in this order."""
    asked = np.asarray(order)
    if len(asked) != len(names) or not np.array_equal(np.sort(asked), names):
        raise LucidaError(f"order must list each of the {len(names)} classes once", where="order")
    return np.searchsorted(names, asked)
