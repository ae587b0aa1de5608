"""The shape of the learning rate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucida.training.schedules import cosine_with_warmup


@given(total=st.integers(1, 300), share=st.floats(0, 1), final=st.floats(0, 1))
def test_up_then_down_to_the_final_fraction(total: int, share: float, final: float) -> None:
    warmup = round(share * total)
    rates = [
        cosine_with_warmup(step, total_steps=total, num_warmup_steps=warmup, final_fraction=final)
        for step in range(total)
    ]
    assert all(0 <= rate <= 1 + 1e-12 for rate in rates)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    if warmup:
        assert max(rates) == rates[warmup - 1] == 1
        assert rates[0] > 0  # the first step is not wasted
    if warmup < total > 1:
        assert rates[-1] == pytest.approx(final)


def test_a_single_step_is_not_wasted() -> None:
    assert [cosine_with_warmup(0, total_steps=1, num_warmup_steps=n) for n in (0, 1)] == [1.0, 1.0]


def test_after_the_end_the_rate_stays() -> None:
    ends = [cosine_with_warmup(s, total_steps=10, num_warmup_steps=2, final_fraction=0.1) for s in (9, 10, 1000)]
    assert ends == pytest.approx([0.1] * 3)
