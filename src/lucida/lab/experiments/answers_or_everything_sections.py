"""What the page on answers or everything shows."""

from __future__ import annotations

from collections.abc import Sequence

from lucida.lab.experiment import Section
from lucida.lab.experiments.answers_or_everything import (
    ACCURACY,
    AGREEMENT,
    ALL,
    ANSWERS,
    ARMS,
    BLANKED,
    BLIND,
    DISPUTED,
    FORMS,
    LEFT,
    LOSS,
    OVERCONFIDENT,
    PLACES,
    QUESTION_LOSS,
    SEEN,
    SHARE,
    SHARE_AT_END,
    STOPPED,
    TENTH,
    Place,
)
from lucida.lab.observations import Observations
from lucida.report.lab_page import EffectRow, EffectsFigure, LinesFigure, TableFigure


def present(found: Observations) -> Sequence[Section]:
    """Accuracies, how they come about, what questions take of the gradient, and what the picture is worth."""
    return (_accuracies(), _courses(found), _gradients(found), _pictures(), _forms())


def _accuracies() -> Section:
    figures = tuple(
        EffectsFigure(
            f"Right answers, {place}",
            (*(EffectRow(arm, f"{ACCURACY}/{arm}/{place}") for arm in ARMS), EffectRow(BLIND, f"{ACCURACY}/{BLIND}")),
            x_label="right answers about held-out pictures, each arm at its best rate",
            share=True,
        )
        for place in PLACES
    )
    return Section("Right answers", ACCURACY_TEXT, figures)


def _courses(found: Observations) -> Section:
    figures = tuple(
        LinesFigure(
            f"Along training, {place}",
            tuple(found.series(f"course/{arm}/{place}", arm) for arm in ARMS),
            x_label="steps",
            y_label="right answers about held-out pictures",
            share=True,
        )
        for place in PLACES
    )
    shown = (ACCURACY, STOPPED, SEEN, LOSS, QUESTION_LOSS)
    table = TableFigure(
        "At the end",
        ("right", "right, stopped early", "right in training", "answer loss", "question loss"),
        tuple(
            (f"{arm}, {place}", tuple(f"{name}/{arm}/{place}" for name in shown)) for place in PLACES for arm in ARMS
        ),
        caption="Losses are nats a token, of held-out questions; that of answers is of the word that answers.",
        shares=(True, True, True, False, False),
    )
    return Section("On the way there", COURSE_TEXT, (*figures, table))


def _gradients(found: Observations) -> Section:
    figures = tuple(
        LinesFigure(
            f"Share of the gradient, {form}",
            tuple(
                found.series(f"share/{arm}/{place}", f"{arm}, {place.amount} examples")
                for place in PLACES
                if place.form == form
                for arm in (ALL, TENTH)
            ),
            x_label="steps",
            y_label="share of the gradient's norm that comes from questions",
            share=True,
        )
        for form in FORMS
    )
    rows = tuple(
        (f"{arm}, {place}", (f"{SHARE}/{arm}/{place}", f"{SHARE_AT_END}/{arm}/{place}", f"{AGREEMENT}/{arm}/{place}"))
        for place in PLACES
        for arm in (ALL, TENTH)
    )
    table = TableFigure(
        "What questions take of the gradient",
        ("first step", "last step", "cosine between both parts, first step"),
        rows,
        caption=f"Training on {ANSWERS} takes nothing from questions.",
        shares=(True, True, False),
    )
    return Section("What questions take of the gradient", GRADIENT_TEXT, (*figures, table))


def _pictures() -> Section:
    shown = (ACCURACY, BLANKED, LEFT, OVERCONFIDENT)
    table = TableFigure(
        "With the picture and without",
        ("right", "right, picture blanked", "answers that blanking leaves", "overconfidence on yes or no"),
        tuple(
            (f"{arm}, {place}", tuple(f"{name}/{arm}/{place}" for name in shown)) for place in PLACES for arm in ARMS
        ),
        caption="A blanked picture is the mean of all. Overconfidence is mean confidence less accuracy.",
        shares=(True,) * len(shown),
    )
    return Section("Whether the picture is looked at", PICTURE_TEXT, (table,))


def _forms() -> Section:
    columns = ("tokens/question", "tokens/answer", "bits of wording/question", "bits of wording/answer")
    table = TableFigure(
        "Questions and answers",
        ("tokens of a question", "of an answer", "bits of wording in a question", "in an answer"),
        tuple((str(form), tuple(f"{column}/{form}" for column in columns)) for form in FORMS),
    )
    return Section("The texts", FORMS_TEXT, (table,))


def _of(measure: str, arm: str, place: Place, form: str = "%") -> str:
    """The place of a number in a text."""
    return f"{{{measure}/{arm}/{place}{form and ':'}{form}}}"


_MANY, _REVERSE = PLACES[1], PLACES[2]

ACCURACY_TEXT = (
    "With long questions, short answers and {settings/few} examples, training on the answers alone gets "
    f"{_of(ACCURACY, ANSWERS, DISPUTED)} right, training on all text {_of(ACCURACY, ALL, DISPUTED)}, and with a "
    f"tenth of weight on the questions {_of(ACCURACY, TENTH, DISPUTED)}; with {{settings/many}} examples "
    f"{_of(ACCURACY, ANSWERS, _MANY)}, {_of(ACCURACY, ALL, _MANY)} and {_of(ACCURACY, TENTH, _MANY)}. Where answers "
    f"are long and questions short, few examples give {_of(ACCURACY, ANSWERS, _REVERSE)}, "
    f"{_of(ACCURACY, ALL, _REVERSE)} and {_of(ACCURACY, TENTH, _REVERSE)}: there the words of the answers that say "
    "nothing are what the one word that answers competes with, in every arm. Who gives to each kind of question its "
    f"most frequent answer is right in {{{ACCURACY}/{BLIND}:%}}."
)
COURSE_TEXT = (
    "All arms take equally many steps, each at its best rate. Stopped where validation is best, training on answers "
    f"alone has {_of(STOPPED, ANSWERS, DISPUTED)} with long questions and few examples, training on all text "
    f"{_of(STOPPED, ALL, DISPUTED)}. What few examples teach is in part their wording: on held-out questions the loss "
    f"of a word after training on all text is {_of(QUESTION_LOSS, ALL, DISPUTED, '')} with few examples and "
    f"{_of(QUESTION_LOSS, ALL, _MANY, '')} with many, and of the questions trained on "
    f"{_of(SEEN, ALL, DISPUTED)} and {_of(SEEN, ALL, _MANY)} are answered right."
)
GRADIENT_TEXT = (
    "The share is the norm of the questions' part of the gradient over the sum of both norms. At the first step "
    "pictures are new to the language model and disturb what it predicts of questions as well: questions take "
    f"{_of(SHARE, ALL, _MANY)} where they are long and {_of(SHARE, ALL, _REVERSE)} where they are short. Later most "
    "of what is left of their loss cannot be predicted, and its gradient is noise around zero. Long questions still "
    f"take {_of(SHARE_AT_END, ALL, _MANY)} of it at the last step with many examples and "
    f"{_of(SHARE_AT_END, ALL, DISPUTED)} with few; {_of(SHARE_AT_END, TENTH, _MANY)} and "
    f"{_of(SHARE_AT_END, TENTH, DISPUTED)} with a tenth of weight. The cosine between both parts is "
    f"{_of(AGREEMENT, ALL, _MANY, '')} at the first step. Adam divides a step by the size of the whole gradient, so "
    "that the answers' part moves less the more the questions take."
)
PICTURE_TEXT = (
    "With the picture blanked a model can only answer from the question. With long questions and few examples "
    f"blanking leaves {_of(LEFT, ANSWERS, DISPUTED)} of the answers as they were after training on answers alone, "
    f"{_of(LEFT, ALL, DISPUTED)} after training on all text; with many examples {_of(LEFT, ANSWERS, _MANY)} and "
    f"{_of(LEFT, ALL, _MANY)}. Between yes and no, mean confidence exceeds accuracy by "
    f"{_of(OVERCONFIDENT, ANSWERS, DISPUTED, 'points')} and {_of(OVERCONFIDENT, ALL, DISPUTED, 'points')} with few "
    "examples: whoever learned answers by heart is sure of them."
)
FORMS_TEXT = (
    "A long text wraps what is asked or answered in words that are drawn evenly from sets of eight and say nothing. A "
    "long question: `please stare at your drawing then advise me frankly is there any food friend ?` A short one: `is "
    "there any food ?` What is asked is drawn from three kinds: what a picture shows (eight categories of Unicode), "
    "whether it shows a given category (half of the answers are yes), and which of two artists drew it."
)
