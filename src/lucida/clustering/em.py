"""Expectation and maximisation (Dempster, Laird and Rubin 1977): one pass over the rows a step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lucida.clustering.covariances import Parameters, Sums, maximised, precision_cholesky
from lucida.clustering.full import FullComponents, add_full
from lucida.clustering.rows import Rows
from lucida.clustering.splitting import collapsed, respawned
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
    return factored(unfactored(rows, sums, reg_covar), rows)


def unfactored(rows: Rows, sums: Sums, reg_covar: float) -> Parameters:
    """The mixture that the sums give; its precisions are still to come."""
    nk, means, covariances = maximised(sums, reg_covar=reg_covar, eps=rows.eps, shift=rows.shift)
    return Parameters(sums.kind, nk / nk.sum(), means, covariances, covariances)


def factored(mixture: Parameters, rows: Rows) -> Parameters:
    """The mixture with the factors of its precisions.

    Raises:
        ValueError: a covariance is not positive definite.
    """
    factors = precision_cholesky(mixture.covariances, mixture.kind, float32=rows.dtype == np.float32)
    return replace(mixture, precisions_cholesky=factors)


@dataclass(frozen=True)
class Climb:
    """How EM goes: scikit-learn's ``tol``, ``max_iter`` and ``reg_covar``.

    ``respawns``: so often may a collapsed component come back; 0 leaves them, as scikit-learn does.
    """

    tol: float = 1e-3
    max_iter: int = 100
    reg_covar: float = 1e-6
    respawns: int = 0


@dataclass
class Ascent:
    """Where EM came to.

    Args:
        mixture: the last one.
        bounds: the mean log-likelihood before each step.
        converged: whether the last step gained less than ``tol``.
        respawned: components that collapsed and came back, one entry each time.
    """

    mixture: Parameters
    bounds: list[float] = field(default_factory=list)
    converged: bool = False
    respawned: list[int] = field(default_factory=list)

    @property
    def bound(self) -> float:
        """The last bound; minus infinity before the first step."""
        return self.bounds[-1] if self.bounds else -math.inf


def climb(
    rows: Rows,
    first: Parameters,
    how: Climb,
    *,
    bound: float = -math.inf,
    told: Callable[[Ascent], None] = lambda ascent: None,
) -> Ascent:
    """EM from a mixture.

    Args:
        rows: the data.
        first: where it begins.
        how: when it ends.
        bound: the mean log-likelihood before ``first``, where that is known.
        told: called after each step.

    Raises:
        ValueError: a covariance is not positive definite.
    """
    ascent = Ascent(first)
    for _ in range(how.max_iter):
        sums = expectation(rows, ascent.mixture)
        before, bound = bound, float(sums.log_likelihood) / rows.total
        ascent.bounds.append(bound)
        mixture = unfactored(rows, sums, how.reg_covar)
        gone = _gone(sums, mixture, ascent, how)
        ascent.mixture = factored(respawned(mixture, gone), rows)
        ascent.respawned += gone
        told(ascent)
        if gone:
            bound = -math.inf  # what follows is a new ascent: its first gain says nothing
        elif abs(bound - before) < how.tol:
            ascent.converged = True
            break
    return ascent


def _gone(sums: Sums, mixture: Parameters, ascent: Ascent, how: Climb) -> list[int]:
    if not how.respawns:
        return []
    gone = collapsed(sums, mixture.covariances, how.reg_covar)
    return [component for component in gone if ascent.respawned.count(component) < how.respawns]
