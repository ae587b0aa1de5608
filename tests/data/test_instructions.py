"""Kinds of instruction: right by a second look at the same facts, not given away by their words, held out by seed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.core.seeds import stream
from lucida.data.instruction_kinds import INSTRUCTION_KINDS, Scenery
from lucida.data.instructions import InstructionLesson, draw_parts, instruct, worded
from lucida.data.lessons import Lesson
from lucida.data.scenes import SceneConfig
from lucida.data.truth import Facts, PictureObject
from lucida.data.worlds import build_world

NAMES = ("apple", "banana", "cat", "dog", "hammer", "guitar", "owl", "tent", "banjo", "ring")


@pytest.fixture(scope="module")
def lesson() -> Lesson:
    artwork = {(name, "one"): np.full((72, 72, 4), 255, np.uint8) for name in NAMES}
    return Lesson.of_scenes(build_world(artwork, SceneConfig(size=64, kinds=8, unseen_pairs=0.0), seed=0), "train", 300)


def centre(facts: Facts, name: str) -> float:
    return next(o.box.x + o.box.width / 2 for o in facts.objects if o.name == name and o.box)


def side(facts: Facts, name: str) -> str:
    return "left" if centre(facts, name) < facts.width / 2 else "right"


def area(thing: PictureObject) -> float:
    assert thing.box
    return thing.box.width * thing.box.height


def said(yes: bool) -> str:
    return "yes" if yes else "no"


TRUTH = {
    "present": lambda f, x: said(x in f.counts),
    "missing": lambda f, x: said(x not in f.counts),
    "both": lambda f, x, y: said(x in f.counts and y in f.counts),
    "neither": lambda f, x, y: said(x not in f.counts and y not in f.counts),
    "present_as_digit": lambda f, x: str(int(x in f.counts)),
    "count": lambda f, x: str(f.counts[x]),
    "count_in_words": lambda f, x: ("zero", "one", "two", "three", "four")[f.counts[x]],
    "total": lambda f: str(sum(f.counts.values())),
    "more": lambda f, x, y: said(f.counts.get(x, 0) > f.counts.get(y, 0)),
    "as_many": lambda f, x, y: said(f.counts.get(x, 0) == f.counts.get(y, 0)),
    "left_of": lambda f, x, y: said(centre(f, x) < centre(f, y)),
    "side": side,
    "same_side": lambda f, x, y: "same" if side(f, x) == side(f, y) else "different",
    "left_end": lambda f: min(f.objects, key=lambda o: o.box.x + o.box.width / 2).name,
    "right_end": lambda f: max(f.objects, key=lambda o: o.box.x + o.box.width / 2).name,
    "largest": lambda f: max(f.objects, key=area).name,
    "smallest": lambda f: min(f.objects, key=area).name,
    "which_of_two": lambda f, x, y: x if x in f.counts else y,
    "odd_one_out": lambda f, *names: next(name for name in names if name not in f.counts),
}
"""The right answer from the facts and the names asked about, looked up in another way."""


@pytest.mark.parametrize("kind", [kind for kind in INSTRUCTION_KINDS if kind != "list"])
@settings(max_examples=60, deadline=None)
@given(i=st.integers(0, 299), seed=st.integers(0, 10_000))
def test_the_answer_is_right(lesson, kind, i, seed):
    facts = lesson.gallery.facts(i)
    asked = INSTRUCTION_KINDS[kind].ask(Scenery(facts, lesson.statistics, np.random.default_rng(seed)))
    if asked is not None:
        assert len({*asked.names}) == len(asked.names)
        assert asked.answer == TRUTH[kind](facts, *asked.names)


def test_a_list_names_everything_from_left_to_right(lesson):
    for i in range(50):
        found = instruct("list", lesson.gallery.facts(i), lesson.statistics, np.random.default_rng(i))
        facts = lesson.gallery.facts(i)
        assert found is not None
        assert found.accepted == {*facts.counts}
        first = found.answer.split(", ")[0]
        assert first == TRUTH["left_end"](facts)


def all_of(lesson, kind):
    drawn = (instruct(kind, lesson.gallery.facts(i), lesson.statistics, stream(0, "test", kind, i)) for i in range(300))
    return [one for one in drawn if one]


@pytest.mark.parametrize("kind", [*INSTRUCTION_KINDS])
def test_every_kind_is_asked_and_two_way_answers_are_about_even(lesson, kind):
    found = all_of(lesson, kind)
    assert len(found) > 50
    if INSTRUCTION_KINDS[kind].form in ("yes or no", "side") or kind == "present_as_digit":
        counted = Counter(one.answer for one in found)
        assert len(counted) == 2
        assert max(counted.values()) < 0.62 * len(found)


@pytest.mark.parametrize("kind", [*INSTRUCTION_KINDS])
def test_the_same_question_in_new_words(lesson, kind):
    own = INSTRUCTION_KINDS[kind]
    assert len({*own.wordings}) == len(own.wordings) >= 3
    for i in range(40):
        facts = lesson.gallery.facts(i)
        known, new = (
            instruct(kind, facts, lesson.statistics, np.random.default_rng(i), new_wording=flag)
            for flag in (False, True)
        )
        assert (known is None) == (new is None)
        if known is not None:
            assert known.accepted == new.accepted
            assert known.text != new.text


def test_what_is_not_completely_known_is_not_asked_about(lesson):
    listed = Facts((PictureObject("cat"),), exhaustive=False)
    uncounted = Facts((PictureObject("cat"),), exhaustive=True, uncounted=("cat",))
    for facts in (listed, uncounted):
        assert instruct("present", facts, lesson.statistics, np.random.default_rng(0)) is None


def test_pictures_without_boxes_are_asked_what_needs_none(lesson):
    facts = Facts((PictureObject("cat"), PictureObject("cat"), PictureObject("owl")), exhaustive=True)
    made = {kind: instruct(kind, facts, lesson.statistics, np.random.default_rng(1)) for kind in INSTRUCTION_KINDS}
    assert {kind for kind, one in made.items() if one is None} == {
        "left_of", "side", "same_side", "left_end", "right_end", "largest", "smallest",
    }  # fmt: skip
    assert made["list"].answer == "cat, owl"


@settings(max_examples=40, deadline=None)
@given(held_out=st.integers(1, 8), trained=st.integers(1, 9), seed=st.integers(0, 1000))
def test_parts_are_apart_and_more_kinds_add_to_fewer(held_out, trained, seed):
    few, all_others = draw_parts(held_out, trained, seed), draw_parts(held_out, None, seed)
    assert few.held_out == all_others.held_out
    assert few.trained == all_others.trained[:trained]
    assert not {*all_others.held_out} & {*all_others.trained}
    assert {*all_others.held_out, *all_others.trained, *all_others.conversed} == {*INSTRUCTION_KINDS}
    assert all(INSTRUCTION_KINDS[kind].conversed for kind in all_others.conversed)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_families_are_held_out_whole(seed):
    parts = draw_parts(2, None, seed, "families")
    families = [{INSTRUCTION_KINDS[kind].family for kind in part} for part in (parts.held_out, parts.trained)]
    assert len(families[0]) == 2
    assert not families[0] & families[1]


@pytest.mark.parametrize("wrong", [(0, None), (17, None), (3, 15), (3, 0)])
def test_parts_that_leave_nothing_are_refused(wrong):
    with pytest.raises(LucidaError, match="cannot be held out"):
        draw_parts(*wrong, 0)


def test_as_many_instructions_whatever_the_number_of_kinds(lesson):
    for kinds in (("missing",), draw_parts(4, None, 0).trained):
        own = InstructionLesson(lesson, kinds, each=5)
        turns = [turn for i in range(60) for turn in own.converse(i, np.random.default_rng(i))]
        assert len(turns) == 300
        assert {turn.form for turn in turns} == {*kinds}
    unseen = {worded(INSTRUCTION_KINDS["missing"].wordings[-1], (name,)) for name in NAMES}
    assert not unseen & {turn.question for turn in turns}


def test_usual_conversation_is_rehearsed(lesson):
    own = InstructionLesson(lesson, ("missing",), each=3, rehearsed=0.5)
    forms = [{turn.form for turn in own.converse(i, np.random.default_rng(i))} for i in range(100)]
    usual = sum("describe" in some for some in forms)
    assert 30 < usual < 70
    assert all(some == {"missing"} for some in forms if "describe" not in some)
