"""Galleries and lessons: what a multimodal LLM is taught about pictures of different knowledge."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from lucida.data.collation import IGNORE_INDEX, ChatFormat
from lucida.data.corpus import Corpus
from lucida.data.galleries import PictureGallery, SceneGallery
from lucida.data.lessons import ConversationData, Lesson, NamingData, place_names, supported_turns
from lucida.data.pictures import Picture
from lucida.data.pixels import DecodedPictures
from lucida.data.scenes import SceneConfig
from lucida.data.statistics import ObjectStatistics
from lucida.data.tokenization import train_tokenizer
from lucida.data.truth import Box, Facts, PictureObject
from lucida.data.worlds import build_world


class Grey:
    """A source whose pixels nobody asks for."""

    def open(self):
        return Image.new("RGB", (64, 64))

    def content_key(self):
        return "grey"


def decoded(*pictures: Picture, exhaustive: bool = False) -> DecodedPictures:
    corpus = Corpus("some", pictures, exhaustive_objects=exhaustive)
    pixels = np.arange(len(pictures), dtype=np.uint8)[:, None, None, None] * np.ones((1, 64, 64, 3), np.uint8)
    return DecodedPictures(corpus, pixels, np.full((len(pictures), 2), 64))


@pytest.fixture(scope="module")
def world():
    generator = np.random.default_rng(0)
    names = ("apple", "banana", "cat", "dog", "hammer", "guitar")
    artwork = {(name, "one"): np.full((72, 72, 4), 255, np.uint8) for name in names}
    for drawn in artwork.values():
        drawn[..., :3] = generator.integers(256, size=3)
    return build_world(artwork, SceneConfig(size=64, kinds=5, unseen_pairs=0.0), seed=0)


def test_a_label_is_the_one_object_of_its_picture_in_words_and_uncounted():
    gallery = PictureGallery(decoded(Picture("a", Grey(), label="fire_truck")), [0], labels_are_objects=True)
    facts = gallery.facts(0)
    assert facts.label == "fire truck"
    assert dict(facts.counts) == {"fire truck": 1}
    assert facts.exhaustive
    assert not facts.places
    statistics = ObjectStatistics.count([["fire truck"], ["dog"]])
    assert supported_turns([facts], statistics) == {"exists": 4, "classify": 1}


def test_a_gallery_shows_the_rows_it_was_given():
    gallery = PictureGallery(decoded(*[Picture(str(i), Grey(), captions=(f"number {i}",)) for i in range(5)]), [4, 2])
    assert len(gallery) == 2
    assert gallery.facts(1).captions == ("number 2",)
    assert gallery.pixels([0, 1])[:, 0, 0, 0].tolist() == [4, 2]
    assert supported_turns([gallery.facts(0)], None) == {"caption": 2}


def test_places_of_unknown_pictures_are_ignored_and_overlaps_show_the_last():
    cat, dog = PictureObject("cat", Box(0, 0, 40, 40)), PictureObject("dog", Box(16, 16, 24, 24))
    number = {"cat": 0, "dog": 1}
    known = place_names(Facts((cat, dog), 64, 64, exhaustive=True), number, 4)
    assert known[0] == 0
    assert known[5] == 1
    assert set(known.tolist()) == {0, 1, 2}
    assert set(place_names(Facts((cat,), 64, 64), number, 4).tolist()) == {0, IGNORE_INDEX}
    without_box = Facts((cat, PictureObject("dog")), 64, 64, exhaustive=True)
    assert set(place_names(without_box, number, 4).tolist()) == {0, IGNORE_INDEX}


def test_every_object_of_a_scene_has_a_place(world):
    lesson = Lesson.of_scenes(world, "train", 30)
    data = NamingData(lesson, lambda pixels: pixels, 4)
    batch = data.batch([0, 7, 7], np.random.default_rng)
    assert len(data) == 30
    assert batch["pixel_values"].shape == (3, 64, 64, 3)
    for row, i in zip(batch["targets"].tolist(), (0, 7, 7), strict=True):
        assert {lesson.names[k] for k in row if k < len(lesson.names)} == {*lesson.gallery.facts(i).counts}
    assert torch.equal(batch["targets"][1], batch["targets"][2])


def test_scenes_are_drawn_once_and_composed_on_demand(world):
    gallery = SceneGallery(world, "test", 3)
    assert gallery.scenes is gallery.scenes
    assert np.array_equal(gallery.pixels([2])[0], world.compose(world.draw("test", 2)))


def test_conversations_come_with_their_features_which_are_computed_once(world):
    lesson = Lesson.of_scenes(world, "train", 6)
    texts = [
        text for i in range(6) for t in lesson.converse(i, np.random.default_rng(i)) for text in (t.question, t.answer)
    ]
    calls = []

    def see():
        calls.append(1)
        return torch.arange(6).half().view(6, 1, 1).expand(6, 4, 5)

    data = ConversationData(lesson, ChatFormat(train_tokenizer(texts, vocab_size=400), 4), see)
    first = data.batch([5, 1], np.random.default_rng)
    again = data.batch([5, 1], np.random.default_rng)
    assert first["vision_features"][:, 0, 0].tolist() == [5.0, 1.0]
    assert calls == [1]
    assert torch.equal(first["input_ids"], again["input_ids"])
    assert set(first) == {"input_ids", "labels", "segment_ids", "position_ids", "vision_features"}


def test_a_crowd_is_named_but_neither_counted_nor_placed():
    picture = Picture(
        "a", Grey(), objects=(PictureObject("sheep", Box(0, 0, 64, 64)),), attributes={"uncounted": '["sheep"]'}
    )
    gallery = PictureGallery(decoded(picture, exhaustive=True), [0])
    statistics = ObjectStatistics.count([["sheep"], ["dog"]])
    lesson = Lesson(gallery, statistics, {"describe": 1, "count": 2, "where": 2})
    turns = lesson.converse(0, np.random.default_rng(0))
    assert [turn.form for turn in turns] == ["describe"]
    assert "some sheep" in turns[0].answer.lower()
