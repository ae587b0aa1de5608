"""Low-rank adapters on the lab's networks, so that many of them train as one stack; their starts are the workbench's.

:mod:`lucida.models.adapters` adapts models of transformers through peft, one at a time. Here the same layer is a plain
module whose frozen weight is a buffer, so that a :class:`~lucida.lab.stack.Stack` maps and trains A and B alone. Both
are compared in the tests.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lucida.core.seeds import derive_seed
from lucida.models.adapters import INITIALISATIONS


@dataclass(frozen=True)
class LowRank:
    """Adapters of a network.

    Attributes:
        r: rank.
        alpha: an adapter counts ``alpha / r``.
        init: one of :data:`~lucida.models.adapters.INITIALISATIONS`.
        rank_stabilised: let it count ``alpha / sqrt(r)``.
        dropout: share of an adapter's inputs that is dropped in training.
    """

    r: int = 4
    alpha: float = 8.0
    init: str = "a_random"
    rank_stabilised: bool = False
    dropout: float = 0.0

    @property
    def scale(self) -> float:
        """How much the product counts.

        >>> LowRank(4, 8.0).scale, LowRank(4, 8.0, rank_stabilised=True).scale
        (2.0, 4.0)
        """
        return self.alpha / (math.sqrt(self.r) if self.rank_stabilised else self.r)


class LowRankLinear(nn.Module):
    """``W x + b + s B A x`` with W and b frozen; if both A and B start at random, W starts without their product.

    Args:
        layer: the frozen one; its numbers are copied.
        settings: of the adapter.
        generator: of its start.
    """

    weight: Tensor
    bias: Tensor | None
    scale: Tensor

    def __init__(self, layer: nn.Linear, settings: LowRank, generator: torch.Generator):
        super().__init__()
        outputs, inputs = layer.weight.shape
        self.a = nn.Parameter(torch.empty(settings.r, inputs))
        self.b = nn.Parameter(torch.empty(outputs, settings.r))
        self.dropout = settings.dropout
        with torch.no_grad():
            INITIALISATIONS[settings.init](self.a, self.b, generator)
            weight = layer.weight.detach() - settings.scale * (self.b @ self.a)
        self.register_buffer("weight", weight)
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().clone())
        self.register_buffer("scale", torch.tensor(settings.scale))

    def forward(self, x: Tensor) -> Tensor:
        frozen = F.linear(x, self.weight, self.bias)
        dropped = F.dropout(x, self.dropout, self.training) if self.dropout else x
        return frozen + self.scale * F.linear(F.linear(dropped, self.a), self.b)


def adapted(network: nn.Module, settings: LowRank, seed: int, *, but: tuple[str, ...] = ("head",)) -> nn.Module:
    """A copy of a network whose linear layers have adapters; nothing else of it is trained.

    Args:
        network: is left as it is.
        settings: of all adapters.
        seed: of their starts, layer by layer.
        but: layers that are frozen without an adapter, by name.
    """
    own = copy.deepcopy(network).requires_grad_(False)
    for name, layer in list(own.named_modules()):
        if isinstance(layer, nn.Linear) and name not in but:
            generator = torch.Generator().manual_seed(derive_seed(seed, "lab", "adapter", name))
            parent, _, leaf = name.rpartition(".")
            setattr(own.get_submodule(parent), leaf, LowRankLinear(layer, settings, generator))
    return frozen(own, but=("a", "b"))


def frozen(network: nn.Module, *, but: tuple[str, ...] = ()) -> nn.Module:
    """The network itself, its parameters made buffers, which a stack maps and does not train.

    Args:
        network: is changed in place.
        but: parameters that stay, by the last part of their name; they are trained.
    """
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if name in but:
                parameter.requires_grad_(True)
            else:
                delattr(module, name)
                module.register_buffer(name, parameter.detach().clone())
    return network
