"""Two gradients in a row: their cosine, and the moments that the gradient noise scale is estimated from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lucida.training.probes.sampling import enlarged, sample

SAMPLED = 4096


@dataclass(frozen=True)
class _Kept:
    """A sample of all gradients as one vector, each entry times the share it stands for."""

    names: tuple[tuple[str, int], ...]
    values: Tensor
    examples: int
    enlargement: Tensor | None


class GradientPair:
    """The gradients ``g, g'`` of two steps in a row, of ``B`` examples each.

    Their batches are independent, so ``E[g.g'] = |G|^2`` while ``E[|g|^2] = |G|^2 + tr S / B``, with ``G`` the true
    gradient and ``S`` the covariance of one example's (McCandlish et al. 2018, 1812.06162, appendix A.1; with
    ``B_small = B`` and ``B_big = 2 B``, the two batches taken as one, its estimators are these)::

        |G|^2 = g.g'          tr S = B |g - g'|^2 / 2

    Both are unbiased where the weights of the two steps are alike. They are not: the update between them makes
    ``g.g'`` smaller than ``|G|^2`` by about the rate times ``G.HG``, so that the noise scale comes out too large at
    high rates, and has no value where steps overshoot. Clipping by the norm is undone; clipping by value is not.
    Where the batches differ, ``B`` is their harmonic mean.
    """

    def __init__(self) -> None:
        self._old: _Kept | None = None
        self._scales: tuple[tuple[tuple[str, int, int], ...], Tensor | None] = ((), None)

    def remember(self, gradients: dict[str, Tensor], examples: int, enlargement: Tensor | None) -> None:
        """Keep a sample of the gradients for the next step.

        Args:
            gradients: of all parameters, as the optimizer sees them.
            examples: how many they were computed from; 0 where that is not known.
            enlargement: what undoes their clipping, ``[]``; ``None`` where that is not known.
        """
        self._old = self._kept(gradients, examples, enlargement)

    def compare(self, gradients: dict[str, Tensor], examples: int, enlargement: Tensor | None) -> dict[str, Any]:
        """``cosine`` and, where examples are known, ``noise``: ``trace``, ``squared`` and ``batch``; forgets.

        ``trace`` and ``squared`` are the estimates of ``tr S`` and ``|G|^2`` of one pair; only averages over many
        pairs may be divided (:func:`lucida.training.noise.noise_scale`).
        """
        if self._old is None or (new := self._kept(gradients, examples, enlargement)) is None:
            self._old = None
            return {"cosine": None}
        old, self._old = self._old, None
        a, b = old.values, new.values
        if old.names != new.names:
            a, b = _shared(old, new)
        norm = torch.linalg.vector_norm
        numbers = [norm(a), norm(b), torch.dot(a, b)]
        undone = [x.enlargement for x in (old, new) if x.enlargement is not None]
        read = torch.stack([*numbers, *(x.to(a.device) for x in undone)]).tolist()
        first, second, product = read[:3]
        found = {"cosine": product / (first * second) if first * second > 0 else None}
        if examples and old.examples and len(undone) == 2 and all(map(math.isfinite, read)):
            batch = 2 / (1 / old.examples + 1 / examples)
            up, on = read[3:]
            squared = up * on * product
            trace = batch * (((up * first) ** 2 + (on * second) ** 2) / 2 - squared)
            found["noise"] = {"trace": trace, "squared": squared, "batch": batch}
        return found

    def _kept(self, gradients: dict[str, Tensor], examples: int, enlargement: Tensor | None) -> _Kept | None:
        whole = [(name, g) for name, g in gradients.items() if g.is_floating_point() and g.numel()]
        if not whole:
            return None
        parts = [sample(g, SAMPLED).reshape(-1) for _, g in whole]
        if any(part.device != parts[0].device for part in parts):
            parts = [part.to(parts[0].device) for part in parts]
        values = torch.cat(parts).float()
        layout = tuple((name, g.numel(), part.numel()) for (name, g), part in zip(whole, parts, strict=True))
        if self._scales[0] != layout:
            self._scales = (layout, _scales([g for _, g in whole], parts))
        scales = self._scales[1]
        if scales is not None:
            values *= scales
        return _Kept(tuple((name, count) for name, _, count in layout), values, examples, enlargement)


def _scales(whole: list[Tensor], parts: list[Tensor]) -> Tensor | None:
    """What each sampled entry counts, ``[n]``; ``None`` where every tensor was taken whole."""
    factors = [enlarged(part, one) for part, one in zip(parts, whole, strict=True)]
    if all(factor == 1 for factor in factors):
        return None
    return torch.cat(
        [part.new_full(part.shape, f, dtype=torch.float32) for part, f in zip(parts, factors, strict=True)]
    )


def _shared(old: _Kept, new: _Kept) -> tuple[Tensor, Tensor]:
    """The entries of the parameters that both steps have alike (experts that were not chosen have no gradient)."""
    before = dict(zip(old.names, old.values.split([n for _, n in old.names]), strict=True))
    after = dict(zip(new.names, new.values.split([n for _, n in new.names]), strict=True))
    both = [key for key in before if key in after]
    empty = old.values.new_zeros(0)
    return torch.cat([empty, *(before[k] for k in both)]), torch.cat([empty, *(after[k] for k in both)])
