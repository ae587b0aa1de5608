"""The rows of a data set, read a block at a time: arrays in memory or memory-mapped, never a copy of all."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from lucida.clustering.processes import Processes

Total = TypeVar("Total")
BLOCK_BYTES, MOST, FEWEST = 1 << 20, 4096, 256  # of a block: it stays in a processor's cache and outweighs the calls


class Rows:
    """Rows about their mean.

    Blocks are float32 for float16 and float32 arrays, else float64. The mean is subtracted as a number of that type, so
    that rows far from the origin lose nothing later on.

    Args:
        X: ``[n, d]``, any real type; this process's share.
        processes: who holds the others.
        about: mean and variances that are known from elsewhere, so that the rows need not be read for them.

    ``variances`` are the features' own, ``[d]``; ``scale`` is a unit for each, about one over its standard deviation.

    Raises:
        ValueError: a number is NaN or infinite.
    """

    def __init__(
        self,
        X: np.ndarray,
        processes: Processes | None = None,
        *,
        about: tuple[np.ndarray, np.ndarray] | None = None,
    ):
        self.X, self.processes = X, processes or Processes()
        self.dtype = np.dtype(np.float32 if X.dtype in (np.float16, np.float32) else np.float64)
        self.eps = float(np.finfo(np.float32 if self.dtype == np.float32 else np.float64).eps)
        shares = np.zeros(self.processes.size)
        shares[self.processes.rank] = len(X)
        (shares,) = self.processes.sum(shares)
        self.total, self.offset = int(shares.sum()), int(shares[: self.processes.rank].sum())
        self.block = min(MOST, max(FEWEST, BLOCK_BYTES // (X.shape[1] * self.dtype.itemsize)))
        self._unread = about is not None  # else all processes learn together what is not finite
        self._scatter: np.ndarray | None = None
        self.shift = np.zeros(X.shape[1], self.dtype)
        mean, self.variances = self._moments() if about is None else about
        self.shift, deviation = mean.astype(self.dtype), np.sqrt(self.variances)
        self.scale = 1.0 / np.where(deviation > 1e-6 * np.abs(mean), deviation, np.maximum(np.abs(mean), 1.0))

    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        def add(total: np.ndarray, block: Tensor, start: int) -> None:
            wide = block.double()
            total[0] += wide.sum(0).numpy()
            total[1] += wide.square_().sum(0).numpy()

        nothing = np.zeros((2, self.X.shape[1]))
        (total,) = self.processes.sum(sum(self.each(add, nothing.copy), nothing))
        _check_finite(total[0])
        mean, squares = total / max(self.total, 1)
        return mean, np.maximum(squares - mean**2, 0.0)

    def read(self, start: int, stop: int) -> Tensor:
        """Rows of this process about the mean, ``[stop - start, d]``."""
        out = np.empty((min(stop, len(self.X)) - start, self.X.shape[1]), self.dtype)
        block = torch.from_numpy(np.subtract(self.X[start:stop], self.shift, out=out, casting="unsafe"))
        if self._unread and not math.isfinite(block.sum()):  # a sum of numbers may also be too large for its type
            _check_finite(self.X[start:stop])
        return block

    def each(self, add: Callable[[Total, Tensor, int], None], new: Callable[[], Total]) -> list[Total]:
        """Call ``add(total, block, start)`` for every block; a total of ``new()`` for each worker.

        There are as many workers as torch has threads; which blocks a worker gets is fixed, so a run repeats exactly.
        """
        starts = range(0, len(self.X), self.block)
        workers = max(1, min(torch.get_num_threads(), len(starts)))

        def work(k: int) -> Total:
            if workers > 1:
                torch.set_num_threads(1)  # of this worker: the blocks are what runs side by side
            total = new()
            for start in starts[k::workers]:
                add(total, self.read(start, start + self.block), start)
            return total

        if workers == 1:
            return [work(0)]
        threads = torch.get_num_threads()
        try:
            with ThreadPoolExecutor(workers) as pool:
                return list(pool.map(work, range(workers)))
        finally:
            torch.set_num_threads(threads)  # a worker's number is also that of every thread that starts later

    @property
    def scatter(self) -> np.ndarray:
        """The sum of all processes' rows and that of their products, about the mean, ``[1 + d, d]``; read once."""
        if self._scatter is None:
            self._scatter = self._summed_products()
        return self._scatter

    def _summed_products(self) -> np.ndarray:
        def add(total: np.ndarray, block: Tensor, start: int) -> None:
            wide = block.double()
            total[0] += wide.sum(0).numpy()
            total[1:] += (wide.T @ wide).numpy()

        d = self.X.shape[1]
        parts = self.each(add, lambda: np.zeros((1 + d, d)))
        return self.processes.sum(sum(parts, np.zeros((1 + d, d))))[0]

    def part(self, numbers: np.ndarray) -> Rows:
        """Some rows, by their numbers among all processes' rows; each process holds a copy and works alone.

        They are about the mean of all, and have the same units.
        """
        part = object.__new__(Rows)
        part.__dict__ |= self.__dict__ | {"_scatter": None}
        part.X, part.shift = self.take(numbers), np.zeros_like(self.shift)
        part.processes, part.total, part.offset = Processes(), len(numbers), 0
        return part

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """Rows about the mean by their numbers among all processes' rows, ``[len(numbers), d]``."""
        own = (numbers >= self.offset) & (numbers < self.offset + len(self.X))
        rows = np.zeros((len(numbers), self.X.shape[1]), self.dtype)
        rows[own] = self.X[numbers[own] - self.offset] - self.shift
        return self.processes.sum(rows)[0].astype(self.dtype, copy=False)


def _check_finite(numbers: np.ndarray) -> None:
    if not np.isfinite(numbers).all():
        raise ValueError("Input X contains NaN or infinity.")
