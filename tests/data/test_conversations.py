from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lucida.core.seeds import stream
from lucida.data.captions import named_kinds, vocabulary
from lucida.data.conversations import (
    FORMS,
    NEGATIVE_SHARES,
    SCENE_TURNS,
    converse,
    recognise,
)
from lucida.data.kinds import all_kinds, choose_kinds, plural
from lucida.data.lessons import Lesson
from lucida.data.scenes import STREAMS, SceneConfig, SceneWorld
from lucida.data.sprites import SpriteSet, shape_artwork
from lucida.data.statistics import ObjectStatistics
from lucida.data.truth import Facts, PictureObject, place

KINDS = choose_kinds([kind.concept for kind in all_kinds()], 24, seed=0)


def make_world(**settings: float) -> SceneWorld:
    config = SceneConfig(kinds=len(KINDS), **settings)  # type: ignore[arg-type]  # mixed numbers
    sprites = SpriteSet(shape_artwork([kind.name for kind in KINDS]), config.sprite_sizes)
    return SceneWorld(sprites, KINDS, config, held_out={(kind.name, "second") for kind in KINDS[::2]})


class OneScene:
    """A gallery of one picture."""

    def __init__(self, scene):
        self.scene = scene

    def facts(self, i):
        return self.scene.facts


def converse_about_scene(world, scene, *, turns=SCENE_TURNS, salt=0):
    """What the lesson of the scene's stream asks about it."""
    lesson = replace(Lesson.of_scenes(world, scene.stream, 1), gallery=OneScene(scene), turns=turns)
    return lesson.converse(0, stream(world.seed, "conversations", scene.stream, scene.index, salt))


WORLD = make_world()
SURFACES = vocabulary(WORLD.names)


@given(st.sampled_from(STREAMS), st.integers(0, 10**6))
@settings(max_examples=200)
def test_every_answer_is_true_of_the_scene(name, index):
    scene = WORLD.draw(name, index)
    turns = converse_about_scene(WORLD, scene)
    kinds = Counter(thing.kind for thing in scene.objects)
    for turn in turns:
        if turn.form == "describe":
            assert set(named_kinds(turn.answer, SURFACES)) == set(kinds)
        elif turn.form == "exists":
            assert turn.answer == ("yes" if turn.subject in kinds else "no")
            assert bool(turn.negative) == (turn.answer == "no")
        elif turn.form == "count":
            assert turn.answer == str(kinds[turn.subject])
        elif turn.form == "where":
            (thing,) = [thing for thing in scene.objects if thing.kind == turn.subject]
            assert turn.answer == place(thing.box, scene.size, scene.size)
        assert not turn.subject or named_kinds(turn.question, SURFACES) == [turn.subject]
    subjects = [(turn.form, turn.subject) for turn in turns]
    assert len(set(subjects)) == len(subjects)


def test_yes_and_no_are_balanced_for_every_kind():
    turns = [t for i in range(1500) for t in converse_about_scene(WORLD, WORLD.draw("train", i), turns={"exists": 6})]
    answers = Counter(turn.answer for turn in turns)
    assert abs(answers["yes"] / len(turns) - 0.5) < 0.02
    ways = Counter(turn.negative for turn in turns if turn.negative)
    for how, share in NEGATIVE_SHARES.items():
        assert abs(ways[how] / answers["no"] - share) < 0.03
    shares = [np.mean([t.answer == "yes" for t in turns if t.subject == name]) for name in WORLD.names]
    assert 0.35 < min(shares) <= max(shares) < 0.65  # the question alone must not give the answer away


def test_the_second_artist_is_asked_about_kinds_that_can_be_there():
    shown = [kind.name for kind in KINDS[::2]]
    turns = [
        turn
        for i in range(600)
        for turn in converse_about_scene(WORLD, WORLD.draw("test_second_artist", i), turns={"exists": 6})
    ]
    assert {turn.subject for turn in turns} == set(shown) == set(WORLD.vocabulary("test_second_artist"))
    shares = [np.mean([t.answer == "yes" for t in turns if t.subject == name]) for name in shown]
    assert 0.35 < min(shares) <= max(shares) < 0.65


@pytest.mark.parametrize("share", [0.0, 0.2, 0.8, 1.0])
def test_the_share_of_negatives_is_a_training_knob(share):
    world = make_world(negative_share=share)
    for name, expected in (("train", share), ("test", 0.5)):
        turns = [
            turn for i in range(400) for turn in converse_about_scene(world, world.draw(name, i), turns={"exists": 4})
        ]
        assert abs(np.mean([turn.answer == "no" for turn in turns]) - expected) < 0.05


def test_caption_noise_acts_in_training_only():
    world = make_world(caption_noise=1.0)
    for name, wrong in (("train", True), ("test", False)):
        scene = world.draw(name, 0)
        (turn,) = converse_about_scene(world, scene, turns={"describe": 1})
        assert (set(named_kinds(turn.answer, SURFACES)) != set(scene.facts.counts)) == wrong


def test_conversations_depend_on_the_scene_alone_and_on_the_salt():
    scene = WORLD.draw("train", 5)
    first = converse_about_scene(WORLD, scene)
    converse_about_scene(WORLD, WORLD.draw("train", 6))
    assert converse_about_scene(make_world(), scene) == first
    assert converse_about_scene(WORLD, scene, salt=1) != first


def test_adversarial_negatives_go_with_what_is_there():
    together = ObjectStatistics.count([["fork", "knife"]] * 5 + [["cow", "tree"]] * 9 + [["fork", "cup"]])
    assert together.choose("adversarial", ["fork"], 1) == ["knife"]
    assert together.choose("popular", ["fork"], 2) == ["cow", "tree"]
    assert together.choose("adversarial", ["fork"], 9) == ["knife", "cup", "cow", "tree"]
    generator = np.random.default_rng(0)
    drawn = Counter(together.choose("adversarial", ["fork"], 1, generator)[0] for _ in range(300))
    assert drawn["knife"] > 5 * drawn["cup"] / 2 > 0
    assert set(together.choose("random", ["fork"], 9, generator)) == {"knife", "cup", "cow", "tree"}


def test_pictures_get_the_forms_their_data_supports():
    generator = np.random.default_rng(0)
    people = Facts(captions=("A dog runs.", "Dog on grass."))
    assert {t.form for t in converse(people, generator)} == {"caption"}
    labelled = Facts(label="tabby cat")
    (turn,) = converse(labelled, generator)
    assert (turn.form, turn.answer) == ("classify", "tabby cat")
    objects = (PictureObject("dog"), PictureObject("dog"), PictureObject("person"))
    statistics = ObjectStatistics.count([["dog", "person"], ["car"], ["cat"], ["person"]])
    partial = converse(Facts(objects), generator, statistics=statistics)
    assert {t.form for t in partial} == {"describe"}  # what is not listed may still be there
    full = converse(Facts(objects, exhaustive=True), generator, statistics=statistics)
    assert {t.form for t in full} == {"describe", "exists", "count"}
    assert not converse(Facts(), generator)


@given(st.sampled_from([kind.name for kind in all_kinds()]), st.sampled_from(sorted(FORMS)))
def test_every_question_is_recognised(name, key):
    form = FORMS[key]
    assert len(form.questions) >= 3
    for template in form.questions:
        question = form.word(template, name)
        found = recognise(question)
        assert found is not None
        assert found[0] == key
        assert found[1] in (("",) if "{" not in template else (name, plural(name)))


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("is there a dog", ("exists", "dog")),
        ("Are there dogs in this image?", ("exists", "dogs")),
        ("Do you see any t-shirts?", ("exists", "t-shirts")),
        ("How many dogs?", ("count", "dogs")),
        ("how many dogs are in the picture?", ("count", "dogs")),
        ("Where are the dogs?", ("where", "dogs")),
        ("What's in the photo?", ("describe", "")),
        ("Please describe this image in detail.", ("describe", "")),
        ("What kind of animal is this?", ("classify", "")),
        ("Please write a short caption for it", ("caption", "")),
        ("Why is the dog sad?", None),
        ("", None),
    ],
)
def test_questions_as_people_ask_them(question, expected):
    assert recognise(question) == expected
