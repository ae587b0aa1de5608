"""Two processes that hold a share of the rows each fit the mixture that one process fits to all."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from lucida.clustering.covariances import TYPES

SCRIPT = Path(__file__).with_name("mixture_process.py")


def test_two_processes_fit_the_mixture_of_one(tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    means, shapes, own = 3 * random.randn(4, 5), random.randn(4, 5, 5), random.randint(4, size=6000)
    rows = np.einsum("nij,nj->ni", shapes[own], random.randn(6000, 5)) + means[own] + 50
    np.save(tmp_path / "rows.npy", rows)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, str(SCRIPT), str(tmp_path)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    specification = importlib.util.spec_from_file_location("mixture_process", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    two = [dict(np.load(tmp_path / f"rank-{rank}.npz")) for rank in (0, 1)]
    assert two[0]["size"] == 2
    for kind in TYPES:
        for name, one in module.fitted(rows, kind).items():
            assert np.array_equal(two[0][name], two[1][name]), name
            assert two[0][name].shape == one.shape, name
            assert np.allclose(two[0][name], one, rtol=1e-7, atol=1e-8), name
