"""The blind-picture probe: derangements, paired gaps, and who is caught not looking."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.evaluation.blind import blind_metrics, ignores_pictures, shuffled_pictures


@given(st.integers(2, 40), st.integers(0, 99))
def test_no_picture_is_shown_for_itself(n: int, seed: int) -> None:
    partner = shuffled_pictures([f"p{i % n}" for i in range(2 * n)], seed=seed)
    assert sorted(partner) == sorted(partner.values()) == sorted(f"p{i}" for i in range(n))
    assert all(own != other for own, other in partner.items())
    assert partner == shuffled_pictures([f"p{i}" for i in range(n)], seed=seed)


def test_one_picture_cannot_be_shuffled() -> None:
    with pytest.raises(LucidaError, match="two different"):
        shuffled_pictures(["a", "a"])


def test_a_model_that_looks_and_one_that_does_not() -> None:
    generator = np.random.default_rng(0)
    pictures, guess = np.repeat(np.arange(60), 4).tolist(), generator.random(240) < 0.6
    looks = blind_metrics(generator.random(240) < 0.95, guess, generator.random(240) < 0.5, pictures)
    blind = blind_metrics(guess, guess, guess, pictures, prefix="x")
    assert not ignores_pictures(looks["blind/gap"])
    assert looks["blind/gap"].value == pytest.approx(
        looks["blind/true/accuracy"].value - looks["blind/shuffled/accuracy"].value
    )
    assert looks["blind/gap"].n == 60
    assert blind["x/gap"].value == blind["x/gap_to_blank"].value == 0
    assert ignores_pictures(blind["x/gap"])
    assert ignores_pictures(looks["blind/gap"], smallest=0.6)


def test_pairing_tells_more_than_two_intervals() -> None:
    generator = np.random.default_rng(1)
    easy = generator.random(300) < 0.5  # half of the questions give themselves away
    true, shuffled = easy | (generator.random(300) < 0.2), easy
    metrics = blind_metrics(true, shuffled, shuffled)
    low, high = metrics["blind/gap"].ci95
    widths = [np.ptp(metrics[f"blind/{name}/accuracy"].ci95) for name in ("true", "shuffled")]
    assert high - low < 0.8 * np.hypot(*widths)
    for metric in metrics.values():
        assert metric.ci95[0] <= metric.value <= metric.ci95[1]


def test_wrong_input_is_refused() -> None:
    with pytest.raises(LucidaError, match="differ in number"):
        blind_metrics([1, 0], [1], [1, 0])
    with pytest.raises(LucidaError, match="between 0 and 1"):
        blind_metrics([2], [1], [1])
