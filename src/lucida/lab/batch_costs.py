"""What a batch costs: the bytes its backward pass waits for, and the seconds of an epoch."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

from lucida.lab.networks import ConvNet, Perceptron
from lucida.lab.stack import SingleTrainer, Updates
from lucida.training.batches import Batch
from lucida.training.tasks import ClassificationTask

_FLOAT, _LABEL = 4, 8  # bytes


def saved_bytes(network: nn.Module, batch: Batch) -> int:
    """Bytes of what the forward pass of a training step keeps for the backward pass, parameters not counted.

    Measured where autograd saves (``torch.autograd.graph.saved_tensors_hooks``); memory that several operations save
    counts once.
    """
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no later tensor gets its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = ClassificationTask(network).loss(batch)
    del output
    return sum(t.untyped_storage().nbytes() for address, t in kept.items() if address not in own)


def predicted_bytes(network: Perceptron | ConvNet, example: tuple[int, ...], batch_size: int) -> int:
    """The same on paper, without normalisation: each example's input, what each activation gives out, the loss's share.

    A linear map saves its input and a ReLU its output, which is the next map's input; cross-entropy saves its
    log-probabilities and the labels. All of it is proportional to the batch.

    Args:
        example: shape of an example, ``(channels, S, S)``.
    """
    inputs = 1
    for size in example:
        inputs *= size
    if isinstance(network, Perceptron):
        units = network.depth * network.width
    else:
        side, units = example[-1], network.width  # the means over places, which the head saves
        for layer in range(network.depth):
            side = side if layer % 2 == 0 else -(-side // 2)
            units += network.width * side * side
    return batch_size * (_FLOAT * (inputs + units + network.classes) + _LABEL)


def epoch_seconds(network: nn.Module, batch: Batch, examples: int, *, most_steps: int = 20) -> float:
    """Seconds of an epoch of the workbench's step, on this machine: the fastest step, times the steps of an epoch.

    The fastest, because what makes a step slower comes from elsewhere on the machine.
    """
    trainer = SingleTrainer(network, ClassificationTask, 1e-3, Updates())
    trainer.step(batch)
    taken = []
    for _ in range(most_steps):
        began = time.perf_counter()
        trainer.step(batch)
        taken.append(time.perf_counter() - began)
    return min(taken) * examples / len(batch["labels"])
