"""What makes a class an estimator of scikit-learn without importing it: parameters by name, checked input, tags.

scikit-learn itself is loaded only for what is its own: its tags, its errors, and input that is not a plain array.
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import numpy as np


class Estimator:
    """Parameters are the keyword arguments of ``__init__``, kept under their names."""

    n_features_in_: int
    feature_names_in_: np.ndarray

    @classmethod
    def _names(cls) -> list[str]:
        return sorted(name for name in inspect.signature(cls.__init__).parameters if name != "self")

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name; ``deep`` is there for scikit-learn."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> Any:
        """Set parameters by name.

        Raises:
            ValueError: there is none of that name.
        """
        for name, value in params.items():
            if name not in self._names():
                known = self._names()
                raise ValueError(f"Invalid parameter {name!r} for estimator {self!r}. Valid parameters are: {known!r}.")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = {name: p.default for name, p in inspect.signature(type(self).__init__).parameters.items()}
        told = [f"{n}={v!r}" for n, v in self.get_params().items() if repr(v) != repr(defaults[n])]
        return f"{type(self).__name__}({', '.join(told)})"

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type="density_estimator",
            target_tags=TargetTags(required=False),
            input_tags=InputTags(),
        )

    def _validated(self, X: Any, *, reset: bool) -> np.ndarray:
        """A real array ``[n, d]``; what is one already is not copied and, for its numbers, not yet read.

        Raises:
            ValueError: scikit-learn's, for anything else, or another number of features than in ``fit``.
        """
        plain = isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind == "f" and X.dtype.itemsize <= 8
        enough = plain and X.shape[1] > 0 and len(X) >= (2 if reset else 1)
        named = not reset and hasattr(self, "feature_names_in_")
        if enough and not named and (reset or X.shape[1] == self.n_features_in_):
            if reset:
                self.n_features_in_ = X.shape[1]
                if hasattr(self, "feature_names_in_"):
                    del self.feature_names_in_
            return X
        from sklearn.utils.validation import validate_data

        fewest = {"ensure_min_samples": 2} if reset else {}
        return validate_data(self, X, reset=reset, dtype=[np.float64, np.float32], **fewest)

    def _check_fitted(self) -> None:
        if not hasattr(self, "means_"):
            from sklearn.exceptions import NotFittedError

            raise NotFittedError(
                f"This {type(self).__name__} instance is not fitted yet. Call 'fit' with appropriate arguments before "
                "using this estimator."
            )


def random_state_of(seed: Any) -> np.random.RandomState:
    """A generator from a seed, from none, or the one given.

    Raises:
        ValueError: it is none of these.
    """
    if seed is None:
        return np.random.RandomState()
    if isinstance(seed, np.random.RandomState):
        return seed
    if isinstance(seed, (int, np.integer)) and not isinstance(seed, bool):
        return np.random.RandomState(int(seed))
    raise ValueError(f"{seed!r} cannot be used to seed a numpy.random.RandomState instance")


def warn_not_converged() -> None:
    """scikit-learn's warning."""
    from sklearn.exceptions import ConvergenceWarning

    warnings.warn(
        "Best performing initialization did not converge. Try different init parameters, or increase max_iter, tol, or "
        "check for degenerate data.",
        ConvergenceWarning,
        stacklevel=3,
    )


def warn_respawned(components: list[int]) -> None:
    """Name the components that collapsed and came back."""
    names = ", ".join(map(str, sorted(set(components))))
    warnings.warn(
        f"Components {names} collapsed ({len(components)} times in all) and took half of the heaviest one. Try fewer "
        "components or a larger reg_covar.",
        UserWarning,
        stacklevel=3,
    )
