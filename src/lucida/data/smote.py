"""SMOTE: synthetic rows between a row and one of its nearest neighbours in its class (Chawla et al. 2002), streamed.

imbalanced-learn's ``SMOTE`` is the reference: same neighbours, and with ``random_state`` the same rows. What differs is
what it takes for a million rows: features stay where they are (a memory map will do), synthetic rows are written piece
by piece, and neighbours are searched for those rows only that a synthetic one starts from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lucida.core.errors import LucidaError
from lucida.core.seeds import stream

QUERIES, CHUNK, GROUP = 512, 32_768, 128
SPARE = 4
"""Neighbours kept beyond ``k`` until exact distances decide: products in ``float32`` may swap near ones."""

Kind = Literal["smote", "adasyn", "borderline_smote"]
Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


def smote(
    features: NDArray,
    labels: NDArray,
    *,
    k_neighbors: int = 5,
    seed: int = 0,
    targets: Mapping[int, int] | None = None,
    random_state: int | None = None,
    out: Path | str | None = None,
) -> tuple[NDArray[np.float32], NDArray]:
    """The rows and behind them synthetic ones, class after class, until classes have the sizes that are wanted.

    A synthetic row is ``x + u (x' - x)``: ``x`` a row of the class drawn evenly, ``x'`` one of its ``k`` nearest in the
    class, ``u`` even in [0, 1). A class with fewer than ``k + 1`` rows uses the others it has (imbalanced-learn refuses
    it); a single row is repeated.

    Memory besides ``features`` and what is returned: 64 MB for a block of distances, some 20 MB around it, and of the
    class in work about 150 bytes a row and 24 a synthetic row. With ``features`` a memory map and ``out`` given, that
    is all there is.

    Args:
        features: float ``[N, D]``.
        labels: ``[N]``, the class of each row.
        k_neighbors: neighbours a row.
        seed: of the draws.
        targets: rows wanted of each class, at least those it has; ``None``: every class as many as the largest.
        random_state: draw as ``imblearn.over_sampling.SMOTE(random_state=…)`` does, for the same rows up to rounding
            (and up to the order of neighbours that are equally far, such as copies of a row).
        out: an ``.npy`` file that the rows are written to.

    Returns:
        float32 ``[M, D]`` (memory-mapped if ``out`` is given) and labels ``[M]``.

    Raises:
        LucidaError: shapes that do not fit, a value that is not finite, a target below what a class has.

    >>> features = np.array([[0, 0], [0, 1], [5, 5], [6, 5], [5, 6]], dtype=np.float32)
    >>> more, labels = smote(features, np.array([0, 0, 1, 1, 1]))
    >>> labels.tolist(), float(more[-1][0])  # between (0, 0) and (0, 1)
    ([0, 0, 1, 1, 1, 0], 0.0)
    """
    features, labels = np.asarray(features), np.asarray(labels)
    if features.ndim != 2 or labels.shape != features.shape[:1] or not len(labels) or k_neighbors < 1:
        raise LucidaError(
            f"SMOTE needs rows [N, D], labels [N] and k ≥ 1, not {list(features.shape)}, {list(labels.shape)} and "
            f"{k_neighbors}",
            where="smote",
        )
    classes, counts = np.unique(labels, return_counts=True)
    missing = _missing(classes, counts, targets)
    shape = (len(labels) + int(missing.sum()), features.shape[1])
    rows: NDArray = np.empty(shape, np.float32)
    if out is not None:
        rows = np.lib.format.open_memmap(out, mode="w+", dtype=np.float32, shape=shape)
    _copy(features, rows)
    end = len(labels)
    for c, count in zip(classes, missing, strict=True):
        if count:
            members = np.flatnonzero(labels == c)
            generator = stream(seed, "smote", int(np.searchsorted(classes, c)))
            draws = _draws(len(members), min(k_neighbors, len(members) - 1), int(count), generator, random_state)
            _write(features, members, draws, k_neighbors, rows[end : end + count])
            end += count
    return rows, np.concatenate([labels, np.repeat(classes, missing)])


def imbalanced_learn(
    kind: Kind, features: NDArray, labels: NDArray, *, k_neighbors: int = 5, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray]:
    """imbalanced-learn's own over-sampling, in memory: its SMOTE as the reference of ours, and what builds on it.

    ADASYN (He et al. 2008) makes more rows where other classes are near, Borderline-SMOTE (Han et al. 2005) only there.

    Raises:
        LucidaError: imbalanced-learn refuses the rows, for example a class with no more than ``k_neighbors`` of them.
    """
    from imblearn import over_sampling

    samplers = {
        "smote": lambda: over_sampling.SMOTE(random_state=seed, k_neighbors=k_neighbors),
        "adasyn": lambda: over_sampling.ADASYN(random_state=seed, n_neighbors=k_neighbors),
        "borderline_smote": lambda: over_sampling.BorderlineSMOTE(random_state=seed, k_neighbors=k_neighbors),
    }
    if kind not in samplers:
        raise LucidaError(f"there is no over-sampling {kind!r}", remedy=f"use {', '.join(samplers)}")
    try:
        return samplers[kind]().fit_resample(np.asarray(features, np.float32), labels)
    except ValueError as error:
        raise LucidaError(" ".join(str(error).split()), where=f"imbalanced-learn, {kind}") from None


def neighbours_of_rare(features: NDArray, labels: NDArray, k: int) -> NDArray[np.int64]:
    """The nearest rows of the same class, ``int64 [N, k]``, where SMOTE makes rows on the fly.

    A class with fewer than ``k + 1`` rows repeats those it has; -1 in the largest class and where a row is alone.

    >>> neighbours_of_rare(np.array([[0.0], [1.0], [2.0], [9.0], [5.0]]), np.array([0, 0, 0, 1, 1]), 2).tolist()
    [[-1, -1], [-1, -1], [-1, -1], [4, 4], [3, 3]]
    """
    answer = np.full((len(labels), k), -1)
    classes, counts = np.unique(labels, return_counts=True)
    for c in classes[(counts > 1) & (counts < counts.max())]:
        members = np.flatnonzero(labels == c)
        near = class_neighbours(features, members, k)
        answer[members] = near[:, np.arange(k) % near.shape[1]]
    return answer


def class_neighbours(features: NDArray, members: NDArray, k: int, queries: NDArray | None = None) -> NDArray[np.int64]:
    """The ``k`` nearest other rows of the same class, ``int64 [Q, k]``, nearest first, lower row first of equals.

    All pairs, as blocked matrix products in ``float32`` of features around their mean, of which the ``k + 4`` smallest
    distances a row are kept; exact distances of these decide.

    Args:
        features: float ``[N, D]``; a memory-mapped array will do.
        members: the rows of the class, ascending.
        k: neighbours a row; where there are fewer others, there are fewer columns.
        queries: the members whose neighbours are wanted; ``None`` for all.

    Raises:
        LucidaError: a value that is not finite.

    >>> class_neighbours(np.array([[0.0], [5.0], [1.0], [9.0]]), np.array([0, 1, 2, 3]), 2).tolist()
    [[2, 1], [2, 3], [0, 1], [1, 2]]
    """
    asked = members if queries is None else queries
    k = min(k, len(members) - 1)
    kept = min(k + SPARE, len(members) - 1)
    if k < 1:
        return np.empty((len(asked), 0), np.int64)
    centre = _mean(features, members)
    places = torch.from_numpy(np.searchsorted(members, asked))
    nearest = torch.full((len(asked), kept), torch.inf)
    found = torch.zeros((len(asked), kept), dtype=torch.int64)
    space = torch.empty(min(QUERIES, len(asked)) * (min(CHUNK, len(members)) + GROUP))
    for start in range(0, len(members), CHUNK):
        others = _columns(features, members[start : start + CHUNK], centre)
        for first in range(0, len(asked), QUERIES):
            part = slice(first, first + QUERIES)
            x = _rows(features, asked[part], centre)
            x = torch.cat([-x, torch.ones(len(x), 1)], dim=1)
            scores = torch.mm(x, others, out=space[: len(x) * others.shape[1]].view(len(x), -1))
            itself = places[part] - start
            here = ((itself >= 0) & (itself < others.shape[1])).nonzero()[:, 0]
            scores[here, itself[here]] = torch.inf
            values, columns = _smallest(scores, min(kept, others.shape[1]))
            values, columns = torch.cat([nearest[part], values], 1), torch.cat([found[part], columns + start], 1)
            nearest[part], order = values.topk(kept, largest=False)
            found[part] = columns.gather(1, order)
    return _exact(features, asked, members[found.numpy()], k)


def _smallest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` smallest of each row and their columns, in one pass over the matrix.

    The ``k`` smallest lie in the ``k`` groups of columns whose own smallest are smallest; there alone is searched.
    """
    rows, columns = scores.shape
    groups = columns // GROUP
    if columns % GROUP or groups <= 2 * k:
        return scores.topk(k, largest=False, sorted=False)
    grouped = scores.view(rows, GROUP, groups)  # a group: columns that are `groups` apart
    best = grouped.amin(1).topk(k, largest=False, sorted=False).indices
    inside = grouped.gather(2, best[:, None, :].expand(-1, GROUP, -1)).reshape(rows, -1)
    values, order = inside.topk(k, largest=False, sorted=False)
    return values, (order // k) * groups + best.gather(1, order % k)


def _columns(features: NDArray, rows: NDArray, centre: NDArray) -> Tensor:
    """The transposed rows over half their squared lengths, ``[D + 1, n]``, padded with what is infinitely far.

    With ``[-x, 1]`` from the left that gives half the squared distance but for the length of ``x``, the same in a row.
    """
    y = _rows(features, rows, centre)
    width = -(-len(y) // GROUP) * GROUP if len(y) > GROUP else len(y)
    columns = torch.zeros(y.shape[1] + 1, width)
    columns[-1] = torch.inf
    columns[:-1, : len(y)] = y.T
    columns[-1, : len(y)] = y.square().sum(1) / 2
    return columns


def _exact(features: NDArray, asked: NDArray, candidates: NDArray, k: int) -> NDArray[np.int64]:
    """The ``k`` nearest candidates by distances in ``float64``."""
    answer = np.empty((len(asked), k), np.int64)
    for first in range(0, len(asked), QUERIES):
        part = slice(first, first + QUERIES)
        near = np.sort(candidates[part], axis=1)
        x = np.asarray(features[asked[part]], np.float64)
        distances = np.square(np.asarray(features[near], np.float64) - x[:, None]).sum(-1)
        answer[part] = np.take_along_axis(near, distances.argsort(axis=1, kind="stable")[:, :k], axis=1)
    return answer


def _rows(features: NDArray, rows: NDArray, centre: NDArray) -> Tensor:
    return torch.from_numpy((np.asarray(features[rows], np.float32) - centre).astype(np.float32, copy=False))


def _mean(features: NDArray, members: NDArray) -> NDArray[np.float32]:
    """The mean of the rows.

    Raises:
        LucidaError: one of them is not finite.
    """
    total = np.zeros(features.shape[1])
    for start in range(0, len(members), CHUNK):
        rows = members[start : start + CHUNK]
        part = np.asarray(features[rows])
        if not np.isfinite(part).all():
            bad = rows[~np.isfinite(part).all(axis=1)][0]
            raise LucidaError("a feature is NaN or infinite", where=f"features, row {bad}")
        total += part.sum(axis=0, dtype=np.float64)
    return (total / len(members)).astype(np.float32)


def _missing(classes: NDArray, counts: NDArray, targets: Mapping[int, int] | None) -> NDArray[np.int64]:
    """Synthetic rows wanted of each class."""
    if targets is None:
        return counts.max() - counts
    if unknown := sorted(set(targets) - set(classes.tolist())):
        raise LucidaError("a class without a row cannot grow", where=f"class {unknown[0]}")
    wanted = np.array([targets.get(c, n) for c, n in zip(classes.tolist(), counts.tolist(), strict=True)])
    for c, n, more in zip(classes, counts, wanted, strict=True):
        if more < n:
            raise LucidaError(f"SMOTE cannot take {n} rows down to {more}", where=f"class {c}")
    return wanted - counts


def _draws(rows: int, k: int, size: int, generator: np.random.Generator, random_state: int | None) -> Pairs:
    """Where synthetic rows start (places in the class), which neighbour they go to, and how far."""
    if random_state is None:
        places, to = generator.integers(rows, size=size), generator.integers(max(k, 1), size=size)
        return places, to, generator.random(size)
    legacy = np.random.RandomState(random_state)  # imbalanced-learn's own generator, a new one a class
    both = legacy.randint(low=0, high=rows * max(k, 1), size=size)
    return *np.divmod(both, max(k, 1)), legacy.uniform(size=size)


def _write(features: NDArray, members: NDArray, draws: Pairs, k: int, out: NDArray) -> None:
    """The synthetic rows of a class."""
    places, to, steps = draws
    used = np.unique(places)
    near = class_neighbours(features, members, k, members[used])
    if near.shape[1] == 0:
        near = members[used][:, None]
    for start in range(0, len(places), CHUNK):
        part = slice(start, start + CHUNK)
        x = np.asarray(features[members[places[part]]], np.float32)
        other = np.asarray(features[near[np.searchsorted(used, places[part]), to[part]]], np.float32)
        out[part] = x + steps[part, None].astype(np.float32) * (other - x)


def _copy(features: NDArray, out: NDArray) -> None:
    for start in range(0, len(features), CHUNK):
        out[start : start + CHUNK][: len(features) - start] = features[start : start + CHUNK]
