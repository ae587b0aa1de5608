"""Principal components of features that need not fit into memory: two passes in chunks, then one to project.

Features are scaled to length one first: how strongly a tower answers says more about contrast than about content.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

CHUNK = 4096  # rows in memory at a time

ONE_PICTURE = 1e-4  # variance about the mean of unit vectors; that of a real corpus is some tenths


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """Directions of most variance of features of length one (Hotelling 1933), the widest first.

    Attributes:
        mean: of the scaled features, ``float64 [D]``.
        axes: orthonormal, ``float64 [D, k]``; of two signs the one is taken whose largest entry is positive.
        variances: of the features along each axis, ``float64 [k]``.
        whole: variance of the features along all axes there are.
    """

    mean: NDArray
    axes: NDArray
    variances: NDArray
    whole: float

    @property
    def dimensions(self) -> int:
        """How many axes there are."""
        return len(self.variances)

    @property
    def explained(self) -> float:
        """Share of the whole variance that the axes hold."""
        return float(self.variances.sum() / self.whole) if self.whole else 1.0

    def first(self, count: int) -> PrincipalComponents:
        """The widest of them alone."""
        return PrincipalComponents(self.mean, self.axes[:, :count], self.variances[:count], self.whole)

    def centred(self, features: NDArray) -> NDArray:
        """Features of length one, without their mean: ``float64 [n, D]``."""
        return unit_rows(np.asarray(features, np.float64)) - self.mean

    def directions(self, features: NDArray) -> NDArray:
        """Centred features at length one, ``float64 [n, D]``; as they are where the corpus is copies of one picture.

        About the mean of copies there is nothing but their last digits, which point anywhere.
        """
        return unit_rows(features.astype(np.float64) if self.whole < ONE_PICTURE else self.centred(features))

    def project(self, features: NDArray) -> NDArray:
        """Coordinates along the axes, divided by one number so that their mean variance is 1: ``float32 [n, k]``.

        One number for all: distances keep their proportions, so that a start by k-means++ sees the features as they
        are. Mixtures whose covariances are free along each axis do not mind either way.
        """
        scale = np.sqrt(self.variances.mean()) or 1.0
        return (self.centred(features) @ self.axes / scale).astype(np.float32)


def unit_rows(x: NDArray) -> NDArray:
    """Rows of length one; a row of zeros stays.

    >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(length > 0, length, 1.0)


def chunks(rows: int, size: int = CHUNK) -> Iterator[slice]:
    """Slices that cover ``rows`` rows.

    >>> list(chunks(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def principal_components(features: NDArray, *, at_most: int, explained: float = 1.0) -> PrincipalComponents:
    """As many components as explain a share of the variance, and no more than a number.

    Args:
        features: ``[N, D]``, of any floating type, memory-mapped or not; read twice in chunks.
        at_most: components; never more than ``D`` or ``N - 1``.
        explained: the share of the variance that is enough.

    Raises:
        ValueError: fewer than two rows, no component is asked for, or a feature is not finite.
    """
    rows, width = features.shape
    if rows < 2 or at_most < 1:
        raise ValueError(f"{at_most} components of {rows} rows")
    mean = sum(unit_rows(np.asarray(features[part], np.float64)).sum(axis=0) for part in chunks(rows)) / rows
    scatter = torch.zeros(width, width, dtype=torch.float64)
    for part in chunks(rows):
        centred = torch.from_numpy(unit_rows(np.asarray(features[part], np.float64)) - mean)
        scatter += centred.T @ centred
    if not torch.isfinite(scatter).all():
        raise ValueError("a feature is not finite")
    values, vectors = (x.numpy()[..., ::-1] for x in torch.linalg.eigh(scatter / rows))
    values = np.maximum(values, 0.0)
    shares = np.cumsum(values) / (values.sum() or 1.0)
    enough = int(np.searchsorted(shares, explained * (1 - 1e-9))) + 1
    count = max(1, min(at_most, enough, width, rows - 1))
    axes = vectors[:, :count]
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.where(axes[largest, np.arange(count)] < 0, -1.0, 1.0)
    return PrincipalComponents(np.asarray(mean), np.ascontiguousarray(axes), values[:count], float(values.sum()))
