"""Hubs: in many dimensions some classes are near to everything, and take pictures that are not theirs.

Remedy: a class gives back what strangers' pictures score with it (CSLS, Conneau et al. 2018, with training
pictures as the strangers, so that each test picture is judged alone). The correction is carried by two more dimensions,
so that a plain dot product or cosine applies it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def hub_offsets(scores: Tensor, *, weight: float = 0.5, neighbours: int = 20) -> Tensor:
    """``weight`` times the mean of the highest scores of each class, ``[M, C]`` to ``[C]``.

    Args:
        scores: of M training pictures with C classes; the higher, the nearer. ``-inf`` does not count.
        weight: 0 leaves classes as they are.
        neighbours: so many pictures for each class.
    """
    highest = scores.topk(min(neighbours, len(scores)), dim=0).values
    counted = highest.isfinite()
    return weight * highest.where(counted, torch.zeros(())).sum(dim=0) / counted.sum(dim=0).clamp(min=1)


def extend_pictures(pictures: Tensor) -> Tensor:
    """``[N, d]`` to ``[N, d + 2]``: what :func:`extend_classes` fits."""
    return torch.cat([pictures, torch.ones(len(pictures), 1), torch.zeros(len(pictures), 1)], dim=1)


def extend_classes(classes: Tensor, offsets: Tensor, *, length: float) -> Tensor:
    """``[C, d]`` to ``[C, d + 2]``, so that dot products with extended pictures are lower by ``offsets``.

    All rows get the same ``length``, so that cosines rank as dot products do (Bachrach et al. 2014).

    >>> picture, classes = torch.tensor([[1.0, 0.0]]), torch.eye(2)
    >>> extend_pictures(picture) @ extend_classes(classes, torch.tensor([0.5, 0.0]), length=2.0).T
    tensor([[0.5000, 0.0000]])
    """
    extended = torch.cat([classes, -offsets[:, None]], dim=1)
    left = (length**2 - extended.pow(2).sum(dim=1, keepdim=True)).clamp(min=0)
    return torch.cat([extended, left.sqrt()], dim=1)
