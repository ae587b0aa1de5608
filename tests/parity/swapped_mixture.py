"""A pytest plugin: scikit-learn's own tests meet this library's mixture in place of theirs."""

from __future__ import annotations

import pytest
import sklearn.mixture

from lucida.clustering import GaussianMixture

NOT_APPLICABLE = {
    "test_suffstat_sk_full": "of scikit-learn's private helpers; no mixture is made",
    "test_suffstat_sk_tied": "of scikit-learn's private helpers; no mixture is made",
    "test_suffstat_sk_diag": "of scikit-learn's private helpers; no mixture is made",
    "test_gaussian_suffstat_sk_spherical": "of scikit-learn's private helpers; no mixture is made",
    "test_compute_log_det_cholesky": "of scikit-learn's private helpers; no mixture is made",
    "test_gaussian_mixture_log_probabilities": "of scikit-learn's private helpers; no mixture is made",
    "test_gaussian_mixture_precisions_init": "calls private methods; test_gaussian_mixture.py here has it from outside",
    "test_gaussian_mixture_all_init_does_not_estimate_gaussian_parameters": "counts calls of a private helper",
    "test_score[float32]": "demands a mean that float32 rounds; here it is float64's",
    "test_gaussian_mixture_array_api_compliance": "of arrays on other devices; this mixture takes NumPy's",
    "test_gaussian_mixture_raises_where_array_api_not_implemented": "of arrays on other devices",
}


def pytest_configure() -> None:
    """Before their modules are imported, which is when they take the name."""
    sklearn.mixture.GaussianMixture = GaussianMixture


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what does not concern this mixture, with the reason."""
    for item in items:
        names = {item.name, getattr(item, "originalname", item.name)} & NOT_APPLICABLE.keys()
        if names:
            item.add_marker(pytest.mark.skip(reason=NOT_APPLICABLE[names.pop()]))
        elif "BayesianGaussianMixture" in item.name or "estimator1" in item.name:
            item.add_marker(pytest.mark.skip(reason="of another class"))
