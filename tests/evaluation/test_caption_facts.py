"""Counts, places and relations in captions: true captions have no error, and what is planted is found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.data.captions import PLACE_PHRASES, describe
from lucida.data.truth import Box, Facts, PictureObject, Relation
from lucida.evaluation.caption_facts import caption_fact_metrics, read_statements, wrong_statements
from lucida.evaluation.vocabulary import Vocabulary
from tests.data.test_captions import NAMES, all_facts, generators
from tests.data.test_scenes import WORLD

VOCABULARY = Vocabulary(NAMES)
FEW = Vocabulary(["cat", "dog", "cup", "scissors", "orange"])


def turned(facts: Facts) -> Facts:
    """Upside down: every clear relation is its opposite, every place but the middle another one."""
    objects = tuple(
        replace(o, box=Box(100 - o.box.x - o.box.width, 100 - o.box.y - o.box.height, o.box.width, o.box.height))
        for o in facts.objects
        if o.box
    )
    return replace(facts, objects=objects)


@given(all_facts, generators)
def test_a_true_caption_has_no_error_and_all_it_states_is_read(facts: Facts, generator: np.random.Generator) -> None:
    text = describe(facts, generator).text
    said = read_statements(text, VOCABULARY)
    assert dict(said.counts) == dict(facts.counts)
    told = any(f" {phrase}" in text for phrase in PLACE_PHRASES.values())
    assert dict(said.places) == (dict(facts.places) if told else {})
    assert len(said.relations) == text.count(". The ")
    assert {*said.relations} <= {*facts.relations}
    checked = wrong_statements(said, facts)
    assert not any(any(wrong) for wrong in checked.values())
    assert [len(wrong) for wrong in checked.values()] == [len(said.counts), len(said.places), len(said.relations)]


@given(all_facts, generators)
def test_planted_errors_are_found(facts: Facts, generator: np.random.Generator) -> None:
    said = read_statements(describe(facts, generator).text, VOCABULARY)
    more = replace(facts, objects=facts.objects * 2)
    assert wrong_statements(said, more)["count"] == [True] * len(facts.counts)
    upside_down = wrong_statements(said, turned(facts))
    assert upside_down["relation"] == [True] * len(said.relations)
    assert upside_down["place"] == [place != "middle" for _, place in said.places]
    assert not any(upside_down["count"])


@given(all_facts, generators, st.floats(0, 1))
def test_what_is_not_there_is_no_statement_about_it(facts: Facts, generator: np.random.Generator, noise: float) -> None:
    caption = describe(facts, generator, noise=noise, vocabulary=NAMES)
    assume(caption.added)
    said = read_statements(caption.text, VOCABULARY)
    assert len(wrong_statements(said, facts)["count"]) == len({*dict(said.counts)} & {*facts.counts})
    assert not any(wrong_statements(said, facts)["count"])  # noise leaves numbers alone


def test_captions_of_scenes_are_all_right() -> None:
    facts = [WORLD.draw("test", i).facts for i in range(60)]
    generator = np.random.default_rng(0)
    captions = [describe(one, generator).text for one in facts]
    found = caption_fact_metrics(captions, facts, Vocabulary(WORLD.names))
    assert [found[f"caption_facts/{kind}_error"].value for kind in ("count", "place", "relation")] == [0, 0, 0]
    assert found["caption_facts/count_error"].n == 60
    assert 0 < found["caption_facts/relation_error"].n < 40
    assert found["caption_facts/count_statements"].value == pytest.approx(np.mean([len(one.counts) for one in facts]))


@pytest.mark.parametrize(
    ("caption", "counts"),
    [
        ("Two big black cats and 3 dogs.", {"cat": 2, "dog": 3}),
        ("A cat on the left and a cat on the right.", {"cat": 2}),
        ("A pair of cats, a pair of scissors and a couple of dogs", {"cat": 2, "scissors": 1, "dog": 2}),
        ("There is a cat. There is a cat.", {}),
        ("There is a cat and another cat.", {}),
        ("Some cats, the dog, a few cups and no oranges", {}),
        ("An orange, one orange cat", {"orange": 1, "cat": 1}),
        ("A single dog; one of the cats", {"dog": 1}),
        ("cats", {}),
    ],
)
def test_counts_in_other_words(caption: str, counts: dict[str, int]) -> None:
    assert dict(read_statements(caption, FEW).counts) == counts


@pytest.mark.parametrize(
    ("caption", "places"),
    [
        ("A cat in the upper-left corner, a dog at the bottom of the image.", [("cat", "top left"), ("dog", "bottom")]),
        ("The cat is in the centre and the cup stands on the far right", [("cat", "middle"), ("cup", "right")]),
        ("A cat in the top center, a cup in the middle right", [("cat", "top"), ("cup", "right")]),
        ("A cat on the left of the dog, a cup on the right foot, a dog in the middle of cups, a cat in the", []),
    ],
)
def test_places_in_other_words(caption: str, places: list[tuple[str, str]]) -> None:
    assert list(read_statements(caption, FEW).places) == places


@pytest.mark.parametrize(
    ("caption", "relations"),
    [
        ("The cup is left of the dog.", [("cup", "left of", "dog")]),
        ("A cat sits directly under a small cup.", [("cat", "below", "cup")]),
        ("A cat on the right side of two dogs", [("cat", "right of", "dog")]),
        ("A cat right above the dog", [("cat", "above", "dog")]),
        ("The cup is not left of the dog. A cat. Above the dog", []),
        ("A cat above a table with a dog, the cup is the dog", []),
    ],
)
def test_relations_in_other_words(caption: str, relations: list[tuple[str, str, str]]) -> None:
    assert list(read_statements(caption, FEW).relations) == [Relation(*one) for one in relations]


def test_what_the_truth_does_not_decide_is_not_checked() -> None:
    small = {"cat": Box(40, 10, 10, 10), "dog": Box(50, 80, 10, 10), "cup": Box(28, 45, 10, 10)}
    facts = Facts(tuple(PictureObject(*row) for row in small.items()), 100, 100, exhaustive=True)
    assert facts.relations[0] == Relation("cat", "above", "dog")

    def wrong(caption: str, known: Facts = facts) -> dict[str, list[bool]]:
        return {
            family: found for family, found in wrong_statements(read_statements(caption, FEW), known).items() if found
        }

    assert wrong("The cat is left of the dog.") == {}  # a little, it is
    assert wrong("The cat is right of the dog.") == {"relation": [True]}
    assert wrong("The cat is below the dog.") == {"relation": [True]}
    assert wrong("The cup is on the left.") == {}  # near the border of two thirds
    assert wrong("The orange is in the middle, left of the cat.") == {}  # not there
    assert wrong("Two cats", replace(facts, uncounted=("cat",))) == {}
    assert wrong("Two cats", replace(facts, exhaustive=False)) == {}
    assert wrong("Two cats") == {"count": [True]}
    assert wrong("The cat is at the top", replace(facts, objects=facts.objects * 2)) == {}


def test_shares_keep_the_captions_of_a_picture_together() -> None:
    facts = Facts((PictureObject("cat"),), exhaustive=True)
    found = caption_fact_metrics(["Two cats", "A cat", "cats"], [facts] * 3, FEW, pictures=[1, 1, 2], prefix="p")
    assert (found["p/count_error"].value, found["p/count_error"].n) == (0.5, 1)
    assert found["p/count_statements"].value == pytest.approx(2 / 3)
    assert (found["p/place_error"].n, np.isnan(found["p/place_error"].value)) == (0, True)
    with pytest.raises(LucidaError, match="2 captions for the facts of 1 picture"):
        caption_fact_metrics(["a", "b"], [facts], FEW)
