"""Results: numbers come back as they were, files are whole or absent."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.core.results import Metric, Results, json_values, peak_memory_mb, read_json, write_json, write_text

numbers = st.floats(allow_nan=False, allow_infinity=False)
metrics = st.builds(Metric, numbers, st.none() | st.tuples(numbers, numbers), st.none() | st.integers(0, 10**6))


@given(st.dictionaries(st.text(max_size=9), metrics, max_size=4))
def test_metrics_survive_the_file(tmp_path_factory: pytest.TempPathFactory, made: dict[str, Metric]) -> None:
    path = tmp_path_factory.mktemp("run") / "results.json"
    results = Results(metrics=made, seconds={"train": 1.5}, details={"curve": [1, 2]}, left_out={"pope": "no boxes"})
    results.save(path)
    assert Results.load(path) == results
    assert list(path.parent.iterdir()) == [path]


def test_what_is_not_a_number_is_null_in_the_file_and_nan_again(tmp_path: Path) -> None:
    results = Results()
    results.add("pope/accuracy", Metric(float("nan"), (float("-inf"), 1.0), 0))
    results.save(tmp_path / "results.json")
    text = (tmp_path / "results.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    back = Results.load(tmp_path / "results.json").metrics["pope/accuracy"]
    assert math.isnan(back.value)
    assert back.ci95 is not None
    assert math.isnan(back.ci95[0])
    assert back.ci95[1] == 1


def test_a_name_is_measured_once() -> None:
    results = Results()
    results.add("top1", Metric(0.5))
    with pytest.raises(ValueError, match="'top1' is already recorded"):
        results.add("top1", Metric(0.6))


def test_time_adds_up_over_blocks_and_failures() -> None:
    results = Results()
    with results.timed("train"):
        time.sleep(0.01)
    with pytest.raises(KeyError), results.timed("train"):
        raise KeyError
    assert 0.01 <= results.seconds["train"] < 1


def test_numpy_values_are_plain_in_json() -> None:
    content = {
        "a": np.float32(0.5),
        "b": np.arange(3),
        "c": np.array([np.nan, 1.0]),
        "d": np.bool_(True),
        "e": np.int64(3),
    }
    assert json.loads(json.dumps(json_values(content))) == {
        "a": 0.5,
        "b": [0, 1, 2],
        "c": [None, 1.0],
        "d": True,
        "e": 3,
    }


@pytest.mark.parametrize(
    "text", ["", "{", '{"metrics": 3}', "[]", '{"seconds": {}}', '{"metrics": {"a": {"value": "x"}}}']
)
def test_other_files_are_refused_with_their_path(tmp_path: Path, text: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(LucidaError, match=r"results\.json"):
        Results.load(path)


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(LucidaError, match="file not found"):
        read_json(tmp_path / "none.json")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half \ud800 a surrogate")
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    program = (
        "import itertools, pathlib, sys\n"
        "from lucida.core.results import write_json\n"
        "for i in itertools.count():\n"
        "    write_json(pathlib.Path(sys.argv[1]), {'i': i, 'rows': [i] * 20000})\n"
    )
    for wait in (0.0, 0.013, 0.031):
        process = subprocess.Popen([sys.executable, "-c", program, str(path)])
        while not path.exists():
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(wait)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        content = read_json(path)
        assert content["rows"] == [content["i"]] * 20000
        path.unlink()


def test_peak_memory_counts_what_was_touched() -> None:
    program = (
        "import numpy as np\nfrom lucida.core.results import peak_memory_mb\n"
        "before = peak_memory_mb(); block = np.ones(12_500_000); del block; print(peak_memory_mb() - before)\n"
    )
    grown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert 95 < float(grown) < 130
    assert peak_memory_mb() > 20
