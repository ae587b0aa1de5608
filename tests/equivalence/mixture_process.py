"""One of several processes: fits a mixture to its share of the rows and writes what it found."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch.distributed as distributed

from lucida.clustering import GaussianMixture
from lucida.clustering.covariances import TYPES


def fitted(rows: np.ndarray, kind: str) -> dict[str, np.ndarray]:
    """What a fit gives, by name."""
    settings = {"covariance_type": kind, "random_state": 0, "tol": 1e-6, "first_rows": 1500}
    mixture = GaussianMixture(4, **settings).fit(rows)  # type: ignore[arg-type]
    names = ("weights_", "means_", "covariances_", "precisions_cholesky_", "lower_bounds_")
    return {f"{kind}/{name}": np.asarray(getattr(mixture, name)) for name in names}


def main(folder: Path) -> None:
    """Join the others, fit each covariance type, write ``rank-….npz``."""
    distributed.init_process_group("gloo")
    rank, size = distributed.get_rank(), distributed.get_world_size()
    rows = np.load(folder / "rows.npy", mmap_mode="r")
    share = rows[: len(rows) // 3] if rank == 0 else rows[len(rows) // 3 :]
    found = {name: x for kind in TYPES for name, x in fitted(share, kind).items()}
    np.savez(folder / f"rank-{rank}.npz", size=np.array(size), **found)
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
