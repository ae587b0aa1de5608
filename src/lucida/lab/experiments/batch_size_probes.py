"""What the batch-size page looks at inside the networks while they train."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lucida.lab.datasets import load, split
from lucida.lab.noise_scale import gradient_moments
from lucida.lab.sharpness import Weights, barrier, distance, largest_eigenvalues, rescaled
from lucida.lab.training import Moment, Observer
from lucida.training.batches import Batch

RESCALING = 4.0


def at_loss(loss: NDArray, values: NDArray, targets: Sequence[float]) -> NDArray:
    """Values at the first time a loss curve comes down to each target, ``[M, targets]``; NaN where it never does.

    Between two evaluations both are interpolated along the logarithm of the loss.

    >>> at_loss(np.array([[4.0, 1.0, 0.5]]), np.array([0.0, 10.0, 20.0]), [2.0, 0.1]).tolist()
    [[5.0, nan]]
    """
    table = np.full((len(loss), len(targets)), np.nan)
    rows = np.broadcast_to(values, loss.shape)
    for (m, curve), (k, target) in product(enumerate(loss), enumerate(targets)):
        below = np.flatnonzero(curve <= target)
        if not len(below):
            continue
        last = below[0]
        if last == 0:
            table[m, k] = rows[m, 0]
            continue
        ends = np.log(np.maximum(curve[last - 1 : last + 1], 1e-12))
        share = (ends[0] - np.log(target)) / (ends[0] - ends[1]) if np.isfinite(ends[0]) else 1.0
        table[m, k] = rows[m, last - 1] + share * (rows[m, last] - rows[m, last - 1])
    return table


def whole_set(data: str, seeds: Sequence[int]) -> Batch:
    """All training examples of each seed, ``[M, N, …]``: what a network minimises, rather than a sample of it."""
    source = load(data)
    rows = torch.stack([split(source, seed).train for seed in seeds])
    return {name: x[rows] for name, x in source.inputs.items()} | {"labels": source.labels[rows]}


def final_sharpness(data: str, seeds: Sequence[int], steps: int, iterations: int) -> Observer:
    """Largest eigenvalue of the Hessian of the training loss after the last step, ``[M]``; NaN before.

    Args:
        seeds: of the members, in their order.
    """
    whole = whole_set(data, seeds)

    def observe(moment: Moment) -> Tensor:
        if moment.step != steps:
            return torch.full((moment.stack.members,), float("nan"))
        return largest_eigenvalues(moment.stack, whole, iterations=iterations, tolerance=0.01)

    return observe


def whole_set_noise(data: str, seeds: Sequence[int]) -> Observer:
    """Noise scale, ``|G|²``, ``tr Σ`` with all training examples of each member, and the scale that 512 of them show.

    ``[M, 4]``. The training set is the population: its gradient is what all batches of it estimate, and it is known
    here exactly; 512 examples give the estimate one would have of it.
    """
    whole = whole_set(data, seeds)
    count = whole["labels"].shape[1]

    def observe(moment: Moment) -> Tensor:
        exact = gradient_moments(moment.stack, whole)
        sampled = gradient_moments(moment.stack, moment.train)
        columns = exact.noise_scale(count), exact.squared_gradient(count), exact.trace, sampled.noise_scale(count)
        return torch.stack(columns, dim=1)

    return observe


def rescaled_sharpness(data: str, seeds: Sequence[int], steps: int, iterations: int) -> Observer:
    """Sharpness as it is and of the same function with its layers rescaled, at the end, ``[M, 2]``."""
    whole = whole_set(data, seeds)

    def observe(moment: Moment) -> Tensor:
        if moment.step != steps:
            return torch.full((moment.stack.members, 2), float("nan"))
        other = rescaled(moment.stack, "blocks.0.linear", "blocks.1.linear", RESCALING)
        both = [largest_eigenvalues(s, whole, iterations=iterations, tolerance=0.01) for s in (moment.stack, other)]
        return torch.stack(both, dim=1)

    return observe


class Departure:
    """How far a training is from where it began: distance, and the barrier on the straight way, ``[M, 2]``."""

    def __init__(self) -> None:
        self.start: Weights = {}

    def __call__(self, moment: Moment) -> Tensor:
        """Before the first step it remembers the weights."""
        if moment.step == 0:
            self.start = {name: p.detach().clone() for name, p in moment.stack.stacked_parameters().items()}
        far = distance(moment.stack, self.start)
        return torch.stack([far, barrier(moment.stack, self.start, moment.train)], dim=1)
