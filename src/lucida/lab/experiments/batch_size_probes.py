"""What the batch-size page looks at inside the networks while they train."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lucida.lab.datasets import training_batch
from lucida.lab.noise_scale import gradient_moments
from lucida.lab.sharpness import Weights, barrier, distance, largest_eigenvalues, rescaled
from lucida.lab.training import Moment, Observer

RESCALING = 4.0


def final_sharpness(data: str, seeds: Sequence[int], steps: int, iterations: int) -> Observer:
    """Largest eigenvalue of the Hessian of the training loss after the last step, ``[M]``; NaN before.

    Args:
        seeds: of the members, in their order.
    """
    whole = training_batch(data, seeds)

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
    whole = training_batch(data, seeds)
    count = whole["labels"].shape[1]

    def observe(moment: Moment) -> Tensor:
        exact = gradient_moments(moment.stack, whole)
        sampled = gradient_moments(moment.stack, moment.train)
        columns = exact.noise_scale(count), exact.squared_gradient(count), exact.trace, sampled.noise_scale(count)
        return torch.stack(columns, dim=1)

    return observe


def rescaled_sharpness(data: str, seeds: Sequence[int], steps: int, iterations: int) -> Observer:
    """Sharpness as it is and of the same function with its layers rescaled, at the end, ``[M, 2]``."""
    whole = training_batch(data, seeds)

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
