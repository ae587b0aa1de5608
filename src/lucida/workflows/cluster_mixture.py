"""The mixture of a corpus: how many components by BIC, fitted, and every picture assigned, in chunks."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lucida.clustering import GaussianMixture
from lucida.core.progress import counted
from lucida.core.seeds import derive_seed, stream
from lucida.models.principal_components import chunks
from lucida.report.cluster_page import CovarianceType, SweepPoint

LADDER = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
_PER_COMPONENT = 8  # pictures that a component of the sweep has at least, on average
_PATIENCE = 3  # steps of the ladder without a better BIC, after which larger mixtures are not tried
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
        random_state=derive_seed(seed, "mixture", components, kind) % 2**32, max_iter=200,
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
    """BIC by number of components and kind of covariance: a ladder, then the numbers around its best."""
    points: list[SweepPoint] = []
    most = max(1, min(at_most, len(x) // _PER_COMPONENT))
    ladder = [count for count in LADDER if count <= most]
    for kind in kinds:
        own: list[SweepPoint] = []
        for count in counted(ladder, f"mixtures of {kind} covariance"):
            own.append(_tried(x, count, kind, seed))
            if len(own) - 1 - _best_place(own) >= _PATIENCE:
                break
        tried = {point.components for point in own}
        best = own[_best_place(own)].components
        own += [_tried(x, count, kind, seed) for count in _between(best, ladder) if count not in tried]
        points += sorted(own, key=lambda point: point.components)
    return points


def _tried(x: NDArray, count: int, kind: CovarianceType, seed: int) -> SweepPoint:
    return SweepPoint(count, kind, float(fit_mixture(x, count, kind, seed=seed, starts=1).bic(x)))


def _best_place(points: Sequence[SweepPoint]) -> int:
    return min(range(len(points)), key=lambda k: points[k].bic)


def _between(best: int, ladder: Sequence[int]) -> list[int]:
    """Halfway to the neighbours of the best on the ladder.

    >>> _between(8, LADDER), _between(3, LADDER), _between(12, LADDER[:7])
    ([7, 10], [], [10])
    """
    place = list(ladder).index(best)
    neighbours = [ladder[k] for k in (place - 1, place + 1) if 0 <= k < len(ladder)]
    return [middle for other in neighbours if (middle := (best + other) // 2) not in (best, other)]


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
