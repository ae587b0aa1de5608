"""Arguments of a mixture, checked with scikit-learn's words."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np

from lucida.clustering.covariances import TYPES, CovarianceType
from lucida.clustering.starts import STARTS

_WHOLE = {"n_components": 1, "max_iter": 0, "n_init": 1, "verbose_interval": 1}
_REAL = ("tol", "reg_covar")
_CHOICES = {"covariance_type": TYPES, "init_params": STARTS}


def check_settings(estimator: Any) -> None:
    """Raise ``ValueError`` for a parameter that is out of its range."""

    def refuse(name: str, wanted: str) -> None:
        got = getattr(estimator, name)
        raise ValueError(f"The {name!r} parameter of {type(estimator).__name__} must be {wanted}. Got {got!r} instead.")

    for name, least in _WHOLE.items():
        value = getattr(estimator, name)
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            refuse(name, f"an int in the range [{least}, inf)")
    first_rows = getattr(estimator, "first_rows", None)
    if first_rows is not None and (not isinstance(first_rows, Integral) or first_rows < 2):
        refuse("first_rows", "an int in the range [2, inf) or None")
    for name in _REAL:
        value = getattr(estimator, name)
        if not isinstance(value, Real) or isinstance(value, bool) or not float(value) >= 0:
            refuse(name, "a float in the range [0.0, inf)")
    for name, choices in _CHOICES.items():
        if getattr(estimator, name) not in choices:
            refuse(name, f"a str among {set(choices)}")


def check_weights(weights: Any, k: int) -> np.ndarray:
    """Weights ``[k]`` that sum to one."""
    weights = np.asarray(weights, np.result_type(np.asarray(weights).dtype, np.float32))
    _check_shape(weights, (k,), "weights")
    if np.any(weights < 0) or np.any(weights > 1):
        raise ValueError(
            "The parameter 'weights' should be in the range [0, 1], but got max value "
            f"{np.min(weights):.5f}, min value {np.max(weights):.5f}"
        )
    if abs(1.0 - np.sum(weights, dtype=np.float64)) > (1e-6 if weights.dtype == np.float32 else 1e-8):
        raise ValueError(f"The parameter 'weights' should be normalized, but got sum(weights) = {np.sum(weights):.5f}")
    return weights


def check_means(means: Any, k: int, d: int) -> np.ndarray:
    """Means ``[k, d]``."""
    means = np.asarray(means, np.result_type(np.asarray(means).dtype, np.float32))
    _check_shape(means, (k, d), "means")
    return means


def check_precisions(precisions: Any, kind: CovarianceType, k: int, d: int) -> np.ndarray:
    """Precisions of the type's shape, positive definite."""
    precisions = np.asarray(precisions, np.result_type(np.asarray(precisions).dtype, np.float32))
    shape = {"full": (k, d, d), "tied": (d, d), "diag": (k, d), "spherical": (k,)}[kind]
    _check_shape(precisions, shape, f"{kind} precision")
    if kind in ("diag", "spherical"):
        if np.any(precisions <= 0.0):
            raise ValueError(f"The parameter '{kind} precision' should be positive")
        return precisions
    symmetric = np.allclose(precisions, np.swapaxes(precisions, -1, -2), rtol=1e-5, atol=1e-6)
    if not (symmetric and np.all(np.linalg.eigvalsh(precisions) > 0.0)):
        raise ValueError(f"The parameter '{kind} precision' should be symmetric, positive-definite")
    return precisions


def _check_shape(array: np.ndarray, shape: tuple[int, ...], name: str) -> None:
    if array.shape != shape:
        raise ValueError(f"The parameter {name!r} should have the shape of {shape}, but got {array.shape}")
