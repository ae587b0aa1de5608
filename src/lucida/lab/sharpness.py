"""How sharp the place is at which a network ended, and what lies between two such places, for all members at once."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from lucida.lab.probing import kept_buffers
from lucida.lab.stack import MakeTask, Stack, StackTask, along
from lucida.training.batches import Batch
from lucida.training.tasks import ClassificationTask

Weights = dict[str, Tensor]


def largest_eigenvalues(
    stack: Stack,
    batch: Batch,
    make_task: MakeTask = ClassificationTask,
    *,
    iterations: int = 100,
    tolerance: float = 1e-3,
) -> Tensor:
    """The largest eigenvalue of the Hessian of each member's mean loss on its batch, ``[M]``.

    Power iteration with Hessian-vector products (Pearlmutter 1994); members share no weights, so that one product
    serves all. Power iteration finds the eigenvalue of largest size: where that is negative, the Hessian is moved up by
    it and the iteration is run once more.

    Args:
        iterations: at most.
        tolerance: stops when no member's estimate moves by more than this share.
    """
    with kept_buffers(stack):
        parameters = list(stack.stacked_parameters().values())
        losses = StackTask(stack, make_task).member_losses(batch)
        slopes = torch.autograd.grad(losses.sum(), parameters, create_graph=True)

        def product(vectors: Sequence[Tensor], shift: Tensor) -> list[Tensor]:
            curved = torch.autograd.grad(slopes, parameters, grad_outputs=list(vectors), retain_graph=True)
            return [h - along(shift, v) * v for h, v in zip(curved, vectors, strict=True)]

        def iterate(shift: Tensor) -> Tensor:
            generator = torch.Generator().manual_seed(0)
            vectors = _unit([torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters])
            found = torch.full_like(shift, torch.inf)
            for _ in range(iterations):
                curved = product(vectors, shift)
                before, found = found, _dot(vectors, curved)
                vectors = _unit(curved)
                if bool(((found - before).abs() <= tolerance * found.abs()).all()):
                    break
            return found

        largest = iterate(torch.zeros_like(losses.detach()))
        if bool((largest < 0).any()):
            shift = largest.clamp(max=0)
            largest = torch.where(largest < 0, iterate(shift) + shift, largest)
    return largest.detach()


def moved(stack: Stack, weights: Weights) -> Stack:
    """A copy of a stack with other parameters, ``[M, …]`` by the members' names."""
    other = copy.deepcopy(stack)
    with torch.no_grad():
        for name, parameter in other.stacked_parameters().items():
            parameter.copy_(weights[name])
    return other


def rescaled(stack: Stack, first: str, second: str, factor: float) -> Stack:
    """The same function with other weights (Dinh et al. 2017, 1703.04933).

    Between two layers with a ReLU, ``factor`` times the weights and the bias of the first and ``1/factor`` times the
    weights of the second leave every output as it was; the curvature does not stay.
    """
    weights = {name: p.detach().clone() for name, p in stack.stacked_parameters().items()}
    weights[f"{first}.weight"] *= factor
    weights[f"{first}.bias"] *= factor
    weights[f"{second}.weight"] /= factor
    return moved(stack, weights)


def distance(stack: Stack, weights: Weights) -> Tensor:
    """How far each member is from other weights, as a share of their norm, ``[M]``."""
    pairs = [(p.detach(), weights[name]) for name, p in stack.stacked_parameters().items()]
    return (_norm([p - w for p, w in pairs]) / _norm([w for _, w in pairs])).detach()


def barrier(stack: Stack, weights: Weights, batch: Batch, *, points: int = 9) -> Tensor:
    """How far the loss rises above its two ends on the straight way from other weights to the members', ``[M]``.

    0 where it rises nowhere: both ends lie in one basin (Goodfellow et al. 2015, 1412.6544).
    """
    here = {name: p.detach() for name, p in stack.stacked_parameters().items()}
    losses = []
    for share in torch.linspace(0, 1, points).tolist():
        between = moved(stack, {name: torch.lerp(weights[name], p, share) for name, p in here.items()})
        with torch.no_grad(), kept_buffers(between):
            losses.append(StackTask(between, ClassificationTask).member_losses(batch))
    path = torch.stack(losses, dim=1)
    return path.amax(dim=1) - torch.maximum(path[:, 0], path[:, -1])


def _dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    return torch.stack([(x * y).reshape(len(x), -1).sum(dim=1) for x, y in zip(a, b, strict=True)]).sum(dim=0)


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    return _dot(tensors, tensors).sqrt()


def _unit(vectors: Sequence[Tensor]) -> list[Tensor]:
    norm = _norm(vectors).clamp(min=1e-30)
    return [v / along(norm, v) for v in vectors]
