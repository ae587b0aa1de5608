"""Answers to twin pictures, counted by hand."""

from __future__ import annotations

import pytest

from lucida.core.errors import LucidaError
from lucida.evaluation.twins import PASTED, REMOVED, twin_metrics


def test_flips_are_counted_among_those_that_were_seen() -> None:
    own = ["yes", "yes", "yes", "yes", "no", "abstain"]
    gone = ["no", "no", "yes", "abstain", "no", "yes"]
    control = ["yes", "no", "yes", "yes", "no", "yes"]
    found = twin_metrics(
        [own, gone, control],  # type: ignore[list-item]
        [1, 1, 2, 3, 4, 5],
        REMOVED._replace(prefix="t"),
        p_yes=[[0.9] * 6, [0.1] * 6, [0.8] * 6],
    )
    values = {name.removeprefix("t/"): metric.value for name, metric in found.items()}
    assert values == pytest.approx(
        {
            "recall": 4 / 6, "flip_rate": 0.5, "control_flip_rate": 0.25, "flip_gap": 0.25, "still_yes_ratio": 0.25,
            "drop": 0.8, "control_drop": 0.1,
        }
    )  # fmt: skip
    assert found["t/flip_rate"].n == 3  # pictures


def test_a_model_that_looks_and_one_that_does_not() -> None:
    yes, no = ["yes"] * 20, ["no"] * 20
    pictures = range(20)
    looks = twin_metrics([yes, no, yes], list(pictures))  # type: ignore[list-item]
    assert (looks["twins/flip_rate"].value, looks["twins/control_flip_rate"].value) == (1, 0)
    blind = twin_metrics([yes, yes, yes], list(pictures))  # type: ignore[list-item]
    assert (blind["twins/flip_rate"].value, blind["twins/still_yes_ratio"].value) == (0, 1)


def test_lists_of_different_length_are_refused() -> None:
    with pytest.raises(LucidaError, match="answers for 2 twins"):
        twin_metrics([["yes"], ["no"], ["yes"]], [1, 2])


def test_what_is_put_in_is_counted_among_those_that_were_denied() -> None:
    own = ["no", "no", "no", "no", "yes", "abstain"]
    there = ["yes", "yes", "no", "abstain", "yes", "yes"]
    control = ["no", "yes", "no", "no", "yes", "no"]
    found = twin_metrics(
        [own, there, control],  # type: ignore[list-item]
        [1, 1, 2, 3, 4, 5],
        PASTED,
        p_yes=[[0.1] * 6, [0.9] * 6, [0.2] * 6],
    )
    values = {name.removeprefix("twins/pasted/"): metric.value for name, metric in found.items()}
    assert values == pytest.approx(
        {
            "no_ratio": 4 / 6, "flip_rate": 0.5, "control_flip_rate": 0.25, "flip_gap": 0.25, "still_no_ratio": 0.25,
            "rise": 0.8, "control_rise": 0.1,
        }
    )  # fmt: skip
    assert found["twins/pasted/flip_rate"].n == 3  # pictures
    with pytest.raises(LucidaError, match="answers for 2 twins"):
        twin_metrics([["no"], ["no"], ["no"]], [1, 2], PASTED)  # type: ignore[list-item]
