"""What a network is made of, and how many examples go through it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy


class Parts:
    """The modules and parameters of a network as they were when this was made, by identity.

    Args:
        model: the network.
        optimizer: what holds parameters is part of it.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer):
        self._model, self._optimizer = model, optimizer
        self._kept = [*model.modules(), *model.parameters()]  # so that no identity is used again
        self._print = self._fingerprint()
        self._ids = self._named()

    def changed(self) -> bool:
        """Whether anything was put in, taken out, exchanged or unfrozen since."""
        return self._fingerprint() != self._print

    def replaced(self) -> list[str]:
        """The names of the parameters that are not what they were: exchanged, new or gone."""
        now = self._named()
        return sorted(name for name in {**self._ids, **now} if self._ids.get(name) != now.get(name))

    def _named(self) -> dict[str, int]:
        return {name: id(p) for name, p in self._model.named_parameters()}

    def _fingerprint(self) -> tuple[list[int], int, int]:
        """Asked at every probe, so without names: those cost more than the rest."""
        ids: dict[int, None] = {}
        trained, modules = 0, [self._model]
        for module in modules:
            if id(module) in ids:
                continue
            ids[id(module)] = None
            for parameter in module._parameters.values():
                if parameter is not None:
                    ids[id(parameter)] = None
                    trained += parameter.requires_grad
            modules.extend(child for child in module._modules.values() if child is not None)
        return [*ids], trained, sum(len(group["params"]) for group in self._optimizer.param_groups)


def without_shape(model: nn.Module) -> list[str]:
    """The parameters of lazy modules that no batch has gone through yet."""
    return [name for name, p in model.named_parameters() if is_lazy(p)]


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
