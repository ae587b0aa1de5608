"""Which rows an epoch shows: every row once, or more of the rare classes and fewer of the common ones.

A sampling chooses rows and nothing else, so it works for every task: classes, pairs, conversations.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lucida.core.errors import LucidaError
from lucida.core.seeds import stream

Sampling = Literal["instance", "oversampled", "undersampled", "class_balanced", "square_root"]
SAMPLINGS: tuple[Sampling, ...] = get_args(Sampling)


def draw_rows(
    labels: NDArray, sampling: Sampling, seed: int | np.random.Generator, *, size: int | None = None
) -> NDArray[np.int64]:
    """The rows of an epoch, shuffled.

    ======================  ========================================================  ===========
    sampling                an epoch                                                  its size
    ======================  ========================================================  ===========
    ``"instance"``          every row once                                            N
    ``"oversampled"``       every class as often as the largest: its rows again and   C · max n
                            again, each as often as any other of them up to one
    ``"undersampled"``      every class as often as the smallest, other rows each     C · min n
                            epoch
    ``"class_balanced"``    the class of each place drawn evenly, then a row of it    N
    ``"square_root"``       the same, classes with p ∝ √n                             N
    ======================  ========================================================  ===========

    The last two draw with replacement (Kang et al. 2020, eq. 1 with q = 0 and ½). C counts the classes that have a row.

    Args:
        labels: ``[N]``, the class of each row: any values that can be compared.
        sampling: one of :data:`SAMPLINGS`.
        seed: a seed, or a generator to draw from.
        size: so many rows: whole epochs one after another, the last one cut; ``None`` for one epoch.

    Returns:
        ``int64 [size]``.

    Raises:
        LucidaError: no rows, or an unknown sampling.

    >>> labels = np.array([0, 0, 0, 1])
    >>> sorted(draw_rows(labels, "oversampled", 0).tolist())
    [0, 1, 2, 3, 3, 3]
    >>> len(draw_rows(labels, "undersampled", 0))
    2
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or len(labels) == 0:
        raise LucidaError("there is no row to draw", where="labels")
    if sampling not in SAMPLINGS:
        raise LucidaError(f"there is no sampling {sampling!r}", remedy=f"use {', '.join(SAMPLINGS)}")
    generator = seed if isinstance(seed, np.random.Generator) else stream(seed, "rows")
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    by_class = np.split(np.argsort(inverse, kind="stable"), np.cumsum(counts)[:-1])
    length = epoch_size(counts, sampling)
    wanted = length if size is None else size
    if sampling in ("class_balanced", "square_root"):
        return _drawn(by_class, counts ** (0.5 if sampling == "square_root" else 0.0), wanted, generator)
    each = {"instance": counts, "oversampled": np.full_like(counts, counts.max())}.get(
        sampling, np.full_like(counts, counts.min())
    )
    epochs = [_epoch(by_class, each, generator) for _ in range(-(-wanted // length))]
    return np.concatenate([np.empty(0, np.int64), *epochs])[:wanted]


def epoch_size(counts: NDArray, sampling: Sampling) -> int:
    """The rows of an epoch, from those of each class.

    >>> epoch_size(np.array([3, 1]), "oversampled")
    6
    """
    counts = np.asarray(counts)[np.asarray(counts) > 0]
    sizes = {"oversampled": len(counts) * counts.max(), "undersampled": len(counts) * counts.min()}
    return int(sizes.get(sampling, counts.sum()))


def repeats(rows: NDArray) -> NDArray[np.int64]:
    """How often each entry has stood before: 0 for the first time.

    >>> repeats(np.array([5, 7, 5, 5])).tolist()
    [0, 0, 1, 2]
    """
    rows = np.asarray(rows)
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(rows) else np.empty(0, np.int64)
    lengths = np.diff(np.r_[starts, len(rows)])
    answer = np.empty(len(rows), np.int64)
    answer[order] = np.arange(len(rows)) - np.repeat(starts, lengths)
    return answer


def shown_again(rows: NDArray, epoch: int) -> NDArray[np.bool_]:
    """Which entries stand for a row that their epoch has shown before.

    >>> shown_again(np.array([5, 7, 5, 5, 7, 7]), 3).tolist()
    [False, False, True, False, False, True]
    """
    return np.concatenate([repeats(rows[i : i + epoch]) for i in range(0, len(rows), epoch)]) > 0


def _epoch(by_class: list[NDArray], each: NDArray, generator: np.random.Generator) -> NDArray[np.int64]:
    """``each[c]`` rows of every class, none of a class more than once more often than another; shuffled."""
    parts = []
    for rows, wanted in zip(by_class, each, strict=True):
        whole, rest = divmod(int(wanted), len(rows))
        parts += [np.tile(rows, whole), generator.permutation(rows)[:rest]]
    return generator.permutation(np.concatenate(parts)).astype(np.int64)


def _drawn(by_class: list[NDArray], weights: NDArray, size: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Classes by weight, then rows of them evenly, both with replacement."""
    counts = np.array([len(rows) for rows in by_class])
    starts = np.r_[0, np.cumsum(counts)[:-1]]
    classes = generator.choice(len(by_class), size=size, p=weights / weights.sum())
    places = starts[classes] + (generator.random(size) * counts[classes]).astype(np.int64)
    return np.concatenate(by_class)[places].astype(np.int64)
