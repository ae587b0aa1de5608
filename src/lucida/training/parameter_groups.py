"""Freezing, learning rates and weight decay: one table of patterns over the names of the parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from lucida.core.config import nearest
from lucida.core.errors import LucidaError


@dataclass(frozen=True)
class ParameterRow:
    """How the parameters whose name matches are trained; of several rows that match, the first counts.

    Attributes:
        pattern: a glob over the full name, for example ``"vision_tower.*"`` or ``"*.lora_B.*"``.
        learning_rate: multiplier of the run's learning rate; 0 freezes the parameter.
        weight_decay: the parameter's own decay; ``None`` for the default rule.
    """

    pattern: str
    learning_rate: float = 1.0
    weight_decay: float | None = None


def parameter_groups(
    model: nn.Module, *, learning_rate: float, weight_decay: float, rows: Sequence[ParameterRow] = ()
) -> list[dict[str, Any]]:
    """Optimizer groups of the trainable parameters, one for each (learning rate, decay).

    The default rule decays matrices and leaves vectors and scalars (biases, norms, ``log_logit_scale``) alone.
    Parameters whose ``requires_grad`` is off stay frozen whatever the rows say.

    A row with learning rate 0 turns ``requires_grad`` off in the model.

    Returns:
        Groups with ``params``, ``names`` (in the same order), ``lr``, ``base_learning_rate`` and ``weight_decay``.

    Raises:
        LucidaError: a pattern matches no parameter (the nearest name is given), or nothing is left to train.
    """
    names = [name for name, _ in model.named_parameters()]
    for row in rows:
        if not any(fnmatchcase(name, row.pattern) for name in names):
            near = nearest(row.pattern, names)
            remedy = (
                f"the nearest parameter is {near!r}" if near else f"the first parameter is {next(iter(names), None)!r}"
            )
            raise LucidaError(f"no parameter matches {row.pattern!r}", where="parameters", remedy=remedy)
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        row = next((row for row in rows if fnmatchcase(name, row.pattern)), ParameterRow("*"))
        if row.learning_rate == 0:
            parameter.requires_grad_(False)
        if not parameter.requires_grad:
            continue
        decay = row.weight_decay if row.weight_decay is not None else weight_decay * (parameter.ndim >= 2)
        rate = learning_rate * row.learning_rate
        empty = {"params": [], "names": [], "lr": rate, "base_learning_rate": rate, "weight_decay": decay}
        group = groups.setdefault((rate, decay), empty)
        group["params"].append(parameter)
        group["names"].append(name)
    if not groups:
        raise LucidaError(
            "nothing to train: every parameter is frozen",
            where=type(model).__name__,
            remedy="unfreeze a part, or give a row of `parameters` a learning rate above 0",
        )
    return list(groups.values())


def trainable_by_block(model: nn.Module) -> dict[str, tuple[int, int]]:
    """``{block: (trainable, all)}`` numbers of parameters by the first part of their name.

    >>> trainable_by_block(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1).requires_grad_(False)))
    {'0': (9, 9), '1': (0, 4)}
    """
    counts: dict[str, tuple[int, int]] = {}
    for name, parameter in model.named_parameters():
        trainable, total = counts.get(name.split(".")[0], (0, 0))
        size = parameter.numel()
        counts[name.split(".")[0]] = (trainable + size * parameter.requires_grad, total + size)
    return counts
