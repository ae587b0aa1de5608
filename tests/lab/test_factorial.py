"""Factorial designs: what is planted is found, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucida.lab.factorial import QUARTER_OF_EIGHT, effects, runs, shares, signs

FACTORS = tuple("abcdefgh")


@given(
    st.dictionaries(st.sampled_from(FACTORS), st.floats(-5, 5), max_size=8),
    st.sampled_from(FACTORS),
    st.sampled_from(FACTORS),
    st.floats(-5, 5),
)
def test_planted_effects_are_found(main: dict[str, float], one: str, other: str, together: float) -> None:
    table = runs(FACTORS, QUARTER_OF_EIGHT)
    values = np.array([sum(effect for name, effect in main.items() if name in run) for run in table], dtype=float)
    if one != other:
        values += np.array([together * (one in run and other in run) for run in table])
        main = {**main, one: main.get(one, 0) + together / 2, other: main.get(other, 0) + together / 2}
    found = effects(FACTORS, table, values)
    for name, effect in found.items():
        pair = together if len(name) == 2 and set(name) == {one, other} else 0.0
        assert effect == pytest.approx(main.get(name[0], 0.0) if len(name) == 1 else pair, abs=1e-9)


def test_shares_of_what_two_effects_explain_add_up() -> None:
    table = runs("ab")
    own = signs("ab", table)
    values = own @ [3.0, 1.0] + 2.0 * own[:, 0] * own[:, 1]
    found = shares(effects("ab", table, values), values, {"first": "a", "second": "b"})
    assert found == pytest.approx({"first": 9 / 14, "second": 1 / 14, "together": 4 / 14})


def test_runs_that_mix_up_two_effects_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be told apart"):
        effects("abc", runs("abc", ((0, 1),)), np.zeros(4))
