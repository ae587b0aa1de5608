"""k-means a block of rows at a time, over all processes: greedy k-means++ for the first centres, then Lloyd's steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lucida.clustering.rows import Rows


def plus_plus(rows: Rows, k: int, random: np.random.RandomState) -> np.ndarray:
    """Numbers of ``k`` rows as first centres, ``[k]``.

    Each is drawn with a chance proportional to the squared distance to those before (Arthur and Vassilvitskii 2007); of
    several draws that one is kept which leaves the least. The draws are scikit-learn's. It remembers some eight numbers
    a row.
    """
    chosen = np.zeros(k, np.int64)
    chosen[0] = min(int(random.random_sample() * rows.total), rows.total - 1)
    trials = 2 + int(np.log(k))
    norms, nearest = np.empty(len(rows.X), rows.dtype), np.full(len(rows.X), np.inf, rows.dtype)
    rows.each(lambda _, block, at: _norms(norms[at : at + len(block)], block), lambda: None)
    left = np.empty((trials, len(rows.X)), rows.dtype)
    _leave(rows, chosen[:1], norms, nearest, left[:1])
    nearest[:] = left[0]
    for c in range(1, k):
        shares = np.zeros(rows.processes.size)
        shares[rows.processes.rank] = nearest.sum(dtype=np.float64)
        (shares,) = rows.processes.sum(shares)
        candidates = _drawn(rows, nearest, shares, random.uniform(size=trials) * shares.sum())
        best = _leave(rows, candidates, norms, nearest, left).argmin()
        chosen[c], nearest[:] = candidates[best], left[best]
    return chosen


def _norms(out: np.ndarray, block: Tensor) -> None:
    out[:] = block.square().sum(1).numpy()


def _leave(rows: Rows, candidates: np.ndarray, norms: np.ndarray, nearest: np.ndarray, left: np.ndarray) -> np.ndarray:
    """The squared distances that would be left with each candidate, into ``left`` ``[trials, n]``; their sums."""
    centres = torch.from_numpy(rows.take(candidates))
    own = centres.square().sum(1)[:, None]

    def add(total: np.ndarray, block: Tensor, begin: int) -> None:
        end = begin + len(block)
        squares = (own + torch.from_numpy(norms[begin:end])).addmm_(centres, block.T, alpha=-2).clamp_(min=0)
        here = torch.minimum(squares, torch.from_numpy(nearest[begin:end]))
        left[:, begin:end] = here.numpy()
        total += here.sum(1, dtype=torch.float64).numpy()

    parts = rows.each(add, lambda: np.zeros(len(candidates)))
    return rows.processes.sum(sum(parts, np.zeros(len(candidates))))[0]


def _drawn(rows: Rows, nearest: np.ndarray, shares: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The rows of all processes at which the running sum of ``nearest`` reaches each draw."""
    rank, ends = rows.processes.rank, np.cumsum(shares)
    before = ends[rank] - shares[rank]
    here = np.minimum(np.searchsorted(ends, draws), len(shares) - 1) == rank
    numbers = np.zeros(len(draws))
    found = np.searchsorted(np.cumsum(nearest, dtype=np.float64), draws[here] - before)
    numbers[here] = rows.offset + np.minimum(found, len(nearest) - 1)
    return rows.processes.sum(numbers)[0].astype(np.int64)


@dataclass
class _Step:
    """One step's sums: rows of each centre, ``[k]``, and their sum, ``[k, d]``."""

    count: np.ndarray
    first: np.ndarray


def lloyd(rows: Rows, centres: np.ndarray, *, max_iter: int = 300, tol: float = 1e-4) -> np.ndarray:
    """Centres of k-means from first ones, ``[k, d]`` (Lloyd 1982); one without rows moves to the farthest row.

    Args:
        rows: the data.
        centres: the first ones.
        max_iter: at most so many steps.
        tol: it ends when the centres' squared moves sum to no more than this share of the features' mean variance.
    """
    enough = tol * float(np.mean(rows.variances))
    for _ in range(max_iter):
        step = _step(rows, centres)
        moved = step.first / np.maximum(step.count, 1)[:, None]
        empty = np.flatnonzero(step.count == 0)
        if len(empty):
            moved[empty] = rows.take(_farthest(rows, centres, len(empty)))
        change = float(np.square(moved - centres).sum())
        centres = moved
        if change <= enough:
            break
    return centres


def labels_of(block: Tensor, centres: Tensor) -> Tensor:
    """The nearest centre of each row."""
    halves = torch.addmm(0.5 * centres.square().sum(1), block, centres.T, alpha=-1)
    return torch.from_numpy(halves.numpy().argmin(1))  # NumPy's is three times as fast here


def _step(rows: Rows, centres: np.ndarray) -> _Step:
    places = torch.from_numpy(centres.astype(rows.dtype))

    def add(step: _Step, block: Tensor, begin: int) -> None:
        labels = labels_of(block, places)
        step.count += torch.bincount(labels, minlength=len(places)).numpy()
        step.first += torch.zeros_like(places).index_add_(0, labels, block).numpy()

    steps = rows.each(add, lambda: _Step(np.zeros(len(centres)), np.zeros(centres.shape)))
    return _Step(*rows.processes.sum(sum(s.count for s in steps), sum(s.first for s in steps)))  # type: ignore[arg-type]


def _farthest(rows: Rows, centres: np.ndarray, count: int) -> np.ndarray:
    """Numbers of the ``count`` rows that are farthest from their centres."""
    places, distances = torch.from_numpy(centres.astype(rows.dtype)), np.empty(len(rows.X))

    def add(_: None, block: Tensor, begin: int) -> None:
        distances[begin : begin + len(block)] = (block - places[labels_of(block, places)]).square_().sum(1).numpy()

    rows.each(add, lambda: None)
    offers = np.zeros((rows.processes.size, 2, count))
    own = np.argsort(-distances, kind="stable")[:count]
    offers[rows.processes.rank, 0, : len(own)] = distances[own]
    offers[rows.processes.rank, 1, : len(own)] = own + rows.offset
    far, numbers = rows.processes.sum(offers)[0].transpose(1, 0, 2).reshape(2, -1)
    return numbers[np.argsort(-far, kind="stable")[:count]].astype(np.int64)
