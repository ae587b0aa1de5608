"""The gradient noise scale of a run, from the pairs of gradients its probes recorded.

McCandlish et al. (2018, 1812.06162): ``B = tr S / |G|^2`` examples, with ``G`` the true gradient and ``S`` the
covariance of one example's ("simple" noise scale, their eq. 2.9). Batches far below it are mostly noise: twice the
batch does nearly twice the work a step. Batches far above it buy next to nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from lucida.training.findings import ENOUGH, Record

LATE = 0.5
"""The share of the pairs that counts, the latest: the scale grows while the loss falls."""


@dataclass(frozen=True)
class NoiseScale:
    """The noise scale over the second half of a run.

    Attributes:
        examples: ``tr S / |G|^2`` in examples, rows of the model's first input; ``None`` where the gradients of two
            steps in a row do not agree more than by chance: then it is above ``low``, if that is known.
        low, high: its 95 % interval (Fieller's, over the pairs); ``high`` is ``None`` where it is open.
        batch: examples in one step's batch, the mean over the pairs.
        pairs: how many pairs of steps it rests on; ``first`` and ``last`` step of them.
    """

    examples: float | None
    low: float | None
    high: float | None
    batch: float
    pairs: int
    first: int
    last: int


def noise_scale(record: Record) -> NoiseScale | None:
    """The noise scale, or ``None`` where fewer than three pairs of gradients with known batches were recorded.

    The estimates of ``tr S`` and of ``|G|^2`` (see :class:`lucida.training.probes.pairs.GradientPair`) are averaged
    over the pairs before one is divided by the other: the ratio of a single pair has no mean. The ratio of two means is
    off by about ``var / pairs`` of its own; the interval is Fieller's, which holds where ``|G|^2`` is not known from 0.

    It is one of a mean over independent examples. Where the loss couples them (contrastive losses, batch norm), or
    dropout adds noise of its own, it still says how two batches of that size differ, but not what other sizes would do.
    """
    pairs = [(row["step"], row["noise"]) for row in record.probes if _usable(row.get("noise"))]
    if len(pairs) < ENOUGH:
        return None
    late = pairs[-max(ENOUGH, math.ceil(LATE * len(pairs))) :]
    trace, squared, batch = (np.array([pair[key] for _, pair in late]) for key in ("trace", "squared", "batch"))
    low, high = fieller(trace, squared)
    examples = None if high is None else max(0.0, float(trace.mean() / squared.mean()))
    return NoiseScale(examples, low, high, float(batch.mean()), len(late), late[0][0], late[-1][0])


def fieller(above: np.ndarray, below: np.ndarray) -> tuple[float | None, float | None]:
    """The 95 % interval of ``mean(above) / mean(below)``, for ratios that cannot be negative (Fieller 1954).

    Args:
        above, below: paired values, ``[n]``; the mean of ``above`` is positive.

    Returns:
        The bounds; ``None`` above where no finite one holds, and on both sides where nothing is known.

    >>> low, high = fieller(np.array([2.0, 2.2, 1.8, 2.0]), np.array([1.0, 1.1, 0.9, 1.0]))
    >>> round(low, 3), round(high, 3)
    (2.0, 2.0)
    >>> low, high = fieller(np.array([2.0, 2.1, 1.9, 2.0]), np.array([-1.0, 1.0, -0.5, 0.5]))
    >>> round(low, 2), high
    (1.44, None)
    """
    n = len(above)
    spread = np.cov(above, below) / n * student.ppf(0.975, n - 1) ** 2
    a, b = below.mean() ** 2 - spread[1, 1], above.mean() * below.mean() - spread[0, 1]
    c = above.mean() ** 2 - spread[0, 0]
    root = math.sqrt(max(0.0, b * b - a * c))
    if a > 0 and below.mean() > 0:
        return max(0.0, float((b - root) / a)), float((b + root) / a)
    if c > 0 and a < 0:  # all ratios but those between two bounds, of which one is negative
        return float((b - root) / a), None
    return None, None


def _usable(pair: dict[str, float | None] | None) -> bool:
    return pair is not None and all(pair.get(key) is not None for key in ("trace", "squared", "batch"))
