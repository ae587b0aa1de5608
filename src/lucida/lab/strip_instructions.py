"""Instructions about strips: twenty kinds, each one of four questions about the thing that one of five phrases means.

"Which group | what is left of | the cat?" An instruction is four words: what is asked, which thing is meant, what it is
compared with and what it stands beside; its answer is one word. Whoever has learned what the words mean, and that they
combine, can follow a combination that was never trained on. Both parts have several wordings.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lucida.core.seeds import stream
from lucida.lab.strips import CONTEXTS, IGNORED, KINDS, PLACES, Habits, Strips, World, draw
from lucida.training.batches import Batch

ASKS = ("what is", "is it a", "which group is", "is it of the group")
MEANT = ("the first", "the second", "the last", "what is left of", "what is right of")
INSTRUCTIONS = tuple(product(range(len(ASKS)), range(len(MEANT))))
"""Kinds of instruction: numbers of what is asked and of which thing is meant."""
WORDINGS = 4  # of each part
ASKED, LENGTH = 6, 4  # instructions about a strip; words of each
GRAIN = 1.0  # noise of a pixel; things are easy to see here, so that what is hard is to know what is asked

YES, NO, GROUP = KINDS, KINDS + 1, KINDS + 2  # answers: names, yes, no, and groups
ANY = GROUP + CONTEXTS  # where an instruction names no thing
_ASK = ANY + 1
_MEAN = _ASK + len(ASKS) * WORDINGS
WORDS = _MEAN + len(MEANT) * WORDINGS
ROW = PLACES + ASKED * LENGTH
_WHAT, _IS, _GROUP, _OF_GROUP = range(len(ASKS))
_FIRST, _SECOND, _LAST, _LEFT, _RIGHT = range(len(MEANT))


class Told(NamedTuple):
    """Instructions about strips, with their answers.

    Attributes:
        tokens: ``int64 [N, Q, LENGTH]``.
        answers: ``int64 [N, Q]``.
    """

    tokens: NDArray[np.int64]
    answers: NDArray[np.int64]


def instruct(
    strips: Strips, own: World, which: NDArray[np.int64], generator: np.random.Generator, wordings: int = 1
) -> Told:
    """Instructions of given kinds, with what they are about drawn at random.

    Args:
        strips: ``N`` of them.
        own: the world they are of; its contexts are the groups.
        which: kinds, as places of :data:`INSTRUCTIONS`, ``int64 [N, Q]``.
        generator: draws.
        wordings: how many of each word's wordings are used.
    """
    table = np.array(INSTRUCTIONS)
    ask, meant = table[which, 0], table[which, 1]
    counted = (strips.kinds >= 0).sum(axis=1)[:, None]
    beside = (generator.random(which.shape) * (counted - 1)).astype(int)  # one of two neighbours: the left one
    at = np.select([meant == m for m in (_FIRST, _SECOND, _LAST, _LEFT)], [0, 1, counted - 1, beside], beside + 1)
    kinds = np.take_along_axis(strips.kinds, at, axis=1)
    group = own.context[kinds]
    yes = generator.random(which.shape) < 0.5
    other, other_group = _others(strips, kinds, generator), _other_groups(own, strips, group, generator)
    compared = np.select(
        [ask == _IS, ask == _OF_GROUP],
        [np.where(yes, kinds, other), GROUP + np.where(yes, group, other_group)],
        ANY,
    )
    neighbour = np.take_along_axis(strips.kinds, np.where(meant == _LEFT, beside + 1, beside), axis=1)
    words = [
        _ASK + ask * WORDINGS + generator.integers(wordings, size=which.shape),
        _MEAN + meant * WORDINGS + generator.integers(wordings, size=which.shape),
        compared,
        np.where((meant == _LEFT) | (meant == _RIGHT), neighbour, ANY),
    ]
    answers = np.select([ask == _WHAT, ask == _GROUP], [kinds, GROUP + group], np.where(yes, YES, NO))
    return Told(np.stack(words, axis=-1), answers)


def _others(strips: Strips, kinds: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """Of each thing another kind: every other time one that the strip shows too, else any."""
    there = np.broadcast_to(strips.there[:, None], (*kinds.shape, KINDS))
    shown = (generator.random(kinds.shape) < 0.5)[..., None]
    value = generator.random(there.shape) + (there & shown)
    np.put_along_axis(value, kinds[..., None], -1.0, axis=2)
    return np.asarray(value.argmax(axis=2))


def _other_groups(
    own: World, strips: Strips, group: NDArray[np.int64], generator: np.random.Generator
) -> NDArray[np.int64]:
    """Of each group another one: every other time one of which the strip shows something, where there is one."""
    there = np.stack([strips.there[:, own.context == g].any(axis=1) for g in range(CONTEXTS)], axis=1)
    shown = (generator.random(group.shape) < 0.5)[..., None]
    value = generator.random((*group.shape, CONTEXTS)) + (there[:, None] & shown)
    np.put_along_axis(value, group[..., None], -1.0, axis=2)
    return np.asarray(value.argmax(axis=2))


def strips_of(seed: int, part: str, n: int) -> Strips:
    """Strips as the instructions are about."""
    return draw(seed, part, n, Habits(), GRAIN)


def lesson(strips: Strips, told: Told, blind: bool = False) -> Batch:
    """Rows to learn from or to be asked: ``pictures``, ``tokens [N, ROW]``, and what is right.

    ``places`` ``int64 [N, PLACES]`` are the kinds of the places (nothing is to be learned about the ground), and
    ``answers`` ``int64 [N, ASKED]``.
    """
    n = len(strips.kinds)
    tokens = np.full((n, ROW), ANY)
    tokens[:, PLACES:] = told.tokens.reshape(n, -1)
    places = np.where((strips.kinds < 0) | blind, IGNORED, strips.kinds)
    return {
        "pictures": torch.zeros_like(strips.pictures) if blind else strips.pictures,
        "tokens": torch.from_numpy(tokens),
        "places": torch.from_numpy(places),
        "answers": torch.from_numpy(told.answers),
    }


def answer_words() -> NDArray[np.bool_]:
    """Which words may answer each question, ``bool [ASKS, WORDS]``."""
    allowed = np.zeros((len(ASKS), WORDS), bool)
    allowed[_WHAT, :KINDS] = allowed[_GROUP, GROUP : GROUP + CONTEXTS] = True
    allowed[[_IS, _OF_GROUP], YES] = allowed[[_IS, _OF_GROUP], NO] = True
    return allowed


@cache
def covering(seed: int, held_out: int) -> tuple[list[int], list[int]]:
    """Kinds held out, and the others in the order in which they are trained on.

    The first five of the others have every phrase for a thing once and every question at least once: from there on
    nobody meets a word in a held-out kind that it was not trained on, and what grows is in how many combinations words
    were met. The first two have different questions.
    """
    generator = stream(seed, "lab", "instructions", "kinds")
    while True:
        order = generator.permutation(len(INSTRUCTIONS)).tolist()
        rest = order[held_out:]
        for _ in range(200):
            first = [rest[i] for i in generator.permutation(len(rest))[: len(MEANT)]]
            asks, meant = ({INSTRUCTIONS[k][part] for k in first} for part in (0, 1))
            apart = INSTRUCTIONS[first[0]][0] != INSTRUCTIONS[first[1]][0]
            if len(asks) == len(ASKS) and len(meant) == len(MEANT) and apart:
                return order[:held_out], first + [kind for kind in rest if kind not in first]


def tokens_seen() -> Tensor:
    """Who attends to whom in a row, ``bool [ROW, ROW]``: the strip, and earlier words of the own instruction."""
    text = torch.cat([torch.full((PLACES,), -1), torch.arange(ASKED).repeat_interleave(LENGTH)])
    own = (text[:, None] == text) | (text == -1)
    return own & torch.ones(ROW, ROW, dtype=torch.bool).tril()
