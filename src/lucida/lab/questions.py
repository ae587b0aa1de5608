"""Made questions about real pictures, in words whose entropy is known.

A picture is an emoji as a frozen tower sees it. A question asks what it is, whether it is of a category (half of the
answers are yes), or which artist drew it. Short texts hold what is asked or answered and little more; long ones wrap it
in words that are drawn at random and say nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lucida.core.seeds import stream
from lucida.lab.datasets import load, split

FEATURES = "emoji features"
CATEGORIES = ("activity", "animal", "food", "object", "person", "face", "symbol", "place")  # Unicode's, by their names
DRAWN_BY = ("openmoji", "twemoji")
ASKED = (("what", "is", "this", "thing"), ("is", "there", "any", "…"), ("who", "is", "the", "artist"))
WHAT, ANY, WHO = range(len(ASKED))  # a category stands for the dots
YES_SHARE = 0.5

PartName = Literal["train", "validation", "test"]
_ASKED, _ANSWERED = "<asked>", "<answered>"
_Pattern = tuple[str | tuple[str, ...], ...]  # words, and sets of words of which one is drawn

QUESTIONS: dict[str, _Pattern] = {
    "short": (_ASKED, "?"),
    "long": (
        ("hello", "hi", "now", "so", "well", "okay", "right", "dear"),
        "please",
        ("look", "glance", "stare", "peek", "gaze", "peer", "squint", "turn"),
        "at",
        ("this", "our", "my", "that", "their", "your", "his", "her"),
        ("picture", "image", "photo", "drawing", "view", "scene", "print", "sketch"),
        ("and", "then", "next", "afterwards", "later", "finally", "also", "thereby"),
        ("tell", "show", "teach", "inform", "assure", "remind", "advise", "convince"),
        "me",
        ("briefly", "frankly", "quickly", "kindly", "exactly", "simply", "calmly", "gladly"),
        _ASKED,
        ("today", "here", "again", "indeed", "friend", "thanks", "exactly", "overall"),
        "?",
    ),
}
ANSWERS: dict[str, _Pattern] = {
    "short": (_ANSWERED, "."),
    "long": (
        ("sure", "certainly", "surely", "gladly", "fine", "good", "well", "okay"),
        ",",
        ("from", "by", "given", "judging", "considering", "using", "with", "after"),
        ("all", "everything", "whatever", "things", "details", "parts", "shapes", "signs"),
        "i",
        ("see", "notice", "find", "observe", "spot", "perceive", "detect", "recognise"),
        ("here", "there", "now", "today", "myself", "clearly", "directly", "again"),
        ("my", "the", "one", "this", "our", "some", "that", "a"),
        ("answer", "reply", "verdict", "finding", "guess", "opinion", "result", "view"),
        ("is", "was", "remains", "seems", "becomes", "stays", "sounds", "looks"),
        _ANSWERED,
        ".",
    ),
}


def _words_of(pattern: _Pattern) -> list[str]:
    return [word for slot in pattern for word in ((slot,) if isinstance(slot, str) else slot)]


_SAID = [word for patterns in (QUESTIONS, ANSWERS) for pattern in patterns.values() for word in _words_of(pattern)]
VOCABULARY = tuple(
    dict.fromkeys((*CATEGORIES, *DRAWN_BY, "yes", "no", *(word for asked in ASKED for word in asked), *_SAID))
)
_NUMBER_OF = {word: number for number, word in enumerate(VOCABULARY)}
YES, NO = _NUMBER_OF["yes"], _NUMBER_OF["no"]


@dataclass(frozen=True)
class Form:
    """How long questions and answers are: ``"short"`` or ``"long"``.

    >>> print(Form("long", "short"), Form("short", "long"), Form("short", "short"), sep=", ")
    long questions, long answers, short questions and answers
    """

    question: str
    answer: str

    def __str__(self) -> str:
        long = [f"long {part}" for part in ("question", "answer") if getattr(self, part) == "long"]
        return f"{' and '.join(long)}s" if long else "short questions and answers"

    @property
    def question_tokens(self) -> int:
        """Of a question."""
        return _length(QUESTIONS[self.question])

    @property
    def answer_tokens(self) -> int:
        """Of an answer."""
        return _length(ANSWERS[self.answer])

    @property
    def tokens(self) -> int:
        """Of both."""
        return self.question_tokens + self.answer_tokens

    @property
    def key(self) -> int:
        """The token that answers."""
        pattern = ANSWERS[self.answer]
        return self.question_tokens + _length(pattern[: pattern.index(_ANSWERED)])

    @property
    def wording_bits(self) -> tuple[float, float]:
        """Entropy of the words of a question and of an answer that say nothing.

        >>> Form("long", "short").wording_bits
        (24.0, 0.0)
        """
        question, answer = (_bits(p) for p in (QUESTIONS[self.question], ANSWERS[self.answer]))
        return question, answer


def _length(pattern: _Pattern) -> int:
    return sum(len(ASKED[0]) if slot == _ASKED else 1 for slot in pattern)


def _bits(pattern: _Pattern) -> float:
    return float(sum(math.log2(len(slot)) for slot in pattern if isinstance(slot, tuple)))


class Asked(NamedTuple):
    """Questions about pictures, with their answers.

    Attributes:
        pictures: rows of the features, ``int64 [N]``.
        tokens: of question and answer, ``int64 [N, T]``.
        kinds: what is asked, ``int64 [N]``: :data:`WHAT`, :data:`ANY` or :data:`WHO`.
    """

    pictures: Tensor
    tokens: Tensor
    kinds: Tensor


def ask(seed: int, part: PartName, count: int, form: Form) -> Asked:
    """Questions about pictures of a part of the emoji: of more questions the first ones are the same, in every form."""
    data = load(FEATURES)
    rows: NDArray = getattr(split(data, seed), part).numpy()
    generator, words = (stream(seed, "lab", "questions", part, of) for of in ("asked", "words"))
    pictures, kinds, tokens = [], [], []
    for _ in range(count):
        picture, kind = int(rows[generator.integers(len(rows))]), int(generator.integers(len(ASKED)))
        category, artist = int(data.labels[picture]), int(picture >= len(data.labels) // len(DRAWN_BY))
        asked, answer = _asked(kind, category, artist, generator)
        pictures.append(picture)
        kinds.append(kind)
        tokens.append(_worded(asked, answer, form, words))
    return Asked(torch.tensor(pictures), torch.tensor(tokens), torch.tensor(kinds))


def _asked(kind: int, category: int, artist: int, generator: np.random.Generator) -> tuple[tuple[str, ...], str]:
    """The words of a question that matter, and its answer."""
    true, other = generator.random() < YES_SHARE, int(generator.integers(1, len(CATEGORIES)))
    if kind == WHAT:
        return ASKED[kind], CATEGORIES[category]
    if kind == WHO:
        return ASKED[kind], DRAWN_BY[artist]
    about = category if true else (category + other) % len(CATEGORIES)
    return (*ASKED[kind][:-1], CATEGORIES[about]), "yes" if true else "no"


def _worded(asked: tuple[str, ...], answer: str, form: Form, generator: np.random.Generator) -> list[int]:
    """The tokens of question and answer."""
    words: list[str] = []
    for slot in (*QUESTIONS[form.question], *ANSWERS[form.answer]):
        if isinstance(slot, tuple):
            words.append(slot[int(generator.integers(len(slot)))])
        else:
            words += {_ASKED: asked, _ANSWERED: (answer,)}.get(slot, (slot,))
    return [_NUMBER_OF[word] for word in words]
