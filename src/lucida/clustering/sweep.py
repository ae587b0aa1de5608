"""How many components: mixtures of a growing number, each begun from the one before."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lucida.clustering.covariances import Parameters
from lucida.clustering.em import climb, expectation, factored
from lucida.clustering.estimator import warn_respawned
from lucida.clustering.gaussian_mixture import GaussianMixture
from lucida.clustering.splitting import split, spreads


@dataclass(frozen=True)
class Sweep:
    """A mixture for each number of components.

    Args:
        components: the numbers, ascending.
        bic: Bayesian information criterion of each on the rows of the sweep; lower is better (Schwarz 1978).
        mixtures: fitted, in the same order.
    """

    components: list[int]
    bic: list[float]
    mixtures: list[GaussianMixture]

    @property
    def best(self) -> GaussianMixture:
        """The mixture of the lowest criterion."""
        return self.mixtures[int(np.argmin(self.bic))]


def bic_sweep(X: ArrayLike, components: Iterable[int], **settings: Any) -> Sweep:
    """Mixtures of several sizes, from few components to many.

    The smallest is started as ``settings`` say. Each further one goes on from the one before: until there are enough,
    the component whose rows spread most along one axis (weight times variance) is split there; EM then sees all rows.
    That costs few steps, and no mixture is much worse than the smaller one it came from.

    Args:
        X: ``[n, d]``.
        components: the numbers of components, in any order.
        settings: of :class:`GaussianMixture`, but ``n_components``.

    Raises:
        ValueError: there is no number, or what :meth:`GaussianMixture.fit` raises.

    >>> random = np.random.RandomState(0)
    >>> X = np.concatenate([random.randn(200, 2) + 9 * np.array([i, i % 2]) for i in range(3)])
    >>> bic_sweep(X, range(1, 6), random_state=0).best.n_components
    3
    """
    sizes = sorted(set(components))
    if not sizes:
        raise ValueError("bic_sweep needs at least one number of components")
    smallest = GaussianMixture(sizes[0], **settings).fit(X)
    rows = smallest._rows(X)
    if sizes[-1] > rows.total:
        raise ValueError(f"bic_sweep needs a row for each of {sizes[-1]} components and got {rows.total} rows")
    parameters = smallest._present(rows.shift.astype(np.float64))
    sweep = Sweep([], [], [])
    for k in sizes:
        mixture = smallest
        if k > sizes[0]:
            mixture = GaussianMixture(k, **settings)
            mixture.n_features_in_ = smallest.n_features_in_
            if hasattr(smallest, "feature_names_in_"):
                mixture.feature_names_in_ = smallest.feature_names_in_
            ascent = climb(rows, factored(_grown(parameters, k), rows), mixture._how())
            mixture._keep(ascent, rows)
            if ascent.respawned:
                warn_respawned(ascent.respawned)
            parameters = ascent.mixture
        bound = float(expectation(rows, parameters).log_likelihood)
        sweep.components.append(k)
        sweep.bic.append(-2 * bound + mixture._n_parameters() * math.log(rows.total))
        sweep.mixtures.append(mixture)
    slow = [mixture.n_components for mixture in sweep.mixtures if not mixture.converged_]
    if slow:
        warnings.warn(f"Mixtures of {slow} components did not converge; increase max_iter or tol.", stacklevel=2)
    return sweep


def _grown(mixture: Parameters, k: int) -> Parameters:
    while len(mixture.weights) < k:
        mixture = split(mixture, int(np.argmax(mixture.weights * spreads(mixture))))
    return mixture
