"""The array cache: built once, by one process, whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucida.core import cache
from lucida.core.cache import cache_folder, cached_array, content_hash
from lucida.core.errors import LucidaError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path))
    return tmp_path / "features"


def fill(array: np.ndarray) -> None:
    array[:] = np.arange(array.size).reshape(array.shape)


def test_the_second_call_reads_what_the_first_built() -> None:
    calls = []

    def build(array: np.ndarray) -> None:
        calls.append(1)
        fill(array)

    one, two = (cached_array("features", "k", (3, 4), np.float32, build) for _ in range(2))
    np.testing.assert_array_equal(one, np.arange(12).reshape(3, 4))
    np.testing.assert_array_equal(one, two)
    assert len(calls) == 1
    assert isinstance(one, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        one[0] = 1


def test_an_empty_array_is_an_array() -> None:
    assert cached_array("features", "empty", (0, 4), np.uint8, fill).shape == (0, 4)


def test_a_failed_build_leaves_nothing(folder: Path) -> None:
    def fail(array: np.ndarray) -> None:
        array[0] = 1
        raise KeyError("picture 7")

    with pytest.raises(KeyError, match="picture 7"):
        cached_array("features", "k", (5,), np.float32, fail)
    assert list(folder.iterdir()) == []
    assert cached_array("features", "k", (5,), np.float32, fill)[4] == 4


def start(key: str, body: str) -> subprocess.Popen[str]:
    program = (
        "import sys, time; import numpy as np; from lucida.core.cache import cached_array\n"
        f"def build(array):\n    {body}\n"
        f"print(cached_array('features', {key!r}, (1000,), 'float32', build).sum(), flush=True)\n"
    )
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)


def test_a_killed_build_leaves_nothing_behind_the_next(folder: Path) -> None:
    process = start("killed", "array[:500] = 7; print('half', flush=True); time.sleep(60)")
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (folder / "killed.npy").exists()
    cached_array("features", "other", (3,), np.float32, fill)
    assert [p.name for p in folder.iterdir()] == ["other.npy"], "the next build removes what the killed one left"
    assert cached_array("features", "killed", (1000,), np.float32, fill)[999] == 999


def test_processes_that_ask_at_once_build_once(tmp_path: Path, folder: Path) -> None:
    log = tmp_path / "log"
    body = f"open({str(log)!r}, 'a').write('x'); time.sleep(0.5); array[:] = 1"
    processes = [start("shared", body) for _ in range(3)]
    answers = [process.communicate(timeout=60)[0] for process in processes]
    assert answers == ["1000.0\n"] * 3
    assert log.read_text() == "x"
    assert [p.name for p in folder.iterdir()] == ["shared.npy"]


def test_a_living_build_is_not_taken_for_a_leftover(folder: Path) -> None:
    process = start("slow", "array[:] = 2; print('begun', flush=True); time.sleep(0.5)")
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    cached_array("features", "other", (3,), np.float32, fill)
    assert (folder / ".slow.npy.partial").exists()
    assert process.communicate(timeout=60)[0] == "2000.0\n"


def test_another_shape_or_a_broken_file_names_the_remedy(folder: Path) -> None:
    cached_array("features", "k", (5,), np.float32, fill)
    with pytest.raises(LucidaError, match=r"holds float32\(5,\), not float32\(6,\).*delete this file"):
        cached_array("features", "k", (6,), np.float32, fill)
    for content in (b"", b"\x93NUMPY", b"text"):
        (folder / "k.npy").write_bytes(content)
        with pytest.raises(LucidaError, match=r"cache is broken.*k\.npy.*delete this file"):
            cached_array("features", "k", (5,), np.float32, fill)


def test_a_full_disk_is_said_before_the_work(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(LucidaError, match="set LUCIDA_CACHE to another disk"):
        cached_array("features", "k", (500,), np.float32, fill)
    assert list(folder.iterdir()) == []


def test_a_file_in_the_way_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path / "file"))
    with pytest.raises(LucidaError, match="cannot make the cache folder"):
        cached_array("features", "k", (5,), np.float32, fill)


def test_the_cache_is_here_not_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LUCIDA_CACHE")
    assert cache_folder() == Path(".cache")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(json_values, json_values)
def test_equal_hashes_mean_equal_content(one: object, two: object) -> None:
    assert (content_hash(one) == content_hash(two)) == (repr(one) == repr(two) or _same(one, two))


def _same(one: object, two: object) -> bool:
    """Equal with equal types (1 is not True); the order of keys does not count."""
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(_same(one[k], two[k]) for k in one)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(_same, one, two))
    return type(one) is type(two) and repr(one) == repr(two)


def test_arrays_hash_by_content_shape_and_dtype() -> None:
    zeros = np.zeros(10_000)
    late = zeros.copy()
    late[5_000] = 1e-9  # the shortened text of both is the same
    hashes = {content_hash(a) for a in (zeros, late, zeros.reshape(100, 100), zeros.astype(np.float32), zeros.tolist())}
    assert len(hashes) == 5
    assert content_hash(late[::2]) == content_hash(late[::2].copy())


def test_parts_do_not_run_into_each_other() -> None:
    parts = [("ab", "c"), ("a", "bc"), ("abc",), (b"abc",), (b'"abc"',), (["abc"],)]
    assert len({content_hash(*p) for p in parts}) == len(parts)


def test_configs_and_paths_hash_and_objects_without_text_are_refused() -> None:
    @dataclass(frozen=True)
    class Tower:
        name: str
        weights: Path

    one, same, other = (content_hash(Tower("a", Path(p))) for p in "xxy")
    assert one == same != other
    for bad in (object(), {1, 2}, np.array([object()])):
        with pytest.raises(TypeError, match="no stable hash"):
            content_hash(bad)
