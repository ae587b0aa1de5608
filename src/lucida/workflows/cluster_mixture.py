"""The mixture of a corpus: how many components by BIC, fitted, and every picture assigned, in chunks."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lucida.clustering import GaussianMixture, bic_sweep
from lucida.core.progress import say
from lucida.core.seeds import derive_seed, stream
from lucida.models.principal_components import chunks
from lucida.report.cluster_page import CovarianceType, SweepPoint

LADDER = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256)
_PER_COMPONENT = 8  # pictures that a component of the sweep has at least, on average
_ITERATIONS = 200
_REGULARISATION = 1e-3  # of variances whose mean is 1


@dataclass(frozen=True, eq=False)
class Assignments:
    """Every picture's place; clusters are numbered from 0, the largest first.

    Attributes:
        cluster, second: the two likeliest clusters, ``int [N]``; with one cluster, ``second`` is -1.
        probability, second_probability: their posteriors, ``float32 [N]``.
        log_likelihood: of the picture under the whole mixture, in nats, ``float32 [N]``.
        count: clusters that have a picture.
    """

    cluster: NDArray[np.int64]
    second: NDArray[np.int64]
    probability: NDArray
    second_probability: NDArray
    log_likelihood: NDArray
    count: int

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Pictures of each cluster."""
        return np.bincount(self.cluster, minlength=self.count)


def fit_mixture(x: NDArray, components: int, kind: CovarianceType, *, seed: int, starts: int) -> GaussianMixture:
    """The best of some starts by k-means."""
    from sklearn.exceptions import ConvergenceWarning

    mixture = GaussianMixture(
        components, covariance_type=kind, reg_covar=_REGULARISATION, n_init=starts, init_params="kmeans",
        random_state=derive_seed(seed, "mixture", components, kind) % 2**32, max_iter=_ITERATIONS,
    )  # fmt: skip
    with warnings.catch_warnings():  # a mixture that still improves slowly is as good a summary
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit(x)


def sample_rows(rows: int, at_most: int, seed: int) -> NDArray[np.int64]:
    """Rows for the sweep, ascending; all if they are few enough."""
    if rows <= at_most:
        return np.arange(rows)
    return np.sort(stream(seed, "cluster", "sweep").choice(rows, at_most, replace=False))


def sweep(x: NDArray, kinds: Sequence[CovarianceType], *, at_most: int, seed: int) -> list[SweepPoint]:
    """BIC by number of components and kind of covariance, each mixture begun from the one before."""
    most = max(1, min(at_most, len(x) // _PER_COMPONENT))
    sizes = [count for count in LADDER if count <= most]
    points: list[SweepPoint] = []
    for kind in kinds:
        say(f"mixtures of 1 to {sizes[-1]} components, {kind} covariance")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Mixtures of .* did not converge")  # as above
            found = bic_sweep(
                x, sizes, covariance_type=kind, reg_covar=_REGULARISATION, max_iter=_ITERATIONS,
                random_state=derive_seed(seed, "sweep", kind) % 2**32,
            )  # fmt: skip
        points += [SweepPoint(k, kind, bic) for k, bic in zip(found.components, found.bic, strict=True)]
    return points


def chosen(points: Iterable[SweepPoint]) -> SweepPoint:
    """The lowest BIC of two components or more, since one makes no clusters; of one where nothing else was tried."""
    return min(points, key=lambda point: (point.components == 1, point.bic))


def assign(mixture: GaussianMixture, x: NDArray) -> Assignments:
    """All pictures, some at a time; components without a picture are no clusters."""
    rows, k = len(x), mixture.n_components
    first, second = np.zeros(rows, np.int64), np.full(rows, -1, np.int64)
    probability, second_probability = np.ones(rows, np.float32), np.zeros(rows, np.float32)
    log_likelihood = np.empty(rows, np.float32)
    for part in chunks(rows):
        log_likelihood[part] = mixture.score_samples(x[part])
        posterior = mixture.predict_proba(x[part])
        order = np.argsort(-posterior, axis=1, kind="stable")[:, :2]
        first[part], probability[part] = order[:, 0], np.take_along_axis(posterior, order, 1)[:, 0]
        if k > 1:
            second[part] = order[:, 1]
            second_probability[part] = np.take_along_axis(posterior, order, 1)[:, 1]
    sizes = np.bincount(first, minlength=k)
    number = np.empty(k + 1, np.int64)
    number[np.argsort(-sizes, kind="stable")] = np.arange(k)
    number[-1] = -1  # of no second cluster
    count = int((sizes > 0).sum())
    renamed = number[second]
    return Assignments(
        number[first], np.where(renamed < count, renamed, -1), probability, second_probability, log_likelihood, count
    )
