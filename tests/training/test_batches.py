"""The order of examples: a function of seed and step, the same for any number of processes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.training.batches import BatchStream, Draw, ExampleData, prefetched


class Recorded:
    """Each example is its index and one number it draws."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: Sequence[int], draw: Draw) -> dict[str, Any]:
        return {"rows": [(index, draw(k).random()) for k, index in enumerate(indices)]}


def rows(stream: BatchStream, step: int) -> list[tuple[int, float]]:
    return [row for batch in stream.micro_batches(step) for row in batch["rows"]]


@given(count=st.integers(1, 40), size=st.integers(1, 50), seed=st.integers(0, 5))
def test_every_epoch_holds_every_example_once(count: int, size: int, seed: int) -> None:
    stream = BatchStream(Recorded(count), batch_size=size, seed=seed)
    steps = 3 * count // size + 1
    seen = [place for step in range(steps) for place in stream.places(step)]
    assert len(seen) == steps * size
    for epoch in range(len(seen) // count):
        assert sorted(seen[epoch * count : (epoch + 1) * count]) == [(epoch, index) for index in range(count)]


@given(shares=st.integers(1, 4), processes=st.sampled_from([1, 2, 3, 6]), micro=st.sampled_from([None, 1, 2, 5]))
def test_any_number_of_processes_and_micro_batches_sees_the_same_batch(
    shares: int, processes: int, micro: int | None
) -> None:
    data, size = Recorded(17), 6 * shares
    whole = BatchStream(data, batch_size=size, seed=3)
    parts = [
        BatchStream(data, batch_size=size, micro_batch_size=micro, seed=3, process=(rank, processes))
        for rank in range(processes)
    ]
    for step in range(4):
        assert [row for part in parts for row in rows(part, step)] == rows(whole, step)


def test_a_step_can_be_asked_for_alone() -> None:
    forward, alone = (BatchStream(Recorded(11), batch_size=4, seed=1) for _ in range(2))
    walked = [rows(forward, step) for step in range(9)]
    assert rows(alone, 8) == walked[8]
    assert rows(alone, 0) == walked[0]


def test_draws_differ_between_epochs_examples_and_seeds() -> None:
    draws = [
        number
        for seed in (0, 1)
        for step in range(6)
        for _, number in rows(BatchStream(Recorded(10), batch_size=10, seed=seed), step)
    ]
    assert max(Counter(draws).values()) == 1


def test_uniform_numbers_are_uniform_and_belong_to_their_example() -> None:
    places = [(epoch, index) for epoch in range(5) for index in range(2000)]
    numbers = Draw(0, places).uniform(3)
    assert numbers.shape == (10_000, 3)
    assert 0 <= numbers.min() < 0.001 < 0.999 < numbers.max() < 1
    counts = np.histogram(numbers, bins=20, range=(0, 1))[0]
    assert abs(counts - 1500).max() < 6 * 1500**0.5
    assert abs(np.corrcoef(numbers.T) - np.eye(3)).max() < 0.05  # columns of an example
    assert abs(np.corrcoef(numbers[:-1, 0], numbers[1:, 0])[0, 1]) < 0.05  # neighbours
    assert len(np.unique(numbers)) == numbers.size
    order = np.random.default_rng(0).permutation(len(places))
    assert np.array_equal(Draw(0, [places[k] for k in order]).uniform(2), numbers[order, :2])
    assert not np.array_equal(Draw(1, places).uniform(3), numbers)


def test_orders_differ_between_epochs_and_are_not_sorted() -> None:
    stream = BatchStream(Recorded(20), batch_size=20)
    orders = [[index for _, index in stream.places(step)] for step in range(3)]
    assert len({tuple(order) for order in orders}) == 3
    assert all(order != sorted(order) for order in orders)


def test_examples_made_one_by_one() -> None:
    data = ExampleData(5, lambda index, generator: (index, generator.random()), lambda rows: {"rows": rows})
    expected = rows(BatchStream(Recorded(5), batch_size=3), 0)
    assert rows(BatchStream(data, batch_size=3), 0) == expected


def test_impossible_batches_are_named() -> None:
    with pytest.raises(LucidaError, match="no example to train on"):
        BatchStream(Recorded(0), batch_size=2)
    with pytest.raises(LucidaError, match=r"3 processes cannot share a batch of 8 equally .*; use 6"):
        BatchStream(Recorded(9), batch_size=8, process=(0, 3))
    with pytest.raises(LucidaError, match="at least one example"):
        BatchStream(Recorded(9), batch_size=0)


@given(first=st.integers(0, 5), count=st.integers(0, 6), ahead=st.integers(0, 3))
def test_prefetching_keeps_the_order(first: int, count: int, ahead: int) -> None:
    steps = range(first, first + count)
    assert [batch[0]["step"] for batch in prefetched(lambda s: [{"step": s}], steps, ahead=ahead)] == list(steps)


def test_prefetching_runs_ahead_but_not_away() -> None:
    built: list[int] = []
    third = threading.Event()

    def build(step: int) -> list[dict[str, Any]]:
        built.append(step)
        if step == 2:
            third.set()
        return [{}]

    batches = prefetched(build, range(100), ahead=2)
    next(batches)
    assert third.wait(10)  # built while nobody asks
    batches.close()
    assert built == [0, 1, 2]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_an_error_is_raised_at_its_own_step() -> None:
    def build(step: int) -> list[dict[str, Any]]:
        if step == 2:
            raise LucidaError("bad row", where="row 17")
        return [{"step": step}]

    seen: list[int] = []
    with pytest.raises(LucidaError, match="row 17"):
        seen.extend(batch[0]["step"] for batch in prefetched(build, range(5)))
    assert seen == [0, 1]
