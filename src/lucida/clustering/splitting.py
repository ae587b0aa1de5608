"""One component becomes two along its longest axis: in place of one that collapsed, and for a mixture with more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lucida.clustering.covariances import Parameters, Sums

APART = 0.6  # standard deviations along the axis by which each half moves; mean and covariance of both stay the whole's
FEWEST = 2.0  # rows below which a component counts as collapsed


def main_axis(covariance: np.ndarray, d: int, turn: int = 0) -> tuple[float, np.ndarray]:
    """The largest variance of a covariance, ``[d, d]``, ``[d]`` or a number, and the unit vector along it.

    A number has no longest axis: ``turn`` chooses one.
    """
    if covariance.ndim == 2:
        values, vectors = np.linalg.eigh(covariance)
        return float(values[-1]), vectors[:, -1]
    if covariance.ndim == 1:
        return float(covariance.max()), np.eye(d)[int(covariance.argmax())]
    return float(covariance), np.eye(d)[turn % d]


def spreads(mixture: Parameters) -> np.ndarray:
    """The largest variance of each component, ``[k]``; one for all where covariances are tied."""
    k, d = mixture.means.shape
    if mixture.kind == "tied":
        return np.ones(k)
    if mixture.kind == "full":
        return np.linalg.eigvalsh(mixture.covariances)[:, -1]
    return np.array([main_axis(covariance, d)[0] for covariance in mixture.covariances])


def split(mixture: Parameters, donor: int, *, into: int | None = None) -> Parameters:
    """The mixture with component ``donor`` in two halves; the factors of its precisions are left to the caller.

    Args:
        mixture: with covariances.
        donor: the component that is split.
        into: the number that the second half takes, in place of what is there; none: it comes as the last one.
    """
    last = len(mixture.weights)
    numbers = np.arange(last + 1 if into is None else last)
    into = last if into is None else into
    numbers[into] = donor
    weights, means, covariances = mixture.weights[numbers], mixture.means[numbers], mixture.covariances
    own = covariances if mixture.kind == "tied" else covariances[donor]
    variance, axis = main_axis(own, means.shape[1], donor)
    step = APART * np.sqrt(variance) * axis
    weights[[donor, into]] /= 2
    means[donor] -= step
    means[into] += step
    if mixture.kind != "tied":
        covariances = covariances[numbers]
    if mixture.kind == "full":
        covariances[[donor, into]] -= np.outer(step, step)
    elif mixture.kind == "diag":
        covariances[[donor, into]] -= step**2
    return replace(mixture, weights=weights / weights.sum(), means=means, covariances=covariances)


def collapsed(sums: Sums, covariances: np.ndarray, reg_covar: float) -> list[int]:
    """Components with hardly a row, or whose rows are one point: nothing but ``reg_covar`` keeps them open."""
    few = sums.count < FEWEST
    if sums.kind == "tied":
        return np.flatnonzero(few).tolist()
    if sums.kind == "full":
        variances = np.diagonal(covariances, axis1=1, axis2=2).mean(1)
    else:
        variances = covariances.reshape(len(covariances), -1).mean(1)
    return np.flatnonzero(few | ~(variances > 2 * reg_covar + np.finfo(np.float64).tiny)).tolist()


def respawned(mixture: Parameters, gone: list[int]) -> Parameters:
    """The mixture in which each component of ``gone`` takes half of the one that is heaviest then.

    Raises:
        ValueError: all have collapsed.
    """
    for done, component in enumerate(gone):
        weights = mixture.weights.copy()
        weights[gone[done:]] = -1.0
        donor = int(weights.argmax())
        if weights[donor] < 0.0:
            raise ValueError("All components have collapsed: the rows are copies of few points. Use fewer components.")
        mixture = split(mixture, donor, into=component)
    return mixture
