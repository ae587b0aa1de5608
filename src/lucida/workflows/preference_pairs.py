"""Pairs of answers from what a multimodal LLM makes up itself: its own words are the worse answers.

Answers that a model would give anyway are the ones worth preferring against (Li et al. 2023, Silkie, arXiv 2312.10665;
Zhao et al. 2023, HA-DPO, arXiv 2311.16839). Here the pictures' facts are known, so no other model has to judge them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from torch import Tensor

from lucida.core.errors import LucidaError
from lucida.core.seeds import derive_seed, stream
from lucida.data.conversations import FORMS, NEGATIVE_SHARES
from lucida.data.lessons import Lesson
from lucida.data.preferences import Preference
from lucida.data.retelling import retell
from lucida.data.truth import Facts
from lucida.evaluation.answers import parse_count
from lucida.evaluation.chair import read_captions
from lucida.evaluation.vocabulary import Vocabulary
from lucida.inference.answerer import Answerer
from lucida.inference.generate import answer, answer_yes_no

CAPTION_TOKENS = 64  # a longer caption is cut off
TRIED = 200  # pictures


class Asked(NamedTuple):
    """ "Is there a …?" about a picture, and what the model says.

    Attributes:
        picture: its number.
        name: the object.
        question: the words.
        there: the truth.
        p_yes: P(yes) / (P(yes) + P(no)).
        text: "yes", "no", or "" where the model would say neither.
    """

    picture: int
    name: str
    question: str
    there: bool
    p_yes: float = 0.5
    text: str = ""

    @property
    def wrong(self) -> bool:
        """Whether the model says the opposite of the truth."""
        return self.text == ("no" if self.there else "yes")


class Pictures(NamedTuple):
    """Pictures with complete facts, and what is asked of the model about them.

    Attributes:
        lesson: whose gallery they are.
        facts: of each.
        features: of each, ``[N, T, D]``.
        showing: the pictures that show each name.
    """

    lesson: Lesson
    facts: list[Facts]
    features: Tensor
    showing: dict[str, list[int]]

    @classmethod
    def of(cls, lesson: Lesson, features: Tensor) -> Pictures:
        """The first pictures of a lesson, as many as there are features.

        Raises:
            LucidaError: the lists of objects are not complete, or no vocabulary is known.
        """
        facts = [lesson.gallery.facts(i) for i in range(len(features))]
        if not lesson.statistics or not all(one.exhaustive for one in facts):
            raise LucidaError(
                "what a model makes up can only be told from pictures whose lists of objects are complete",
                where="preference pairs",
            )
        showing: dict[str, list[int]] = {name: [] for name in lesson.names}
        for i, one in enumerate(facts):
            for name in one.counts:
                showing.setdefault(name, []).append(i)
        return cls(lesson, facts, features, showing)

    def where(self, fits: Callable[[Facts], bool], generator: np.random.Generator) -> int | None:
        """A random picture of which something holds; None if :data:`TRIED` were looked at in vain."""
        for j in generator.permutation(len(self.facts))[:TRIED].tolist():
            if fits(self.facts[j]):
                return int(j)
        return None

    def contrary(self, asked: Asked, generator: np.random.Generator) -> int | None:
        """A random picture for which the true answer to a question is the opposite; None if there is none."""
        if asked.there:
            return self.where(lambda facts: asked.name not in facts.counts, generator)
        shown = self.showing.get(asked.name, [])
        return shown[int(generator.integers(len(shown)))] if shown else None


def caption_pairs(answerer: Answerer, pictures: Pictures, *, samples: int, seed: int) -> list[Preference]:
    """The captions that name an object which is not there, against the same told as it should have been.

    Each picture is described greedily, and ``samples`` times at temperature 1; the same caption counts once. Where the
    picture does not show as many kinds as the caption names, the better caption is the shorter one.

    Args:
        answerer: with the model in evaluation mode.
        pictures: what it describes.
        samples: a picture.
        seed: of wordings, samples and what takes the place of made-up objects.
    """
    draw = stream(seed, "preference captions")
    shown = [i for i, one in enumerate(pictures.facts) if one.counts]
    asked = [(i, FORMS["describe"].ask(draw)) for i in shown]
    vocabulary = Vocabulary(pictures.lesson.names)
    found: dict[tuple[int, str], Preference] = {}
    for k in range(samples + 1):
        said = answer(
            answerer.model, answerer.chat, pictures.features, asked, batch_size=64, max_new_tokens=CAPTION_TOKENS,
            temperature=float(k > 0), seed=derive_seed(seed, "preference sample", k),
        )  # fmt: skip
        texts = [one.text for one in said]
        readings = read_captions(texts, [list(pictures.facts[i].counts) for i in shown], vocabulary)
        for (i, question), text, reading in zip(asked, texts, readings, strict=True):
            if not reading.hallucinated or (i, text) in found:
                continue
            true = retell(text, reading.mentioned, pictures.facts[i], draw)
            named = {*vocabulary.mentions(true)}
            other = pictures.where(partial(_lacks, named), draw)
            if other is not None and named <= reading.present:
                found[i, text] = Preference("describe", question, true, text, i, other)
    return list(found.values())


def count_pairs(answerer: Answerer, pictures: Pictures, *, seed: int) -> list[Preference]:
    """The wrong numbers that the model gives, against the right ones, and as many the other way round.

    Each mistake, ``b`` said for ``a``, is joined by a question to which ``b`` is right, with ``a`` as the worse answer:
    mistakes alone are mostly a frequent number said for a rarer one, and the frequent number would be unlearned.
    Mistakes for which there is no such question are left out.

    Args:
        answerer: with the model in evaluation mode.
        pictures: what it is asked about: one object of each, in changing words.
        seed: of objects and wordings.
    """
    draw = stream(seed, "preference numbers")
    asked: list[tuple[int, str, str]] = []
    for i, facts in enumerate(pictures.facts):
        known = [name for name in facts.counts if name not in facts.uncounted]
        if known:
            name = known[int(draw.integers(len(known)))]
            asked.append((i, name, FORMS["count"].ask(draw, name)))
    questions = [(i, question) for i, _, question in asked]
    said = answer(answerer.model, answerer.chat, pictures.features, questions, batch_size=64, max_new_tokens=4)
    right: dict[int, list[tuple[int, str, str]]] = {}
    wrong: list[tuple[int, int, tuple[int, str, str]]] = []
    for one, told in zip(asked, said, strict=True):
        n, number = pictures.facts[one[0]].counts[one[1]], parse_count(told.text)
        if number == n:
            right.setdefault(n, []).append(one)
        elif number is not None:
            wrong.append((n, number, one))
    made: list[Preference] = []
    for n, number, one in wrong:
        if not right.get(number):
            continue
        for (i, name, question), true, false in ((one, n, number), (right[number].pop(), number, n)):
            other = pictures.where(partial(_differs, name, true), draw)
            if other is not None:
                made.append(Preference("count", question, str(true), str(false), i, other))
    return made


def _differs(name: str, n: int, facts: Facts) -> bool:
    """Whether a picture shows another number of a kind."""
    return facts.counts.get(name, 0) != n


def _lacks(named: set[str], facts: Facts) -> bool:
    """Whether a picture does not show all that is named."""
    return not named <= {*facts.counts}


def yes_no_pairs(
    answerer: Answerer, pictures: Pictures, *, absent: int, seed: int, invented: Sequence[Preference] = ()
) -> list[Preference]:
    """The questions that the model gets wrong; of each object, as many with the answer "yes" as with "no".

    A model that says yes too often makes more mistakes of one kind: pairs of the rarer kind are filled up with right
    answers it is least sure of. With more pairs of one answer, that answer would be learned instead of looking; and as
    rare objects are mostly asked about where they are not, "no" would be learned for them unless each is balanced.

    Args:
        answerer: with the model in evaluation mode.
        pictures: what it is asked about.
        absent: how many objects that are not there are asked about, a picture, besides all that are there.
        seed: of objects and wordings.
        invented: pairs of captions; what their rejected captions make up is asked about, too.
    """
    draw = stream(seed, "preference questions")
    asked = _questions(pictures, absent, draw, invented)
    said = answer_yes_no(answerer.model, answerer.chat, pictures.features, [(q.picture, q.question) for q in asked])
    sides: dict[str, tuple[list[Asked], list[Asked]]] = {name: ([], []) for name in pictures.lesson.names}
    for q, p_yes, text in zip(asked, said.p_yes.tolist(), said.texts, strict=True):
        if q.name in sides:
            sides[q.name][q.there].append(q._replace(p_yes=p_yes, text=text))
    made: list[Preference] = []
    for both in sides.values():
        size = max(sum(q.wrong for q in side) for side in both)
        chosen = [sorted(side, key=_worst_first)[:size] for side in both]
        for absence, presence in zip(*chosen, strict=False):  # as many as of the rarer answer
            with_it, without_it = pictures.contrary(absence, draw), pictures.contrary(presence, draw)
            if with_it is None or without_it is None:
                continue
            made += [
                Preference("exists", absence.question, "no", "yes", absence.picture, with_it),
                Preference("exists", presence.question, "yes", "no", presence.picture, without_it),
            ]
    return made


def _worst_first(q: Asked) -> tuple[bool, float]:
    """Wrong answers first, the surest of them first; then right ones, the least sure first."""
    return not q.wrong, q.p_yes if q.there else -q.p_yes


def _questions(
    pictures: Pictures, absent: int, draw: np.random.Generator, invented: Sequence[Preference]
) -> list[Asked]:
    """What is there, what is made up, and objects that could be there, in changing words."""
    statistics = pictures.lesson.statistics
    assert statistics is not None  # Pictures.of has looked
    vocabulary = Vocabulary(pictures.lesson.names)
    made_up: dict[int, list[str]] = {}
    for pair in invented:
        made_up.setdefault(pair.picture, []).extend(vocabulary.mentions(pair.rejected))
    form, asked = FORMS["exists"], []
    ways, shares = list(NEGATIVE_SHARES), list(NEGATIVE_SHARES.values())
    for i, facts in enumerate(pictures.facts):
        names = {name: True for name in facts.counts}
        names |= {name: False for name in made_up.get(i, []) if name not in facts.counts}
        for way in draw.choice(ways, size=absent, p=shares).tolist():
            names |= dict.fromkeys(statistics.choose(way, list(names), 1, draw), False)
        asked += [Asked(i, name, form.ask(draw, name), there) for name, there in names.items()]
    return asked
