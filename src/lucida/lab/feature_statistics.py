"""How features of two kinds lie on the sphere: alignment, uniformity (Wang & Isola 2020) and the modality gap."""

from __future__ import annotations

import torch
from torch import Tensor


def alignment(images: Tensor, texts: Tensor) -> float:
    r"""Mean squared distance of a picture and its text, :math:`E\,\|u - v\|^2` (Wang & Isola 2020, 2005.10242, eq. 1).

    Args:
        images, texts: ``[B, d]``, rows of length one; row ``i`` belongs to row ``i``.

    >>> alignment(torch.eye(2), torch.eye(2).flip(0))
    2.0
    """
    return float((images.double() - texts.double()).square().sum(dim=1).mean())


def uniformity(features: Tensor) -> float:
    r"""How evenly rows cover the sphere, :math:`\log E\,e^{-2\|x - y\|^2}` over pairs of two rows (there, eq. 2).

    0 if all are one point; the lower, the more evenly.

    Args:
        features: ``[B, d]``, rows of length one, two or more.

    >>> round(uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])), 6)
    -8.0
    """
    return float(torch.pdist(features.double()).square().mul(-2).exp().mean().log())


def modality_gap(images: Tensor, texts: Tensor) -> float:
    r"""Distance of the mean picture from the mean text (Liang et al. 2022, 2203.02053): 0 where they mix, at most 2.

    Args:
        images, texts: ``[B, d]`` and ``[C, d]``, rows of length one.

    >>> modality_gap(torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]]))
    2.0
    """
    return float((images.double().mean(dim=0) - texts.double().mean(dim=0)).norm())
