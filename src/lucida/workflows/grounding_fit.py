"""How the answers of a model are grounded, and when it is not sure: fitted on held-out pictures."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit
from torch import Tensor

from lucida.core.errors import LucidaError
from lucida.core.progress import say
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
    own = [support[i, place[name]] for i, name in asked]
    truth = np.asarray(labels_of(questions), bool)
    facts = [lesson.gallery.facts(i) for i in range(len(features))]
    known = [i for i, one in enumerate(facts) if one.exhaustive]
    there = [[name in facts[i].counts for name in answerer.names] for i in known]
    try:
        odds, doubt = fit_odds(logit(said.p_yes), own, truth), fit_doubt(support[known], there)
    except LucidaError as error:
        say(f"answers are not grounded: {error}")
        return None
    leaning = odds(logit(said.p_yes), own)
    # The sets ask for the same objects that are there: each question counts once, or the bound would promise too much.
    once = list(dict(zip(asked, range(len(asked)), strict=True)).values())
    leaning, truth = leaning[once], truth[once]
    sure = sure_from(expit(np.abs(leaning)), (leaning > 0) == truth, risk=RISK)
    return Grounding(odds, min(sure, 1.0), doubt)
