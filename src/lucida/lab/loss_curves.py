"""What is read off curves of training: means of neighbouring steps, and values at the time a loss is reached."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

_LEAST = 1e-12  # of a loss, for its logarithm


def moving_mean(values: NDArray, window: int = 10) -> NDArray:
    """Means of ``window`` neighbouring steps, ``[…, n - window + 1]``; a step that is not a number leaves a gap.

    Window by window: differences of running sums would lose small values behind a large one.

    >>> moving_mean(np.array([1.0, 3.0, 5.0]), 2).tolist()
    [2.0, 4.0]
    """
    return np.lib.stride_tricks.sliding_window_view(values, window, axis=-1).mean(axis=-1)


def at_loss(loss: NDArray, values: NDArray, targets: ArrayLike) -> NDArray:
    """Values at the first time a loss curve comes down to each target, ``[M, targets]``; NaN where it never does.

    Between two evaluations both are interpolated along the logarithm of the loss.

    Args:
        loss: ``[M, E]``.
        values: ``[M, E]`` or, the same for all, ``[E]``.
        targets: ``[targets]``, or of each curve its own, ``[M, targets]``.

    >>> at_loss(np.array([[4.0, 1.0, 0.5]]), np.array([0.0, 10.0, 20.0]), [2.0, 0.1]).tolist()
    [[5.0, nan]]
    """
    wanted = np.asarray(targets, dtype=float)
    wanted = np.broadcast_to(wanted, (len(loss), wanted.shape[-1]))
    rows = np.broadcast_to(values, loss.shape)
    table = np.full(wanted.shape, np.nan)
    for m, k in product(range(len(loss)), range(wanted.shape[1])):
        below = np.flatnonzero(loss[m] <= wanted[m, k])
        if len(below):
            table[m, k] = _interpolated(loss[m], rows[m], wanted[m, k], int(below[0]))
    return table


def _interpolated(loss: NDArray, values: NDArray, target: float, first: int) -> float:
    """The value where the loss crosses the target on its way to evaluation ``first``."""
    if first == 0:
        return float(values[0])
    ends = np.log(np.maximum(loss[first - 1 : first + 1], _LEAST))
    share = (ends[0] - np.log(target)) / (ends[0] - ends[1]) if np.isfinite(ends[0]) else 1.0
    return float(values[first - 1] + share * (values[first] - values[first - 1]))


def reached_by_all(losses: Sequence[NDArray], target: float) -> NDArray:
    """The target, or where one of several courses never comes down to it, the lowest loss that all reach, ``[M]``.

    Args:
        losses: of each course, ``[M, E]``; member ``m`` of all is compared with each other.

    >>> reached_by_all([np.array([[2.0, 0.1], [2.0, 0.1]]), np.array([[2.0, 0.4], [2.0, 0.2]])], 0.3).tolist()
    [0.4, 0.3]
    """
    lowest = [np.nanmin(loss, axis=1) for loss in losses]
    return np.maximum(np.max(lowest, axis=0), target)
