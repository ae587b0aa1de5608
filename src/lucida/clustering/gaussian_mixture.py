"""Gaussian mixtures of many rows: scikit-learn's estimator, chunked, on one process or several."""

from __future__ import annotations

import math
import numbers
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from lucida.clustering.arguments import check_means, check_precisions, check_settings, check_weights
from lucida.clustering.breathing import breathe
from lucida.clustering.covariances import (
    CovarianceType,
    Parameters,
    Sums,
    cholesky_of_precisions,
    covariances_of,
    free_parameters,
    maximised,
    precision_cholesky,
    precisions_of,
)
from lucida.clustering.em import Ascent, Climb, climb, components_of
from lucida.clustering.estimator import Estimator, random_state_of, warn_not_converged, warn_respawned
from lucida.clustering.processes import Processes
from lucida.clustering.rows import Rows
from lucida.clustering.starts import start
from lucida.core.progress import say

RESPAWNS = 3  # of one component
ROUGH = 10  # times `tol`: where EM ends on the first rows


class GaussianMixture(Estimator):
    """Gaussian mixture with scikit-learn's parameters, attributes and methods.

    Rows are read a block at a time, from memory or a memory-mapped array; float16 and float32 rows are computed with as
    float32 about their mean, their sums in float64. Where ``torch.distributed`` is initialised every process gives its
    own share of the rows to :meth:`fit`, and all end with the same mixture.

    Args:
        n_components: number of components ``k``.
        covariance_type: ``"full"``, ``"tied"``, ``"diag"`` or ``"spherical"``.
        tol: EM ends when the mean log-likelihood gains less.
        reg_covar: added to every variance.
        max_iter: at most so many iterations.
        n_init: so many starts, the best is kept.
        init_params: ``"kmeans"``, ``"k-means++"``, ``"random"`` or ``"random_from_data"``.
        weights_init: ``[k]``, instead of those of the start.
        means_init: ``[k, d]``.
        precisions_init: of the covariance type's shape.
        random_state: an int, a ``RandomState``, or none.
        warm_start: a second ``fit`` goes on where the first ended.
        verbose: 1 names iterations on the error stream, 2 adds the gain.
        verbose_interval: iterations between two lines.
        first_rows: of more rows than that, so many are drawn at random, and the start and the first EM see those alone;
            then EM goes on over all. ``None``: all rows from the start, as scikit-learn does; so does a start whose
            weights, means and precisions are all given. With many more free numbers than drawn rows the sample is
            fitted too closely: then ``None`` is better.
        breathing: after the first EM components are split and taken away in turns as long as that gains likelihood
            (:mod:`lucida.clustering.breathing`); a far better optimum where there are many components. scikit-learn has
            nothing like it.
        respawn: a component that collapses takes half of the heaviest one, at most three times, with a warning at the
            end; otherwise it stays where it is, as in scikit-learn.
        processes: who takes part, instead of ``torch.distributed``.

    Attributes:
        weights_, means_, covariances_, precisions_, precisions_cholesky_: the mixture, in scikit-learn's shapes and in
            the rows' type.
        converged_, n_iter_, lower_bound_, lower_bounds_: how EM over all rows went, from the best start.
        n_features_in_, feature_names_in_: of the rows of ``fit``.

    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]], float)
    >>> mixture = GaussianMixture(n_components=2, random_state=0).fit(X)
    >>> sorted(mixture.means_.round(6).tolist())
    [[1.0, 2.0], [10.0, 2.0]]
    """

    weights_: np.ndarray
    means_: np.ndarray
    covariances_: np.ndarray
    lower_bound_: float

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: CovarianceType = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: ArrayLike | None = None,
        means_init: ArrayLike | None = None,
        precisions_init: ArrayLike | None = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        first_rows: int | None = 65_536,
        breathing: bool = False,
        respawn: bool = False,
        processes: Processes | None = None,
    ):
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.first_rows = first_rows
        self.breathing = breathing
        self.respawn = respawn
        self.processes = processes

    # Fitting.

    def fit(self, X: ArrayLike, y: Any = None) -> GaussianMixture:
        """Fit the mixture to rows ``[n, d]``.

        Raises:
            ValueError: a parameter is out of range, the rows are not real, finite and two-dimensional, there are fewer
                than components, or a covariance is not positive definite.
        """
        rows = self._rows(X)
        if self.warm_start and hasattr(self, "converged_"):
            first = self._present(rows.shift.astype(np.float64))
            best = climb(rows, first, self._how(), bound=self.lower_bound_, told=self._tell)
        else:
            best = self._best_of_starts(rows)
        self._keep(best, rows)
        if best.respawned:
            warn_respawned(best.respawned)
        if not self.converged_ and self.max_iter > 0:
            warn_not_converged()
        return self

    def _best_of_starts(self, rows: Rows) -> Ascent:
        random = random_state_of(self.random_state)
        if rows.processes.size > 1 and not isinstance(self.random_state, numbers.Integral):
            random = random_state_of(int(rows.processes.from_first(np.array(float(random.randint(1 << 31))))))
        few = None
        given = all(start is not None for start in (self.weights_init, self.means_init, self.precisions_init))
        if not given and self.first_rows is not None and rows.total > max(self.first_rows, self.n_components):
            size = max(self.first_rows, self.n_components)
            few = rows.part(np.sort(random.choice(rows.total, size=size, replace=False)))
        seen, how = (rows, self._how()) if few is None else (few, replace(self._how(), tol=ROUGH * self.tol))
        first = [self._ascent(seen, random, how, trial) for trial in range(self.n_init)]
        best = max(first, key=lambda ascent: ascent.bound)  # of equals the earliest
        if few is None:
            return best
        ascent = climb(rows, self._agreed(best.mixture, rows), self._how(), told=self._tell)
        ascent.respawned += best.respawned
        return ascent

    def _ascent(self, rows: Rows, random: np.random.RandomState, how: Climb, trial: int) -> Ascent:
        """EM from one start."""
        if self.verbose:
            say(f"Initialization {trial}")
        ascent = climb(rows, self._first(rows, random), how, told=self._tell)
        return breathe(rows, ascent, how, told=self._tell) if self.breathing and self.max_iter else ascent

    def _how(self) -> Climb:
        return Climb(self.tol, self.max_iter, self.reg_covar, RESPAWNS if self.respawn else 0)

    def _tell(self, ascent: Ascent) -> None:
        """After each step; what `verbose` asks for."""
        step = len(ascent.bounds)
        if self.verbose and step % self.verbose_interval == 0:
            gain = f"\t ll change {ascent.bounds[-1] - ascent.bounds[-2]:.5f}" if self.verbose > 1 and step > 1 else ""
            say(f"  Iteration {step}{gain}")

    @staticmethod
    def _agreed(mixture: Parameters, rows: Rows) -> Parameters:
        """The mixture of the first process, in all: rounding may differ between machines."""
        same = rows.processes.from_first
        parts = (mixture.weights, mixture.means, mixture.covariances, mixture.precisions_cholesky)
        return Parameters(mixture.kind, *map(same, parts))

    def fit_predict(self, X: ArrayLike, y: Any = None) -> np.ndarray:
        """Fit, and the most probable component of each row, ``[n]``."""
        return self.fit(X).predict(X)

    def _rows(self, X: ArrayLike) -> Rows:
        check_settings(self)
        X = self._validated(X, reset=True)
        rows = Rows(X, self.processes or Processes.current())
        k, d = self.n_components, X.shape[1]
        if rows.total < k:
            raise ValueError(f"Expected n_samples >= n_components but got n_components = {k}, n_samples = {rows.total}")
        if self.weights_init is not None:
            self.weights_init = check_weights(self.weights_init, k)
        if self.means_init is not None:
            self.means_init = check_means(self.means_init, k, d)
        if self.precisions_init is not None:
            self.precisions_init = check_precisions(self.precisions_init, self.covariance_type, k, d)
        return rows

    def _first(self, rows: Rows, random: np.random.RandomState) -> Parameters:
        weights, means, factors = (None if x is None else np.asarray(x, np.float64) for x in self._given())
        if weights is None or means is None or factors is None:
            sums = start(rows, self.init_params, self.covariance_type, self.n_components, random)
            nk, found, covariances = maximised(sums, reg_covar=self.reg_covar, eps=rows.eps, shift=rows.shift)
            weights = nk / rows.total if weights is None else weights
            means = found + rows.shift if means is None else means
            if factors is None:
                factors = precision_cholesky(covariances, self.covariance_type, float32=rows.dtype == np.float32)
        covariances = covariances_of(factors, self.covariance_type)
        return Parameters(self.covariance_type, weights, means - rows.shift, covariances, factors)

    def _given(self) -> tuple[Any, Any, Any]:
        precisions = self.precisions_init
        if precisions is not None:
            precisions = cholesky_of_precisions(np.asarray(precisions, np.float64), self.covariance_type)
        return self.weights_init, self.means_init, precisions

    # The mixture, about the mean of the rows inside, as scikit-learn shows it outside.

    def _keep(self, ascent: Ascent, rows: Rows) -> None:
        self.converged_, self.lower_bound_, self.lower_bounds_ = ascent.converged, ascent.bound, ascent.bounds
        self.n_iter_ = len(ascent.bounds)
        mixture, dtype = ascent.mixture, rows.dtype
        self.weights_ = mixture.weights.astype(dtype)
        self.means_ = (mixture.means + rows.shift).astype(dtype)
        self.covariances_ = mixture.covariances.astype(dtype)
        self.precisions_cholesky_ = mixture.precisions_cholesky.astype(dtype)
        self.precisions_ = precisions_of(mixture.precisions_cholesky, mixture.kind).astype(dtype)

    def _present(self, shift: np.ndarray) -> Parameters:
        parts = (self.weights_, self.means_, self.covariances_, self.precisions_cholesky_)
        weights, means, covariances, factors = (np.asarray(x, np.float64) for x in parts)
        return Parameters(self.covariance_type, weights, means - shift, covariances, factors)

    # Using it.

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Log-likelihood of each row, ``[n]``."""
        return self._each(X, (), lambda joint: torch.logsumexp(joint, 1))

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Mean log-likelihood of the rows."""
        return float(np.mean(self.score_samples(X), dtype=np.float64))

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The most probable component of each row, ``int64 [n]``."""
        return self._each(X, (), lambda joint: joint.argmax(1), np.int64)

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """The probability of each component for each row, ``[n, k]``."""
        return self._each(X, (self.n_components,), lambda joint: torch.softmax(joint, 1))

    def _each(self, X: ArrayLike, shape: tuple[int, ...], answer: Any, dtype: Any = None) -> np.ndarray:
        self._check_fitted()
        X = self._validated(X, reset=False)
        rows = Rows(X, Processes(), about=self._present(np.zeros(1)).moments)
        mixture = self._present(rows.shift.astype(np.float64))
        components = components_of(mixture, rows)
        out = np.empty((len(X), *shape), dtype or rows.dtype)

        def write(worker: Any, block: Tensor, begin: int) -> None:
            out[begin : begin + len(block)] = answer(components.joint(block, worker)).numpy()

        rows.each(write, lambda: components.worker(Sums.zeros(mixture.kind, mixture.means)))
        return out

    def bic(self, X: ArrayLike) -> float:
        """Bayesian information criterion on rows; lower is better (Schwarz 1978)."""
        n = len(X)  # type: ignore[arg-type]  # whatever `score` takes has a length
        return -2 * self.score(X) * n + self._n_parameters() * math.log(n)

    def aic(self, X: ArrayLike) -> float:
        """Akaike's information criterion on rows; lower is better (Akaike 1974)."""
        return -2 * self.score(X) * len(X) + 2 * self._n_parameters()  # type: ignore[arg-type]

    def _n_parameters(self) -> int:
        return free_parameters(self.covariance_type, self.n_components, self.means_.shape[1])

    def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Draw rows ``[n, d]`` and their components ``[n]``, component by component.

        Raises:
            ValueError: ``n_samples`` is less than 1.
        """
        self._check_fitted()
        if n_samples < 1:
            raise ValueError(f"Invalid value for 'n_samples': {n_samples} . The sampling requires at least one sample.")
        random = random_state_of(self.random_state)
        weights = np.asarray(self.weights_, np.float64)
        counts = random.multinomial(n_samples, weights / weights.sum())
        parts = [self._draw(random, component, int(count)) for component, count in enumerate(counts)]
        return np.vstack(parts), np.repeat(np.arange(len(counts)), counts)

    def _draw(self, random: np.random.RandomState, component: int, count: int) -> np.ndarray:
        mean, covariances = self.means_[component], self.covariances_
        if self.covariance_type in ("full", "tied"):
            return random.multivariate_normal(
                mean, covariances[component] if covariances.ndim == 3 else covariances, count
            )
        return mean + random.standard_normal(size=(count, len(mean))) * np.sqrt(covariances[component])
