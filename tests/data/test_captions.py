from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucida.data.captions import PLACE_PHRASES, amount, describe, named_kinds, vocabulary
from lucida.data.kinds import all_kinds
from lucida.data.truth import PLACES, Box, Facts, PictureObject

NAMES = [kind.name for kind in all_kinds()]
SURFACES = vocabulary(NAMES)

things = st.builds(
    PictureObject,
    st.sampled_from(NAMES),
    st.builds(Box, st.integers(0, 80), st.integers(0, 80), st.integers(5, 20), st.integers(5, 20)),
)
all_facts = st.builds(
    lambda objects: Facts(tuple(objects), 100, 100, exhaustive=True), st.lists(things, min_size=1, max_size=8)
)
generators = st.builds(np.random.default_rng, st.integers(0, 10**6))


@given(all_facts, generators)
def test_a_caption_names_everything_that_is_there_and_nothing_else(facts, generator):
    caption = describe(facts, generator)
    assert set(named_kinds(caption.text, SURFACES)) == set(facts.counts)
    assert caption.omitted == caption.added == ()
    for name, n in facts.counts.items():
        assert amount(n, name) in caption.text.lower()
    assert caption.text[0].isupper()
    assert caption.text.endswith(".")


@given(all_facts, generators, st.floats(0, 1))
def test_noise_is_recorded_exactly(facts, generator, noise):
    caption = describe(facts, generator, noise=noise, vocabulary=NAMES)
    told = set(named_kinds(caption.text, SURFACES))
    assert told
    assert told == set(facts.counts) - set(caption.omitted) | set(caption.added)
    assert set(caption.omitted) <= set(facts.counts)
    assert not set(caption.added) & set(facts.counts)


def test_noise_has_the_asked_rate():
    facts = Facts(tuple(PictureObject(name) for name in NAMES[:5]))
    generator = np.random.default_rng(0)
    captions = [describe(facts, generator, noise=0.3, vocabulary=NAMES) for _ in range(1000)]
    faults = sum(len(set(c.omitted)) + len(c.added) for c in captions)
    replaced = sum(min(len(c.omitted), len(c.added)) for c in captions)
    assert 0.3 * 5000 * 0.9 < faults - replaced / 2 < 0.3 * 5000 * 1.5
    assert all(c.omitted or c.added for c in [describe(facts, generator, noise=1, vocabulary=NAMES)])


def test_phrasings_vary_and_agree_in_number():
    facts = Facts((PictureObject("cat"), PictureObject("cat"), PictureObject("apple")), 100, 100)
    generator = np.random.default_rng(0)
    texts = {describe(facts, generator).text for _ in range(300)}
    assert {"There are two cats and an apple.", "There is an apple and two cats.", "Two cats and an apple."} <= texts
    assert len(texts) == 12


def test_every_place_has_a_phrase():
    assert set(PLACE_PHRASES) == set(PLACES)


def test_no_surface_form_is_claimed_by_the_wrong_kind():
    assert all(SURFACES[name] == name for name in NAMES)
    assert vocabulary(["car", "automobile"])["automobiles"] == "automobile"
    assert vocabulary(["car"])["automobiles"] == "car"


def test_words_within_words_are_not_named():
    assert named_kinds("A starfish, carpets and a hot-dog stand", vocabulary(["star", "fish", "car", "dog"])) == []
    assert named_kinds("nothing", {}) == []


def test_nothing_to_describe_is_an_error():
    with pytest.raises(ValueError, match="nothing to describe"):
        describe(Facts(), np.random.default_rng(0))
