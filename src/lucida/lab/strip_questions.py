"""Four kinds of question about strips: is there one of a kind, where is it, what stands there, how many are there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lucida.core.seeds import stream
from lucida.lab.strips import FEWEST, KINDS, MOST, PLACES, Habits, draw
from lucida.training.batches import Batch

EXISTS, WHERE, WHAT, COUNT = "is there", "where", "what is", "how many"
ASKS = {EXISTS: KINDS, WHERE: KINDS + 1, WHAT: KINDS + 2, COUNT: KINDS + 3}  # the word a question begins with
THINGS, MARK = KINDS + 4, KINDS + 5  # "things"; the mark of a picture
FIRST = KINDS + 6  # of the words that answer, besides the kinds
ANSWERS = {
    WHAT: range(KINDS),
    EXISTS: range(FIRST, FIRST + 2),  # no, yes
    WHERE: range(FIRST + 2, FIRST + 2 + PLACES),
    COUNT: range(FIRST + 2 + PLACES, FIRST + 2 + PLACES + MOST - FEWEST + 1),
}
WORDS = ANSWERS[COUNT].stop
SECOND = {EXISTS: range(KINDS), WHERE: range(KINDS), WHAT: ANSWERS[WHERE], COUNT: range(THINGS, THINGS + 1)}
"""The second word of a question: a kind, a place, or "things"."""
SLOTS = (EXISTS, EXISTS, WHERE, WHAT, WHAT, COUNT)  # of the questions about a strip


class Statements(NamedTuple):
    """Everything that can be said in answer to a question: three words each.

    Attributes:
        words: ``int64 [S, 3]``: the question's two, and the answer.
        of: by kind of question and second word, the numbers of its statements, ``int64 [WORDS, answers]``.
    """

    words: Tensor
    of: dict[str, Tensor]


def statements() -> Statements:
    """All of them."""
    rows: list[tuple[int, int, int]] = []
    of = {}
    for kind, answers in ANSWERS.items():
        table = torch.zeros(WORDS, len(answers), dtype=torch.int64)
        for second in SECOND[kind]:
            table[second] = len(rows) + torch.arange(len(answers))
            rows += [(ASKS[kind], second, answer) for answer in answers]
        of[kind] = table
    return Statements(torch.tensor(rows), of)


def questions_about(seed: int, part: str, n: int, grain: float) -> Batch:
    """Strips with a question in each slot.

    Returns:
        ``pictures [n, PLACES, 3 · SIDE²]``, ``tokens`` ``int64 [n, slots, 2]``, ``labels`` ``int64 [n, slots]``, words.
    """
    strips, generator = draw(seed, part, n, Habits(), grain), stream(seed, "lab", "strips", "three questions", part)
    kinds, counted = strips.kinds, (strips.kinds >= 0).sum(axis=1)
    tokens, labels = np.empty((n, len(SLOTS), 2), np.int64), np.empty((n, len(SLOTS)), np.int64)
    for slot, ask in enumerate(SLOTS):
        place = generator.integers(counted)  # of a thing that is there
        second, answer = kinds[np.arange(n), place], ANSWERS[WHERE].start + place
        if ask == EXISTS:
            no = generator.random(n) < 0.5
            second, answer = np.where(no, _absent(kinds, generator), second), ANSWERS[EXISTS].start + ~no
        elif ask == WHAT:
            second, answer = ANSWERS[WHERE].start + place, second
        elif ask == COUNT:
            second, answer = np.full(n, THINGS), ANSWERS[COUNT].start + counted - FEWEST
        tokens[:, slot, 0], tokens[:, slot, 1], labels[:, slot] = ASKS[ask], second, answer
    return {
        "pictures": strips.pictures.flatten(2),
        "tokens": torch.from_numpy(tokens),
        "labels": torch.from_numpy(labels),
    }


def _absent(kinds: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """A kind that a strip does not show, ``[n]``."""
    there = (kinds[:, :, None] == np.arange(KINDS)).any(axis=1)
    return np.argmax(generator.random(there.shape) * ~there, axis=1)
