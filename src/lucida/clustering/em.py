"""One pass over the rows: responsibilities under the present mixture, and the sums the next one is made from."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lucida.clustering.covariances import Parameters, Sums, maximised, precision_cholesky
from lucida.clustering.full import FullComponents, add_full
from lucida.clustering.rows import Rows
from lucida.clustering.structured import StructuredComponents, add_structured


def components_of(
    parameters: Parameters, rows: Rows, *, screened: bool = True
) -> FullComponents | StructuredComponents:
    """The components of a mixture, ready for blocks of rows."""
    if parameters.kind == "full":
        return FullComponents.of(parameters, rows, screened=screened)
    return StructuredComponents.of(parameters)


def expectation(rows: Rows, parameters: Parameters, *, screened: bool = True) -> Sums:
    """The sums over all rows of all processes under a mixture."""
    components = components_of(parameters, rows, screened=screened)
    origin = origin_of(parameters, rows)

    def add(worker: Any, block: Tensor, begin: int) -> None:
        components.add(block, worker)

    workers = rows.each(add, lambda: components.worker(Sums.zeros(parameters.kind, origin)))
    return added(rows, [worker.sums for worker in workers])


def origin_of(parameters: Parameters, rows: Rows) -> np.ndarray:
    """What sums are seen from, as numbers of the rows' type: a full component's mean, else the mean of all rows."""
    if parameters.kind != "full":
        return np.zeros_like(parameters.means)
    return parameters.means.astype(rows.dtype).astype(np.float64)


def add_sums(sums: Sums, block: Tensor, responsibilities: Tensor) -> None:
    """Add a block's sums under given responsibilities, ``[b, k]``."""
    if sums.kind == "full":
        origin = torch.from_numpy(sums.origin).to(block.dtype)
        add_full(block, responsibilities.T.to(block.dtype), origin, sums)
    else:
        add_structured(block, responsibilities, sums)


def added(rows: Rows, parts: list[Sums]) -> Sums:
    """The sums of all workers and processes."""
    own = reduce(Sums.plus, parts)
    total = own.of(rows.processes.sum(*own.arrays()))
    if total.kind == "tied":
        total.second = rows.scatter[1:]
    return total


def maximisation(rows: Rows, sums: Sums, reg_covar: float) -> Parameters:
    """The mixture that the sums give.

    Raises:
        ValueError: a covariance is not positive definite.
    """
    nk, means, covariances = maximised(sums, reg_covar=reg_covar, eps=rows.eps, shift=rows.shift)
    factors = precision_cholesky(covariances, sums.kind, float32=rows.dtype == np.float32)
    return Parameters(sums.kind, nk / nk.sum(), means, covariances, factors)
