"""Two nodes, each with a launcher of its own, train as one process does; both run on this machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from safetensors.torch import load_file
from torch import distributed

from lucida.training.checkpoint import WEIGHTS, latest_checkpoint

STEPS = 12
TASKS = ("contrastive:3", "language")

pytestmark = pytest.mark.skipif(
    not (distributed.is_available() and distributed.is_gloo_available()),
    reason="this torch has no gloo: no two processes on CPUs can train together",
)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def runs(toys: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toys in one process, and in two nodes that spread the model over both."""
    folder = tmp_path_factory.mktemp("nodes")
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    meeting, launchers = f"localhost:{free_port()}", []
    for rank in ("0", "1"):
        launch = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
        launch += ["--node-rank", rank, "--rdzv-backend", "c10d", "--rdzv-endpoint", meeting, toys.__file__]
        arguments = [str(folder / "two"), *TASKS, "--steps", str(STEPS), "--sharding", "full"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        launchers.append(subprocess.Popen([*launch, *arguments], env=environment, **pipes))
    toys.main([str(folder / "one"), *TASKS, "--steps", str(STEPS)])
    try:
        said = [launcher.communicate(timeout=150) for launcher in launchers]
    finally:
        for launcher in launchers:
            launcher.kill()
    assert [launcher.returncode for launcher in launchers] == [0, 0], said
    assert ["processes: 2" in out for out, _ in said] == [True, True]  # one process a node
    return folder


@pytest.mark.parametrize("task", TASKS)
def test_two_nodes_train_as_one_process(runs: Path, task: str) -> None:
    rows = [(runs / run / task / "metrics.jsonl").read_text().splitlines() for run in ("one", "two")]
    one, two = ([json.loads(row)["loss"] for row in each] for each in rows)
    assert len(one) == STEPS
    assert two == pytest.approx(one, abs=1e-5)
    assert one[-1] < one[0]
    weights = [load_file(latest_checkpoint(runs / run / task / "checkpoints") / WEIGHTS) for run in ("one", "two")]
    for key in weights[0].keys() - {"calls"}:
        assert (weights[0][key] - weights[1][key]).abs().max() < 1e-4, key
