"""Durations: text both ways, and steps that compare batch sizes at equal examples."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucida.core.durations import Duration
from lucida.core.errors import LucidaError

units = st.sampled_from(["steps", "examples", "epochs"])


@given(st.floats(0, 1e300) | st.integers(0, 10**15).map(float), units)
def test_text_keeps_every_digit(amount: float, unit: str) -> None:
    duration = Duration(amount, unit)  # type: ignore[arg-type]  # one of the units
    assert Duration.parse(str(duration)) == duration


@given(st.integers(1, 10**9), st.integers(1, 10**5), st.integers(1, 10**7))
def test_steps_cover_the_examples_and_not_a_step_more(examples: int, batch: int, epoch: int) -> None:
    exact = -(-examples // batch)
    assert Duration(examples, "examples").steps(batch_size=batch, examples_per_epoch=epoch) == exact
    assert Duration(examples, "steps").steps(batch_size=batch, examples_per_epoch=epoch) == examples


@given(st.integers(1, 200), st.integers(1, 10**4), st.integers(1, 512))
def test_tenths_of_epochs_are_not_rounded_up_by_binary_fractions(tenths: int, epoch: int, batch: int) -> None:
    steps = Duration(tenths / 10, "epochs").steps(batch_size=batch, examples_per_epoch=epoch)
    assert steps == max(1, -(-tenths * epoch // (10 * batch)))


@pytest.mark.parametrize("text", ["3 epoch", " 3 epochs ", "3.0epochs", "3e0 epochs", "0_3 epochs"])
def test_ways_to_write_it(text: str) -> None:
    assert Duration.parse(text) == Duration(3, "epochs")


@pytest.mark.parametrize(
    "text", ["", "3", "epochs", "3 hours", "-3 steps", "1.2.3 steps", "e5 steps", "nan steps", "1e999 steps"]
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(LucidaError, match="not a"):
        Duration.parse(text)


@pytest.mark.parametrize("amount", [-1, math.inf, math.nan])
def test_impossible_amounts_are_refused(amount: float) -> None:
    with pytest.raises(LucidaError, match="not a length of training"):
        Duration(amount, "steps")
