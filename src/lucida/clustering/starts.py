"""Where EM begins: the four starts of scikit-learn, drawn in the same order from the same stream."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lucida.clustering.covariances import CovarianceType, Sums
from lucida.clustering.em import add_sums, added
from lucida.clustering.k_means import labels_of, lloyd, plus_plus
from lucida.clustering.rows import Rows

STARTS = ("kmeans", "k-means++", "random", "random_from_data")


def start(rows: Rows, how: str, kind: CovarianceType, k: int, random: np.random.RandomState) -> Sums:
    """The sums of the first responsibilities.

    ``"kmeans"``: one for the nearest of the centres that k-means finds; ``"random"``: uniform, normalised;
    ``"random_from_data"`` and ``"k-means++"``: one for ``k`` single rows, zero elsewhere.
    """
    if how == "random":
        return _random(rows, kind, k, random)
    if how == "random_from_data":
        return _points(rows, kind, random.choice(rows.total, size=k, replace=False))
    chosen = plus_plus(rows, k, random)
    if how == "k-means++":
        return _points(rows, kind, chosen)
    return hard_sums(rows, kind, lloyd(rows, rows.take(chosen).astype(np.float64)))


def hard_sums(rows: Rows, kind: CovarianceType, centres: np.ndarray) -> Sums:
    """Sums in which each row counts for its nearest centre."""
    centres = centres.astype(rows.dtype)
    places = torch.from_numpy(centres)
    origin = centres.astype(np.float64) if kind == "full" else np.zeros(centres.shape)

    def add(sums: Sums, block: Tensor, begin: int) -> None:
        add_sums(sums, block, torch.nn.functional.one_hot(labels_of(block, places), len(places)).to(block.dtype))

    return added(rows, rows.each(add, lambda: Sums.zeros(kind, origin)))


def _random(rows: Rows, kind: CovarianceType, k: int, random: np.random.RandomState) -> Sums:
    total = Sums.zeros(kind, np.zeros((k, rows.X.shape[1])))
    for begin in range(0, rows.offset, rows.block):  # what belongs to the rows of the processes before
        random.uniform(size=(min(rows.block, rows.offset - begin), k))
    for begin in range(0, len(rows.X), rows.block):
        block = rows.read(begin, begin + rows.block)
        drawn = random.uniform(size=(len(block), k))
        add_sums(total, block, torch.from_numpy(drawn / drawn.sum(1, keepdims=True)).to(block.dtype))
    return added(rows, [total])


def _points(rows: Rows, kind: CovarianceType, numbers: np.ndarray) -> Sums:
    places = rows.take(numbers).astype(np.float64)
    sums = Sums.zeros(kind, places if kind == "full" else np.zeros_like(places))
    sums.count += 1.0
    if kind != "full":
        sums.first += places
        sums.second += _products(rows, places) if kind == "tied" else places**2
    return sums


def _products(rows: Rows, places: np.ndarray) -> np.ndarray:
    """What scikit-learn takes for the products of the rows when only ``places`` count: those of all rows as given.

    Expressed about the mean. The first covariance is thus wide and depends on where the origin lies; EM forgets it.
    """
    shift = rows.shift.astype(np.float64)
    cross = np.outer(rows.scatter[0] - places.sum(0), shift)
    return rows.scatter[1:] + (rows.total - len(places)) * np.outer(shift, shift) + cross + cross.T
