"""Processes that pass their texts round a ring have the loss and the gradients of one that has all rows."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

SCRIPT = Path(__file__).with_name("ring_process.py")


@pytest.fixture(scope="module")
def one() -> ModuleType:
    """The script, to be run in this process alone."""
    specification = importlib.util.spec_from_file_location("ring_process", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_ring_scores_as_one_process(size: int, one: ModuleType, tmp_path: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, str(SCRIPT), str(tmp_path)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    parts = [torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True) for rank in range(size - (size == 3))]
    for case in one.CASES:
        whole = one.found(case, slice(0, one.ROWS), None)  # one process has the plain loss: the batch is small
        for name, expected in whole.items():
            own = [part[case][name] for part in parts]
            if name in ("images", "texts"):
                own = [torch.cat(own)]
            for each in own:
                torch.testing.assert_close(each, expected, rtol=1e-10, atol=1e-12, msg=lambda m, c=case: f"{c}: {m}")
