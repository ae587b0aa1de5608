"""How the answers of a model are grounded, and when it is not sure: fitted on held-out pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from torch import Tensor

from lucida.core.errors import LucidaError
from lucida.core.progress import say
from lucida.core.seeds import stream
from lucida.data.lessons import Lesson
from lucida.evaluation.pope import labels_of
from lucida.inference.abstention import sure_from
from lucida.inference.answerer import Answerer
from lucida.inference.grounding import Grounding, fit_doubt, fit_odds
from lucida.workflows.picture_questions import pope_questions

RISK = 0.01
"""Of the answers that are given, so many may be wrong; from the confidence below which more are, "not sure" is said."""


def fit_grounding(answerer: Answerer, lesson: Lesson, features: Tensor) -> Grounding | None:
    """From questions about held-out pictures; None, with a line that says why, where they cannot be asked.

    The odds are fitted on one half of the pictures, and on the other from which confidence answers are given: odds look
    surer of the questions they were fitted on than of others, and the promise is about others.

    Args:
        answerer: trained.
        lesson: pictures that are not those of the test.
        features: of its first pictures.
    """
    questions, _ = pope_questions(lesson, len(features))
    if not questions:
        say("answers are not grounded: these pictures do not say what is absent")
        return None
    asked = [(int(question.picture_id), question.object) for question in questions]
    said, support = answerer.ask_yes_no(features, asked), answerer.support(features).numpy()
    place = {name: k for k, name in enumerate(answerer.names)}
    own = np.array([support[i, place[name]] for i, name in asked])
    truth = np.asarray(labels_of(questions), bool)
    facts = [lesson.gallery.facts(i) for i in range(len(features))]
    known = [i for i, one in enumerate(facts) if one.exhaustive]
    there = [[name in facts[i].counts for name in answerer.names] for i in known]
    first = first_half([picture for picture, _ in asked])
    leaning = logit(said.p_yes)
    # The sets ask for the same objects that are there: each question counts once, or the bound would promise too much.
    once = np.array([*dict(zip(asked, range(len(asked)), strict=True)).values()])
    other = once[~first[once]]
    try:
        odds, doubt = fit_odds(leaning[first], own[first], truth[first]), fit_doubt(support[known], there)
        grounded = odds(leaning[other], own[other])
        sure = sure_from(expit(np.abs(grounded)), (grounded > 0) == truth[other], risk=RISK)
    except LucidaError as error:
        say(f"answers are not grounded: {error}")
        return None
    return Grounding(odds, min(sure, 1.0), doubt)


def first_half(pictures: Sequence[int]) -> NDArray[np.bool_]:
    """Whether each row is of the first half of the pictures; which half a picture is in is drawn, always the same.

    >>> rows = first_half([7, 7, 8, 9, 9, 9, 12])
    >>> len({picture for picture, own in zip([7, 7, 8, 9, 9, 9, 12], rows) if own})
    2
    """
    different = sorted({*pictures})
    order = stream(0, "halves of the held-out pictures").permutation(len(different))
    chosen = {different[k] for k in order[: len(different) // 2]}
    return np.array([picture in chosen for picture in pictures], bool)
