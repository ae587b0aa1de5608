"""Abstaining keeps its promise, and never answers more than it may."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.inference.abstention import sure_from


def answers(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated answers: right as often as they are confident."""
    generator = np.random.default_rng(seed)
    confidence = 1 - 0.5 * generator.random(n) ** 3
    return confidence, generator.random(n) < confidence


def test_the_promise_is_kept_on_other_answers_of_the_kind() -> None:
    broken = 0
    confidence, right = answers(200_000, 0)
    for seed in range(1, 101):
        limit = sure_from(*answers(800, seed), risk=0.05)
        given_ = confidence >= limit
        broken += bool(given_.any() and (~right[given_]).mean() > 0.05)
    assert broken <= 10  # of 100, where at most 5 % are promised


@given(st.integers(20, 300), st.integers(0, 1000), st.floats(0.01, 0.5))
def test_a_smaller_risk_never_lets_more_answers_through(n: int, seed: int, risk: float) -> None:
    confidence, right = answers(n, seed)
    assert sure_from(confidence, right, risk=risk / 2) >= sure_from(confidence, right, risk=risk)


def test_who_is_always_right_answers_all_and_who_never_is_nothing() -> None:
    confidence = np.linspace(0.5, 1, 500)
    assert sure_from(confidence, np.ones(500), risk=0.02) == 0.5
    assert sure_from(confidence, np.zeros(500), risk=0.02) == float("inf")


@pytest.mark.parametrize(("n", "risk", "message"), [(0, 0.1, "no answers"), (5, 0.0, "risk of 0.0")])
def test_bad_input_is_said(n: int, risk: float, message: str) -> None:
    with pytest.raises(LucidaError, match=message):
        sure_from(np.ones(n), np.ones(n), risk=risk)
