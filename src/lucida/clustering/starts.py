"""Where EM begins: the four starts of scikit-learn, drawn in the same order from the same stream."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lucida.clustering.covariances import CovarianceType, Sums
from lucida.clustering.em import add_sums, added
from lucida.clustering.rows import Rows

STARTS = ("kmeans", "k-means++", "random", "random_from_data")
SAMPLE = 65536  # rows from which centres are found; a larger sample finds no better ones in the time it takes


def start(rows: Rows, how: str, kind: CovarianceType, k: int, random: np.random.RandomState) -> Sums:
    """The sums of the first responsibilities.

    ``"kmeans"``: one for the nearest of the centres that k-means finds; ``"random"``: uniform, normalised;
    ``"random_from_data"`` and ``"k-means++"``: one for ``k`` single rows, zero elsewhere.
    """
    if how == "random":
        return _random(rows, kind, k, random)
    if how == "random_from_data":
        return _points(rows, kind, random.choice(rows.total, size=k, replace=False))
    sample = np.arange(rows.total)
    if rows.total > max(SAMPLE, 64 * k):
        sample = np.sort(random.choice(rows.total, size=max(SAMPLE, 64 * k), replace=False))
    points = rows.take(sample)
    chosen = plus_plus(points, k, random)
    if how == "k-means++":
        return _points(rows, kind, sample[chosen])
    return hard_sums(rows, kind, lloyd(points, points[chosen]))


def plus_plus(points: np.ndarray, k: int, random: np.random.RandomState) -> np.ndarray:
    """Numbers of ``k`` rows by greedy k-means++ (Arthur and Vassilvitskii 2007): the best of several draws."""
    tensor = torch.from_numpy(np.asarray(points, np.float64))
    trials = 2 + int(np.log(k))
    chosen = np.empty(k, np.int64)
    chosen[0] = random.choice(len(points), p=np.full(len(points), 1.0 / len(points)))
    norms = tensor.square().sum(1)
    nearest = _squares(tensor, norms, tensor[chosen[:1]])[0]
    for c in range(1, k):
        total = nearest.cumsum(0)
        draws = random.uniform(size=trials) * float(nearest.sum())
        candidates = np.clip(np.searchsorted(total.numpy(), draws), None, len(points) - 1)
        squares = torch.minimum(_squares(tensor, norms, tensor[candidates]), nearest)
        best = int(squares.sum(1).argmin())
        chosen[c], nearest = candidates[best], squares[best]
    return chosen


def _squares(points: Tensor, norms: Tensor, centres: Tensor) -> Tensor:
    """Squared distances ``[centres, points]``."""
    return (norms + centres.square().sum(1)[:, None]).addmm_(centres, points.T, alpha=-2).clamp_(min=0)


def lloyd(points: np.ndarray, centres: np.ndarray, *, max_iter: int = 300, tol: float = 1e-4) -> np.ndarray:
    """Centres of k-means from given ones (Lloyd 1982), ``[k, d]``; a centre without rows moves to the farthest row.

    Args:
        points: ``[n, d]``.
        centres: the first ones.
        max_iter: at most so many steps.
        tol: it ends when the centres' squared moves sum to less than this share of the mean variance.
    """
    tensor, places = (torch.from_numpy(np.asarray(x, np.float64)) for x in (points, centres))
    enough = tol * float(tensor.var(0, unbiased=False).mean())
    norms, before = tensor.square().sum(1), None
    for _ in range(max_iter):
        squares, labels = _squares(tensor, norms, places).min(0)
        if before is not None and torch.equal(labels, before):
            break
        counts = torch.bincount(labels, minlength=len(places))
        moved = torch.zeros_like(places).index_add_(0, labels, tensor) / counts.clamp(min=1)[:, None]
        empty = torch.nonzero(counts == 0)[:, 0]
        if len(empty):
            moved[empty] = tensor[squares.topk(len(empty)).indices]
        change, places, before = float((moved - places).square().sum()), moved, labels
        if change <= enough:
            break
    return places.numpy()


def hard_sums(rows: Rows, kind: CovarianceType, centres: np.ndarray) -> Sums:
    """Sums in which each row counts for its nearest centre."""
    centres = centres.astype(rows.dtype)
    places = torch.from_numpy(centres).double()
    origin = centres.astype(np.float64) if kind == "full" else np.zeros(centres.shape)

    def add(sums: Sums, block: Tensor, first: int) -> None:
        wide = block.double()
        labels = (places.square().sum(1) - 2 * wide @ places.T).argmin(1)
        add_sums(sums, block, torch.nn.functional.one_hot(labels, len(places)).to(block.dtype))

    return added(rows, rows.each(add, lambda: Sums.zeros(kind, origin)))


def _random(rows: Rows, kind: CovarianceType, k: int, random: np.random.RandomState) -> Sums:
    origin = np.zeros((k, rows.X.shape[1]))
    total = Sums.zeros(kind, origin)
    for count in _shares(rows.offset, rows.block):
        random.uniform(size=(count, k))  # what belongs to the rows of the processes before
    for begin in range(0, len(rows.X), rows.block):
        block = rows.read(begin, begin + rows.block)
        drawn = random.uniform(size=(len(block), k))
        add_sums(total, block, torch.from_numpy(drawn / drawn.sum(1, keepdims=True)).to(block.dtype))
    return added(rows, [total])


def _shares(total: int, most: int) -> list[int]:
    return [min(most, total - begin) for begin in range(0, total, most)]


def _points(rows: Rows, kind: CovarianceType, numbers: np.ndarray) -> Sums:
    places = rows.take(numbers).astype(np.float64)
    origin = places if kind == "full" else np.zeros_like(places)
    sums = Sums.zeros(kind, origin)
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
