"""k-means a block of rows at a time, over all processes: greedy k-means++ for the first centres, then Lloyd's steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lucida.clustering.rows import Rows


def squares(block: Tensor, centres: Tensor) -> Tensor:
    """Squared distances of rows ``[b, d]`` to centres, ``[b, k]``."""
    norms = block.square().sum(1)[:, None] + centres.square().sum(1)
    return norms.addmm_(block, centres.T, alpha=-2).clamp_(min=0)


def plus_plus(rows: Rows, k: int, random: np.random.RandomState) -> np.ndarray:
    """Numbers of ``k`` rows as first centres, ``[k]``.

    Each is drawn with a chance proportional to the squared distance to those before (Arthur and Vassilvitskii 2007); of
    several draws that one is kept which leaves the least. The draws are scikit-learn's.
    """
    chosen = np.zeros(k, np.int64)
    chosen[0] = min(int(random.random_sample() * rows.total), rows.total - 1)
    nearest = np.full(len(rows.X), np.inf)
    for c in range(1, k):
        shares = np.zeros(rows.processes.size)
        shares[rows.processes.rank] = _bring_nearer(rows, nearest, chosen[c - 1])
        (shares,) = rows.processes.sum(shares)
        draws = random.uniform(size=2 + int(np.log(k))) * shares.sum()
        candidates = _drawn(rows, nearest, shares, draws)
        left = _left_by(rows, nearest, candidates)
        chosen[c] = candidates[left.argmin()]
    return chosen


def _bring_nearer(rows: Rows, nearest: np.ndarray, number: np.int64) -> float:
    """Let ``nearest`` know of one more centre; its sum."""
    centre = torch.from_numpy(rows.take(np.array([number])))

    def add(_: None, block: Tensor, begin: int) -> None:
        here = nearest[begin : begin + len(block)]
        np.minimum(here, squares(block, centre)[:, 0].numpy(), out=here)

    rows.each(add, lambda: None)
    return float(nearest.sum())


def _drawn(rows: Rows, nearest: np.ndarray, shares: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The rows of all processes at which the running sum of ``nearest`` reaches each draw."""
    rank, ends = rows.processes.rank, np.cumsum(shares)
    before = ends[rank] - shares[rank]
    here = np.minimum(np.searchsorted(ends, draws), len(shares) - 1) == rank
    numbers = np.zeros(len(draws))
    found = np.searchsorted(np.cumsum(nearest), draws[here] - before)
    numbers[here] = rows.offset + np.minimum(found, len(nearest) - 1)
    return rows.processes.sum(numbers)[0].astype(np.int64)


def _left_by(rows: Rows, nearest: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """The sum of squared distances that each candidate would leave."""
    centres = torch.from_numpy(rows.take(candidates))

    def add(total: np.ndarray, block: Tensor, begin: int) -> None:
        here = torch.from_numpy(nearest[begin : begin + len(block)])
        total += torch.minimum(squares(block, centres).double(), here[:, None]).sum(0).numpy()

    parts = rows.each(add, lambda: np.zeros(len(candidates)))
    return rows.processes.sum(sum(parts, np.zeros(len(candidates))))[0]


@dataclass
class _Step:
    """One step's sums: rows a centre, their sum, and the squared distances."""

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
    return (0.5 * centres.square().sum(1) - block @ centres.T).argmin(1)


def _step(rows: Rows, centres: np.ndarray) -> _Step:
    places = torch.from_numpy(centres.astype(rows.dtype))

    def add(step: _Step, block: Tensor, begin: int) -> None:
        mine = torch.nn.functional.one_hot(labels_of(block, places), len(places)).to(block.dtype)
        step.count += mine.sum(0, dtype=torch.float64).numpy()
        step.first += (mine.T @ block).numpy()

    steps = rows.each(add, lambda: _Step(np.zeros(len(centres)), np.zeros(centres.shape)))
    return _Step(*rows.processes.sum(sum(s.count for s in steps), sum(s.first for s in steps)))  # type: ignore[arg-type]


def _farthest(rows: Rows, centres: np.ndarray, count: int) -> np.ndarray:
    """Numbers of the ``count`` rows that are farthest from their centres."""
    places, distances = torch.from_numpy(centres.astype(rows.dtype)), np.empty(len(rows.X))

    def add(_: None, block: Tensor, begin: int) -> None:
        distances[begin : begin + len(block)] = squares(block, places).min(1).values.numpy()

    rows.each(add, lambda: None)
    offers = np.zeros((rows.processes.size, 2, count))
    own = np.argsort(-distances, kind="stable")[:count]
    offers[rows.processes.rank, 0, : len(own)] = distances[own]
    offers[rows.processes.rank, 1, : len(own)] = own + rows.offset
    far, numbers = rows.processes.sum(offers)[0].transpose(1, 0, 2).reshape(2, -1)
    return numbers[np.argsort(-far, kind="stable")[:count]].astype(np.int64)
