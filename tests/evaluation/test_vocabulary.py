"""Which objects a text names: longest wording, plurals, synonyms, denials, and words that only describe."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.data.captions import named_kinds, vocabulary
from lucida.data.kinds import all_kinds
from lucida.evaluation.vocabulary import Vocabulary, coco_synonyms, forms, words

COCO = Vocabulary(coco_synonyms())

CAPTIONS = {
    "A man riding a wave on a surfboard.": ["person", "surfboard"],
    "Two hot dogs and a dog": ["hot dog", "dog"],
    "a hot-dog on a bun": ["hot dog"],
    "Hotdogs!": ["hot dog"],
    "a cat, no dogs": ["cat"],
    "A living room without a couch or a tv": [],
    "There is no sign of a dog.": [],
    "a man who isn't wearing a tie": ["person"],
    "not only a dog but also a cat": ["dog", "cat"],
    "No, a dog.": ["dog"],
    "There are no cats or dogs on the bed": ["bed"],
    "no big brown dog, but a cat": ["cat"],
    "a vase without any of the other flowers near a dog": ["vase", "dog"],
    "A cat that is not looking at the dog": ["cat", "dog"],
    "an orange cat next to an orange": ["cat", "orange"],
    "a dog house by the train tracks": [],
    "the dog's bowl": ["bowl"],
    "people at a bus stop": ["person"],
    "The bus stops at the corner.": ["bus"],
    "a baby elephant and its mother": ["elephant", "person"],
    "geese, mice, knives, sheep": ["bird", "mouse", "knife", "sheep"],
    "A teddy bear on a bed": ["teddy bear", "bed"],
    "a stop sign": ["stop sign"],
    "catalog, dogma, carpet, bearing": [],
    "a baseball player swings his bat": ["person", "baseball bat"],
    "A laptop computer and a computer mouse": ["laptop", "mouse"],
    "wine glasses and a glass of wine": ["wine glass", "wine glass"],
    "a dog. A dog": ["dog", "dog"],
    "A fire truck": ["truck"],
    "a statue of a horse": ["horse"],
    "a horse statue": [],
    "skis and a ski": ["skis", "skis"],
    "A heart-shaped cake and a dog-shaped balloon": ["cake"],
    "A horse stands in a field while people park a car": ["horse", "person", "car"],
    "The man shows a cat food bowl to women": ["person", "bowl", "person"],
    "": [],
}


@pytest.mark.parametrize(("caption", "expected"), CAPTIONS.items())
def test_mentions_in_captions(caption: str, expected: list[str]) -> None:
    assert COCO.mentions(caption) == expected
    assert COCO.mentions(caption.upper()) == expected


def test_coco_has_eighty_names_and_no_noun_of_two_masters() -> None:
    synonyms = coco_synonyms()
    assert len(synonyms) == 80
    assert list(synonyms)[:2] == ["person", "bicycle"]
    assert list(synonyms)[-1] == "toothbrush"
    nouns = [noun for name, others in synonyms.items() for noun in (name, *others)]
    assert len(nouns) == len(set(nouns))
    assert all(noun == noun.strip() and noun for noun in nouns)


def test_every_name_is_found_in_singular_and_plural() -> None:
    for name in coco_synonyms():
        for form in forms(name):
            assert COCO.mentions(f"Here: {form}.") == [name]
            assert COCO.canonical(form) == name


def test_other_vocabularies_bring_no_strange_objects() -> None:
    dogs = Vocabulary(["dog"])
    assert dogs.mentions("a hot dog, a puppy and a cat") == ["dog"]
    farm = Vocabulary(["duck", "horse", "bat", "car", "automobile", "t-shirt"])
    assert farm.mentions("ducks, a bat, a baseball bat, an automobile, cars and t-shirts") == [
        "duck", "bat", "automobile", "car", "t-shirt",
    ]  # fmt: skip
    own = Vocabulary(["widget"], {"widget": ["gadget", "doodad"]})
    assert own.mentions("Two gadgets and a doodad") == ["widget", "widget"]
    assert set(own.surfaces["widget"]) >= {"widget", "widgets", "gadget", "gadgets"}


def test_names_keep_their_own_spelling_and_are_found_in_any() -> None:
    vocabulary = Vocabulary(["Piñata", "Crème brûlée"])
    assert vocabulary.mentions("pinatas and CREME BRULEE") == ["Piñata", "Crème brûlée"]


def test_names_that_read_the_same_are_refused() -> None:
    for names in (["dog", "Dog"], ["t-shirt", "t shirt"], ["!!"], []):
        with pytest.raises(LucidaError, match="vocabulary"):
            Vocabulary(names)


@given(st.text(max_size=60))
def test_any_text_can_be_read(text: str) -> None:
    assert set(COCO.mentions(text)) <= set(COCO.names)
    assert all(words(word) == [word] for word in words(text) if word.isascii())


@given(st.lists(st.sampled_from(COCO.names), max_size=8))
def test_a_plain_list_is_read_back(names: list[str]) -> None:
    assert COCO.mentions(", ".join(f"a {name}" for name in names)) == names


def test_captions_of_scenes_are_read_back() -> None:
    """What the captions' own reader finds in generated sentences, this one finds too."""
    names = [kind.name for kind in all_kinds()]
    ours, theirs = Vocabulary(names), vocabulary(names)
    assert len(names) >= 96
    for name in names:
        for surface, owner in theirs.items():
            if owner == name:
                text = f"There is a dog in the middle, two {surface} and a cat."
                assert ours.mentions(text) == named_kinds(text, theirs)
