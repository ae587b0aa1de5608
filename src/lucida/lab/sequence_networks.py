"""A recurrent network and a small transformer for classification, with normalisation and initial gain as settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lucida.core.seeds import derive_seed
from lucida.lab.datasets import load
from lucida.lab.networks import Activation, ActivationName, Trace, initialise
from lucida.lab.norms import SequenceNorm, SequenceNormName


@dataclass(frozen=True)
class Recurrent:
    """``h_t = activation(norm(W x_t + U h_{t-1} + b))``, a linear head on the last real state.

    Attributes:
        inputs: size of a vector ``x_t``, or of the vocabulary if ``words``.
        classes: of the task.
        width: of the state.
        words: the inputs are token numbers.
        gain: ``U`` starts as a random orthogonal matrix times this: its powers grow or shrink by it.
        norm: of what the activation sees.
    """

    inputs: int
    classes: int
    width: int = 32
    words: bool = False
    activation: ActivationName = "tanh"
    norm: SequenceNormName = "none"
    gain: float = 1.0

    def build(self, seed: int) -> nn.Module:
        """The network with the weights of a seed."""
        network = RecurrentNetwork(self)
        generator = torch.Generator().manual_seed(derive_seed(seed, "lab", "weights"))
        for layer in (network.reader, network.head):
            initialise(layer.weight, "xavier", 1.0, generator)
        nn.init.zeros_(network.head.bias)
        with torch.no_grad():
            square = torch.randn(self.width, self.width, generator=generator)
            network.state.weight.copy_(torch.linalg.qr(square).Q * self.gain)
        nn.init.zeros_(network.state.bias)
        return network


def recurrent_for(data: str, width: int, **choices: Any) -> Recurrent:
    """The recurrent network that reads the vectors of a data set's sequences; ``choices`` are its other settings.

    >>> recurrent_for("digit sequences", 16, gain=0.5).inputs
    1
    """
    source = load(data)
    return Recurrent(source.inputs["inputs"].shape[-1], source.classes, width, **choices)


class RecurrentNetwork(nn.Module):
    """See :class:`Recurrent`; ``inputs`` ``[B, T, inputs]`` or token numbers ``[B, T]``, ``mask`` ``bool [B, T]``."""

    def __init__(self, config: Recurrent):
        super().__init__()
        self.words, self.inputs, self.width = config.words, config.inputs, config.width
        self.reader = nn.Linear(config.inputs, config.width, bias=False)
        self.state = nn.Linear(config.width, config.width)
        self.norm = SequenceNorm(config.norm, config.width)
        self.activation = Activation(config.activation)
        self.head = nn.Linear(config.width, config.classes)

    def forward(self, inputs: Tensor, mask: Tensor | None = None, trace: bool = False) -> Tensor | Trace:
        """Logits ``[B, C]``; with ``trace`` the states ``steps``, ``[B, T, H]``."""
        read = F.embedding(inputs, self.reader.weight.T) if self.words else self.reader(inputs)
        real = torch.ones(read.shape[:2], dtype=torch.bool) if mask is None else mask
        h, states = torch.zeros_like(read[:, 0]), []
        for t in range(read.shape[1]):
            own = real[:, t : t + 1]
            normal = self.norm((read[:, t] + self.state(h)).unsqueeze(1), own).squeeze(1)
            h = torch.where(own, self.activation(normal), h)
            states.append(h)
        logits = self.head(h)
        return Trace(steps=torch.stack(states, dim=1), head=logits) if trace else logits


@dataclass(frozen=True)
class Transformer:
    """Words, learned places, blocks of attention and a perceptron, the mean of the real positions, a linear head.

    Attributes:
        vocabulary, classes: sizes of the task.
        width, depth, heads: of the blocks.
        longest: positions.
        norm: kind of normalisation.
        order: ``"pre"``: before attention and perceptron, on a free residual path; ``"post"``: behind each addition.
    """

    vocabulary: int
    classes: int
    width: int = 32
    depth: int = 2
    heads: int = 2
    longest: int = 12
    norm: SequenceNormName = "layer"
    order: Literal["pre", "post"] = "pre"

    def build(self, seed: int) -> nn.Module:
        """The network with the weights of a seed."""
        network = TransformerNetwork(self)
        generator = torch.Generator().manual_seed(derive_seed(seed, "lab", "weights"))
        with torch.no_grad():
            for table in (network.words.weight, network.places):
                table.copy_(torch.randn(table.shape, generator=generator) * 0.5)
        for name, parameter in network.named_parameters():
            if parameter.ndim == 2 and not name.startswith(("words", "places")):
                initialise(parameter, "xavier", 1.0, generator)
        return network


class TransformerBlock(nn.Module):
    """Attention and a perceptron of four times the width, each with its normalisation."""

    def __init__(self, config: Transformer):
        super().__init__()
        self.heads, self.order = config.heads, config.order
        self.attention_norm = SequenceNorm(config.norm, config.width)
        self.mlp_norm = SequenceNorm(config.norm, config.width)
        self.query_key_value = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)
        self.up = nn.Linear(config.width, 4 * config.width, bias=False)
        self.down = nn.Linear(4 * config.width, config.width, bias=False)

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        """Every real position looks at every real position."""
        batch, length, width = x.shape
        parts = self.query_key_value(x).reshape(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        scores = query @ key.transpose(-1, -2) / (width // self.heads) ** 0.5
        hidden = torch.where(mask[:, None, None, :], scores, torch.finfo(scores.dtype).min)
        mixed = hidden.softmax(dim=-1) @ value
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        if self.order == "pre":
            x = x + self.attend(self.attention_norm(x, mask), mask)
            return x + self.down(F.gelu(self.up(self.mlp_norm(x, mask))))
        x = self.attention_norm(x + self.attend(x, mask), mask)
        return self.mlp_norm(x + self.down(F.gelu(self.up(x))), mask)


class TransformerNetwork(nn.Module):
    """See :class:`Transformer`; ``inputs`` token numbers ``[B, T]``, ``mask`` ``bool [B, T]``."""

    def __init__(self, config: Transformer):
        super().__init__()
        self.words = nn.Embedding(config.vocabulary, config.width)
        self.places = nn.Parameter(torch.zeros(config.longest, config.width))
        self.blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.depth))
        self.norm = SequenceNorm(config.norm if config.order == "pre" else "none", config.width)
        self.head = nn.Linear(config.width, config.classes)

    def forward(self, inputs: Tensor, mask: Tensor, trace: bool = False) -> Tensor | Trace:
        """Logits ``[B, C]``; with ``trace`` the outputs of the blocks, ``[B, T, H]``."""
        x = self.words(inputs) + self.places[: inputs.shape[1]]
        seen = Trace()
        for k, block in enumerate(self.blocks):
            x = seen[f"blocks.{k}"] = block(x, mask)
        weight = mask.unsqueeze(-1).to(x.dtype)
        logits = self.head((self.norm(x, mask) * weight).sum(dim=1) / weight.sum(dim=1))
        return seen | {"head": logits} if trace else logits
