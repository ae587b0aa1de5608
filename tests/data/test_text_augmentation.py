"""Rephrased captions say what they said: the same things, numbers, colours, sides and negations, in other words."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.data.captions import amount, describe, enumerate_words, named_kinds, vocabulary
from lucida.data.equivalents import equivalents
from lucida.data.kinds import all_kinds, plural
from lucida.data.text_augmentation import class_phrasings, rephrased
from lucida.data.truth import Box, Facts, PictureObject

_FRAME_WORDS = {"a", "an", "the", "photo", "photograph", "picture", "image", "i", "can", "see", "shows", "there"}
_ALSO_IN_FRAMES = {"in", "of", "is", "are"}


def wordings(text, n=12, seed=0):
    return rephrased(text, np.random.default_rng(seed), n)


def sense(text):
    """How often each word stands in a text: equal nouns are one, singular and plural two; frames do not count."""
    one = {}
    for word, others in equivalents().items():
        group = {one.get(other, other) for other in (word, *others)}
        first = min(group)
        one |= dict.fromkeys((word, *others), first)
        one |= {other: first for other, former in one.items() if former in group}
    one |= {plural(word): plural(first) for word, first in one.items()}
    forms = "|".join(re.escape(word) for word in sorted(one, key=len, reverse=True))
    lowered = {word.lower(): first for word, first in one.items()}
    text = re.sub(rf"(?<![\w'-])({forms})(?![\w'-])", lambda m: lowered[m[0].lower()], text, flags=re.IGNORECASE)
    return Counter(re.findall(r"[\w'-]+", text.lower().replace("-", "")))


def kept(before, after):
    """Nothing that counts is lost or added."""
    extra = (sense(after) - sense(before)) + (sense(before) - sense(after))
    return not set(extra) - _FRAME_WORDS - _ALSO_IN_FRAMES


@pytest.mark.parametrize(
    ("text", "among"),
    [
        ("a photo of a red car", {"red car, photo", "a photograph of the red automobile", "the photo shows a red car"}),
        ("A photo of a red car.", {"Red car, photo.", "There is a red automobile in the photo."}),
        ("There are two dogs and a taxi.", {"A picture of a cab and two dogs.", "I can see a taxi and two dogs."}),
        ("An automobile on the road", {"A car on the road"}),
        ("Two dogs run on the beach.", {"In the picture: two dogs run on the beach."}),
    ],
)
def test_other_words_order_and_determiners(text, among):
    assert among <= set(wordings(text, 200))


@pytest.mark.parametrize(
    "text",
    [
        "A cable car park",
        "Car Magazine",
        "the racing car",
        "a car wash",
        "A torch",  # a flashlight is one, but a torch may be a flame
        "a bike",
        "the plane of symmetry",
    ],
)
def test_nouns_stay_where_another_would_say_something_else(text):
    for wording in wordings(text, 50):
        assert text.lower() in wording.lower()


def test_an_article_follows_its_noun_and_a_capital_its_place():
    assert "An automobile is parked." in wordings("A car is parked.", 50)
    assert "A car is parked." in wordings("An automobile is parked.", 50)
    assert "the picture shows three televisions" in wordings("the picture shows three TVs", 80)
    assert not any("Television" in wording for wording in wordings("The picture shows three TVs.", 80))


def test_quantities_are_not_articles():
    for text in ("a picture of a few dogs", "a picture of a pair of shoes", "a photo of a lot of cars"):
        for wording in wordings(text, 50):
            assert "a few dogs" in wording.lower() or "a pair of" in wording.lower() or "a lot of" in wording.lower()


def test_questions_and_several_sentences_keep_their_frame():
    assert set(wordings("Is there a car?", 50)) == {"Is there an automobile?"}
    assert set(wordings("There is a dog. The dog is left of the sofa.", 50)) == {
        "There is a dog. The dog is left of the couch."
    }


@pytest.mark.parametrize("text", ["There is not a car.", "There is nothing.", "the picture shows that it rains"])
def test_what_no_frame_fits_is_not_taken_apart(text):
    for wording in wordings(text, 50):
        assert text.rstrip(".").lower() in wording.lower().replace("automobile", "car").replace("an car", "a car")


_NOUN = st.sampled_from(["car", "automobile", "dog", "sofa", "airplane", "taxi", "hippo", "television", "frog"])
_COLOUR = st.sampled_from(["", "red ", "blue ", "black ", "small "])
_THING = st.builds(lambda n, colour, noun: amount(n, f"{colour}{noun}"), st.integers(0, 14), _COLOUR, _NOUN)
_LIST = st.lists(_THING, min_size=1, max_size=4).map(enumerate_words)
_WHERE = st.sampled_from(["", " on the left", " to the right of the couch", " without a car", " in Paris"])
_OPENING = st.sampled_from(
    ["{}", "There are {}", "I can see {}", "A photo of {}", "the image shows {}", "There is no car near {}", "Not {}"]
)


@given(_OPENING, _LIST, _WHERE, st.sampled_from(["", "."]), st.integers(0, 2**32))
@settings(max_examples=80, deadline=None)
def test_nothing_that_counts_is_lost_or_added(opening, things, where, stop, seed):
    text = opening.format(things) + where + stop
    found = wordings(text, 6, seed)
    assert len(set(found)) == len(found)
    for wording in found:
        assert wording != text
        assert kept(text, wording), f"{text!r} became {wording!r}"
        assert ("photo" in text) == ("photo" in wording)
        assert ("Paris" in text) == ("Paris" in wording)
        assert wording.endswith(".") == text.endswith(".")


def test_the_check_of_the_sense_can_fail():
    assert kept("a photo of two red cars", "two red automobiles, photo")
    for wrong in ("a photo of two cars", "a photo of a red car", "a photo of three red cars", "a photo of no red cars"):
        assert not kept("a photo of two red cars", wrong)


def test_captions_of_scenes_name_the_same_kinds():
    kinds = [kind.name for kind in all_kinds()]
    surfaces = vocabulary(kinds)
    generator = np.random.default_rng(0)
    changed = 0
    for i in range(40):
        names = generator.choice(kinds, 3, replace=False)
        places = generator.permutation(3)
        objects = tuple(PictureObject(n, Box(30 * p, 40, 20, 20)) for n, p in zip(names, places, strict=True))
        text = describe(Facts(objects, 100, 100, True), generator).text
        for wording in rephrased(text, np.random.default_rng(i), 4):
            changed += 1
            assert sorted(named_kinds(wording, surfaces)) == sorted(named_kinds(text, surfaces)), (text, wording)
            assert kept(text, wording), (text, wording)
    assert changed > 100


def test_the_same_generator_draws_the_same_and_n_is_the_most():
    text = "There are two dogs and a taxi."
    assert wordings(text, 5, seed=1) == wordings(text, 5, seed=1) != wordings(text, 5, seed=2)
    assert wordings(text, 0) == ()
    assert len(wordings(text, 3)) == 3
    assert wordings("Is it Monday?", 3) == ()
    with pytest.raises(LucidaError, match="-1 wordings"):
        wordings(text, -1)


def test_nouns_of_ones_own():
    own = {"bobby": ("police officer",)}
    found = rephrased("a bobby, a car and two bobbies", np.random.default_rng(0), 60, nouns=own)
    assert any("a police officer" in wording and "two police officers" in wording for wording in found)
    assert all("automobile" not in wording for wording in found)
    assert rephrased("car", np.random.default_rng(0), 9, nouns={}) != ()


def test_equals_of_kinds_are_known_to_whoever_reads_captions():
    surfaces = vocabulary(kind.name for kind in all_kinds())
    for kind in all_kinds():
        for other in equivalents().get(kind.name, ()):
            assert surfaces.get(other.lower()) == kind.name


def test_equals_are_symmetric_unless_another_sense_is_in_the_way():
    table = equivalents()
    one_way = {(word, other) for word, others in table.items() for other in others if word not in table.get(other, ())}
    assert ("flashlight", "torch") in one_way
    assert len(one_way) < 20
    for word, others in table.items():
        assert word not in others
        assert len(set(others)) == len(others), word


def test_class_phrasings_name_the_class_first_and_then_its_equals():
    texts = class_phrasings("automobile", np.random.default_rng(0), 40)
    assert texts[0] == "a picture of an automobile"
    assert len(set(texts)) == len(texts) == 16
    assert {"cars", "a car", "a picture of the car", "pictures of automobiles"} <= set(texts)
    assert len(class_phrasings("frog", np.random.default_rng(0), 5)) == 5
    for n, name in ((0, "frog"), (3, " ")):
        with pytest.raises(LucidaError, match="texts for the class"):
            class_phrasings(name, np.random.default_rng(0), n)
