"""Grounding is fitted on one half of the held-out pictures, and when it is sure on the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from lucida.data.lessons import Lesson
from lucida.evaluation.pope import labels_of
from lucida.inference.abstention import sure_from
from lucida.inference.answerer import Answerer
from lucida.inference.grounding import fit_odds
from lucida.workflows import grounding_fit
from lucida.workflows.grounding_fit import first_half, fit_grounding
from lucida.workflows.picture_questions import pope_questions
from tests.workflows.test_preference import answerer, lesson  # noqa: F401  # fixtures

PICTURES = 40


@given(st.lists(st.integers(0, 50), min_size=2, max_size=60), st.randoms(use_true_random=False))
def test_a_picture_is_whole_on_one_side_whatever_the_order_of_the_questions(pictures: list[int], shuffle) -> None:
    first = first_half(pictures)
    sides = {
        picture: {bool(own) for p, own in zip(pictures, first, strict=True) if p == picture} for picture in pictures
    }
    assert all(len(side) == 1 for side in sides.values())
    assert sum(side == {True} for side in sides.values()) == len(sides) // 2
    order = list(range(len(pictures)))
    shuffle.shuffle(order)
    assert (first_half([pictures[k] for k in order]) == first[order]).all()


def test_odds_are_of_the_first_half_and_the_threshold_of_the_second(
    answerer: Answerer,  # noqa: F811
    lesson: Lesson,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grounding_fit, "RISK", 0.8)  # a model that knows nothing can promise no less
    features = answerer.see(lesson.gallery, PICTURES)
    found = fit_grounding(answerer, lesson, features)
    assert found is not None
    assert found == fit_grounding(answerer, lesson, features)

    questions, _ = pope_questions(lesson, PICTURES)
    asked = [(int(question.picture_id), question.object) for question in questions]
    said, support = logit(answerer.ask_yes_no(features, asked).p_yes), answerer.support(features).numpy()
    own = np.array([support[i, answerer.names.index(name)] for i, name in asked])
    truth, first = np.array(labels_of(questions), bool), first_half([i for i, _ in asked])
    assert found.odds == fit_odds(said[first], own[first], truth[first])

    once = [k for k, question in enumerate(asked) if question not in asked[k + 1 :]]
    limits = []
    for kept in ([k for k in once if not first[k]], once):
        leaning = found.odds(said[kept], own[kept])
        limits.append(sure_from(expit(np.abs(leaning)), (leaning > 0) == truth[kept], risk=0.8))
    assert 0.5 <= found.sure < 1
    assert found.sure == limits[0] != limits[1]


def test_one_picture_has_no_second_half(
    answerer: Answerer,  # noqa: F811
    lesson: Lesson,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert fit_grounding(answerer, lesson, answerer.see(lesson.gallery, 1)) is None
    assert "answers are not grounded" in "".join(capsys.readouterr())
