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
TASKS = (
    "contrastive",
    "contrastive:3",
    "multi:3",
    "language",
    "language:3",
    "chats",
    "chats:3",
)  # without and with micro-batches of 3


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def runs(toys: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every task in one process and in two, one launch for all."""
    folder = tmp_path_factory.mktemp("processes")
    toys.main([str(folder / "one"), *TASKS, "--steps", str(STEPS)])
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", toys.__file__]
    arguments = [str(folder / "two"), *TASKS, "--steps", str(STEPS)]
    done = subprocess.run([*launch, *arguments], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("processes: 2") == 2
    return folder


@pytest.mark.parametrize("task", TASKS)
def test_two_processes_train_as_one(runs: Path, task: str) -> None:
    one, two = losses(runs / "one" / task), losses(runs / "two" / task)
    assert len(one) == len(two) == STEPS
    assert two == pytest.approx(one, abs=1e-4)
    assert one[-1] < one[0]
    weights = [load_file(latest_checkpoint(runs / run / task / "checkpoints") / WEIGHTS) for run in ("one", "two")]
    for key in weights[0].keys() - {"calls"}:
        assert (weights[0][key] - weights[1][key]).abs().max() < 1e-3, key


@pytest.mark.parametrize("task", ["language", "chats"])
def test_micro_batches_train_as_the_whole_batch(runs: Path, task: str) -> None:
    whole, parts = losses(runs / "one" / task), losses(runs / "one" / f"{task}:3")
    assert parts == pytest.approx(whole, abs=1e-4)
