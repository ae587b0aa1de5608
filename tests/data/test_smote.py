"""SMOTE against imbalanced-learn: the same neighbours, the same rows for the same draws; bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.data import smote as module
from lucida.data.smote import class_neighbours, imbalanced_learn, smote


def rows(seed: int, counts: list[int], width: int = 5, dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.repeat(np.arange(len(counts)), counts))
    features = 100 + generator.normal(size=(len(labels), width)) + 0.5 * labels[:, None]  # far from the origin
    return features.astype(dtype), labels


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so small that a hundred rows fill many."""
    monkeypatch.setattr(module, "QUERIES", 7)
    monkeypatch.setattr(module, "CHUNK", 32)
    monkeypatch.setattr(module, "GROUP", 2)


def by_definition(features: np.ndarray, members: np.ndarray, k: int) -> np.ndarray:
    x = features[members].astype(np.float64)
    distances = np.square(x[:, None] - x[None]).sum(-1)
    np.fill_diagonal(distances, np.inf)
    return members[distances.argsort(axis=1, kind="stable")[:, :k]]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("count", [2, 3, 7, 32, 33, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_neighbours_by_definition(count: int, dtype: type) -> None:
    features, labels = rows(count, [count, 9], dtype=dtype)
    members = np.flatnonzero(labels == 0)
    expected = by_definition(features, members, min(5, count - 1))
    assert np.array_equal(class_neighbours(features, members, 5), expected)
    some = members[::3]
    assert np.array_equal(class_neighbours(features, members, 5, some), expected[::3])


def test_neighbours_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    features, _ = rows(0, [3000, 1])
    members = np.arange(3000)
    usual = class_neighbours(features, members, 5)
    for queries, chunk, group in ((100, 512, 8), (3000, 3000, 128), (1, 1024, 16)):
        monkeypatch.setattr(module, "QUERIES", queries)
        monkeypatch.setattr(module, "CHUNK", chunk)
        monkeypatch.setattr(module, "GROUP", group)
        chosen = members[::50] if queries == 1 else members
        assert np.array_equal(class_neighbours(features, members, 5, chosen), usual[chosen])


def test_a_copy_of_a_row_is_its_nearest_neighbour() -> None:
    features = np.array([[0.0], [3.0], [0.0], [1.0]], dtype=np.float32)
    assert class_neighbours(features, np.arange(4), 2).tolist() == [[2, 3], [3, 0], [0, 3], [0, 2]]


@given(seed=st.integers(0, 99), k=st.integers(1, 6), first=st.integers(8, 40), second=st.integers(8, 40))
@settings(max_examples=15, deadline=None)
def test_the_same_rows_as_imbalanced_learn(seed: int, k: int, first: int, second: int) -> None:
    pytest.importorskip("imblearn")
    features, labels = rows(seed, [first, second, 41])
    theirs = imbalanced_learn("smote", features, labels, seed=seed, k_neighbors=k)
    ours = smote(features, labels, k_neighbors=k, random_state=seed)
    assert np.array_equal(ours[1], theirs[1])
    np.testing.assert_allclose(ours[0], theirs[0], rtol=0, atol=1e-4)


@given(seed=st.integers(0, 99), k=st.integers(1, 6), counts=st.lists(st.integers(1, 20), min_size=2, max_size=4))
@settings(max_examples=25, deadline=None)
def test_synthetic_rows_lie_between_a_row_and_a_neighbour_of_it(seed: int, k: int, counts: list[int]) -> None:
    features, labels = rows(seed, counts, dtype=np.float64)
    features -= 100
    more, names = smote(features, labels, k_neighbors=k, seed=seed)
    assert more.dtype == np.float32
    assert np.array_equal(np.bincount(names), np.full(len(counts), max(counts)))
    np.testing.assert_array_equal(more[: len(labels)], features.astype(np.float32))
    for c in range(len(counts)):
        members = np.flatnonzero(labels == c)
        near = by_definition(features, members, k) if len(members) > 1 else members[:, None]
        start = np.repeat(features[members], near.shape[1], axis=0)
        way = features[near].reshape(start.shape) - start
        for x in more[len(labels) :][names[len(labels) :] == c]:
            share = ((x - start) * way).sum(1) / np.maximum((way**2).sum(1), 1e-30)
            off = np.abs(start + np.clip(share, 0, 1)[:, None] * way - x).max(axis=1)
            assert off.min() < 1e-5


@pytest.mark.parametrize("kind", ["adasyn", "borderline_smote"])
def test_what_builds_on_smote_is_imbalanced_learns(kind: Any) -> None:
    pytest.importorskip("imblearn")
    features, labels = rows(0, [40, 15, 60])
    more, names = imbalanced_learn(kind, features, labels)
    assert more.dtype == np.float32
    assert np.bincount(names).min() > 40
    np.testing.assert_array_equal(more[: len(labels)], features)
    assert not np.array_equal(more, imbalanced_learn(kind, features, labels, seed=1)[0])
    with pytest.raises(LucidaError, match=rf"imbalanced-learn, {kind}"):
        imbalanced_learn(kind, features[labels == 0], labels[labels == 0])
    with pytest.raises(LucidaError, match="no over-sampling 'smoted'"):
        imbalanced_learn("smoted", features, labels)  # type: ignore[arg-type]


def test_targets_and_seeds() -> None:
    features, labels = rows(0, [12, 8, 30])
    more, names = smote(features, labels, targets={1: 20})
    assert np.bincount(names).tolist() == [12, 20, 30]
    assert np.array_equal(more, smote(features, labels, targets={1: 20})[0])
    assert not np.array_equal(more, smote(features, labels, targets={1: 20}, seed=1)[0])


def test_files_in_and_out(tmp_path: Path) -> None:
    features, labels = rows(0, [120, 40])
    np.save(tmp_path / "in.npy", features)
    mapped = np.load(tmp_path / "in.npy", mmap_mode="r")
    more, names = smote(mapped, labels, out=tmp_path / "out.npy")
    assert isinstance(more, np.memmap)
    plain, same = smote(features, labels)
    assert np.array_equal(more, plain)
    assert np.array_equal(np.load(tmp_path / "out.npy"), plain)
    assert np.array_equal(names, same)


MEASURE = """
import json, sys
import numpy as np
from lucida.data.smote import smote

def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))

features = np.load(sys.argv[1], mmap_mode="r")
labels = (np.arange(len(features)) % 20 == 0).astype(np.int64)
smote(features[:100], labels[:100], k_neighbors=1)
before = anonymous()
peak = before
import threading, time
done = threading.Event()
def watch():
    global peak
    while not done.wait(0.002):
        peak = max(peak, anonymous())
thread = threading.Thread(target=watch)
thread.start()
more, _ = smote(features, labels, out=sys.argv[2])
done.set()
thread.join()
print(json.dumps({"mb": peak - before, "rows": len(more)}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="anonymous memory is read from /proc")
def test_memory_is_bounded_while_the_rows_are_many(tmp_path: Path) -> None:
    """200,000 × 64 rows to 380,000 (98 MB): what is in no file stays below 110 MB, most of it a block of distances."""
    path = tmp_path / "in.npy"
    features = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(200_000, 64))
    features[:] = np.random.default_rng(0).standard_normal(features.shape, dtype=np.float32)
    features.flush()
    command = [sys.executable, "-c", MEASURE, str(path), str(tmp_path / "out.npy")]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert found["rows"] == 380_000
    assert found["mb"] < 110


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.zeros(3, int)}, r"SMOTE needs rows \[N, D\], labels \[N\]"),
        ({"k_neighbors": 0}, "and k ≥ 1"),
        ({"targets": {0: 3}}, r"cannot take 12 rows down to 3 \(class 0\)"),
        ({"targets": {7: 3}}, r"a class without a row cannot grow \(class 7\)"),
    ],
)
def test_bad_input_is_one_line(change: dict[str, Any], message: str) -> None:
    features, labels = rows(0, [12, 8, 30])
    with pytest.raises(LucidaError, match=message) as caught:
        smote(features, change.pop("labels", labels), **change)
    assert "\n" not in str(caught.value)


def test_a_value_that_is_not_finite_is_named() -> None:
    features, labels = rows(0, [12, 8, 30])
    bad = int(np.flatnonzero(labels == 1)[2])
    features[bad, 1] = np.nan
    with pytest.raises(LucidaError, match=rf"NaN or infinite \(features, row {bad}\)"):
        smote(features, labels)
