"""Principal components in chunks are those of the whole."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from lucida.models import principal_components as module
from lucida.models.principal_components import principal_components, unit_rows


@pytest.mark.parametrize("chunk", [7, 4096])
def test_they_are_those_of_scikit_learn(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.chunks, "__defaults__", (chunk,))
    features = np.random.default_rng(0).normal(size=(200, 12)) * np.linspace(1, 3, 12) + 2
    own = principal_components(features.astype(np.float32), at_most=5)
    pca = PCA(5).fit(unit_rows(features.astype(np.float32).astype(float)))
    assert own.variances == pytest.approx(pca.explained_variance_ * 199 / 200, rel=1e-5)
    assert np.abs((own.axes * pca.components_.T).sum(axis=0)) == pytest.approx(np.ones(5), abs=1e-5)
    assert own.explained == pytest.approx(pca.explained_variance_ratio_.sum(), rel=1e-5)
    projected = own.project(features)
    assert projected.var(axis=0).mean() == pytest.approx(1, rel=1e-4)
    assert projected.dtype == np.float32


def test_as_many_as_explain_enough() -> None:
    features = np.random.default_rng(0).normal(size=(500, 3)) @ np.eye(3, 9) + 5
    assert principal_components(features, at_most=9, explained=0.99).dimensions <= 4
    assert principal_components(features[:3], at_most=9).dimensions == 2


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="1 rows"):
        principal_components(np.ones((1, 3)), at_most=2)
    with pytest.raises(ValueError, match="not finite"):
        principal_components(np.array([[1.0, np.nan], [1, 2]]), at_most=2)
