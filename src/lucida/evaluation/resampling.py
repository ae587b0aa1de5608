"""Random weights of a test part's rows, for intervals of metrics that are no plain share or mean.

The Bayesian bootstrap (Rubin 1981): each cluster gets an exponential weight, and each class is scaled to the rows it
has, so that no draw is without positives (stratified: intervals speak of a test part with the same number of each
class). A class that is right, or wrong, on all its few rows has no spread to resample; so in the draws, and there
alone, each class has two more rows of weight 1/C, one right and one wrong (for two classes Jeffreys' prior on its
recall). Of two models that are compared, each is right on one of them alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lucida.core.seeds import stream
from lucida.evaluation.labelled_scores import LabelledScores

Floats = NDArray[np.floating]
_NUMBERS_AT_ONCE = 2_000_000  # weights held at a time: 8 MB, what a processor keeps at hand


@dataclass(frozen=True)
class Draw:
    """``R`` sets of weights, and the added rows.

    Attributes:
        weights: ``float32 [n, R]``.
        added: ``[2, C, R]``: weight on which one model alone is right, and on which a second one alone is.
        shift: ``[R]``: the wrong row of class ``k`` is called ``k + shift``, so that each class is called once.
    """

    weights: Floats
    added: Floats
    shift: NDArray[np.int64]

    def right(self, model: int = 0) -> Floats:
        """Added weight on which a model (0 or 1) is right, ``[C, R]``."""
        return self.added[model]

    def wrong(self, model: int = 0) -> Floats:
        """Added weight on which a model is wrong, ``[C, R]``."""
        return self.added[1 - model]


def sums_by(keys: NDArray[np.int64], weights: Floats, size: int) -> Floats:
    """Sums of ``weights [n, R]`` over rows of one key, ``float64 [size, R]``."""
    result = np.zeros((size, weights.shape[1]))
    if len(keys):
        order = np.argsort(keys, kind="stable")
        present, starts = np.unique(keys[order], return_index=True)
        taken = weights if np.array_equal(order, np.arange(len(keys))) else weights[order]
        result[present] = np.add.reduceat(taken, starts, axis=0)
    return result


def plain(scored: LabelledScores) -> Draw:
    """The rows as they are: one set of weights of 1, nothing added."""
    return Draw(np.ones((len(scored.labels), 1)), np.zeros((2, scored.classes, 1)), np.ones(1, np.int64))


def draws(scored: LabelledScores, resamples: int, seed: int) -> Iterator[Draw]:
    """``resamples`` sets of weights, some at a time."""
    generator, added = stream(seed, "resampling", "rows"), stream(seed, "resampling", "added")
    clusters, support = int(scored.clusters.max()) + 1, scored.support
    alone = clusters == len(scored.labels)
    at_once = max(1, _NUMBERS_AT_ONCE // len(scored.labels))
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        weights = generator.standard_exponential((clusters, size), dtype=np.float32)
        if not alone:
            weights = weights[scored.clusters]
        totals = sums_by(scored.labels, weights, scored.classes)
        factors = np.divide(support[:, None], totals, out=np.zeros_like(totals), where=totals > 0).astype(np.float32)
        ends = np.cumsum(support)
        for k in np.flatnonzero(support):
            weights[ends[k] - support[k] : ends[k]] *= factors[k]
        extra = added.gamma(1 / scored.classes, size=(2, scored.classes, size)) * factors
        yield Draw(weights, extra, added.integers(1, scored.classes, size=size))
