"""Between a base and what was tuned from it: WiSE-FT (Wortsman et al. 2021, arXiv 2109.01903)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lucida.core.errors import LucidaError


def interpolated(base: Mapping[str, Tensor], tuned: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Weights on the straight line from a base model to the same model fine-tuned: ``(1 - share) base + share tuned``.

    Fine-tuning wins on its own pictures and loses on others; weights in between often keep most of both, at no cost at
    test time. Computed in float32 (float64 for float64) and rounded once. At 0 and 1 the result is ``base`` and
    ``tuned`` bit for bit, and so is every tensor that tuning left alone, at any share.

    Args:
        base: a state dict.
        tuned: of the same model, with the same names, shapes and dtypes.
        share: of the tuned weights, 0 to 1.

    Returns:
        A state dict of new tensors, buffers too: running means and deviations lie on the line as weights do. Whole
        numbers (counters, positions) are taken over: there is nothing between them.

    Raises:
        LucidaError: names, shapes or dtypes differ, whole numbers do, or the share is outside 0 to 1.

    >>> interpolated({"w": torch.tensor([0.0, 1.0])}, {"w": torch.tensor([4.0, 1.0])}, 0.25)
    {'w': tensor([1., 1.])}
    """
    if not 0 <= share <= 1:
        raise LucidaError(f"a share of {share} is not between 0 and 1", where="interpolated")
    for name in [*base, *tuned]:
        if name not in base or name not in tuned:
            has, lacks = ("tuned", "base") if name in tuned else ("base", "tuned")
            raise LucidaError(f"the {has} weights have {name!r}, the {lacks} ones have not", where="interpolated")
    return {name: _between(name, weight, tuned[name], share) for name, weight in base.items()}


def _between(name: str, base: Tensor, tuned: Tensor, share: float) -> Tensor:
    if base.shape != tuned.shape or base.dtype != tuned.dtype:
        said = f"{list(base.shape)} {base.dtype} and {list(tuned.shape)} {tuned.dtype}"
        raise LucidaError(f"the base and the tuned {name!r} differ in kind: {said}", where="interpolated")
    if not base.is_floating_point():
        if not torch.equal(base, tuned):
            raise LucidaError(f"{name!r} are whole numbers and differ: nothing lies between", where="interpolated")
        return base.detach().clone()
    wide = torch.promote_types(base.dtype, torch.float32)
    return torch.lerp(base.detach().to(wide), tuned.detach().to(wide), share).to(base.dtype)
