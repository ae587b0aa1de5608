"""What the pages look at inside a network: gradients and signals by layer, of all members of a stack at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from lucida.lab.stack import MakeTask, Stack, StackTask
from lucida.training.batches import Batch
from lucida.training.tasks import ClassificationTask


def gradients(stack: Stack, batch: Batch, make_task: MakeTask = ClassificationTask) -> tuple[Tensor, dict[str, Tensor]]:
    """Losses ``[M]`` and gradients ``{name: [M, …]}`` of a batch in training mode; buffers are as before afterwards."""
    with kept_buffers(stack):
        losses = StackTask(stack, make_task).member_losses(batch)
        parameters = stack.stacked_parameters()
        grads = torch.autograd.grad(losses.sum(), list(parameters.values()), allow_unused=True)
    found = {
        name: torch.zeros_like(parameter) if grad is None else grad
        for (name, parameter), grad in zip(parameters.items(), grads, strict=True)
    }
    return losses.detach(), found


def member_norms(tensor: Tensor) -> Tensor:
    """The norm of each member's share of ``[M, …]``."""
    return tensor.reshape(len(tensor), -1).norm(dim=1)


def total_norms(tensors: dict[str, Tensor]) -> Tensor:
    """The norm over several tensors ``[M, …]``, of each member."""
    return torch.stack([member_norms(tensor).square() for tensor in tensors.values()]).sum(dim=0).sqrt()


def signals(stack: Stack, batch: Batch) -> dict[str, Tensor]:
    """The traced tensors of a batch in training mode, ``[M, B, …]``; buffers are as before afterwards."""
    inputs = [value for name, value in batch.items() if name != "labels"]
    with torch.no_grad(), kept_buffers(stack):
        was = stack.training
        stack.train()
        seen: dict[str, Tensor] = stack(*inputs, trace=True)
        stack.train(was)
    return seen


@contextmanager
def kept_buffers(stack: Stack) -> Iterator[None]:
    """Running statistics that the block changes are put back: looking must not train."""
    saved = {name: tensor.clone() for name, tensor in stack.stacked_buffers().items()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, tensor in stack.stacked_buffers().items():
                tensor.copy_(saved[name])
