"""Gaussian mixtures and k-means on the same points from the same starts.

Each arm is fitted to a part of the points and judged on the rest, with labels that it never saw. k-means is judged as
the mixture it is the limit of: one variance for all directions and groups, with each group's share as its weight.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import logsumexp

from lucida.clustering import GaussianMixture
from lucida.clustering.covariances import CovarianceType
from lucida.core.seeds import derive_seed
from lucida.core.statistics import auroc
from lucida.evaluation.calibration import calibration_error
from lucida.evaluation.clusters import adjusted_rand_index
from lucida.lab.experiment import Bench
from lucida.lab.grouped_points import ELONGATION, REAL, UNEQUAL, GroupedPoints, Truth, planted
from lucida.lab.observations import Observations

SPHERES, ELLIPSOIDS = "planted spheres", "planted ellipsoids"
DATA = (SPHERES, ELLIPSOIDS, "digits", "emoji")
K_MEANS, SPHERICAL, DIAGONAL, TIED, FULL, SHRUNK, TRUE = (
    "k-means", "mixture, spherical", "mixture, diagonal", "mixture, tied", "mixture, full", "mixture, full, shrunk",
    "the true mixture",
)  # fmt: skip
CERTAIN, COIN = "mixture, full, taken as certain", "a coin"
BY_BIC, RULE = "by BIC, {}", "by the rule of thumb"
FITTED = (K_MEANS, SPHERICAL, DIAGONAL, TIED, FULL, SHRUNK)
KINDS: dict[str, CovarianceType] = {
    SPHERICAL: "spherical",
    DIAGONAL: "diag",
    TIED: "tied",
    FULL: "full",
    SHRUNK: "full",
}
SHRINKAGE = 0.1  # added to variances whose mean is 1
REGULARISATION = 1e-6
AGREEMENT, LIKELIHOOD, UNANNOUNCED, POINTS_OUT = (
    "agreement", "held-out log-likelihood", "unannounced mistakes", "points out mistakes",
)  # fmt: skip
MEASURES = (AGREEMENT, LIKELIHOOD, UNANNOUNCED, POINTS_OUT, "calibration error", "accuracy", "seconds")
SWEPT = (SPHERICAL, DIAGONAL, FULL)
CURVES = (K_MEANS, TIED, FULL, SHRUNK)
EDGES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.99)  # of confidences drawn against accuracy


@dataclass(frozen=True)
class Settings:
    """The numbers of a scale.

    Attributes:
        points: fitted of what is planted.
        starts: of every fit; the best by the arm's own objective is kept.
        counts: components that BIC chooses among.
        sweep_starts: of each of those.
        elongations: of the curve over shapes.
        sizes: points fitted, of the curve over sizes.
    """

    points: int
    starts: int
    counts: tuple[int, ...]
    sweep_starts: int
    elongations: tuple[float, ...]
    sizes: tuple[int, ...]


class Fit(NamedTuple):
    """A mixture by its log densities.

    Attributes:
        joint: points to the log of weight times density, ``[n, k]``.
        objective: what the arm maximises over starts.
    """

    joint: Callable[[NDArray], NDArray]
    objective: float


def points_of(data: str, seed: int, points: int) -> GroupedPoints:
    """A data set of the page for a seed."""
    if data == SPHERES:
        return planted(seed, points)
    if data == ELLIPSOIDS:
        return planted(seed, points, elongation=ELONGATION, unequal=UNEQUAL)
    return REAL[data]().halves(seed)


def first_centres(x: NDArray, k: int, seed: int, start: int) -> NDArray:
    """Where every arm begins: centres by k-means++."""
    from sklearn.cluster import kmeans_plusplus

    return np.asarray(kmeans_plusplus(x, k, random_state=derive_seed(seed, "start", k, start) % 2**32)[0])


def fit(x: NDArray, k: int, arm: str, seed: int, starts: int) -> Fit:
    """The arm's best of some starts."""
    fits = [_fit_from(x, first_centres(x, k, seed, start), arm) for start in range(starts)]
    return max(fits, key=lambda one: one.objective)


def _fit_from(x: NDArray, centres: NDArray, arm: str) -> Fit:
    if arm == K_MEANS:
        return _k_means(x, centres)
    kind = KINDS[arm]
    regular = SHRINKAGE if arm == SHRUNK else REGULARISATION
    weights, means, precisions = moments(x, nearest(x, centres), len(centres), kind, regular)
    mixture = GaussianMixture(
        len(centres), covariance_type=kind, reg_covar=regular, max_iter=300,
        weights_init=weights, means_init=means, precisions_init=precisions,
    )  # fmt: skip
    with warnings.catch_warnings():  # slow ends are ends: all arms have the same number of iterations
        warnings.simplefilter("ignore")
        mixture.fit(x)
    return Fit(partial(_joint_of, mixture), float(mixture.lower_bound_))


def _joint_of(mixture: GaussianMixture, x: NDArray) -> NDArray:
    with np.errstate(divide="ignore"):
        return np.log(mixture.predict_proba(x)) + mixture.score_samples(x)[:, None]


def nearest(x: NDArray, centres: NDArray) -> NDArray:
    """The nearest centre of each point."""
    return (np.square(centres).sum(axis=1) - 2 * x @ centres.T).argmin(axis=1)


def _k_means(x: NDArray, first: NDArray) -> Fit:
    """As a mixture: one variance, the shares as weights."""
    from sklearn.cluster import KMeans

    centres = KMeans(len(first), init=first, n_init=1).fit(x).cluster_centers_
    labels = nearest(x, centres)
    inertia = float(np.square(x - centres[labels]).sum())
    variance = max(inertia / x.size, REGULARISATION)
    weights = np.bincount(labels, minlength=len(centres)) / len(x)

    def joint(y: NDArray) -> NDArray:
        squares = np.square(y[:, None, :] - centres).sum(axis=2)
        with np.errstate(divide="ignore"):
            return np.log(weights) - squares / (2 * variance) - y.shape[1] / 2 * np.log(2 * np.pi * variance)

    return Fit(joint, -inertia)


def moments(x: NDArray, labels: NDArray, k: int, kind: str, regular: float) -> tuple[NDArray, NDArray, NDArray]:
    """Weights, means and precisions of hard groups, in the shapes of a covariance kind; a lone point gets all's."""
    n, d = x.shape
    sizes = np.maximum(np.bincount(labels, minlength=k), 1)
    means = np.stack([np.bincount(labels, weights=column, minlength=k) for column in x.T], axis=1) / sizes[:, None]
    rest = x - means[labels]
    if kind == "tied":
        return sizes / sizes.sum(), means, np.linalg.inv(rest.T @ rest / n + regular * np.eye(d))
    if kind == "full":
        common = rest.T @ rest / n
        own = np.stack([rest[labels == j].T @ rest[labels == j] for j in range(k)]) / sizes[:, None, None]
        few = (sizes <= d)[:, None, None]
        return sizes / sizes.sum(), means, np.linalg.inv(np.where(few, common, own) + regular * np.eye(d))
    squares = np.square(rest)
    common = squares.mean(axis=0)
    own = np.stack([np.bincount(labels, weights=column, minlength=k) for column in squares.T], axis=1) / sizes[:, None]
    variances = np.where((sizes <= 2)[:, None], common, own) + regular
    precisions = 1 / (variances.mean(axis=1) if kind == "spherical" else variances)
    return sizes / sizes.sum(), means, precisions


def true_mixture(truth: Truth) -> Fit:
    """The mixture that the points were drawn from: nobody can do better."""
    factors = np.linalg.cholesky(truth.covariances)
    logs = np.log(truth.weights) - np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)

    def joint(y: NDArray) -> NDArray:
        white = np.stack([np.linalg.solve(f, (y - m).T).T for f, m in zip(factors, truth.means, strict=True)], axis=1)
        return logs - np.square(white).sum(axis=2) / 2 - y.shape[1] / 2 * np.log(2 * np.pi)

    return Fit(joint, 0.0)


class Judged(NamedTuple):
    """A fit on held-out points: the measures but seconds, and the posteriors against what is right."""

    measures: tuple[float, ...]
    confidence: NDArray
    right: NDArray


def judge_fit(own: Fit, points: GroupedPoints) -> Judged:
    """Agreement, log-likelihood of a dimension, and what the largest posteriors say of being right.

    Mistakes are *unannounced* as far as the mean posterior exceeds the share that is right, over the share that is
    wrong: 1 for whoever is always certain, 0 for whoever is as sure as right.

    A cluster stands for the group it is matched to on the fitted points, one to one, so that most of them are right.
    """
    here, there = own.joint(points.fitted).argmax(axis=1), own.joint(points.held_out)
    k = there.shape[1]
    table = np.zeros((k, points.groups))
    np.add.at(table, (here, points.fitted_groups), 1)
    group = np.full(k, -1)
    rows, columns = linear_sum_assignment(-table)
    group[rows] = columns
    whole = logsumexp(there, axis=1)
    found, confidence = there.argmax(axis=1), np.exp(there.max(axis=1) - whole)
    right = group[found] == points.held_out_groups
    mistakes = 1 - float(right.mean())
    measures = (
        adjusted_rand_index(points.held_out_groups, found).value,
        float(whole.mean()) / points.held_out.shape[1],
        (float(confidence.mean()) - 1 + mistakes) / mistakes if mistakes else 0.0,
        auroc(confidence, right) if 0 < mistakes < 1 else 0.5,
        calibration_error(confidence, right, resamples=1).value,
        1 - mistakes,
    )
    return Judged(measures, confidence, right)


def measure(bench: Bench, settings: Settings) -> Observations:
    """Every arm on every data set; then shapes, sizes, and the number that BIC chooses."""
    found = Observations()
    for data in DATA:
        _arms(bench, settings, found, data)
        _numbers(bench, settings, found, data)
    _over(bench, settings, found, "elongation", settings.elongations)
    _over(bench, settings, found, "points", settings.sizes)
    return found


def _key(bench: Bench, data: str, settings: Settings, *more: Any) -> list[Any]:
    content = [REAL[data]().content_key] if data in REAL else []
    return [list(bench.seeds), repr(settings), *content, *more]


def _arms(bench: Bench, settings: Settings, found: Observations, data: str) -> None:
    def compute() -> dict[str, NDArray]:
        rows: dict[str, list[NDArray]] = {}
        for seed in bench.seeds:
            points = points_of(data, seed, settings.points)
            for arm in (*FITTED, *([TRUE] if points.truth else [])):
                began = time.perf_counter()
                own = true_mixture(points.truth) if arm == TRUE else fit(  # type: ignore[arg-type]
                    points.fitted, points.groups, arm, seed, settings.starts)  # fmt: skip
                seconds = time.perf_counter() - began
                judged = judge_fit(own, points)
                rows.setdefault(arm, []).append(np.array([*judged.measures, seconds]))
                rows.setdefault(f"reliability/{arm}", []).append(_reliability(judged))
        return {name: np.stack(values) for name, values in rows.items()}

    arrays = bench.remember(f"arms on {data}", _key(bench, data, settings), compute)
    for arm in (*FITTED, *([TRUE] if TRUE in arrays else [])):
        values = arrays[arm]
        for k, name in enumerate(MEASURES[:-1]):
            found.record(name, arm, values[:, k], data)
        if arm != TRUE:
            found.facts[f"seconds/{arm}/{data}"] = float(np.median(values[:, -1]))
        found.draw(f"reliability/{data}/{arm}", [*_middles()], arrays[f"reliability/{arm}"])
    found.record(UNANNOUNCED, CERTAIN, np.ones(len(bench.seeds)), data)
    found.record(POINTS_OUT, COIN, np.full(len(bench.seeds), 0.5), data)


def _middles() -> list[float]:
    return [(a + b) / 2 for a, b in zip((1 / 3, *EDGES), (*EDGES, 1.0), strict=True)]


def _reliability(judged: Judged) -> NDArray:
    """The share that is right by confidence; NaN where no point has such a confidence."""
    bins = np.digitize(judged.confidence, EDGES)
    counts = np.bincount(bins, minlength=len(EDGES) + 1)
    right = np.bincount(bins, weights=judged.right, minlength=len(EDGES) + 1)
    return np.where(counts >= 5, right / np.maximum(counts, 1), np.nan)


def _numbers(bench: Bench, settings: Settings, found: Observations, data: str) -> None:
    """How many components BIC chooses, for three shapes of covariance."""

    def compute() -> dict[str, NDArray]:
        rows = {arm: np.empty((len(bench.seeds), len(settings.counts))) for arm in SWEPT}
        sizes = np.empty((len(bench.seeds), 2))
        for s, seed in enumerate(bench.seeds):
            points = points_of(data, seed, settings.points)
            sizes[s] = len(points.fitted), points.groups
            for arm in SWEPT:
                rows[arm][s] = [
                    bic(points.fitted, count, arm, seed, settings.sweep_starts) for count in settings.counts
                ]
        return {**rows, "sizes": sizes}

    arrays = bench.remember(f"BIC on {data}", _key(bench, data, settings), compute)
    n, groups = arrays["sizes"].T
    for arm in SWEPT:
        chosen = np.asarray(settings.counts)[arrays[arm].argmin(axis=1)]
        name = BY_BIC.format(arm)
        found.record("number", name, chosen, data)
        found.record("octaves from the truth", name, np.abs(np.log2(chosen / groups)), data)
        found.record("octaves above the truth", name, np.log2(chosen / groups), data)
        above = arrays[arm] - arrays[arm].min(axis=1, keepdims=True)
        found.draw(f"bic/{data}/{arm}", settings.counts, above / n[:, None])
    found.record("octaves from the truth", RULE, np.abs(np.log2(np.sqrt(n / 2) / groups)), data)
    found.facts[f"groups/{data}"] = float(groups[0])


def bic(x: NDArray, count: int, arm: str, seed: int, starts: int) -> float:
    """Schwarz's criterion, the lower the better, of the arm with so many components."""
    n, d = x.shape
    own = fit(x, count, arm, seed, starts)
    free = {SPHERICAL: count, DIAGONAL: count * d, FULL: count * d * (d + 1) // 2}[arm]
    likelihood = float(logsumexp(own.joint(x), axis=1).sum())
    return -2 * likelihood + (free + count * d + count - 1) * float(np.log(n))


def _over(bench: Bench, settings: Settings, found: Observations, what: str, values: Sequence[float]) -> None:
    """Agreement and unannounced mistakes of some arms over shapes, or over how many points are fitted."""

    def points_at(value: float, seed: int) -> GroupedPoints:
        if what == "elongation":
            return planted(seed, settings.points, elongation=value)
        return planted(seed, int(value), elongation=ELONGATION, unequal=UNEQUAL)

    def compute() -> dict[str, NDArray]:
        rows = {arm: np.empty((len(bench.seeds), len(values), 2)) for arm in (*CURVES, TRUE)}
        for s, seed in enumerate(bench.seeds):
            for v, value in enumerate(values):
                points = points_at(value, seed)
                for arm in CURVES:
                    own = fit(points.fitted, points.groups, arm, seed, settings.starts)
                    rows[arm][s, v] = np.take(judge_fit(own, points).measures, (0, 2))
                assert points.truth is not None
                rows[TRUE][s, v] = np.take(judge_fit(true_mixture(points.truth), points).measures, (0, 2))
        return rows

    arrays = bench.remember(f"agreement by {what}", [list(bench.seeds), repr(settings)], compute)
    for arm, each in arrays.items():
        found.draw(f"{what}/{arm}", values, each[..., 0])
        found.draw(f"unannounced by {what}/{arm}", values, each[..., 1])
