"""Two processes train as one does: the same global batch, the same gradient, the same losses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from safetensors.torch import load_file

from lucida.training.checkpoint import WEIGHTS, latest_checkpoint

STEPS = 50


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("name", "micro_batch_size"), [("contrastive", 3), ("language", 3), ("contrastive", None)])
def test_two_processes_train_as_one(toys: ModuleType, tmp_path: Path, name: str, micro_batch_size: int | None) -> None:
    options = ["--task", name, "--steps", str(STEPS)]
    toys.main([str(tmp_path / "one"), *options])
    if micro_batch_size:
        options += ["--micro-batch-size", str(micro_batch_size)]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", toys.__file__]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, str(tmp_path / "two"), *options], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == len(two) == STEPS
    assert two == pytest.approx(one, abs=1e-4)
    assert one[-1] < one[0]
    weights = [load_file(latest_checkpoint(tmp_path / run / "checkpoints") / WEIGHTS) for run in ("one", "two")]
    for key in weights[0].keys() - {"calls"}:
        assert (weights[0][key] - weights[1][key]).abs().max() < 1e-3, key
