"""Out of a poor optimum: components are added where one stretches over several groups, and taken where two share one.

k-means and EM only ever move what is there. With many components some start between two groups and others in twos on
one; neither way leads out. In turns some components are split, EM goes a few steps, those that are missed least are
taken away, and EM goes on: the breathing of Fritzke (2020, for k-means) on mixtures, where Ueda et al. (2000) split and
merge components one at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lucida.clustering.covariances import Parameters, Sums
from lucida.clustering.em import Ascent, Climb, climb, components_of, factored
from lucida.clustering.rows import Rows
from lucida.clustering.splitting import split, spreads

STEPS = 3  # of EM after each change


def breathe(
    rows: Rows,
    ascent: Ascent,
    how: Climb,
    *,
    most: int = 8,
    told: Callable[[Ascent], None] = lambda ascent: None,
) -> Ascent:
    """An ascent of no lower bound than the one that is given.

    Args:
        rows: the data, best a sample of it.
        ascent: what EM came to there.
        how: when EM ends.
        most: so many components are added and taken away at first; half as many whenever that gains nothing.
        told: called with every ascent that gained, and after each step of the last EM.
    """
    k = len(ascent.mixture.weights)
    short = replace(how, max_iter=STEPS, tol=0.0)
    count = min(most, k // 2)
    while count > 0:
        wide = ascent.mixture
        for _ in range(count):
            wide = split(wide, int(np.argmax(wide.weights * spreads(wide))))
        wide = climb(rows, factored(wide, rows), short).mixture
        tried = climb(rows, without(wide, np.argsort(losses(rows, wide))[:count]), short)
        if tried.bound > ascent.bound + how.tol:
            ascent = tried
            told(ascent)
        else:
            count //= 2
    return climb(rows, ascent.mixture, how, told=told)


def losses(rows: Rows, mixture: Parameters) -> np.ndarray:
    """How much log-likelihood each component is worth: ``-Σ log(1 - r)``, what its removal costs before EM, ``[k]``."""
    components = components_of(mixture, rows)

    def add(worker: Any, block: Tensor, begin: int) -> None:
        others = 1.0 - torch.softmax(components.joint(block, worker), 1).double()
        worker.sums.count += others.clamp_(min=1e-30).log_().sum(0).numpy()

    workers = rows.each(add, lambda: components.worker(Sums.zeros(mixture.kind, mixture.means)))
    return -rows.processes.sum(sum(worker.sums.count for worker in workers))[0]


def without(mixture: Parameters, numbers: np.ndarray) -> Parameters:
    """The mixture without some components."""
    weights, means = np.delete(mixture.weights, numbers), np.delete(mixture.means, numbers, 0)
    covariances, factors = mixture.covariances, mixture.precisions_cholesky
    if mixture.kind != "tied":
        covariances, factors = np.delete(covariances, numbers, 0), np.delete(factors, numbers, 0)
    return Parameters(mixture.kind, weights / weights.sum(), means, covariances, factors)
