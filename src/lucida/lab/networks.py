"""Small networks whose every choice is a setting: depth, activation, initialisation, normalisation, residual path.

They are plain modules, so that one of them trains with the workbench's step and many of them as a
:class:`~lucida.lab.stack.Stack`. With ``trace=True`` a network returns what flows through it instead of its logits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lucida.core.errors import LucidaError
from lucida.core.seeds import derive_seed
from lucida.lab.datasets import load
from lucida.lab.norms import NormName, make_norm

ActivationName = Literal["sigmoid", "tanh", "relu", "leaky_relu", "prelu", "gelu", "linear"]
InitialisationName = Literal["small", "xavier", "he"]


class NetworkConfig(Protocol):
    """The settings of a network."""

    def build(self, seed: int) -> nn.Module:
        """The network with the weights of a seed."""


Trace = dict[str, Tensor]
"""What flowed through a network: ``{name of the layer: its output before the activation}``."""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "gelu": F.gelu,
    "linear": lambda x: x,
}


class Activation(nn.Module):
    """One of the activations by name; only PReLU has a parameter (He et al. 2015, from 0.25)."""

    def __init__(self, name: ActivationName):
        super().__init__()
        self.name = name
        self.slope = nn.Parameter(torch.tensor(0.25)) if name == "prelu" else None

    def forward(self, x: Tensor) -> Tensor:
        if self.slope is not None:
            return torch.where(x > 0, x, self.slope * x)
        return ACTIVATIONS[self.name](x)


def initialise(weight: Tensor, name: InitialisationName, gain: float, generator: torch.Generator) -> None:
    """Normal weights ``[out, in, …]``: 0.01, Xavier (Glorot & Bengio 2010) or He (2015), times ``gain``.

    Raises:
        LucidaError: no initialisation of this name.
    """
    area = math.prod(weight.shape[2:])
    fan_out, fan_in = weight.shape[0] * area, weight.shape[1] * area
    deviations = {"small": 0.01, "xavier": math.sqrt(2 / (fan_in + fan_out)), "he": math.sqrt(2 / fan_in)}
    if name not in deviations:
        raise LucidaError(f"no initialisation {name!r}", remedy=f"there are {', '.join(deviations)}")
    with torch.no_grad():
        weight.copy_(torch.randn(weight.shape, generator=generator) * gain * deviations[name])


@dataclass(frozen=True)
class Perceptron:
    """A stack of fully connected layers and a linear head.

    Attributes:
        inputs, classes: sizes of the task.
        depth: hidden layers.
        width: units of each.
        activation, norm: behind each hidden layer: linear map, normalisation, activation.
        initialisation, gain: of the hidden layers; the head has Xavier's without gain.
        residual: from the second layer on, the layer's output is added to its input.
    """

    inputs: int
    classes: int
    depth: int = 5
    width: int = 64
    activation: ActivationName = "relu"
    norm: NormName = "none"
    initialisation: InitialisationName = "he"
    gain: float = 1.0
    residual: bool = False

    def build(self, seed: int) -> nn.Module:
        """The network with the weights of a seed: equal shapes have equal draws, whatever the other settings."""
        network = PerceptronNetwork(self)
        generator = torch.Generator().manual_seed(derive_seed(seed, "lab", "weights"))
        for block in network.blocks:
            initialise(block.linear.weight, self.initialisation, self.gain, generator)
            nn.init.zeros_(block.linear.bias)
        initialise(network.head.weight, "xavier", 1.0, generator)
        nn.init.zeros_(network.head.bias)
        return network


def perceptron_for(data: str, depth: int, width: int, **choices: Any) -> Perceptron:
    """The perceptron whose inputs and classes are those of a data set; ``choices`` are its other settings.

    >>> perceptron_for("digits", 3, 16, norm="batch").inputs
    64
    """
    source = load(data)
    return Perceptron(source.inputs["inputs"][0].numel(), source.classes, depth, width, **choices)


class Block(nn.Module):
    """Linear map, normalisation, activation."""

    def __init__(self, inputs: int, config: Perceptron):
        super().__init__()
        self.linear = nn.Linear(inputs, config.width)
        self.norm = make_norm(config.norm, config.width)
        self.activation = Activation(config.activation)


class PerceptronNetwork(nn.Module):
    """See :class:`Perceptron`; ``inputs`` of any shape ``[B, …]`` are flattened."""

    def __init__(self, config: Perceptron):
        super().__init__()
        widths = [config.inputs] + [config.width] * (config.depth - 1)
        self.blocks: list[Block] = nn.ModuleList(Block(width, config) for width in widths)  # type: ignore[assignment]
        self.head = nn.Linear(config.width, config.classes)
        self.residual = config.residual

    def forward(self, inputs: Tensor, trace: bool = False) -> Tensor | Trace:
        """Logits ``[B, C]``; with ``trace`` what the linear maps give and, as ``….input``, what activations see."""
        x, seen = inputs.flatten(1), Trace()
        for k, block in enumerate(self.blocks):
            linear = block.linear(x)
            normal = block.norm(linear)
            seen[f"blocks.{k}"], seen[f"blocks.{k}.input"] = linear, normal
            y = block.activation(normal)
            x = x + y if self.residual and k > 0 else y
        logits = self.head(x)
        return seen | {"head": logits} if trace else logits


@dataclass(frozen=True)
class ConvNet:
    """Convolutions of 3×3, the picture halved after every second, mean over places, a linear head."""

    channels: int
    classes: int
    depth: int = 4
    width: int = 16
    activation: ActivationName = "relu"
    norm: NormName = "none"
    initialisation: InitialisationName = "he"
    gain: float = 1.0

    def build(self, seed: int) -> nn.Module:
        """The network with the weights of a seed."""
        network = ConvNetwork(self)
        generator = torch.Generator().manual_seed(derive_seed(seed, "lab", "weights"))
        for layer in network.convolutions:
            initialise(layer.weight, self.initialisation, self.gain, generator)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        initialise(network.head.weight, "xavier", 1.0, generator)
        nn.init.zeros_(network.head.bias)
        return network


class ConvNetwork(nn.Module):
    """See :class:`ConvNet`; ``inputs`` are pictures ``[B, channels, S, S]``."""

    def __init__(self, config: ConvNet):
        super().__init__()
        sizes = [config.channels] + [config.width] * (config.depth - 1)
        self.convolutions: list[nn.Conv2d] = nn.ModuleList(  # type: ignore[assignment]
            nn.Conv2d(size, config.width, 3, stride=1 + k % 2, padding=1) for k, size in enumerate(sizes)
        )
        self.norms = nn.ModuleList(make_norm(config.norm, config.width, places=2) for _ in sizes)
        self.activations = nn.ModuleList(Activation(config.activation) for _ in sizes)
        self.head = nn.Linear(config.width, config.classes)

    def forward(self, inputs: Tensor, trace: bool = False) -> Tensor | Trace:
        """Logits ``[B, C]``; with ``trace`` the outputs of all convolutions, and what activations see."""
        x, seen = inputs, Trace()
        for k, layer in enumerate(self.convolutions):
            linear = layer(x)
            normal = self.norms[k](linear)
            seen[f"convolutions.{k}"], seen[f"convolutions.{k}.input"] = linear, normal
            x = self.activations[k](normal)
        logits = self.head(x.mean(dim=(2, 3)))
        return seen | {"head": logits} if trace else logits
