"""Captions told again as they should have been."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucida.data.captions import OPENINGS, describe, named_kinds, vocabulary
from lucida.data.retelling import manner, retell
from lucida.data.truth import Box, Facts, PictureObject

NAMES = ("cat", "owl", "bus", "apple", "tent", "hot dog")
SURFACES = vocabulary(NAMES)


def scene(names: list[str]) -> Facts:
    """Objects side by side from left to right."""
    things = tuple(PictureObject(name, Box(20 * i, 20 * (i % 4), 10, 10)) for i, name in enumerate(names))
    return Facts(things, 120, 120, exhaustive=True)


scenes = st.lists(st.sampled_from(NAMES), min_size=1, max_size=6).map(scene)


@given(scenes, st.integers(0, 999))
def test_a_true_caption_of_all_objects_is_told_as_it_was(facts: Facts, seed: int):
    text = describe(facts, np.random.default_rng(seed)).text
    again = retell(text, named_kinds(text, SURFACES), facts, np.random.default_rng(0))
    first, _, second = text.partition(". ")
    if second:  # of two clear relations between the same objects either may be told
        assert again.partition(". ")[0] == first
        assert again.partition(". ")[2]
    else:
        assert again == text


@given(scenes, scenes, st.integers(0, 999), st.integers(0, 2))
def test_what_is_told_is_true_and_as_much_as_is_asked_for(shown: Facts, other: Facts, seed: int, more: int):
    text = describe(other, np.random.default_rng(seed)).text  # of another picture
    named = named_kinds(text, SURFACES)
    told = named_kinds(retell(text, named, shown, np.random.default_rng(seed), more=more), SURFACES)
    assert {*told} <= {*shown.counts}
    assert {*named} & {*shown.counts} <= {*told}
    assert len({*told}) == min(len({*named}) + more, len(shown.counts))


@pytest.mark.parametrize("opening", OPENINGS)
def test_the_opening_is_recognised(opening: str):
    text = opening.format(there="There are", list="two owls and a cat", List="Two owls and a cat")
    assert manner(text) == (opening, False, None)
    assert manner(text + " The cat is to the left of the owl.") == (opening, False, ("cat", "owl"))


def test_numbers_and_places_are_put_right():
    facts = scene(["cat", "owl", "owl"])
    said = "There are three cats on the right and a bus. The cat is above the bus."
    told = retell(said, ["cat", "bus"], facts, np.random.default_rng(0))
    assert told == "There is a cat in the top left and two owls."


def test_a_picture_of_nothing_cannot_be_told():
    with pytest.raises(ValueError, match="nothing to tell"):
        retell("A cat.", ["cat"], Facts(exhaustive=True), np.random.default_rng(0))
    with pytest.raises(ValueError, match="nothing to tell"):
        retell("Hm.", [], scene(["cat"]), np.random.default_rng(0))
