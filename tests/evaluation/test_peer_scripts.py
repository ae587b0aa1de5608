"""Peers' scripts for POPE: what each makes of odd answers, counted by hand from what the scripts do."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucida.evaluation.answers import parse_yes_no
from lucida.evaluation.peer_scripts import PEER_METRICS, PEER_SCRIPTS

ODD = {  # answer: what is taken for "yes" by pope and llava, by opera, by vcd where the truth is yes, where it is no
    "Yes.": (1, 1, 1, 1),
    "yes": (1, 1, 1, 1),
    "No": (0, 0, 0, 0),
    "no.": (0, 0, 0, 0),
    "": (1, 1, 0, 1),
    "NO": (1, 0, 0, 0),
    "Nope": (1, 1, 0, 0),
    "cannot tell": (1, 1, 0, 0),
    "I am not sure": (0, 0, 0, 0),
    "There isn't any": (1, 0, 0, 1),
    "yes and no": (0, 0, 1, 0),
    "Yes. No other one": (1, 0, 1, 0),
    "Yes, not far": (0, 0, 1, 0),
    "There is a snowboard": (1, 1, 0, 0),
    "Nein": (1, 1, 0, 1),
    "Non, il n'y en a pas": (1, 1, 0, 0),
    "不": (1, 1, 0, 1),
    "no,": (0, 0, 0, 0),
    "no\nyes": (1, 1, 1, 0),
    "eyes": (1, 1, 1, 1),
}


@pytest.mark.parametrize(("answer", "expected"), ODD.items())
def test_each_script_reads_an_answer_in_its_way(answer: str, expected: tuple[int, ...]) -> None:
    for name, there, absent in (("pope", 0, 0), ("llava", 0, 0), ("opera", 1, 1), ("vcd", 2, 3)):
        for label, at in (("yes", there), ("no", absent)):
            found = PEER_SCRIPTS[name]([answer], [label])
            assert found["yes_ratio"] == expected[at], (name, label)
            assert found["accuracy"] == (expected[at] == (label == "yes"))
            assert found["abstain_ratio"] == 0


def test_lmms_eval_wants_the_word_and_reports_the_yes_ratio_of_the_truth() -> None:
    found = PEER_SCRIPTS["lmms-eval"](["Yes", " no ", "Yes.", "no", "maybe"], ["yes", "yes", "yes", "no", "yes"])
    assert found["accuracy"] == 2 / 5
    assert found["precision"] == 1
    assert found["recall"] == 1 / 2  # what is neither word is left out
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["yes_ratio"] == 4 / 5
    assert found["abstain_ratio"] == 2 / 5
    assert PEER_SCRIPTS["lmms-eval"](["x"], ["no"])["f1"] == 0


def test_the_five_scripts_disagree_about_the_same_answers() -> None:
    answers, labels = ["yes", "no", "", "Nope", "There isn't any", "NO"], ["yes", "no", "no", "no", "no", "no"]
    assert PEER_SCRIPTS["pope"](answers, labels) == {
        "accuracy": 2 / 6, "precision": 1 / 5, "recall": 1.0, "f1": pytest.approx(1 / 3), "yes_ratio": 5 / 6,
        "abstain_ratio": 0.0,
    }  # fmt: skip
    assert PEER_SCRIPTS["opera"](answers, labels)["accuracy"] == 4 / 6
    assert PEER_SCRIPTS["vcd"](answers, labels)["accuracy"] == 4 / 6
    assert PEER_SCRIPTS["lmms-eval"](answers, labels)["accuracy"] == 3 / 6
    assert [parse_yes_no(answer) for answer in answers] == ["yes", "no", "abstain", "no", "no", "no"]


def test_what_a_script_divides_by_zero_is_not_a_number() -> None:
    found = PEER_SCRIPTS["pope"](["no", "no"], ["yes", "no"])
    assert math.isnan(found["precision"])
    assert math.isnan(found["f1"])
    assert found["recall"] == 0


@given(st.lists(st.tuples(st.text(max_size=12), st.sampled_from(["yes", "no"])), min_size=1, max_size=20))
def test_every_script_scores_any_text(rows: list[tuple[str, str]]) -> None:
    answers, labels = zip(*rows, strict=True)
    for script in PEER_SCRIPTS.values():
        found = script(answers, labels)
        assert tuple(found) == PEER_METRICS
        assert all(math.isnan(value) or 0 <= value <= 1 for value in found.values())
