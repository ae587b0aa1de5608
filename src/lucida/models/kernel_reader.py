"""Closed-form readers of pictures: blocks of features on one scale, kernel ridge regression to texts, a learned metric.

With a thousand drawings, a solved system of equations names unseen things better than a perceptron does that is trained
on them, and takes a second.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FeatureBlocks(nn.Module):
    """Blocks of features, each standardised and brought to the same length: ``[N, sum(sizes)]``, rows of length one.

    Args:
        sizes: length of each block.
        weights: share of each block in the squared distance of two pictures; scaled to sum to one.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, sizes: Sequence[int], weights: Sequence[float]):
        super().__init__()
        self.sizes = [*sizes]
        self.scales = [(w / sum(weights)) ** 0.5 for w in weights]
        self.register_buffer("mean", torch.zeros(sum(sizes)))
        self.register_buffer("deviation", torch.ones(sum(sizes)))

    @torch.no_grad()
    def fit(self, features: Tensor) -> FeatureBlocks:
        """Take mean and deviation of each input from training features ``[N, sum(sizes)]``."""
        self.mean.copy_(features.mean(dim=0))
        self.deviation.copy_(features.std(dim=0) + 1e-3)
        return self

    def forward(self, features: Tensor) -> Tensor:
        standard = ((features - self.mean) / self.deviation).clamp(-5, 5).split(self.sizes, dim=1)
        centred = [part - part.mean(dim=1, keepdim=True) for part in standard]
        return torch.cat([F.normalize(x, dim=1) * s for x, s in zip(centred, self.scales, strict=True)], dim=1)


class KernelReader(nn.Module):
    """Kernel ridge regression from pictures to what texts say of them (Saunders et al. 1998).

    The kernel is ``exp(cosine - 1)``, a Gaussian on vectors of length one.

    Args:
        pictures: ``[M, D]`` of training, length one.
        texts: ``[M, E]``, the text vector of each.
        ridge: what is added to the kernel's diagonal; more is smoother.
    """

    pictures: Tensor
    weights: Tensor
    mean: Tensor
    held_out: Tensor

    def __init__(self, pictures: Tensor, texts: Tensor, *, ridge: float):
        super().__init__()
        self.register_buffer("pictures", pictures)
        self.register_buffer("mean", texts.mean(dim=0))
        kernel = (pictures @ pictures.T - 1).exp_()
        kernel.diagonal().add_(ridge)
        factor = torch.linalg.cholesky(kernel)
        weights = torch.cholesky_solve(texts - self.mean, factor)
        self.register_buffer("weights", weights)
        without_it = texts - self.mean - weights / torch.cholesky_inverse(factor).diagonal()[:, None]
        self.register_buffer("held_out", F.normalize(without_it, dim=1))
        """What each row is read as by a reader fitted without that row, ``[M, E]``, length one; another view of
        the same picture, in a row of its own, is still there."""

    def forward(self, pictures: Tensor) -> Tensor:
        """``[N, D]`` to the texts' space ``[N, E]``, length one."""
        return F.normalize((pictures @ self.pictures.T - 1).exp_() @ self.weights, dim=1)

    def texts(self, texts: Tensor) -> Tensor:
        """Text vectors ``[N, E]`` in the space of :meth:`forward`: without the mean of training, length one."""
        return F.normalize(texts - self.mean, dim=1)


class PairMetric(nn.Module):
    """A space in which two pictures of one thing are near, whoever drew them.

    Principal directions of all pictures, then within-class covariance normalisation (Hatch et al. 2006): directions in
    which pictures of one thing differ count less.

    Args:
        pictures: ``[M, D]`` of training.
        first, second: ``[P, D]``, two pictures of each of P things.
        size: principal directions that are kept.
        shrinkage: of the covariance towards a multiple of the identity.
    """

    mean: Tensor
    projection: Tensor

    def __init__(self, pictures: Tensor, first: Tensor, second: Tensor, *, size: int, shrinkage: float):
        super().__init__()
        self.register_buffer("mean", pictures.mean(dim=0))
        centred = pictures - self.mean
        values, vectors = torch.linalg.eigh(centred @ centred.T)
        kept = values > 1e-4 * values[-1]
        kept[: -min(size, len(values))] = False
        directions = centred.T @ (vectors[:, kept] / values[kept].sqrt())
        difference = (first - second) @ directions
        within = difference.T @ difference / max(len(difference), 1)
        level = within.diagonal().mean().clamp(min=1e-9)
        values, vectors = torch.linalg.eigh(within + shrinkage * level * torch.eye(len(within)))
        self.register_buffer("projection", directions @ (vectors / values.sqrt()))

    def forward(self, pictures: Tensor) -> Tensor:
        """``[N, D]`` to ``[N, at most size]``, length one."""
        return F.normalize((pictures - self.mean) @ self.projection, dim=1)
