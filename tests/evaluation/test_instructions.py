"""Answers to instructions: read in the form that was asked for, scored kind by kind beside what needs no picture."""

from __future__ import annotations

import numpy as np
import pytest

from lucida.data.captions import vocabulary
from lucida.data.instruction_kinds import INSTRUCTION_KINDS
from lucida.data.instructions import Instruction, instruct
from lucida.data.statistics import ObjectStatistics
from lucida.data.truth import Box, Facts, PictureObject
from lucida.evaluation.instructions import Asked, accuracy, baseline_metrics, gain, read_answer, score

NAMES = ("cat", "owl", "fire engine", "tent", "dog")
KNOWN = vocabulary(NAMES)
FACTS = Facts(
    (
        PictureObject("cat", Box(2, 40, 30, 30)),
        PictureObject("owl", Box(90, 45, 12, 12)),
        PictureObject("fire engine", Box(10, 100, 20, 20)),
        PictureObject("fire engine", Box(50, 100, 20, 20)),
    ),
    128,
    128,
    exhaustive=True,
)


@pytest.mark.parametrize("kind", [*INSTRUCTION_KINDS])
@pytest.mark.parametrize("seed", range(5))
def test_what_is_taught_is_read_as_right(kind, seed):
    statistics = ObjectStatistics.count([NAMES])
    found = instruct(kind, FACTS, statistics, np.random.default_rng(seed))
    if found is not None:
        assert score([Asked(0, found)], [found.answer], KNOWN).right == [True]
        assert score([Asked(0, found)], [""], KNOWN).right == [False]


@pytest.mark.parametrize(
    ("form", "text", "value"),
    [
        ("yes or no", "No, there is none.", {"no"}),
        ("yes or no", "cat", None),
        ("number", "There are three.", {"3"}),
        ("number", "yes", None),
        ("number word", "3", None),
        ("number word", "Three.", {"3"}),
        ("side", "On the right.", {"right"}),
        ("side", "top right", None),
        ("same", "On different sides.", {"different"}),
        ("same", "same or different", None),
        ("name", "A fire engine.", {"fire engine"}),
        ("name", "fire trucks", {"fire engine"}),
        ("name", "a cat and an owl", None),
        ("list", "cats, an owl, a cat", {"cat", "owl"}),
        ("list", "nothing", None),
    ],
)
def test_answers_are_read_in_their_form(form, text, value):
    assert read_answer(text, form, KNOWN) == (None if value is None else frozenset(value))


def asked(kind: str, accepted: str, choices: int, picture: int) -> Asked:
    return Asked(picture, Instruction(kind, "?", accepted, frozenset([accepted]), choices))


def test_baselines_are_taken_kind_by_kind():
    rows = [asked("missing", answer, 2, i) for i, answer in enumerate(["yes", "yes", "yes", "no"])]
    rows += [asked("total", answer, 0, i) for i, answer in enumerate(["3", "4", "5", "5"])]
    found = baseline_metrics(rows, "some")
    assert found["some/majority_accuracy"].value == pytest.approx((3 + 2) / 8)
    assert found["some/chance_accuracy"].value == pytest.approx((4 / 2 + 4 / 3) / 8)
    assert found["some/chance_accuracy"].n == 4


def test_a_list_must_be_whole_and_true():
    rows = [Asked(0, Instruction("list", "?", "cat, owl", frozenset(["cat", "owl"])))] * 3
    assert score(rows, ["owl, cat", "cat", "cat, owl, dog"], KNOWN).right == [True, False, False]


def test_accuracy_and_gain_keep_a_pictures_instructions_together():
    rows = [asked("missing", "yes", 2, i // 2) for i in range(8)]
    before, after = [False] * 8, [True, True, False, False, True, True, False, False]
    assert accuracy(rows, after).n == 4
    assert gain(rows, before, after).value == 0.5
    assert gain(rows, before, after).n == 4
