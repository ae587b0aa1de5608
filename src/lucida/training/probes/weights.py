"""Gradient, weight and update of each parameter; scalars; the cosine of two gradients in a row."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lucida.training.probes.sampling import enlarged, rounded, sample

MAX_SCALARS = 64


def dense(gradient: Tensor) -> Tensor:
    """A gradient as a dense tensor of what is stored of it."""
    return gradient.coalesce().values() if gradient.is_sparse else gradient


def norms(tensors: list[Tensor]) -> list[float]:
    """The Euclidean norm of each tensor, with one synchronisation."""
    if not tensors:
        return []
    floats = [t if t.dtype in (torch.float32, torch.float64) else t.float() for t in tensors]
    found = torch._foreach_norm(floats)
    device = found[0].device
    return torch.stack([norm.to(device, torch.float32) for norm in found]).tolist()


class WeightProbe:
    """The parameters that the optimizer holds, and those that ask for gradients but are not in it.

    A row of ``parameters`` is ``[gradient, weight, update, silent]``: three norms at the moment of the optimizer's
    step (so after any clipping), and the share of a bias vector's entries whose gradient is exactly 0; ``None`` where
    there is none.

    The noise scale (McCandlish et al. 2018, 1812.06162) comes from the gradients ``g, g'`` of two steps in a row:
    their batches are independent, so ``E[g.g'] = |G|^2`` while ``E[|g|^2] = |G|^2 + tr S / B``. With the cosine
    ``c`` of the two, ``tr S / |G|^2 = B (1 - c) / c``; a negative cosine says that steps overshoot.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer):
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
        self._before: list[tuple[str, Tensor, Tensor]] = []
        self._last: dict[str, Tensor] = {}

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
        """The gradients that are there, dense."""
        return {name: dense(p.grad.detach()) for name, p in self.named.items() if p.grad is not None}

    def remember(self) -> None:
        """Keep a sample of the gradients, for the cosine with those of the next step."""
        self._last = {name: sample(g, 4096).clone() for name, g in self.gradients().items() if g.is_floating_point()}

    def cosine(self, gradients: dict[str, Tensor]) -> float | None:
        """The cosine of the remembered gradients and these, or ``None``; forgets the remembered ones."""
        pairs = [(old, sample(gradients[name], 4096), gradients[name]) for name, old in self._last.items()
                 if name in gradients]  # fmt: skip
        pairs = [(old, new, whole) for old, new, whole in pairs if old.shape == new.shape]
        self._last = {}
        if not pairs:
            return None
        scales = [enlarged(new, whole) for _, new, whole in pairs]
        old = torch.cat([x.float().flatten() * s for (x, _, _), s in zip(pairs, scales, strict=True)])
        new = torch.cat([x.float().flatten() * s for (_, x, _), s in zip(pairs, scales, strict=True)])
        length = torch.linalg.vector_norm(old) * torch.linalg.vector_norm(new)
        return (torch.dot(old, new) / length).item() if length > 0 else None

    def before(self) -> dict[str, Any]:
        """Measure before the optimizer's step, and keep a sample of the weights."""
        gradients = self.gradients()
        sizes = dict(zip(gradients, norms(list(gradients.values())), strict=True))
        silent = {name: (gradients[name] == 0).float().mean() for name in self.biases if name in gradients}
        shares = torch.stack(list(silent.values())).tolist() if silent else []
        cosine = self.cosine(gradients)
        held = [(name, p.detach()) for name, p in self.named.items() if id(p) in self.held and p.is_floating_point()]
        self._before = [(name, p, sample(p).clone()) for name, p in held]
        total = sum(x * x for x in sizes.values()) ** 0.5
        return {"grad_norm": total, "cosine": cosine, "gradients": sizes,
                "silent": dict(zip(silent, shares, strict=True))}  # fmt: skip

    def after(self) -> dict[str, tuple[float, float]]:
        """``{parameter: (weight, update)}``: norms, of the weight before the step and of its change."""
        if not self._before:
            return {}
        old = [kept for _, _, kept in self._before]
        change = torch._foreach_sub([sample(p) for _, p, _ in self._before], old)
        scales = [enlarged(kept, p) for _, p, kept in self._before]
        weights, updates = norms(old), norms(list(change))
        names = [name for name, _, _ in self._before]
        self._before = []
        return {n: (w * s, u * s) for n, w, u, s in zip(names, weights, updates, scales, strict=True)}

    def scalars(self) -> dict[str, float]:
        """The values of trainable parameters of one element (temperatures, gates)."""
        ones = [(name, p) for name, p in self.named.items() if p.numel() == 1][:MAX_SCALARS]
        return {name: rounded(p.detach().float().item()) for name, p in ones}
