"""How smooth a loss is along its own gradient, for all members of a stack at once.

After Santurkar et al. 2018 (1805.11604, section 3.1 and figure 4): from the weights as they are, one walks along the
gradient and asks how far the loss varies, how far the gradient changes (its *predictiveness*), and how fast it changes
for each unit of the way (the *effective β-smoothness*). They walk multiples of the gradient; here the walks are shares
of the length of the weights, so that networks whose gradients or weights differ in size take equal steps.

Looking changes nothing: weights, running statistics and the stream of random numbers are put back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from lucida.lab.probing import gradients, total_norms
from lucida.lab.stack import MakeTask, Stack, along
from lucida.lab.training import Moment, Observer
from lucida.training.batches import Batch
from lucida.training.tasks import ClassificationTask

LENGTHS = (0.005, 0.01, 0.02)  # of a walk, in lengths of the weights: about what a tuned step of SGD is


@dataclass(frozen=True)
class Walk:
    """What was met on the way down the gradient; the first column of ``loss`` is the start.

    Attributes:
        lengths: of the walks over the length of the weights, ``n``.
        loss: ``[M, 1 + n]``.
        change: ``‖g' - g‖ / ‖g‖``: 0 where the gradient at the start still holds, ``[M, n]``.
        cosine: between the two gradients, ``[M, n]``.
        gradient, weights: their norms at the start, ``[M]``.
    """

    lengths: tuple[float, ...]
    loss: Tensor
    change: Tensor
    cosine: Tensor
    gradient: Tensor
    weights: Tensor

    @property
    def loss_range(self) -> Tensor:
        """Largest loss on the way less the smallest, ``[M]``."""
        return self.loss.amax(dim=1) - self.loss.amin(dim=1)

    @property
    def beta(self) -> Tensor:
        """Effective β-smoothness: the fastest change of the gradient for a unit of the way, ``[M]``."""
        way = torch.tensor(self.lengths).to(self.change) * self.weights.unsqueeze(1)
        return (self.change * self.gradient.unsqueeze(1) / way).amax(dim=1)


def walk(
    stack: Stack, batch: Batch, lengths: Sequence[float] = LENGTHS, make_task: MakeTask = ClassificationTask
) -> Walk:
    """Walk down the gradient of a batch by each of the lengths, always from the same start."""

    def look() -> tuple[Tensor, dict[str, Tensor]]:
        with fixed_noise(0):  # a network with noise is compared under one draw of it
            return gradients(stack, batch, make_task)

    loss, start = look()
    norm, weights = total_norms(start), total_norms({k: t.detach() for k, t in stack.stacked_parameters().items()})
    losses, changes, cosines = [loss], [], []
    for length in lengths:
        factor = -length * weights / norm.clamp(min=torch.finfo(norm.dtype).tiny)
        with moved(stack, start, factor):
            loss, there = look()
        losses.append(loss)
        changes.append(total_norms({name: there[name] - start[name] for name in start}) / norm)
        cosines.append(_dot(there, start) / (total_norms(there) * norm))
    return Walk(tuple(lengths), torch.stack(losses, 1), torch.stack(changes, 1), torch.stack(cosines, 1), norm, weights)


def observe_walk(lengths: Sequence[float] = LENGTHS) -> Observer:
    """An observer: ``[M, 4 + 2n]``: loss, loss range, β, norm of the gradient, then the changes, then the cosines."""

    def observe(moment: Moment) -> Tensor:
        seen = walk(moment.stack, moment.batch, lengths)
        single = torch.stack([seen.loss[:, 0], seen.loss_range, seen.beta, seen.gradient], dim=1)
        return torch.cat([single, seen.change, seen.cosine], dim=1)

    return observe


@contextmanager
def moved(stack: Stack, direction: Mapping[str, Tensor], factor: Tensor) -> Iterator[None]:
    """Inside the block the members stand ``factor`` ``[M]`` times ``direction`` away; afterwards exactly as before."""
    parameters = stack.stacked_parameters()
    saved = {name: parameters[name].detach().clone() for name in direction}
    try:
        with torch.no_grad():
            for name, step in direction.items():
                parameters[name].add_(step * along(factor, step))
        yield
    finally:
        with torch.no_grad():
            for name, tensor in saved.items():
                parameters[name].copy_(tensor)


@contextmanager
def fixed_noise(seed: int) -> Iterator[None]:
    """Random numbers inside the block are those of a seed; the stream goes on afterwards as if nothing was drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _dot(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([(a[name] * b[name]).reshape(len(b[name]), -1).sum(dim=1) for name in b]).sum(dim=0)
