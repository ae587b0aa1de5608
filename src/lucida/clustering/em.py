"""One pass over the rows: responsibilities under the present mixture, and the sums the next one is made from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from lucida.clustering.covariances import Parameters, Sums, maximised, precision_cholesky
from lucida.clustering.rows import Rows


@dataclass(frozen=True)
class Density:
    """The components as tensors of the rows' type."""

    parameters: Parameters
    means: Tensor
    factors: Tensor
    constants: Tensor

    @classmethod
    def of(cls, parameters: Parameters, dtype: np.dtype) -> Density:
        d = parameters.means.shape[1]
        with np.errstate(divide="ignore"):
            constants = np.log(parameters.weights) + parameters.log_determinants - 0.5 * d * math.log(2 * math.pi)
        like = torch.float32 if dtype == np.float32 and parameters.kind == "full" else torch.float64
        tensors = (parameters.means, np.ascontiguousarray(parameters.precisions_cholesky), constants)
        return cls(parameters, *(torch.from_numpy(np.asarray(x, np.float64)).to(like) for x in tensors))

    def weighted_log_prob(self, block: Tensor) -> Tensor:
        """``log w + log p`` of each row under each component, ``[b, k]``."""
        kind = self.parameters.kind
        block = block.to(self.means.dtype)
        if kind == "full":
            columns = [((block - m) @ u).square_().sum(1) for m, u in zip(self.means, self.factors, strict=True)]
            return torch.stack(columns, 1).mul_(-0.5).add_(self.constants)
        if kind == "tied":
            seen, means = block @ self.factors, self.means @ self.factors
            squares = seen.square().sum(1)[:, None] - 2 * (seen @ means.T) + means.square().sum(1)
        else:
            precisions = self.factors.square()
            if kind == "spherical":
                precisions = precisions[:, None].expand_as(self.means)
            squares = block.square() @ precisions.T - 2 * (block @ (self.means * precisions).T)
            squares += (self.means.square() * precisions).sum(1)
        return squares.mul_(-0.5).add_(self.constants)


def add_sums(sums: Sums, block: Tensor, responsibilities: Tensor) -> None:
    """Add a block's sums, ``responsibilities`` ``[b, k]``."""
    wide = responsibilities.double()
    sums.count += wide.sum(0).numpy()
    if sums.kind == "full":
        for k, origin in enumerate(torch.from_numpy(sums.origin).to(block.dtype)):
            seen = block - origin
            weighted = seen * responsibilities[:, k : k + 1].to(block.dtype)
            sums.first[k] += weighted.sum(0, dtype=torch.float64).numpy()
            sums.second[k] += (weighted.T @ seen).double().numpy()
        return
    rows = block.double()
    sums.first += (wide.T @ rows).numpy()
    if sums.kind != "tied":  # the products of all rows never change: `added` puts them in
        sums.second += (wide.T @ rows.square()).numpy()


def expectation(rows: Rows, parameters: Parameters) -> Sums:
    """The sums over all rows of all processes under a mixture."""
    density = Density.of(parameters, rows.dtype)
    origin = origin_of(parameters, rows)

    def add(sums: Sums, block: Tensor, start: int) -> None:
        joint = density.weighted_log_prob(block)
        norm = torch.logsumexp(joint, 1)
        sums.log_likelihood += norm.sum(dtype=torch.float64).numpy()
        add_sums(sums, block, joint.sub_(norm[:, None]).exp_())

    return added(rows, rows.each(add, lambda: Sums.zeros(parameters.kind, origin)))


def origin_of(parameters: Parameters, rows: Rows) -> np.ndarray:
    """Where sums are seen from, as a number of the rows' type: own means where covariances are full, else the mean."""
    if parameters.kind != "full":
        return np.zeros_like(parameters.means)
    return parameters.means.astype(rows.dtype).astype(np.float64)


def added(rows: Rows, parts: list[Sums]) -> Sums:
    """The sums of all workers and processes."""
    own = reduce(Sums.plus, parts)
    total = own.of(rows.processes.sum(*own.arrays()))
    if total.kind == "tied":
        total.second = rows.scatter[1:]
    return total


def maximisation(rows: Rows, sums: Sums, parameters: Parameters, reg_covar: float) -> Parameters:
    """The mixture that the sums give."""
    float32 = rows.dtype == np.float32
    nk, means, covariances = maximised(sums, reg_covar=reg_covar, eps=rows.eps, shift=rows.shift)
    factors = precision_cholesky(covariances, parameters.kind, float32=float32)
    return Parameters(parameters.kind, nk / nk.sum(), means, covariances, factors)
