"""Remedies on trial: what is measured of each, what a blind answerer gets, and a table with empty cells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lucida.core.results import Metric, Results
from lucida.data.galleries import SceneGallery
from lucida.data.lessons import Lesson
from lucida.data.scenes import SceneWorld
from lucida.inference.answerer import Answerer
from lucida.inference.grounding import GroundedOdds, Grounding
from lucida.workflows.evaluate_remedies import as_text
from lucida.workflows.hallucination_stage import Examination
from lucida.workflows.language_stage import free_for_answers, keep_words
from lucida.workflows.remedy_abilities import BLIND, ability_metrics, alone, blind_metrics, single_things
from lucida.workflows.remedy_trials import GROUNDED, PLAIN, Trial, Trials, decoding_trials
from tests.inference.tiny_answerers import tiny_answerer
from tests.workflows.test_preference import answerer, lesson  # noqa: F401  # fixtures

PICTURES = 8


@pytest.fixture(scope="module")
def world(lesson: Lesson) -> SceneWorld:  # noqa: F811
    assert isinstance(lesson.gallery, SceneGallery)
    return lesson.gallery.world


@pytest.fixture(scope="module")
def measured(answerer: Answerer, world: SceneWorld) -> dict[str, Metric]:  # noqa: F811
    own = replace(answerer, grounding=Grounding(GroundedOdds(1.0, 1.0, 1.0)))
    exam = Examination(own, Lesson.of_scenes(world, "test", PICTURES), PICTURES)
    kept = [trial for trial in decoding_trials(own) if trial.name in (PLAIN, GROUNDED) or "distorted" in trial.name]
    return Trials(exam, [*kept, Trial("the same", training=3.0)], PICTURES, alone(world, 4)).metrics()


def test_every_remedy_is_measured_alike(measured: dict[str, Metric]) -> None:
    own = {name.removeprefix(f"{PLAIN}/") for name in measured if name.startswith(f"{PLAIN}/")}
    assert {
        "chair_i",
        "chair_i_at_equal_length",
        "plain_chair_i_at_equal_length",
        "recall",
        "sampled/chair_i",
        "count_accuracy",
        "where_balanced_accuracy",
        "naming_accuracy",
    } < own
    for trial in (GROUNDED, "contrast with a distorted picture", "the same"):
        assert {name for name in measured if name.startswith(f"{trial}/")} == {f"{trial}/{name}" for name in own}
    same = {name for name in own if name not in ("decoding_cost", "training_seconds")}
    assert all(measured[f"the same/{name}"] == measured[f"{PLAIN}/{name}"] for name in same)
    assert measured["the same/training_seconds"].value == 3.0


def test_this_model_names_a_cat_and_a_dog_whatever_it_is_shown(measured: dict[str, Metric], world: SceneWorld) -> None:
    rows = single_things(alone(world, 4))
    assert len(rows) == 4
    expected = np.mean([name in ("cat", "dog") for _, name, _ in rows])
    assert measured[f"{PLAIN}/naming_accuracy"].value == expected
    assert measured[f"{BLIND}/naming_accuracy"].value >= 1 / 4


def test_who_always_says_one_is_right_as_often_as_one_is() -> None:
    rows = [(0, "cat", 1), (0, "dog", 1), (1, "cat", 1), (1, "dog", 2), (2, "cat", 3)]
    found = blind_metrics({"count": rows, "where": []})
    assert found["count_accuracy"].value == pytest.approx(3 / 5)
    assert found["count_balanced_accuracy"].value == pytest.approx(1 / 3)
    assert {*found} == {"count_accuracy", "count_balanced_accuracy"}


def test_where_every_answer_is_as_frequent_balance_changes_nothing() -> None:
    rows = [(i, "cat", place) for i, place in enumerate(["left", "right", "top", "bottom"] * 5)]
    right = [i % 3 == 0 for i in range(20)]
    found = ability_metrics("where", rows, right)
    assert found["where_accuracy"] == found["where_balanced_accuracy"]


def test_pictures_of_one_thing_are_no_others(world: SceneWorld) -> None:
    lesson_of_one = alone(world, 6)
    assert [sum(lesson_of_one.gallery.facts(i).counts.values()) for i in range(6)] == [1] * 6
    assert world.config.objects_max > 1


def test_the_table_leaves_empty_what_an_older_file_does_not_have() -> None:
    results = Results(details={"trials": ["as it is"]})
    results.add("as it is/chair_i", Metric(0.25, (0.2, 0.3), 10))
    results.add("as it is/recall", Metric(float("nan"), None, 0))
    results.add(f"{BLIND}/count_accuracy", Metric(0.5, (0.4, 0.6), 10))
    _, own, blind = as_text(results).splitlines()
    assert own.split() == ["as", "it", "is", "25.0"]
    assert blind.split() == [*BLIND.split(), "50.0"]


def test_answers_train_all_but_the_tower_and_what_words_mean() -> None:
    own = tiny_answerer()
    free_for_answers(own)
    frozen = {name for name, parameter in own.model.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in own.model.named_parameters() if name.startswith("vision_tower.")}
    keep_words(own)
    learned = {name for name, parameter in own.model.named_parameters() if parameter.requires_grad}
    projector = {name for name in learned if name.startswith("multi_modal_projector.")}
    assert projector == {"multi_modal_projector.places", "multi_modal_projector.detail.weight"}
    assert any(".q_proj" in name for name in learned)
    assert not own.model.language_model.get_input_embeddings().weight.requires_grad
