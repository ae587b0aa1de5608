"""Several processes that hold a share of the rows each and add their statistics up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch


def _alone(array: np.ndarray) -> np.ndarray:
    return array


@dataclass(frozen=True)
class Processes:
    """Who takes part in a fit; every process calls the same methods in the same order.

    Args:
        rank: this process's number, from 0; rows are numbered through in the order of the ranks.
        size: how many there are.
        all_reduce: gives the sum over all processes of a float64 vector, the same in each.

    >>> Processes().sum(np.ones(2), np.array(3.0))
    [array([1., 1.]), array(3.)]
    """

    rank: int = 0
    size: int = 1
    all_reduce: Callable[[np.ndarray], np.ndarray] = _alone

    @classmethod
    def current(cls) -> Processes:
        """Those of ``torch.distributed`` where it is initialised; else this process alone."""
        distributed = torch.distributed
        if not (distributed.is_available() and distributed.is_initialized()):
            return cls()
        return cls(distributed.get_rank(), distributed.get_world_size(), _torch_sum)

    def sum(self, *arrays: np.ndarray) -> list[np.ndarray]:
        """The sums over all processes, in one message."""
        if self.size == 1:
            return list(arrays)
        total = self.all_reduce(np.concatenate([np.ravel(array).astype(np.float64) for array in arrays]))
        ends = np.cumsum([array.size for array in arrays])
        parts = np.split(np.asarray(total, np.float64), ends[:-1])
        return [part.reshape(array.shape) for part, array in zip(parts, arrays, strict=True)]

    def from_first(self, array: np.ndarray) -> np.ndarray:
        """The array of the process of rank 0, in every process."""
        return self.sum(array if self.rank == 0 else np.zeros_like(array))[0]


def _torch_sum(array: np.ndarray) -> np.ndarray:
    backend = torch.distributed.get_backend()
    device = torch.device("cuda") if backend == "nccl" else torch.device("cpu")
    total = torch.from_numpy(array).to(device)
    torch.distributed.all_reduce(total)
    return total.cpu().numpy()
