"""Conversations: questions about a picture with answers that are true by construction."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lucida.data.captions import describe
from lucida.data.kinds import article, plural
from lucida.data.statistics import NEGATIVES, ObjectStatistics
from lucida.data.truth import Facts

_IN_PICTURE = r"(?:\s+(?:in|on|at|of)\s+(?:the|this)\s+(?:picture|image|photo|photograph|scene))?"
_END = r"\s*[?.!]*\s*$"
_NAME = r"(?:a pair of\s+|an?\s+|any\s+|some\s+|the\s+)?(?P<name>[\w' -]+?)"


@dataclass(frozen=True)
class Turn:
    """One question and its answer.

    Attributes:
        form: key of :data:`FORMS`, or of :data:`~lucida.data.instruction_kinds.INSTRUCTION_KINDS`.
        question: what is asked.
        answer: what is true.
        subject: the object asked about, singular; empty if the question names none.
        negative: how the absent object was chosen (one of ``NEGATIVES``); empty if the subject is there.
    """

    form: str
    question: str
    answer: str
    subject: str = ""
    negative: str = ""


@dataclass(frozen=True)
class Form:
    """A kind of question.

    Attributes:
        questions: templates of ``{name}``, ``{names}`` (plural) and ``{a}`` (article).
        pattern: recognises a question of this form however a person words it; group ``name`` is its object.
        short: the answer is a word or two.
    """

    questions: tuple[str, ...]
    pattern: re.Pattern[str]
    short: bool = True

    def ask(self, generator: np.random.Generator, name: str = "") -> str:
        """One of the questions, about ``name``."""
        template = self.questions[int(generator.integers(len(self.questions)))]
        return self.word(template, name)

    def plainly(self, name: str = "") -> str:
        """The first of the questions, about ``name``: how tests and strangers' questions are worded.

        >>> FORMS["exists"].plainly("apple"), FORMS["describe"].plainly()
        ('Is there an apple in the picture?', 'Describe the picture.')
        """
        return self.word(self.questions[0], name)

    def word(self, template: str, name: str) -> str:
        """The template filled in.

        >>> FORMS["exists"].word("Is there {a} {name}?", "apple")
        'Is there an apple?'
        """
        return template.format(name=name, names=plural(name), a=article(name)) if name else template


FORMS: Mapping[str, Form] = {
    "describe": Form(
        ("Describe the picture.", "What is in the picture?", "What can you see?", "List what the picture shows."),
        re.compile(
            r"(?i)^\s*(?:please\s+)?(?:describe\b|list\b|what(?: is|'s) (?:in|on|shown in) (?:the|this)\b|"
            r"what (?:can|do) you see\b|what (?:things|objects) (?:are|can)\b|tell me (?:about|what)\b)"
        ),
        short=False,
    ),
    "exists": Form(
        (
            "Is there {a} {name} in the picture?",
            "Can you see {a} {name}?",
            "Does the picture show {a} {name}?",
            "Are there any {names}?",
        ),
        re.compile(
            rf"(?i)^\s*(?:is there|are there|(?:can|do) you see|does (?:the|this) \w+ (?:show|contain|have)|"
            rf"is it true that there (?:is|are))\s+{_NAME}{_IN_PICTURE}{_END}"
        ),
    ),
    "count": Form(
        ("How many {names} are there?", "How many {names} can you see?", "Count the {names}."),
        re.compile(
            rf"(?i)^\s*(?:how many|count|what is the number of)\s+{_NAME}"
            rf"(?:\s+(?:are there|can you see|do you see|are|is there))?{_IN_PICTURE}{_END}"
        ),
    ),
    "where": Form(
        ("Where is the {name}?", "In which part of the picture is the {name}?", "Where can the {name} be seen?"),
        re.compile(
            rf"(?i)^\s*(?:where(?: is| are|'s| can)|in (?:which|what) part of (?:the|this) \w+ (?:is|are))\s+{_NAME}"
            rf"(?:\s+be (?:seen|found))?{_IN_PICTURE}{_END}"
        ),
    ),
    "classify": Form(
        ("What is this?", "What is this a picture of?", "Name this."),
        re.compile(
            r"(?i)^\s*(?:what(?: is|'s) (?:this|that|it)\b|what (?:kind|sort|type|class)\b|"
            r"name (?:this|it|the)\b|which \w+ is (?:this|it)\b|classify\b)"
        ),
    ),
    "caption": Form(
        ("Write a caption.", "Caption this picture.", "Give the picture a caption."),
        re.compile(r"(?i)^\s*(?:please\s+)?(?:write|give|make|add|suggest)?\b.*\bcaption\b"),
        short=False,
    ),
}
"""The forms of question, in the order in which :func:`recognise` tries them."""

SCENE_TURNS: Mapping[str, int] = {"describe": 1, "exists": 6, "count": 2, "where": 2}
"""How many turns of each form a scene gets; fewer where the scene does not allow as many."""

PICTURE_TURNS: Mapping[str, int] = {"describe": 1, "exists": 4, "count": 1, "where": 1, "classify": 1, "caption": 2}
"""The same for a picture of a corpus."""

NEGATIVE_SHARES: Mapping[str, float] = {"random": 0.5, "popular": 0.25, "adversarial": 0.25}
"""How the absent objects of training questions are chosen."""


def recognise(question: str) -> tuple[str, str] | None:
    """The form of a question and the noun it asks about (as worded); None if it is of no known form.

    >>> recognise("are there any teddy bears in this photo?"), recognise("Where's the cat"), recognise("Why?")
    (('exists', 'teddy bears'), ('where', 'cat'), None)
    """
    for key in ("exists", "count", "where", "caption", "classify", "describe"):
        found = FORMS[key].pattern.match(question.replace("’", "'"))
        if found:
            return key, (found.groupdict().get("name") or "").strip().lower()
    return None


def answerable(facts: Facts, statistics: ObjectStatistics | None = None) -> set[str]:
    """The forms of question about which something is known.

    "Is there a …?" needs a vocabulary of two names at least: with one, "yes" would always be right.

    >>> sorted(answerable(Facts(label="cat", captions=("my cat",))))
    ['caption', 'classify']
    """
    known = {*facts.counts} - {*facts.uncounted}
    there = {
        "describe": bool(facts.counts),
        "exists": bool(facts.exhaustive and facts.counts and statistics and len(statistics.names) > 1),
        "count": facts.exhaustive and bool(known),
        "where": bool(facts.places),
        "classify": bool(facts.label),
        "caption": bool(facts.captions),
    }
    return {form for form, yes in there.items() if yes}


def converse(
    facts: Facts,
    generator: np.random.Generator,
    *,
    turns: Mapping[str, int] = PICTURE_TURNS,
    statistics: ObjectStatistics | None = None,
    negative_share: float = 0.5,
    negatives: Mapping[str, float] = NEGATIVE_SHARES,
    caption_noise: float = 0.0,
) -> list[Turn]:
    """Turns about one picture, of the forms that what is known of it supports.

    Args:
        facts: what is true.
        generator: draws objects, negatives and words.
        turns: how many of each form at most.
        statistics: the vocabulary and how frequent its objects are; without it nothing absent can be asked about, so
            there are no ``exists`` questions.
        negative_share: share of ``exists`` questions answered "no".
        negatives: weight of each way to choose an absent object.
        caption_noise: see :func:`lucida.data.captions.describe`; acts on ``describe`` answers.
    """
    made: list[Turn] = []
    names = list(facts.counts)
    for _ in range(turns.get("describe", 0) if names else 0):
        words = statistics.names if statistics else ()
        caption = describe(facts, generator, noise=caption_noise, vocabulary=words)
        made.append(Turn("describe", FORMS["describe"].ask(generator), caption.text))
    if "exists" in turns and statistics and "exists" in answerable(facts, statistics):
        made += _exists(facts, generator, turns.get("exists", 0), statistics, negative_share, negatives)
    if facts.exhaustive:
        for name in _names_to_count(facts, generator, turns.get("count", 0)):
            made.append(Turn("count", FORMS["count"].ask(generator, name), str(facts.counts[name]), name))
    for name in _sample(list(facts.places), turns.get("where", 0), generator):
        made.append(Turn("where", FORMS["where"].ask(generator, name), facts.places[name], name))
    for _ in range(turns.get("classify", 0) if facts.label else 0):
        made.append(Turn("classify", FORMS["classify"].ask(generator), facts.label or ""))
    for text in _sample(list(facts.captions), turns.get("caption", 0), generator):
        made.append(Turn("caption", FORMS["caption"].ask(generator), text))
    return made


def _exists(
    facts: Facts,
    generator: np.random.Generator,
    n: int,
    statistics: ObjectStatistics,
    negative_share: float,
    negatives: Mapping[str, float],
) -> list[Turn]:
    """ "yes" and "no" questions in the given share, as many as the objects there allow, shuffled."""
    n_negative = _round(n * negative_share, generator)
    present = _sample(list(facts.counts), n - n_negative, generator)
    if (
        len(present) < n - n_negative and negative_share < 1
    ):  # too few objects: as many fewer absent ones, or "no" would become the better guess
        n_negative = min(n_negative, _round(len(present) * negative_share / (1 - negative_share), generator))
    form = FORMS["exists"]
    asked = [Turn("exists", form.ask(generator, name), "yes", name) for name in present]
    taken = list(facts.counts)
    for how in _draw_ways(n_negative, negatives, generator):
        for name in statistics.choose(how, taken, 1, generator):
            taken.append(name)
            asked.append(Turn("exists", form.ask(generator, name), "no", name, how))
    return [asked[i] for i in generator.permutation(len(asked))]


def _draw_ways(n: int, negatives: Mapping[str, float], generator: np.random.Generator) -> list[str]:
    bounds = np.cumsum([negatives.get(how, 0.0) for how in NEGATIVES])
    draws = np.searchsorted(bounds, generator.random(n) * bounds[-1], side="right")
    return [NEGATIVES[i] for i in draws]


def _names_to_count(facts: Facts, generator: np.random.Generator, n: int) -> list[str]:
    """Names to count: every other one is there more than once, if any is, so that "1" is no safe answer."""
    known = {name: count for name, count in facts.counts.items() if name not in facts.uncounted}
    repeated = _sample([name for name, count in known.items() if count > 1], n, generator)
    single = _sample([name for name, count in known.items() if count == 1], n, generator)
    chosen: list[str] = []
    take_repeated = bool(generator.integers(2))
    while len(chosen) < n and (repeated or single):
        first, second = (repeated, single) if take_repeated else (single, repeated)
        chosen.append((first or second).pop())
        take_repeated = not take_repeated
    return chosen


def _sample(values: Sequence[str], n: int, generator: np.random.Generator) -> list[str]:
    """Up to ``n`` of the values, without replacement."""
    return [values[i] for i in generator.permutation(len(values))[:n]]


def _round(value: float, generator: np.random.Generator) -> int:
    """Up or down at random, right on average."""
    return int(value + generator.random())
