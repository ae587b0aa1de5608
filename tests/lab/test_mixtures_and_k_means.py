"""Arms are what they are called, judged as they should be, and the page is whole."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from lucida.lab import grouped_points
from lucida.lab.experiments.mixtures_and_k_means import (
    ELLIPSOIDS,
    FITTED,
    FULL,
    K_MEANS,
    KINDS,
    SPHERES,
    Settings,
    bic,
    first_centres,
    fit,
    judge_fit,
    moments,
    points_of,
    true_mixture,
)
from lucida.lab.experiments.mixtures_and_k_means_page import EXPERIMENT
from lucida.lab.grouped_points import Labelled, digits, planted
from tests.lab.drawn_bench import whole_page

SEED = 20_000


def test_planted_groups_are_what_they_were_drawn_from() -> None:
    points = planted(SEED, 60_000, elongation=30.0, unequal=8.0)
    truth = points.truth
    assert truth is not None
    for k in range(points.groups):
        own = points.fitted[points.fitted_groups == k]
        assert len(own) / 60_000 == pytest.approx(truth.weights[k], abs=0.01)
        assert own.mean(axis=0) == pytest.approx(truth.means[k], abs=0.05)
        assert np.cov(own.T) == pytest.approx(truth.covariances[k], abs=0.1)
    values = np.linalg.eigvalsh(truth.covariances)
    assert values[:, -1] / values[:, 0] == pytest.approx(np.full(8, 30.0))
    assert truth.weights.max() / truth.weights.min() == pytest.approx(8)
    density = sum(
        w * multivariate_normal(m, c).pdf(points.held_out[:5])
        for w, m, c in zip(truth.weights, truth.means, truth.covariances, strict=True)
    )
    assert logsumexp(true_mixture(truth).joint(points.held_out[:5]), axis=1) == pytest.approx(np.log(density))


def test_all_arms_begin_at_the_same_centres_and_end_where_their_shape_says() -> None:
    x = planted(SEED, 400).fitted
    assert (first_centres(x, 8, SEED, 0) == first_centres(x, 8, SEED, 0)).all()
    assert (first_centres(x, 8, SEED, 0) != first_centres(x, 8, SEED, 1)).any()
    for arm in FITTED:
        joint = fit(x, 8, arm, SEED, 2).joint(x)
        assert joint.shape == (400, 8)
        assert fit(x, 8, arm, SEED, 2).objective >= fit(x, 8, arm, SEED, 1).objective


@pytest.mark.parametrize("kind", sorted(set(KINDS.values())))
def test_moments_are_those_of_the_groups(kind: str) -> None:
    x = planted(SEED, 300).fitted
    labels = np.arange(300) % 3
    weights, means, precisions = moments(x, labels, 3, kind, 0.0)
    assert weights == pytest.approx(np.full(3, 1 / 3))
    rest = [x[labels == k] - x[labels == k].mean(axis=0) for k in range(3)]
    assert means[1] == pytest.approx(x[labels == 1].mean(axis=0))
    full = np.stack([r.T @ r / 100 for r in rest])
    variances = np.diagonal(full, axis1=1, axis2=2)
    expected = {
        "full": np.linalg.inv(full), "tied": np.linalg.inv(full.mean(axis=0)), "diag": 1 / variances,
        "spherical": 1 / variances.mean(axis=1),
    }[kind]  # fmt: skip
    assert precisions == pytest.approx(expected)


def test_judging_knows_the_best_and_the_always_certain() -> None:
    points = planted(SEED, 4000)
    assert points.truth is not None
    best = judge_fit(true_mixture(points.truth), points)
    agreement, likelihood, unannounced, points_out, calibration, accuracy = best.measures
    assert abs(unannounced) < 0.15
    assert calibration < 0.03
    assert points_out > 0.7
    assert accuracy == pytest.approx(best.right.mean())
    certain = true_mixture(points.truth)._replace(joint=lambda y: 50 * true_mixture(points.truth).joint(y))
    assert judge_fit(certain, points).measures[2] > 0.9
    own = judge_fit(fit(points.fitted, 8, K_MEANS, SEED, 5), points).measures
    assert agreement > own[0] - 0.02
    assert likelihood > own[1]


def test_a_full_mixture_pays_on_ellipsoids_and_costs_on_spheres() -> None:
    found = {
        (data, arm): judge_fit(fit(points.fitted, 8, arm, SEED, 5), points).measures[0]
        for data in (SPHERES, ELLIPSOIDS)
        for points in [points_of(data, SEED, 1000)]
        for arm in (FULL, K_MEANS)
    }
    assert found[ELLIPSOIDS, FULL] > found[ELLIPSOIDS, K_MEANS] + 0.1
    assert found[SPHERES, FULL] < found[SPHERES, K_MEANS]


def test_bic_of_spheres_counts_spheres() -> None:
    x = planted(SEED, 1500).fitted
    values = [bic(x, count, "mixture, spherical", SEED, 3) for count in (4, 8, 16)]
    assert int(np.argmin(values)) == 1


def test_halves_keep_groups_together() -> None:
    points = digits().halves(SEED)
    assert len(points.fitted) + len(points.held_out) == 1797
    labelled = Labelled("pairs", np.arange(20.0)[:, None], np.arange(20) % 2, np.repeat(np.arange(10), 2))
    halves = labelled.halves(SEED)
    assert not set(halves.fitted[:, 0] // 2) & set(halves.held_out[:, 0] // 2)


def test_the_page_shows_what_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """Few points in place of the real ones: the page is looked at, not its numbers."""
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path))
    few = planted(SEED, 120, held_out=0)
    for name in grouped_points.REAL:
        data = Labelled(name, few.fitted, few.fitted_groups, np.arange(120))
        monkeypatch.setitem(grouped_points.REAL, name, lambda data=data: data)
    tiny = Settings(150, 1, (1, 4, 8), 1, (1.0, 30.0), (150, 300))
    design = dataclasses.replace(EXPERIMENT.design, seeds={"quick": 5, "full": 16})
    experiment = dataclasses.replace(EXPERIMENT, design=design, settings={"quick": tiny})
    whole_page(monkeypatch, experiment, "quick", 60)
