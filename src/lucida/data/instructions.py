"""Instructions about pictures whose truth is known: kinds to train on, and kinds held out to be tested on.

Whether a model follows instructions can only be told from kinds that it was never trained on: FLAN (Wei et al. 2021,
arXiv:2109.01652) holds whole groups of similar tasks out, InstructBLIP (Dai et al. 2023, arXiv:2305.06500) and
Vision-FLAN (Xu et al. 2024, arXiv:2402.11690) whole tasks and data sets. :func:`draw_parts` does either by seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from lucida.core.errors import LucidaError
from lucida.core.seeds import stream
from lucida.data.conversations import Turn
from lucida.data.galleries import Gallery
from lucida.data.instruction_kinds import INSTRUCTION_KINDS, AnswerForm, InstructionKind, Scenery
from lucida.data.kinds import article, plural
from lucida.data.lessons import Lesson
from lucida.data.statistics import ObjectStatistics
from lucida.data.truth import Facts

HoldOut = Literal["kinds", "families"]
_TRIES = 8  # kinds that are tried for one turn, where pictures allow few of them


@dataclass(frozen=True)
class Instruction:
    """One instruction about a picture.

    Attributes:
        kind: key of :data:`~lucida.data.instruction_kinds.INSTRUCTION_KINDS`.
        text: what is asked.
        answer: the right answer as it is taught.
        accepted: what is right as it is read: one value, or all names of a list.
        choices: between how many answers the text leaves the choice; 0 if it does not say.
    """

    kind: str
    text: str
    answer: str
    accepted: frozenset[str]
    choices: int = 0

    @property
    def form(self) -> AnswerForm:
        """How it is to be answered."""
        return INSTRUCTION_KINDS[self.kind].form


class InstructionParts(NamedTuple):
    """Which kinds are trained on.

    Attributes:
        trained: kinds to train on.
        held_out: kinds that are asked afterwards only.
        conversed: kinds that conversations had taught before; they are asked too, and count as neither.
    """

    trained: tuple[str, ...]
    held_out: tuple[str, ...]
    conversed: tuple[str, ...]


def draw_parts(held_out: int, trained: int | None, seed: int, hold_out: HoldOut = "kinds") -> InstructionParts:
    """Kinds to hold out and kinds to train on; the held-out ones do not depend on how many are trained on.

    Args:
        held_out: how many kinds, or families of kinds, are held out.
        trained: how many of the other kinds are trained on; all of them by default.
        seed: of the draw; of a larger number the first ones are the same.
        hold_out: kinds one by one, or whole families.

    Raises:
        LucidaError: nothing would be left to train on, or nothing to hold out.

    >>> parts = draw_parts(4, 8, seed=0)
    >>> len(parts.held_out), len(parts.trained), parts.conversed
    (4, 8, ('present', 'count', 'list'))
    >>> draw_parts(4, 2, seed=0).held_out == parts.held_out, draw_parts(4, 2, seed=0).trained == parts.trained[:2]
    (True, True)
    """
    free = {name: kind for name, kind in INSTRUCTION_KINDS.items() if not kind.conversed}
    groups = sorted({kind.family for kind in free.values()}) if hold_out == "families" else sorted(free)
    generator = stream(seed, "instructions", "parts", hold_out)
    apart = {groups[i] for i in generator.permutation(len(groups))[:held_out]}
    kept_out = [name for name, kind in free.items() if (kind.family if hold_out == "families" else name) in apart]
    others = [name for name in free if name not in kept_out]
    most = len(others)
    if not 1 <= held_out < len(groups) or not 1 <= (most if trained is None else trained) <= most:
        raise LucidaError(
            f"{held_out} {hold_out} cannot be held out with {trained} kinds to train on",
            where="kinds of instruction",
            remedy=f"there are {len(free)} kinds in {len({kind.family for kind in free.values()})} families",
        )
    order = [others[i] for i in generator.permutation(most)]
    conversed = tuple(name for name, kind in INSTRUCTION_KINDS.items() if kind.conversed)
    return InstructionParts(tuple(order[:trained]), tuple(kept_out), conversed)


def instruct(
    kind: str, facts: Facts, statistics: ObjectStatistics, generator: np.random.Generator, *, new_wording: bool = False
) -> Instruction | None:
    """An instruction of a kind about a picture; None if the picture allows none.

    Args:
        kind: key of :data:`~lucida.data.instruction_kinds.INSTRUCTION_KINDS`.
        facts: what is true of the picture; its list of objects must be complete.
        statistics: the vocabulary of objects.
        generator: draws what is asked, then the wording.
        new_wording: in the words that are never trained on.
    """
    own = INSTRUCTION_KINDS[kind]
    asked = own.ask(Scenery(facts, statistics, generator)) if facts.exhaustive and not facts.uncounted else None
    if asked is None:
        return None
    taught = own.wordings[:-1]
    wording = own.wordings[-1] if new_wording else taught[int(generator.integers(len(taught)))]
    return Instruction(kind, worded(wording, asked.names), asked.answer, asked.accepted, _choices(own, asked.names))


def worded(template: str, names: Sequence[str]) -> str:
    """A wording with names filled in.

    >>> worded("Is there {a} or {b}, or are there {xs}?", ("owl", "cat"))
    'Is there an owl or a cat, or are there owls?'
    """
    slots = {slot: f"{article(name)} {name}" for slot, name in zip("abc", names, strict=False)}
    slots |= {slot: name for slot, name in zip("xy", names, strict=False)}
    return template.format(**slots, **{f"{slot}s": plural(name) for slot, name in zip("xy", names, strict=False)})


def _choices(kind: InstructionKind, names: Sequence[str]) -> int:
    if kind.form == "name":
        return len(names)
    return 2 if kind.form in ("yes or no", "side", "same") or "1 for yes" in kind.wordings[0] else 0


@dataclass(frozen=True)
class InstructionLesson:
    """Pictures and instructions about them, with usual conversations in between.

    Attributes:
        lesson: the pictures; their lists of objects must be complete.
        kinds: of instruction, each as frequent as the pictures allow.
        each: instructions a picture.
        rehearsed: share of the pictures that get their usual conversation instead, so that it is not forgotten.
    """

    lesson: Lesson
    kinds: tuple[str, ...]
    each: int = 8
    rehearsed: float = 0.0

    @property
    def gallery(self) -> Gallery:
        """The pictures."""
        return self.lesson.gallery

    @property
    def turns(self) -> tuple[str, ...]:
        """What is asked."""
        return self.kinds

    @cached_property
    def rows(self) -> list[int]:
        """The pictures of which all objects are known, and that have some."""
        facts = ((i, self.gallery.facts(i)) for i in range(len(self.gallery)))
        return [i for i, one in facts if one.exhaustive and one.objects and not one.uncounted]

    def converse(self, i: int, generator: np.random.Generator) -> list[Turn]:
        """Instructions about picture ``i``; its usual conversation where it is rehearsed or allows no instruction."""
        if generator.random() >= self.rehearsed:
            drawn = [self._draw(i, generator) for _ in range(self.each)]
            if turns := [Turn(one.kind, one.text, one.answer) for one in drawn if one]:
                return turns
        return self.lesson.converse(i, generator)

    def _draw(self, i: int, generator: np.random.Generator) -> Instruction | None:
        assert self.lesson.statistics is not None
        for _ in range(_TRIES):
            kind = self.kinds[int(generator.integers(len(self.kinds)))]
            if found := instruct(kind, self.gallery.facts(i), self.lesson.statistics, generator):
                return found
        return None
