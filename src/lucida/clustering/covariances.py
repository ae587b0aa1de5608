"""From sums over rows to weights, means, covariances, and the factors of their inverses: the M step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

CovarianceType = Literal["full", "tied", "diag", "spherical"]
TYPES = ("full", "tied", "diag", "spherical")


@dataclass
class Sums:
    """Sums over rows, weighted with the responsibilities; float64.

    Args:
        kind: the covariance type.
        count: ``[k]``.
        first: ``[k, d]``, of the rows about ``origin``.
        second: of their products: ``[k, d, d]`` full, ``[k, d]`` diag and spherical; ``[d, d]`` tied, of all rows.
        log_likelihood: summed over the rows.
        origin: ``[k, d]``; what the rows were seen from.
    """

    kind: CovarianceType
    count: np.ndarray
    first: np.ndarray
    second: np.ndarray
    log_likelihood: np.ndarray
    origin: np.ndarray

    @classmethod
    def zeros(cls, kind: CovarianceType, origin: np.ndarray) -> Sums:
        k, d = origin.shape
        second = {"full": (k, d, d), "tied": (d, d), "diag": (k, d), "spherical": (k, d)}[kind]
        return cls(kind, np.zeros(k), np.zeros((k, d)), np.zeros(second), np.zeros(()), origin)

    def arrays(self) -> list[np.ndarray]:
        """What adds up over blocks and processes."""
        return [self.count, self.first, self.second, self.log_likelihood]

    def plus(self, other: Sums) -> Sums:
        """Both together."""
        return self.of([a + b for a, b in zip(self.arrays(), other.arrays(), strict=True)])

    def of(self, arrays: list[np.ndarray]) -> Sums:
        """The same with other numbers, in the order of :meth:`arrays`."""
        count, first, second, log_likelihood = arrays
        return Sums(self.kind, count, first, second, log_likelihood, self.origin)


@dataclass
class Parameters:
    """A mixture about the mean of its rows; float64. Shapes are scikit-learn's."""

    kind: CovarianceType
    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    precisions_cholesky: np.ndarray

    @property
    def log_determinants(self) -> np.ndarray:
        """Half the logarithm of the determinant of each precision, ``[k]`` (tied: a scalar array)."""
        factor, d = self.precisions_cholesky, self.means.shape[1]
        if self.kind == "spherical":
            return d * np.log(factor)
        if self.kind == "diag":
            return np.log(factor).sum(1)
        return np.log(np.diagonal(factor, axis1=-2, axis2=-1)).sum(-1)

    @property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of each feature, ``[d]`` each."""
        mean, covariances = self.weights @ self.means, self.covariances
        if self.kind in ("full", "tied"):
            covariances = np.diagonal(covariances, axis1=-2, axis2=-1)
        elif self.kind == "spherical":
            covariances = covariances[:, None]
        return mean, self.weights @ (covariances + np.square(self.means - mean))

    @property
    def constants(self) -> np.ndarray:
        """All terms of ``log w + log p`` that no row changes, ``[k]``."""
        with np.errstate(divide="ignore"):
            logs = np.log(self.weights)
        return logs + self.log_determinants - 0.5 * self.means.shape[1] * math.log(2 * math.pi)


def maximised(
    sums: Sums, *, reg_covar: float, eps: float, shift: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts, means and covariances that the sums give, as scikit-learn defines them: ``(nk, means, covariances)``.

    Args:
        sums: over all rows.
        reg_covar: added to every variance.
        eps: of the rows' type; ten times that is added to each count.
        shift: the mean about which everything is expressed, ``[d]``. A component without rows goes to the origin of the
            rows as they were given, as in scikit-learn.
    """
    kind = sums.kind
    nk = sums.count + 10 * eps
    share = (sums.count / nk)[:, None]
    means = sums.first / nk[:, None] + share * (sums.origin + shift) - shift
    step = means - sums.origin
    n = sums.count
    if kind == "full":
        cross = sums.first[:, :, None] * step[:, None, :]
        outer = step[:, :, None] * step[:, None, :]
        covariances = (sums.second - cross - cross.transpose(0, 2, 1) + n[:, None, None] * outer) / nk[:, None, None]
        covariances[:, range(means.shape[1]), range(means.shape[1])] += reg_covar
    elif kind == "tied":
        covariances = (sums.second - (n[:, None] * means).T @ means) / nk.sum()
        covariances[np.diag_indices_from(covariances)] += reg_covar
    else:
        variances = (sums.second - 2 * step * sums.first + n[:, None] * step**2) / nk[:, None]
        # A difference of that size is rounding, of either sign; what remains is the most that the variance can be.
        covariances = np.maximum(variances, np.finfo(np.float64).eps * sums.second / nk[:, None]) + reg_covar
        if kind == "spherical":
            covariances = covariances.mean(1)
    return nk, means, covariances


def precision_cholesky(covariances: np.ndarray, kind: CovarianceType, *, float32: bool = False) -> np.ndarray:
    """Upper triangular ``U`` with ``U @ U.T`` the precision; standard deviations' inverses for diag and spherical.

    Raises:
        ValueError: a covariance is not positive definite.
    """
    if kind in ("diag", "spherical"):
        if np.any(covariances <= 0.0) or not np.isfinite(covariances).all():
            raise ValueError(_ill_defined(float32))
        return 1.0 / np.sqrt(covariances)
    if not np.isfinite(covariances).all():
        raise ValueError(_ill_defined(float32))
    try:
        lower = np.linalg.cholesky(covariances)
    except np.linalg.LinAlgError:
        raise ValueError(_ill_defined(float32)) from None
    identity = torch.eye(covariances.shape[-1], dtype=torch.float64)
    return torch.linalg.solve_triangular(torch.from_numpy(lower), identity, upper=False).mT.contiguous().numpy()


def _ill_defined(float32: bool) -> str:
    text = (
        "Fitting the mixture model failed because some components have ill-defined empirical covariance (for instance "
        "caused by singleton or collapsed samples). Try to decrease the number of components, increase reg_covar, or "
        "scale the input data."
    )
    more = " The numerical accuracy can also be improved by passing float64 data instead of float32."
    return text + more if float32 else text


def cholesky_of_precisions(precisions: np.ndarray, kind: CovarianceType) -> np.ndarray:
    """Upper triangular ``U`` with ``U @ U.T`` equal to each precision."""
    if kind in ("diag", "spherical"):
        return np.sqrt(precisions)
    turned = np.linalg.cholesky(precisions[..., ::-1, ::-1])
    return turned[..., ::-1, ::-1]


def covariances_of(factors: np.ndarray, kind: CovarianceType) -> np.ndarray:
    """The covariances from the factors of their inverses."""
    if kind in ("diag", "spherical"):
        return factors**-2.0
    inverse = np.linalg.inv(factors)
    return np.swapaxes(inverse, -1, -2) @ inverse


def precisions_of(factors: np.ndarray, kind: CovarianceType) -> np.ndarray:
    """The precisions from their factors."""
    if kind in ("diag", "spherical"):
        return factors**2
    return factors @ np.swapaxes(factors, -1, -2)


def free_parameters(kind: CovarianceType, k: int, d: int) -> int:
    """How many numbers a mixture is free to choose.

    >>> [free_parameters(kind, 2, 5) for kind in TYPES]
    [41, 26, 21, 13]
    """
    covariance = {"full": k * d * (d + 1) // 2, "tied": d * (d + 1) // 2, "diag": k * d, "spherical": k}[kind]
    return covariance + k * d + k - 1
