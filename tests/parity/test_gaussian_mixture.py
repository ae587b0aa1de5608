"""Mixtures against scikit-learn's, number for number."""

from __future__ import annotations

import warnings

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
