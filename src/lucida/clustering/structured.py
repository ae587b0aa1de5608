"""The cheap cases, tied, diagonal and spherical covariances: products of ``[b, d]`` with ``[d, k]`` in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lucida.clustering.covariances import CovarianceType, Parameters, Sums


@dataclass
class Worker:
    """One worker's sums."""

    sums: Sums


@dataclass(frozen=True)
class StructuredComponents:
    """The components as float64 tensors: a sum of squares cancels in float32, and here costs nothing in float64."""

    kind: CovarianceType
    means: Tensor
    factors: Tensor
    constants: Tensor

    @classmethod
    def of(cls, parameters: Parameters) -> StructuredComponents:
        parts = (parameters.means, parameters.precisions_cholesky, parameters.constants)
        return cls(parameters.kind, *(torch.from_numpy(np.ascontiguousarray(x)) for x in parts))

    def worker(self, sums: Sums) -> Worker:
        """Sums of a new worker."""
        return Worker(sums)

    def joint(self, block: Tensor, worker: Worker) -> Tensor:
        """``log w + log p`` of each row under each component, ``[b, k]``."""
        rows = block.double()
        if self.kind == "tied":
            turned, means = rows @ self.factors, self.means @ self.factors
            squares = (means.square().sum(1) + turned.square().sum(1)[:, None]).addmm_(turned, means.T, alpha=-2)
        else:
            precisions = self.factors.square()
            precisions = precisions[:, None].expand_as(self.means) if self.kind == "spherical" else precisions
            squares = (self.means.square() * precisions).sum(1) + rows.square() @ precisions.T
            squares.addmm_(rows, (self.means * precisions).T, alpha=-2)
        return squares.mul_(-0.5).add_(self.constants)

    def add(self, block: Tensor, worker: Worker) -> None:
        """Add a block's sums to the worker's."""
        joint = self.joint(block, worker)
        norm = torch.logsumexp(joint, 1)
        worker.sums.log_likelihood += norm.sum().numpy()
        add_structured(block, joint.sub_(norm[:, None]).exp_(), worker.sums)


def add_structured(block: Tensor, responsibilities: Tensor, sums: Sums) -> None:
    """Add the sums of a block about the mean of all rows, with ``responsibilities`` ``[b, k]``."""
    rows, weights = block.double(), responsibilities.double()
    sums.count += weights.sum(0).numpy()
    sums.first += (weights.T @ rows).numpy()
    if sums.kind != "tied":  # the products of all rows never change: `em.added` puts them in
        sums.second += (weights.T @ rows.square()).numpy()
