"""``lucida train`` by two processes: the same model and the same results as by one, written once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import distributed

from lucida.core.results import Results

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
sys.path.insert(0, str(Path(__file__).parents[1] / "workflows"))
from test_tune_encoder import pictures
from tiny_encoders import clip

pytestmark = pytest.mark.skipif(
    not (distributed.is_available() and distributed.is_gloo_available()),
    reason="this torch has no gloo: no two processes on CPUs can train together",
)


@pytest.mark.parametrize("locked", ["none", "vision"])
def test_two_processes_tune_what_one_does(locked: str, tmp_path: Path) -> None:
    clip(tmp_path / "base", scale=10.0)
    pictures(tmp_path / "own", ["red", "green", "blue"])
    asked = ["train", "--model", str(tmp_path / "base"), "--pictures", str(tmp_path / "own"), "--locked", locked]
    asked += ["--shares", "0", "1", "--train.duration", "6 steps", "--train.learning-rate", "1e-3"]
    asked += ["--train.batch-size", "16", "--train.micro-batch-size", "4", "--objective.classification", "0.5"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    said = {}
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name, how in {"one": [], "two": launch}.items():
        command = [sys.executable, *how, "-m", "lucida", *asked, "--out", str(tmp_path / name)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stderr
        said[name] = done.stdout
    assert said["two"].count("results: ") == 1  # the first process alone tells what was measured
    one, two = (Results.load(tmp_path / name / "results.json").metrics for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, metric in one.items():
        assert two[name].value == pytest.approx(metric.value, abs=1e-3), name
    base, first, second = (
        load_file(tmp_path / name / "model.safetensors") for name in ("base", "one/model", "two/model")
    )
    assert first.keys() == second.keys()
    apart, moved = (
        sum(float((first[name].double() - other[name]).abs().sum()) for name in first.keys() & base.keys())
        for other in (second, base)
    )
    assert apart < 0.01 * moved  # AdamW makes steps of rounding errors where a gradient is nothing else
