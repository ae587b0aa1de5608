"""What a network is made of, and how many examples go through it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy


@dataclass(frozen=True)
class Parts:
    """What a network is made of, by identity: the modules, the parameters by name, those that train."""

    modules: tuple[int, ...]
    parameters: Mapping[str, int]
    trained: frozenset[int]

    def replaced(self, now: Parts) -> list[str]:
        """The names of the parameters that are not what they were: exchanged, new or gone."""
        names = {**self.parameters, **now.parameters}
        return sorted(name for name in names if self.parameters.get(name) != now.parameters.get(name))


def without_shape(model: nn.Module) -> list[str]:
    """The parameters of lazy modules that no batch has gone through yet."""
    return [name for name, p in model.named_parameters() if is_lazy(p)]


def parts_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> Parts:
    """The parts as they are now."""
    parameters = dict(model.named_parameters())
    held = (p for group in optimizer.param_groups for p in group["params"])
    trained = {id(p) for p in parameters.values() if p.requires_grad} | {id(p) for p in held}
    ids = {name: id(p) for name, p in parameters.items()}
    return Parts(tuple(map(id, model.modules())), ids, frozenset(trained))


def rows_of(values: Iterable[Any]) -> int:
    """How many rows the first tensor has among arguments (which may lie in mappings and sequences); 0: there is none.

    >>> rows_of([None, {"image": [torch.zeros(4, 2)]}]), rows_of([torch.tensor(1.0)])
    (4, 0)
    """
    for value in values:
        if isinstance(value, Mapping):
            value = list(value.values())
        if isinstance(value, Tensor):
            if value.ndim:
                return len(value)
        elif isinstance(value, list | tuple) and (found := rows_of(value)):
            return found
    return 0


def processes() -> int:
    """How many processes share a batch; their gradients are averaged."""
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if there else 1
