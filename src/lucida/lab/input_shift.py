"""What the activations of each layer see, and how one step of training moves it: the internal covariate shift.

Two readings of the words are measured. Ioffe & Szegedy (2015, 1502.03167) mean that the *distribution of a layer's
inputs* moves as the layers before it learn. Mean and spread over a batch are what batch norm fixes by construction;
the *shape* of the distribution, what is left once both are taken out, it does not, so that is measured by itself.
Santurkar et al. (2018, 1805.11604, definition 2.1) ask what the move does to learning: how far the *gradient of a
layer* differs once the layers before it have taken their step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lucida.lab.probing import gradients, member_norms, signals
from lucida.lab.smoothness import fixed_noise, moved
from lucida.lab.stack import Stack
from lucida.lab.training import Moment
from lucida.training.batches import Batch


def layer_inputs(stack: Stack, batch: Batch, noise: int = 0) -> list[Tensor]:
    """What the activations of each layer see of a batch, ``[M, rows, H]``: a row an example, or a place of one.

    Args:
        noise: seed of what networks with noise draw.
    """
    with fixed_noise(noise):
        seen = signals(stack, batch)
    return [_rows(tensor) for name, tensor in seen.items() if name.endswith(".input")]


def moments(layers: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the rows of each unit, ``[M, L, H]`` each."""
    means = torch.stack([x.mean(dim=1) for x in layers], dim=1)
    return means, torch.stack([x.std(dim=1, correction=0) for x in layers], dim=1)


def observe_inputs(moment: Moment) -> Tensor:
    """Observer: mean and spread of a layer's inputs over all its units and examples, ``[M, L, 2]``."""
    means, spreads = moments(layer_inputs(moment.stack, moment.batch))
    whole = means.mean(dim=2)
    variance = spreads.square().mean(dim=2) + means.square().mean(dim=2) - whole.square()
    return torch.stack([whole, variance.clamp(min=0).sqrt()], dim=2)


def drift(before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]) -> Tensor:
    """How far the inputs of each layer moved, in units of their spread before, ``[M, L]``.

    Of every unit the 2-Wasserstein distance of normal distributions with its means and spreads, squared, meaned over
    the units, over their mean variance.
    """
    (mean, spread), (mean_after, spread_after) = before, after
    moved_by = (mean_after - mean).square() + (spread_after - spread).square()
    variance = spread.square().mean(dim=2).clamp(min=torch.finfo(spread.dtype).tiny)
    return (moved_by.mean(dim=2) / variance).sqrt()


def shape_drift(before: Sequence[Tensor], after: Sequence[Tensor]) -> Tensor:
    """How far the shape of the inputs of each layer moved, ``[M, L]``: 0 where only mean and spread did.

    Of every unit the 2-Wasserstein distance between its values (``[M, rows, H]`` a layer) before and after, both
    standardised to mean 0 and deviation 1; the mean over units. In one dimension the best way to move one sample onto
    another is in the order of their values. A unit that does not vary counts as all zeros.
    """
    moved_by = [(_shape(y) - _shape(x)).square().mean(dim=1).sqrt() for x, y in zip(before, after, strict=True)]
    return torch.stack([distances.mean(dim=1) for distances in moved_by], dim=1)


def observe_shift(moment: Moment) -> Tensor:
    """Observer: what one step of plain SGD at the member's own rate does, ``[M, 2L + 1]``.

    First the drift of each layer's inputs, then that of their shape, as they are in training: a network with noise
    draws it anew. Last the shift of the gradient: how far that of the last hidden layer differs, over its norm, after
    the layers before it took the step (all under one draw of noise).
    """
    stack, batch = moment.stack, moment.batch
    with fixed_noise(0):
        _, grads = gradients(stack, batch)
    rates = -moment.rates.to(next(iter(grads.values())))
    before = layer_inputs(stack, batch, noise=0)
    with moved(stack, grads, rates):
        after = layer_inputs(stack, batch, noise=1)
    last = _last_hidden(list(grads))
    earlier = {name: grad for name, grad in grads.items() if _is_before(name, last)}
    with moved(stack, earlier, rates), fixed_noise(0):
        _, shifted = gradients(stack, batch)
    shift = member_norms(shifted[last] - grads[last]) / member_norms(grads[last])
    return torch.cat([drift(moments(before), moments(after)), shape_drift(before, after), shift.unsqueeze(1)], dim=1)


def _shape(values: Tensor) -> Tensor:
    """``[M, rows, H]``, each unit standardised and in order."""
    centred = values - values.mean(dim=1, keepdim=True)
    spread = centred.square().mean(dim=1, keepdim=True).sqrt()
    rounding = 1e-5 * values.abs().amax(dim=1, keepdim=True)  # what is constant must not be blown up to a shape
    return (centred / torch.maximum(spread, rounding).clamp(min=torch.finfo(values.dtype).tiny)).sort(dim=1).values


def _rows(tensor: Tensor) -> Tensor:
    """``[M, B, H]`` or ``[M, B, H, S, S]`` as ``[M, rows, H]``."""
    return tensor if tensor.ndim == 3 else tensor.permute(0, 1, 3, 4, 2).flatten(1, 3)


def _last_hidden(names: list[str]) -> str:
    """The matrix of the last hidden layer: the last before the head's."""
    matrices = [name for name in names if name.startswith(("blocks", "convolutions")) and name.endswith("weight")]
    return [name for name in matrices if ".norm" not in name][-1]


def _is_before(name: str, layer: str) -> bool:
    """Whether a parameter belongs to a hidden layer (or its normalisation) of a smaller number than ``layer``."""
    number = name.split(".")[1]
    return number.isdigit() and int(number) < int(layer.split(".")[1])
