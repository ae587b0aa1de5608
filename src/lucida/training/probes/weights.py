"""Gradient, weight and update of each parameter; scalars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lucida.training.probes.sampling import enlarged, rounded, sample

MAX_SCALARS = 64


def dense(gradient: Tensor) -> Tensor:
    """A gradient as a dense tensor of real numbers: what is stored of a sparse one, the two parts of a complex one."""
    if gradient.is_sparse:
        gradient = gradient.coalesce().values()
    return torch.view_as_real(gradient) if gradient.is_complex() else gradient


def norms(tensors: list[Tensor], order: float = 2) -> list[float]:
    """The norm of each tensor, the Euclidean one unless told, with one synchronisation."""
    if not tensors:
        return []
    found = list(tensors)
    for whole in (True, False):
        chosen = [k for k, t in enumerate(tensors) if (t.dtype in (torch.float32, torch.float64)) == whole]
        take = torch._foreach_norm if whole else _norms_in_float
        for k, norm in zip(chosen, take([tensors[k] for k in chosen], order) if chosen else (), strict=True):
            found[k] = norm
    if any(norm.device != found[0].device or norm.dtype != torch.float32 for norm in found):
        found = [norm.to(found[0].device, torch.float32) for norm in found]
    return torch.stack(found).tolist()


def _norms_in_float(tensors: list[Tensor], order: float) -> Sequence[Tensor]:
    """Norms of tensors of fewer bits, summed as ``float32`` without a copy of all of them."""
    try:
        return torch._foreach_norm(tensors, order, dtype=torch.float32)
    except (TypeError, RuntimeError):  # not there, or not for all of these: one tensor is widened at a time
        return [torch.linalg.vector_norm(t.float(), order) for t in tensors]


class WeightProbe:
    """The parameters that the optimizer holds, and those that ask for gradients but are not in it.

    A row of ``parameters`` is ``[gradient, weight, update, silent]``: three norms at the moment of the optimizer's
    step (so after any clipping), and the share of a bias vector's entries whose gradient is exactly 0; ``None`` where
    there is none.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer):
        self.optimizer = optimizer
        held = {id(p): k for k, group in enumerate(optimizer.param_groups) for p in group["params"]}
        self.named = {name: p for name, p in model.named_parameters() if id(p) in held or p.requires_grad}
        known = {id(p) for p in self.named.values()}
        others = [p for group in optimizer.param_groups for p in group["params"] if id(p) not in known]
        self.named |= {f"optimizer.{k}": p for k, p in enumerate(others)}
        self.held = held
        owners = dict(model.named_modules())
        plain = (nn.Linear, nn.modules.conv._ConvNd)
        self.biases = {
            name for name in self.named if name.endswith("bias") and isinstance(owners.get(name[:-5]), plain)
        }
        self._moving = {n: p for n, p in self.named.items() if id(p) in held and p.is_floating_point()}
        self._ones = [(name, p) for name, p in self.named.items() if p.numel() == 1 and not p.is_complex()]
        self._kept: list[Tensor] = []
        self._remembered = False

    def header(self) -> dict[str, Any]:
        """What the parameters are, for the first row: shape, whether they ask for gradients, and who holds them."""
        return {
            name: {
                "shape": list(p.shape),
                "requires_grad": p.requires_grad,
                "in_optimizer": id(p) in self.held,
                "group": self.held.get(id(p)),
            }
            for name, p in self.named.items()
        }

    def gradients(self) -> dict[str, Tensor]:
        """The gradients that are there, dense and real."""
        found = {}
        for name, parameter in self.named.items():
            gradient = parameter.grad
            if gradient is not None:
                found[name] = dense(gradient.detach() if gradient.requires_grad else gradient)
        return found

    @torch.no_grad()
    def before(self, gradients: dict[str, Tensor]) -> dict[str, Any]:
        """Measure before the optimizer's step, and keep a sample of the weights.

        Args:
            gradients: those of :meth:`gradients`, which are multiplied by a loss scale only where the optimizer
                divides by it itself; that is undone here.
        """
        scale = getattr(self.optimizer, "grad_scale", None)  # set by a GradScaler for fused optimizers alone
        factor = 1.0 if scale is None else 1 / float(scale)
        sizes = dict(zip(gradients, (factor * x for x in norms(list(gradients.values()))), strict=True))
        biases = {name: gradients[name] for name in self.biases if name in gradients and gradients[name].numel()}
        counts = norms(list(biases.values()), 0)  # of what is not 0
        samples = [sample(p) for p in self._moving.values()]
        if any(map(_differ, self._kept, samples)) or len(self._kept) != len(samples):
            self._kept = [torch.empty_like(x) for x in samples]
        torch._foreach_copy_(self._kept, samples)
        self._remembered = True
        return {
            "grad_norm": sum(x * x for x in sizes.values()) ** 0.5,
            "gradients": sizes,
            "silent": {name: 1 - n / biases[name].numel() for name, n in zip(biases, counts, strict=True)},
        }

    def bad(self, sizes: dict[str, float]) -> dict[str, Any]:
        """Where gradients (by their norms) and weights are not finite, before the optimizer spreads it."""
        return {
            "gradients": sum(not math.isfinite(x) for x in sizes.values()),
            "of": len(sizes),
            "weights": [n for n, p in self.named.items() if p.is_floating_point() and not p.isfinite().all()],
        }

    @torch.no_grad()
    def after(self) -> dict[str, tuple[float, float]]:
        """``{parameter: (weight, update)}``: norms, of the weight before the step and of its change."""
        if not self._remembered:
            return {}
        self._remembered = False
        old, whole = self._kept, list(self._moving.values())
        change = torch._foreach_sub([sample(p) for p in whole], old)
        both = norms([*old, *change])
        scales = [enlarged(kept, p) for kept, p in zip(old, whole, strict=True)]
        return {
            name: (w * s, u * s)
            for name, w, u, s in zip(self._moving, both[: len(old)], both[len(old) :], scales, strict=True)
        }

    def standing(self) -> dict[str, tuple[float, None]]:
        """What :meth:`after` would say of a step that was never taken: norms of the weights, no updates."""
        if not self._remembered:
            return {}
        self._remembered = False
        scales = [enlarged(kept, p) for kept, p in zip(self._kept, self._moving.values(), strict=True)]
        return {n: (w * s, None) for n, w, s in zip(self._moving, norms(self._kept), scales, strict=True)}

    def scalars(self) -> dict[str, float]:
        """The values of trainable parameters of one element (temperatures, gates)."""
        ones = self._ones[:MAX_SCALARS]
        if not ones:
            return {}
        values = [p.detach().float().reshape(()) for _, p in ones]
        numbers = torch.stack([value.to(values[0].device) for value in values]).tolist()
        return {name: rounded(number) for (name, _), number in zip(ones, numbers, strict=True)}


def _differ(a: Tensor, b: Tensor) -> bool:
    return a.shape != b.shape or a.dtype != b.dtype or a.device != b.device
