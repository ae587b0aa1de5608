"""Mixtures against scikit-learn's, number for number."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn import mixture as peer
from sklearn.exceptions import ConvergenceWarning

from lucida.clustering import GaussianMixture
from lucida.clustering.covariances import TYPES
from lucida.clustering.starts import STARTS


def groups(dtype: type = np.float64) -> np.ndarray:
    random = np.random.RandomState(0)
    parts = [random.randn(300, 4) @ random.randn(4, 4) + 2 * random.randn(4) for _ in range(5)]
    return (np.concatenate(parts) + 5).astype(dtype)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("how", STARTS)
def test_equal_from_every_start(kind, how) -> None:
    X = groups()
    settings = {"covariance_type": kind, "init_params": how, "random_state": 1, "max_iter": 20}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ours, theirs = GaussianMixture(5, **settings).fit(X), peer.GaussianMixture(5, **settings).fit(X)
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.converged_ == theirs.converged_
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_", "lower_bounds_"):
        assert np.allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-6, atol=1e-6), name
    for method in ("score_samples", "predict_proba", "predict", "bic", "aic", "score"):
        assert np.allclose(getattr(ours, method)(X), getattr(theirs, method)(X), rtol=1e-6, atol=1e-6), method


@pytest.mark.parametrize("kind", TYPES)
def test_given_precisions_are_those_of_the_start(kind) -> None:
    """As scikit-learn's issue 26415: ``max_iter=0`` shows the start."""
    X = groups()
    settings = {"covariance_type": kind, "max_iter": 0, "random_state": 0}
    start = GaussianMixture(3, **settings).fit(X)
    again = GaussianMixture(3, **settings, precisions_init=start.precisions_).fit(X)
    assert np.allclose(again.precisions_cholesky_, start.precisions_cholesky_, rtol=1e-9)
    assert np.allclose(again.score_samples(X), start.score_samples(X), rtol=1e-9)


@pytest.mark.parametrize("kind", TYPES)
def test_a_component_without_rows_goes_where_it_goes_in_scikit_learn(kind) -> None:
    X = groups()
    precisions = {
        "full": np.tile(np.eye(4), (2, 1, 1)),
        "tied": np.eye(4),
        "diag": np.ones((2, 4)),
        "spherical": np.ones(2),
    }
    settings = {
        "covariance_type": kind,
        "means_init": [X.mean(0), np.full(4, 1e3)],
        "weights_init": [0.5, 0.5],
        "precisions_init": precisions[kind],
        "max_iter": 2,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ours, theirs = GaussianMixture(2, **settings).fit(X), peer.GaussianMixture(2, **settings).fit(X)
    for name in ("weights_", "means_", "covariances_", "lower_bounds_"):
        assert np.allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-7, atol=1e-9), name


@pytest.mark.parametrize("kind", TYPES)
def test_samples_are_those_of_scikit_learn(kind) -> None:
    X = groups()
    ours = GaussianMixture(3, covariance_type=kind, random_state=0).fit(X)
    theirs = peer.GaussianMixture(3, covariance_type=kind, random_state=0).fit(X)
    (rows, labels), (expected, expected_labels) = ours.sample(50), theirs.sample(50)
    assert np.array_equal(labels, expected_labels)
    assert np.allclose(rows, expected, atol=1e-6)


def test_it_is_an_estimator_of_scikit_learn() -> None:
    from sklearn.utils.estimator_checks import check_estimator

    answers = check_estimator(GaussianMixture(), on_fail=None)
    failed = [answer["check_name"] for answer in answers if answer["status"] not in ("passed", "skipped")]
    skipped = [(answer["check_name"], str(answer["exception"])) for answer in answers if answer["status"] == "skipped"]
    print(f"{len(answers)} checks, skipped: {skipped}")
    assert failed == []
    assert len(answers) > 30
    assert {name for name, _ in skipped} <= {"check_array_api_input"}


def test_scikit_learns_own_tests_pass() -> None:
    """In a process in which their module finds this mixture under the name of theirs."""
    suites = [f"sklearn.mixture.tests.{name}" for name in ("test_gaussian_mixture", "test_mixture")]
    options = ["-q", "-rs", "-p", "swapped_mixture", "-c", os.devnull, "-p", "no:cacheprovider", "--pyargs", *suites]
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "SKLEARN_RUN_FLOAT32_TESTS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options], env=environment, capture_output=True, text=True, timeout=120
    )
    print("\n".join(line for line in done.stdout.splitlines() if line.startswith("SKIPPED")))
    print(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stdout[-3000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 60
