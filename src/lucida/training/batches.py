"""Which examples make up which batch: a pure function of (seed, step), so that a run can start anywhere in it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import numpy as np

from lucida.core.errors import LucidaError
from lucida.core.seeds import derive_seed, stream
from lucida.data.sampling import Sampling, draw_rows, epoch_size, repeats

Batch = dict[str, Any]


class Draw:
    """The random numbers of the examples of a batch: functions of the seed, the epoch and the example alone.

    Args:
        seed: of the run.
        places: ``(epoch, index)`` of each example.

    >>> a, b = Draw(0, [(0, 7), (1, 7)]), Draw(0, [(1, 7)])
    >>> bool(a(1).random() == b(0).random() != a(0).random())
    True
    >>> bool(a.uniform(2)[1, 0] == b.uniform(3)[0, 0])
    True
    """

    def __init__(self, seed: int, places: Sequence[tuple[int, int]]):
        self.seed, self.places = seed, places

    def __call__(self, k: int) -> np.random.Generator:
        """The generator of the ``k``-th example (some 20 µs)."""
        return stream(self.seed, "example", *self.places[k])

    def uniform(self, columns: int) -> np.ndarray:
        """``float64 [B, columns]`` in ``[0, 1)``, a row an example, without a generator for each: for fast paths."""
        epochs, indices = np.asarray(self.places, dtype=np.uint64).reshape(-1, 2).T
        start = np.uint64(derive_seed(self.seed, "uniform"))
        rows = _mixed(_mixed(start + epochs) ^ indices)
        numbers = _mixed(rows[:, None] + np.arange(columns, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
        return (numbers >> np.uint64(11)) * 2.0**-53


def _mixed(x: np.ndarray) -> np.ndarray:
    """The output function of SplitMix64 (Steele, Lea & Flood 2014), on ``uint64`` that wraps around."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class TrainingData(Protocol):
    """Examples by index, collated.

    ``batch`` runs in a background thread. Whatever it draws at random must come from ``draw``, whose ``k``-th numbers
    belong to the ``k``-th of the ``indices``: they depend neither on the order of work nor on the number of processes.
    A global random stream would break both.
    """

    def __len__(self) -> int:
        """The number of examples in an epoch."""

    def batch(self, indices: Sequence[int], draw: Draw) -> Batch:
        """The examples ``indices`` as tensors on the CPU."""


@runtime_checkable
class OrderedData(TrainingData, Protocol):
    """Training data that says itself what an epoch shows.

    Attributes:
        sampling: how, by name; a run cannot be continued under another one.
    """

    sampling: str

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """The indices of an epoch in their order, ``int64 [len(self)]``; no index twice, or its draws would be too."""


class Resampled:
    """Any training data with its classes balanced by the choice of rows: pairs and conversations as well as classes.

    Index ``i + k·N`` is row ``i`` shown for the ``k``-th time (from 0) in an epoch, so that each time has random draws
    of its own: a picture that is oversampled comes in different views, with different texts.

    Args:
        data: the examples.
        labels: ``[N]``, the class of each; pairs and conversations have one by what they are about.
        sampling: see :func:`~lucida.data.sampling.draw_rows`.

    Raises:
        LucidaError: the labels do not fit the data.
    """

    def __init__(self, data: TrainingData, labels: np.ndarray, sampling: Sampling):
        if len(labels) != len(data):
            raise LucidaError(f"{len(labels)} labels do not fit {len(data)} examples", where="labels")
        self.data, self.labels, self.sampling = data, np.asarray(labels), sampling
        self._size = epoch_size(np.unique(self.labels, return_counts=True)[1], sampling)

    def __len__(self) -> int:
        return self._size

    def batch(self, indices: Sequence[int], draw: Draw) -> Batch:
        return self.data.batch([index % len(self.data) for index in indices], draw)

    def order(self, seed: int, epoch: int) -> np.ndarray:
        rows = draw_rows(self.labels, self.sampling, derive_seed(seed, "order", epoch))
        return rows + len(self.data) * repeats(rows)


class ExampleData:
    """Training data whose examples are made one by one: ``example(index, generator)``, then ``collate(list)``."""

    def __init__(
        self,
        count: int,
        example: Callable[[int, np.random.Generator], Any],
        collate: Callable[[list[Any]], Batch],
    ):
        self.count, self.example, self.collate = count, example, collate

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: Sequence[int], draw: Draw) -> Batch:
        return self.collate([self.example(index, draw(k)) for k, index in enumerate(indices)])


class BatchStream:
    """The batches of a run, by step.

    The shuffled epochs follow each other without a gap, and step ``s`` takes the examples ``s·B … (s+1)·B - 1`` of that
    row: no example is dropped, and (epoch, position) is ``divmod(s·B, N)``. Process ``r`` of ``W`` takes the ``r``-th
    of ``W`` equal slices, so the global batch is the same for any ``W``.

    Args:
        data: the examples.
        batch_size: examples in a step, over all processes.
        micro_batch_size: examples in one forward pass of one process; ``None`` for all of them.
        seed: of the order and of the examples' own draws.
        process: ``(index, count)`` of the processes.

    Raises:
        LucidaError: no examples, or a batch that the processes cannot share equally.
    """

    def __init__(
        self,
        data: TrainingData,
        *,
        batch_size: int,
        micro_batch_size: int | None = None,
        seed: int = 0,
        process: tuple[int, int] = (0, 1),
    ):
        if len(data) == 0:
            raise LucidaError("there is no example to train on", where="training data")
        if batch_size < 1 or (micro_batch_size is not None and micro_batch_size < 1):
            raise LucidaError("a batch needs at least one example", where="batch_size, micro_batch_size")
        if batch_size % process[1]:
            raise LucidaError(
                f"{process[1]} processes cannot share a batch of {batch_size} equally",
                where="batch_size",
                remedy=f"use {batch_size - batch_size % process[1] or process[1]}",
            )
        self.data, self.batch_size, self.seed, self.process = data, batch_size, seed, process
        self.micro_batch_size = micro_batch_size or batch_size
        self._order = lru_cache(maxsize=2)(self._new_order)

    def places(self, step: int) -> list[tuple[int, int]]:
        """``(epoch, index)`` of every example of the global batch."""
        count = len(self.data)
        positions = range(step * self.batch_size, (step + 1) * self.batch_size)
        return [(p // count, int(self._order(p // count)[p % count])) for p in positions]

    def micro_batches(self, step: int) -> list[Batch]:
        """This process' share of the batch of ``step``."""
        index, count = self.process
        share = self.batch_size // count
        places = self.places(step)[index * share : (index + 1) * share]
        size = self.micro_batch_size
        return [self._batch(places[start : start + size]) for start in range(0, share, size)]

    def _batch(self, places: list[tuple[int, int]]) -> Batch:
        return self.data.batch([index for _, index in places], Draw(self.seed, places))

    def _new_order(self, epoch: int) -> np.ndarray:
        if isinstance(self.data, OrderedData):
            return self.data.order(self.seed, epoch)
        return stream(self.seed, "order", epoch).permutation(len(self.data))


def prefetched(
    build: Callable[[int], list[Batch]], steps: range, *, ahead: int = 2
) -> Generator[list[Batch], None, None]:
    """``build(step)`` for each step in order, up to ``ahead`` of them built early by one background thread.

    An error of ``build`` is raised at its own step. Closing the iterator ends the thread.
    """
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
    pending: list[Future[list[Batch]]] = []
    try:
        upcoming = iter(steps)
        for _ in steps:
            while len(pending) <= ahead and (step := next(upcoming, None)) is not None:
                pending.append(pool.submit(build, step))
            yield pending.pop(0).result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
