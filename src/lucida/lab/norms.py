"""Normalisation layers side by side, for ``[B, H]``, ``[B, H, S, S]`` and ``[B, T, H]``.

Batch norm over sequences takes its statistics over all positions, or over the real ones alone (``masked``): padding
is not data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from lucida.core.errors import LucidaError

NormName = Literal["none", "batch", "batch_noisy", "layer", "layer_plain", "rms"]
SequenceNormName = Literal["none", "batch", "batch_masked", "layer", "layer_plain", "rms"]


class NoisyBatchNorm(nn.Module):
    """Batch norm whose output is scaled and moved anew at every step, each unit by its own random numbers.

    The control of Santurkar et al. (2018, 1805.11604): the distribution of what the next layer sees drifts more than
    without any normalisation. In evaluation mode there is no noise. It is drawn from PyTorch's own stream, which
    :func:`~lucida.lab.training.train_members` sets anew for each step.

    Args:
        norm: the batch norm it spoils.
        shift: largest mean of a unit's noise.
        scale: largest factor.
    """

    def __init__(self, norm: nn.Module, *, shift: float = 1.0, scale: float = 2.0):
        super().__init__()
        self.norm, self.shift, self.scale = norm, shift, scale

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        if not self.training:
            return y
        units = (1, y.shape[1], *([1] * (y.ndim - 2)))
        drawn = torch.rand(2, *units, dtype=y.dtype)
        jitter = torch.randn_like(y) * 0.1  # besides what a step draws for a unit, each example gets its own
        factor = 1 + (self.scale - 1) * drawn[0]
        return y * factor + self.shift * (2 * drawn[1] - 1) + jitter


class ChannelLayerNorm(nn.Module):
    """Layer norm of an example over all its channels and places, with a gain and a bias for each channel."""

    def __init__(self, width: int, *, affine: bool = True):
        super().__init__()
        self.norm = nn.GroupNorm(1, width, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


class RootMeanSquareNorm(nn.Module):
    """RMSNorm over dimension 1 (Zhang & Sennrich 2019), for pictures over their places too."""

    def __init__(self, width: int, places: int = 0):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.over = tuple(range(1, 2 + places))

    def forward(self, x: Tensor) -> Tensor:
        root = (x.square().mean(dim=self.over, keepdim=True) + 1e-5).rsqrt()
        return x * root * self.weight.view(1, -1, *([1] * (len(self.over) - 1)))


class SequenceBatchNorm(nn.Module):
    """Batch norm of ``[B, T, H]`` over examples and positions.

    Args:
        width: ``H``.
        masked: statistics over real positions alone; otherwise padding counts like data.
        momentum: of the running statistics.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int, *, masked: bool, momentum: float = 0.1):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))
        self.masked, self.momentum = masked, momentum

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        if self.training:
            weight = (mask if self.masked else torch.ones_like(mask)).unsqueeze(-1).to(x.dtype)
            count = weight.sum().clamp(min=1)  # behind the longest sequence of a batch nothing is real
            mean = (x * weight).sum(dim=(0, 1)) / count
            variance = ((x - mean).square() * weight).sum(dim=(0, 1)) / count
            self._remember(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1), weight.sum() > 0)
        else:
            mean, variance = self.running_mean, self.running_var
        return (x - mean) * (variance + 1e-5).rsqrt() * self.weight + self.bias

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, any_real: Tensor) -> None:
        momentum = self.momentum * any_real.to(mean.dtype)
        self.running_mean.add_(momentum * (mean - self.running_mean))
        self.running_var.add_(momentum * (variance - self.running_var))


class SequenceNorm(nn.Module):
    """A normalisation of ``[B, T, H]`` by name; ``mask`` ``bool [B, T]`` says which positions are real."""

    def __init__(self, name: SequenceNormName, width: int):
        super().__init__()
        kinds: dict[str, Callable[[], nn.Module]] = {
            "none": nn.Identity,
            "batch": lambda: SequenceBatchNorm(width, masked=False),
            "batch_masked": lambda: SequenceBatchNorm(width, masked=True),
            "layer": lambda: nn.LayerNorm(width),
            "layer_plain": lambda: nn.LayerNorm(width, elementwise_affine=False),
            "rms": lambda: nn.RMSNorm(width, eps=1e-5),
        }
        if name not in kinds:
            raise LucidaError(f"no normalisation {name!r} of sequences", remedy=f"there are {', '.join(kinds)}")
        self.norm = kinds[name]()

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.norm(x, mask) if isinstance(self.norm, SequenceBatchNorm) else self.norm(x)


def make_norm(name: NormName, width: int, *, places: Literal[0, 2] = 0) -> nn.Module:
    """A normalisation of ``[B, width]``, or of pictures ``[B, width, S, S]`` with ``places=2``.

    Raises:
        LucidaError: there is none of this name.
    """

    def batch() -> nn.Module:
        return nn.BatchNorm2d(width) if places else nn.BatchNorm1d(width)

    def layer(affine: bool) -> nn.Module:
        plain = nn.LayerNorm(width, elementwise_affine=affine)
        return ChannelLayerNorm(width, affine=affine) if places else plain

    kinds: dict[str, Callable[[], nn.Module]] = {
        "none": nn.Identity,
        "batch": batch,
        "batch_noisy": lambda: NoisyBatchNorm(batch()),
        "layer": lambda: layer(True),
        "layer_plain": lambda: layer(False),
        "rms": lambda: RootMeanSquareNorm(width, places),
    }
    if name not in kinds:
        raise LucidaError(f"no normalisation {name!r}", remedy=f"there are {', '.join(kinds)}")
    return kinds[name]()
