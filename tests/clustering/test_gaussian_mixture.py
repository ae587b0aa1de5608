"""The mixture: exactness of the fast path, float32, processes, collapsed components, and the sweep."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning

from lucida.clustering import GaussianMixture, Processes, bic_sweep
from lucida.clustering.covariances import TYPES, Parameters, precision_cholesky
from lucida.clustering.em import components_of, expectation, factored, maximisation
from lucida.clustering.full import FullComponents, Worker
from lucida.clustering.rows import Rows
from lucida.clustering.splitting import split
from lucida.clustering.starts import STARTS, start


def groups(
    n: int = 1500, d: int = 6, k: int = 5, *, seed: int = 0, apart: float = 3.0, dtype: type = np.float64
) -> Any:
    random = np.random.RandomState(seed)
    means, shapes = apart * random.randn(k, d), random.randn(k, d, d)
    own = random.randint(k, size=n)
    X = np.einsum("nij,nj->ni", shapes[own], random.randn(n, d)) + means[own]
    return X.astype(dtype)


def mixture_of(rows: Rows, k: int, kind: str = "full", *, steps: int = 3) -> Parameters:
    """What EM has made of the rows after a few steps."""
    mixture = maximisation(rows, start(rows, "kmeans", kind, k, np.random.RandomState(0)), 1e-6)
    for _ in range(steps):
        mixture = maximisation(rows, expectation(rows, mixture), 1e-6)
    return mixture


# The fast path against the plain one.


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_pairs_that_matter_give_what_all_pairs_give(dtype, tolerance, offset, monkeypatch) -> None:
    monkeypatch.setattr("lucida.clustering.full.DENSE", 1.1)  # pairs, however many matter
    X = groups(4000, 12, 20, apart=6.0) + offset
    rows = Rows(X.astype(dtype))
    mixture = mixture_of(rows, 20)
    fast, plain = expectation(rows, mixture), expectation(rows, mixture, screened=False)
    for got, wanted in zip(fast.arrays(), plain.arrays(), strict=True):
        assert np.abs(got - wanted).max() <= tolerance * np.abs(wanted).max()
    components = FullComponents.of(mixture, rows)
    worker = components.worker(fast)
    pairs = components._pairs(rows.read(0, 4000), worker)
    assert pairs is not None
    assert len(pairs.rows) < 0.6 * 4000 * 20  # it did leave something out


@given(st.integers(0, 2**31), st.sampled_from([1e-3, 1.0, 1e4]), st.sampled_from([1e-6, 1e-2, 1.0]))
@settings(max_examples=30, deadline=None)
def test_what_is_left_out_weighs_nothing(seed: int, unit: float, width: float) -> None:
    """Against float64, for components from points to wide ones, in any unit."""
    random = np.random.RandomState(seed % 2**31)
    X = (random.randn(300, 5) * unit * random.uniform(0.01, 1, 5)).astype(np.float32)
    rows = Rows(X)
    shapes = random.randn(8, 5, 5) * np.sqrt(rows.variances)
    covariances = np.einsum("kia,kib->kab", shapes, shapes) * width + 1e-9 * np.diag(rows.variances + 1e-30)
    means = X[:8].astype(np.float64) - rows.shift
    mixture = factored(Parameters("full", np.full(8, 0.125), means, covariances, covariances), rows)
    exact = Rows(X.astype(np.float64))
    exact.shift = rows.shift.astype(np.float64)
    plain = components_of(mixture, exact, screened=False)
    true = torch.softmax(plain.joint(exact.read(0, 300), plain.worker(expectation(exact, mixture))), 1)
    screen = FullComponents.of(mixture, rows).screen
    assert screen is not None
    upper, best = screen.bounds(rows.read(0, 300), screen.memory())
    left_out = (upper < best - 24.0).T
    assert float(true[left_out].max() if left_out.any() else 0.0) < 1e-10


def test_rows_where_most_pairs_matter_are_computed_whole() -> None:
    rows = Rows(groups(600, 3, 1, dtype=np.float32))
    mixture = mixture_of(rows, 6)
    components = FullComponents.of(mixture, rows)
    worker = components.worker(expectation(rows, mixture))
    assert components._pairs(rows.read(0, 600), worker) is None
    assert isinstance(worker, Worker)
    assert worker.dense > 0  # and the next blocks are not screened


@pytest.mark.parametrize("kind", TYPES)
def test_threads_change_rounding_alone(kind) -> None:
    X, threads = groups(20_000, 4, 4, dtype=np.float32), torch.get_num_threads()
    try:
        answers = []
        for count in (1, 2, 2):
            torch.set_num_threads(count)
            answers.append(GaussianMixture(4, covariance_type=kind, random_state=0, max_iter=5, tol=0.1).fit(X).means_)
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(answers[1], answers[2])
    assert np.allclose(answers[0], answers[1], atol=1e-4)


# Numbers.


@pytest.mark.parametrize("kind", TYPES)
def test_float32_far_from_the_origin_loses_nothing(kind) -> None:
    X = groups(1500, 4, 4)
    far = (X + 2.0**12).astype(np.float32)  # what is lost is lost in these rows already
    exact = far.astype(np.float64)
    ours = GaussianMixture(4, covariance_type=kind, random_state=0, tol=1e-5, max_iter=900).fit(far)
    wide = GaussianMixture(4, covariance_type=kind, random_state=0, tol=1e-5, max_iter=900).fit(exact)
    assert ours.means_.dtype == ours.predict_proba(far).dtype == np.float32
    assert abs(ours.score(far) - wide.score(exact)) < 1e-3
    assert np.allclose(ours.covariances_, wide.covariances_, rtol=0.02, atol=0.01)


def test_half_precision_rows_are_read_as_they_are() -> None:
    X = groups(800, 4, 3).astype(np.float16)
    half = GaussianMixture(3, random_state=0).fit(X)
    single = GaussianMixture(3, random_state=0).fit(X.astype(np.float32))
    assert half.means_.dtype == np.float32
    assert np.array_equal(half.means_, single.means_)


def test_a_memory_mapped_file_gives_the_same(tmp_path: Path) -> None:
    X = groups(9000, 4, 3, dtype=np.float32)
    np.save(tmp_path / "rows.npy", X)
    mapped = GaussianMixture(3, random_state=0).fit(np.load(tmp_path / "rows.npy", mmap_mode="r"))
    assert np.array_equal(mapped.means_, GaussianMixture(3, random_state=0).fit(X).means_)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(bad) -> None:
    X = groups(50)
    X[7, 2] = bad
    with pytest.raises(ValueError, match="NaN or infinity"):
        GaussianMixture(2).fit(X)
    with pytest.raises(ValueError, match="NaN or infinity"):
        GaussianMixture(2).fit(X[10:]).predict(X)


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_components", 0), ("tol", -1.0), ("init_params", "best"), ("covariance_type", "round"), ("first_rows", 1)],
)
def test_a_parameter_out_of_range_is_named(name, value) -> None:
    with pytest.raises(ValueError, match=f"The '{name}' parameter of GaussianMixture must be"):
        GaussianMixture(**{name: value}).fit(groups(50))


# The first rows.


@pytest.mark.parametrize("kind", TYPES)
def test_a_start_on_some_rows_ends_at_a_fixed_point_of_all(kind) -> None:
    X = groups(6000, 4, 3, apart=6.0)
    whole = GaussianMixture(3, covariance_type=kind, random_state=0, tol=1e-7, max_iter=500, first_rows=None).fit(X)
    quick = GaussianMixture(3, covariance_type=kind, random_state=0, tol=1e-7, max_iter=500, first_rows=900).fit(X)
    assert quick.lower_bound_ == pytest.approx(whole.lower_bound_, abs=1e-4)
    assert quick.converged_


def test_the_best_of_several_starts_goes_on_over_all_rows() -> None:
    X = groups(4000, 3, 8)
    bounds = [GaussianMixture(8, n_init=n, random_state=0, first_rows=1000).fit(X).lower_bound_ for n in (1, 5)]
    assert bounds[1] >= bounds[0] - 1e-2


# Processes.


def side_by_side(calls: list[Callable[[Processes], Any]]) -> list[Any]:
    """Each call on a thread of its own that sums with the others as a process would."""
    size, barrier = len(calls), Barrier(len(calls))
    shares: dict[int, np.ndarray] = {}

    def member(rank: int) -> Processes:
        def all_reduce(array: np.ndarray) -> np.ndarray:
            shares[rank] = array
            barrier.wait(30)
            total = np.sum([shares[other] for other in range(size)], axis=0)
            barrier.wait(30)
            return total

        return Processes(rank, size, all_reduce)

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(lambda rank: calls[rank](member(rank)), range(size)))


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("how", STARTS)
def test_shares_of_the_rows_give_the_mixture_of_all(kind, how) -> None:
    X = groups(900, 3, 4)
    chosen: dict[str, Any] = {"covariance_type": kind, "init_params": how, "random_state": 3, "max_iter": 8}

    def fitted(rows: np.ndarray, processes: Processes | None = None) -> GaussianMixture:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return GaussianMixture(4, processes=processes, **chosen).fit(rows)

    alone = fitted(X)
    shares = [X[:500], X[500:510], X[510:]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        together = side_by_side([lambda p, rows=rows: fitted(rows, p) for rows in shares])  # type: ignore[misc]
    for one in together:
        assert np.array_equal(one.means_, together[0].means_)
        assert one.n_iter_ == alone.n_iter_
        assert np.allclose(one.means_, alone.means_, atol=1e-6)
        assert np.allclose(one.lower_bounds_, alone.lower_bounds_, atol=1e-7)


# Collapsed components, splitting and the sweep.


def copies() -> np.ndarray:
    """Two wide groups and forty copies of one point between them."""
    random = np.random.RandomState(0)
    return np.concatenate([random.randn(300, 2) - 8, random.randn(300, 2) + 8, np.zeros((40, 2))])


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
def test_a_collapsed_component_comes_back_and_is_named(kind) -> None:
    X = copies()
    wanted: dict[str, Any] = {"covariance_type": kind, "means_init": [[-8, -8], [8, 8], [0, 0]], "max_iter": 200}
    with pytest.warns(UserWarning, match="Components 2 collapsed"):
        back = GaussianMixture(3, respawn=True, random_state=0, **wanted).fit(X)
    stuck = GaussianMixture(3, random_state=0, **wanted).fit(X)
    assert np.sort(np.linalg.det(as_matrices(stuck)))[0] < 1e-11
    assert back.weights_.min() > 0.01


def as_matrices(mixture: GaussianMixture) -> np.ndarray:
    covariances, d = np.asarray(mixture.covariances_), mixture.means_.shape[1]
    if covariances.ndim == 3:
        return covariances
    return np.stack([np.diag(np.broadcast_to(c, (d,))) for c in covariances])


def test_nothing_but_copies_of_a_point_is_refused_with_respawning() -> None:
    with pytest.raises(ValueError, match="copies of few points"):
        GaussianMixture(2, respawn=True, random_state=0).fit(np.zeros((30, 2)))


@pytest.mark.parametrize("kind", ["full", "diag", "spherical", "tied"])
def test_a_split_keeps_weight_and_mean_and_in_full_the_covariance(kind) -> None:
    rows = Rows(groups(900, 3, 3))
    whole = mixture_of(rows, 3, kind)
    parts = factored(split(whole, 1), rows)
    assert len(parts.weights) == 4
    assert parts.weights.sum() == pytest.approx(1.0)
    assert parts.weights[1] == parts.weights[3] == pytest.approx(whole.weights[1] / 2)
    assert np.allclose((parts.means[1] + parts.means[3]) / 2, whole.means[1])
    if kind == "full":
        apart = parts.means[3] - whole.means[1]
        assert np.allclose(parts.covariances[1] + np.outer(apart, apart), whole.covariances[1])


@pytest.mark.parametrize("kind", TYPES)
def test_the_sweep_finds_the_number_of_groups_in_fewer_steps(kind) -> None:
    random = np.random.RandomState(1)
    X = np.concatenate([random.randn(200, 3) + 10 * random.randn(3) for _ in range(6)])
    sweep = bic_sweep(X, range(1, 10), covariance_type=kind, random_state=0)
    assert sweep.components == list(range(1, 10))
    assert sweep.best.n_components == 6
    assert sweep.bic[5] == pytest.approx(sweep.best.bic(X), rel=1e-9)
    bounds = [mixture.score(X) for mixture in sweep.mixtures]
    assert all(later > earlier - 0.05 for earlier, later in pairwise(bounds))


def test_a_sweep_wants_a_row_for_each_component() -> None:
    with pytest.raises(ValueError, match="a row for each of 30 components and got 10 rows"):
        bic_sweep(np.random.default_rng(0).normal(size=(10, 2)), [1, 30])


def test_a_start_that_is_given_whole_is_not_moved_on_a_sample() -> None:
    X = np.random.default_rng(0).normal(size=(400, 2))
    start = {"weights_init": [0.9, 0.1], "means_init": [[0.0, 0.0], [3.0, 0.0]], "precisions_init": [np.eye(2)] * 2}
    with pytest.warns(ConvergenceWarning):
        few, whole = (GaussianMixture(2, max_iter=1, first_rows=n, **start).fit(X) for n in (100, None))
    np.testing.assert_array_equal(few.means_, whole.means_)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("first_rows", [None, 500])
def test_breathing_leads_out_of_a_poor_optimum(kind, first_rows) -> None:
    """Two components on one group and one on two: neither k-means nor EM ever leaves that."""
    random = np.random.RandomState(0)
    places = 12.0 * np.array([[0, 0], [0, 1], [1, 0], [1, 1], [3, 3]])
    X = np.concatenate([random.randn(200, 2) + place for place in places])
    poor = [[-0.5, 0.0], [0.5, 0.0], [0, 12], [12, 6], [36, 36]]
    settings: dict[str, Any] = {"covariance_type": kind, "means_init": poor, "random_state": 0, "max_iter": 300}
    stuck = GaussianMixture(5, first_rows=first_rows, **settings).fit(X)
    free = GaussianMixture(5, first_rows=first_rows, breathing=True, **settings).fit(X)
    apart = np.sqrt(np.square(free.means_[:, None] - places).sum(2))
    assert (apart.min(0) < 1.0).all()
    assert free.lower_bound_ > stuck.lower_bound_ + 0.05


def test_a_sweep_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        bic_sweep(groups(50), [])


def test_a_covariance_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="ill-defined empirical covariance"):
        precision_cholesky(np.zeros((1, 2, 2)), "full")
