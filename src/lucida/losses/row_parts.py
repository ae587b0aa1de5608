"""Rows in as many parts as there are threads, each computed by a thread of its own with all columns.

Where every operation on a tile is shared among threads, each of them waits for the others at its end, some ten times a
tile. Sums over rows and columns and gradients add up over parts of the rows, so each thread may go its own way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

MOST = 4
"""Parts at most: each holds a gradient of all columns. More threads share the operations of a part."""
Found = TypeVar("Found")


def parts_of(rows: Tensor, least: int) -> list[slice]:
    """Parts of about equal size, of ``least`` rows or more; one on a device whose operations wait for nothing.

    >>> parts_of(torch.zeros(10), least=6)  # by however many threads there are
    [slice(0, 10, None)]
    """
    count = max(1, min(torch.get_num_threads(), MOST, len(rows) // least)) if rows.device.type == "cpu" else 1
    ends = [len(rows) * k // count for k in range(1 + count)]
    return [slice(start, end) for start, end in pairwise(ends)]


def in_parts(work: Callable[[slice], Found], parts: Sequence[slice]) -> list[Found]:
    """What ``work`` finds for each part, in their order; nothing it does is recorded for gradients."""
    if len(parts) == 1:
        return [work(parts[0])]

    def unrecorded(part: slice) -> Found:
        with torch.no_grad():  # of the thread: it does not know what the caller's is
            return work(part)

    with _pool(len(parts)) as pool:
        return list(pool.map(unrecorded, parts))


@contextmanager
def _pool(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads among which those of PyTorch's operations are shared out."""
    everywhere = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(
            count, initializer=torch.set_num_threads, initargs=(max(1, everywhere // count),)
        ) as pool:
            yield pool
    finally:
        torch.set_num_threads(everywhere)  # what a thread sets for itself is also what new ones begin with
