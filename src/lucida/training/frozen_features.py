"""Labelled features of a frozen tower, standardised, and the batches that a sampling draws of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lucida.core.errors import LucidaError
from lucida.core.seeds import stream
from lucida.data.sampling import Sampling, draw_rows, epoch_size, shown_again
from lucida.training.batches import Batch

RESIDENT_BYTES = 2**30
"""Standardised features up to this size are kept in memory; larger ones are read and standardised batch by batch."""
_ROWS = 4096


class FrozenFeatures:
    """Labelled rows, perhaps with augmented views of each, from which batches are drawn.

    Args:
        features: float ``[N, D]``; a memory-mapped array will do.
        labels: ``int64 [N]``, in ``0 … classes - 1``.
        classes: their number.
        views: ``[V, N, D]``; each time a row is shown, one of its views is drawn.

    Attributes:
        counts: rows of each class, ``int64 [C]``.
        mean, inverse: of each feature, float32 ``[D]``: standardised rows are ``(x - mean) · inverse``; a feature that
            is the same everywhere becomes 0.

    Raises:
        LucidaError: shapes that do not fit, labels out of range, a class without an example, values not finite.
    """

    def __init__(
        self, features: NDArray | Tensor, labels: NDArray | Tensor, classes: int, views: NDArray | Tensor | None = None
    ):
        self.features, self.labels, self.classes = np.asarray(features), np.asarray(labels), classes
        self.views = None if views is None else np.asarray(views)
        self._check()
        self.counts = np.bincount(self.labels, minlength=classes)
        for view in () if self.views is None else self.views:
            _mean(view, "views")
        mean = _mean(self.features, "features")
        deviation = _deviation(self.features, mean)
        varies = deviation > 1e-6 * np.abs(mean)
        self.mean = mean.astype(np.float32)
        self.inverse = np.divide(1, deviation, out=np.zeros_like(deviation), where=varies).astype(np.float32)

    def _check(self) -> None:
        x, y = self.features, self.labels
        if x.ndim != 2 or y.shape != x.shape[:1] or len(y) == 0:
            raise LucidaError(f"features {list(x.shape)} and labels {list(y.shape)} do not fit", where="features")
        if self.views is not None and (len(self.views) == 0 or self.views.shape[1:] != x.shape):
            raise LucidaError(f"views {list(self.views.shape)} do not fit features {list(x.shape)}", where="views")
        if y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= self.classes:
            raise LucidaError(f"labels must be whole numbers from 0 to {self.classes - 1}", where="labels")
        if empty := sorted(set(range(self.classes)) - set(np.unique(y).tolist())):
            where, remedy = f"class {empty[0]}", "leave it out or find examples"
            raise LucidaError("a class has no example", where=where, remedy=remedy)

    def part(self, kept: NDArray[np.bool_]) -> FrozenFeatures:
        """The rows that are kept, standardised among themselves."""
        views = None if self.views is None else self.views[:, kept]
        return FrozenFeatures(self.features[kept], self.labels[kept], self.classes, views)

    def batches(
        self, sampling: Sampling, *, steps: int, batch_size: int, seed: int, neighbours: NDArray | None = None
    ) -> Iterator[Batch]:
        """So many batches of standardised ``inputs`` and ``labels``.

        With ``neighbours`` (rows ``[N, k]``, -1 for none), a row that has been shown in an epoch gives way to a point
        between it and one of them, drawn anew each time: SMOTE without a synthetic row in memory.
        """
        rows = draw_rows(self.labels, sampling, stream(seed, "rows"), size=steps * batch_size)
        again = shown_again(rows, epoch_size(self.counts, sampling))
        generator = stream(seed, "views and synthetic rows")
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            view = generator.integers(len(self.views), size=len(part)) if self.views is not None else None
            inputs = self._inputs(part, view)
            if neighbours is not None:
                to = neighbours[part, generator.integers(neighbours.shape[1], size=len(part))]
                mixed = again[start : start + batch_size] & (to >= 0)
                step = generator.random((int(mixed.sum()), 1), dtype=np.float32)
                partner = self._inputs(to[mixed], None if view is None else view[mixed])
                inputs[mixed] += step * (partner - inputs[mixed])
            yield {"inputs": torch.from_numpy(inputs), "labels": torch.from_numpy(self.labels[part]).long()}

    def _inputs(self, rows: NDArray, view: NDArray | None) -> NDArray[np.float32]:
        """Standardised rows, of the views that were drawn: a fresh array."""
        at = rows if view is None else (view, rows)
        if self._resident is not None:
            return self._resident[at]
        return standardised((self.features if self.views is None else self.views)[at], self.mean, self.inverse)

    @cached_property
    def _resident(self) -> NDArray[np.float32] | None:
        """All rows or views, standardised, where there is room for them."""
        source = self.features if self.views is None else self.views
        if 4 * source.size > RESIDENT_BYTES:
            return None
        answer = np.empty(source.shape, np.float32)
        flat, rows = answer.reshape(-1, source.shape[-1]), source.reshape(-1, source.shape[-1])
        for start in range(0, len(flat), _ROWS):
            flat[start : start + _ROWS] = standardised(rows[start : start + _ROWS], self.mean, self.inverse)
        return answer


def standardised(rows: NDArray, mean: NDArray[np.float32], inverse: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(x - mean) · inverse`` in float32, ``[n, D]``; ``rows`` stays as it is."""
    answer = np.subtract(rows, mean, dtype=np.float32)
    answer *= inverse
    return answer


def _mean(features: NDArray, name: str) -> NDArray[np.float64]:
    """Of each feature, piece by piece.

    Raises:
        LucidaError: a value is not finite.
    """
    total = np.zeros(features.shape[1])
    for start in range(0, len(features), _ROWS):
        part = features[start : start + _ROWS]
        total += part.sum(axis=0, dtype=np.float64)
        if not np.isfinite(total).all():
            row = start + int((~np.isfinite(part).all(axis=1)).argmax())
            raise LucidaError("a feature is NaN or infinite", where=f"{name}, row {row}")
    return total / len(features)


def _deviation(features: NDArray, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each feature, piece by piece."""
    total = np.zeros(features.shape[1])
    for start in range(0, len(features), _ROWS):
        total += np.square(features[start : start + _ROWS] - mean).sum(axis=0)
    return np.sqrt(total / len(features))
