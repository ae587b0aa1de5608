"""The kinds of instruction: what each asks about a picture, in which words, and what is right.

Each kind is drawn so that the words alone do not give the answer away: where it is yes or no, the right answer is drawn
first and the objects to ask about after it, and a picture that does not allow the drawn answer is not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from lucida.data.captions import NUMBERS
from lucida.data.statistics import ObjectStatistics
from lucida.data.truth import Box, Facts

AnswerForm = Literal["yes or no", "number", "number word", "side", "same", "name", "list"]
"""How an answer is to be given, and so how it is read (:mod:`lucida.evaluation.instructions`)."""

_LARGER = 1.25  # one thing is larger than all others if its box has so many times their area
_APART = 0.05  # of the picture's width: the next thing is at least so far from the one at the end


class Asked(NamedTuple):
    """What a kind asks about one picture.

    Attributes:
        names: the objects that the wording names, in its order.
        answer: the right answer in the form that is taught.
        accepted: what is right as it is read: one value, or all names of a list.
    """

    names: tuple[str, ...]
    answer: str
    accepted: frozenset[str]


@dataclass(frozen=True)
class Scenery:
    """A picture whose list of objects is complete, and what draws the objects to ask about."""

    facts: Facts
    statistics: ObjectStatistics
    generator: np.random.Generator

    def coin(self) -> bool:
        """One of two right answers."""
        return bool(self.generator.integers(2))

    def shuffled(self, names: Sequence[str]) -> list[str]:
        """The names in random order."""
        return [names[i] for i in self.generator.permutation(len(names))]

    def present(self, n: int) -> list[str]:
        """``n`` names that are there, fewer if there are fewer."""
        return self.shuffled([*self.facts.counts])[:n]

    def absent(self, n: int) -> list[str]:
        """``n`` names that are not."""
        return self.statistics.choose("random", [*self.facts.counts], n, self.generator)

    def centres(self) -> list[tuple[float, str]]:
        """Where things are from left (0) to right (1), and their names; empty unless all are known."""
        boxes = [(thing.box, thing.name) for thing in self.facts.objects]
        known = [((box.x + box.width / 2) / self.facts.width, name) for box, name in boxes if box and self.facts.width]
        return sorted(known) if len(known) == len(boxes) else []

    def sides(self) -> dict[str, str]:
        """The side of each name that stands for one thing clearly on the left or on the right."""
        ends = {name: place.split()[-1] for name, place in self.facts.places.items()}
        return {name: side for name, side in ends.items() if side in ("left", "right")}


@dataclass(frozen=True)
class InstructionKind:
    """A kind of instruction.

    Attributes:
        family: kinds of one family ask for much the same.
        form: of the answer.
        wordings: templates of ``{a}``, ``{b}``, ``{c}`` (names with article), ``{x}``, ``{y}`` (bare) and ``{xs}``,
            ``{ys}`` (plural); the last one is never trained on.
        ask: what to ask about a picture; None if it allows no such question.
        conversed: the conversations of training ask it already, so that it is never a held-out kind.
    """

    family: str
    form: AnswerForm
    wordings: tuple[str, ...]
    ask: Callable[[Scenery], Asked | None]
    conversed: bool = False


def _one(names: Sequence[str], answer: str, accepted: str | None = None) -> Asked:
    return Asked(tuple(names), answer, frozenset([answer if accepted is None else accepted]))


def _yes_no(names: Sequence[str], yes: bool) -> Asked:
    return _one(names, "yes" if yes else "no")


def _present(of: Scenery) -> Asked | None:
    yes = of.coin()
    names = of.present(1) if yes else of.absent(1)
    return _yes_no(names, yes) if names else None


def _missing(of: Scenery) -> Asked | None:
    asked = _present(of)
    return asked and _yes_no(asked.names, asked.answer == "no")


def _as_digit(of: Scenery) -> Asked | None:
    asked = _present(of)
    return asked and _one(asked.names, "1" if asked.answer == "yes" else "0")


def _pair(of: Scenery, present: int) -> list[str] | None:
    """Two names of which so many are there."""
    names = of.present(present) + of.absent(2 - present)
    return of.shuffled(names) if len(names) == 2 else None


def _both(of: Scenery) -> Asked | None:
    yes = of.coin()
    names = _pair(of, 2 if yes else 1)
    return _yes_no(names, yes) if names else None


def _neither(of: Scenery) -> Asked | None:
    yes = of.coin()
    names = _pair(of, 0 if yes else 1)
    return _yes_no(names, yes) if names else None


def _count(of: Scenery, words: bool = False) -> Asked | None:
    """Every other time of something that is there more than once, so that one is no safe answer."""
    counts = of.facts.counts
    several = [name for name, n in counts.items() if n > 1]
    single = [name for name, n in counts.items() if n == 1]
    chosen = of.shuffled((several or single) if of.coin() else (single or several))[:1]
    if not chosen or counts[chosen[0]] >= len(NUMBERS):
        return None
    n = counts[chosen[0]]
    return _one(chosen, NUMBERS[n] if words else str(n), str(n))


def _total(of: Scenery) -> Asked | None:
    return _one((), str(len(of.facts.objects))) if of.facts.objects else None


def _more(of: Scenery) -> Asked | None:
    counts = of.facts.counts
    names = of.shuffled([*of.present(2), *of.absent(1)])
    pairs = [(x, y) for x in names for y in names if counts.get(x, 0) > counts.get(y, 0)]
    if not pairs:
        return None
    (larger, smaller), yes = pairs[int(of.generator.integers(len(pairs)))], of.coin()
    return _yes_no((larger, smaller) if yes else (smaller, larger), yes)


def _as_many(of: Scenery) -> Asked | None:
    counts, yes = of.facts.counts, of.coin()
    names = of.shuffled([*counts]) + of.absent(1)
    pairs = [(x, y) for x in names for y in names if x < y and (counts.get(x, 0) == counts.get(y, 0)) == yes]
    return _yes_no(of.shuffled(pairs[int(of.generator.integers(len(pairs)))]), yes) if pairs else None


def _left_of(of: Scenery) -> Asked | None:
    clear = [(r.subject, r.other) for r in of.facts.relations if r.word == "left of"]
    if not clear:
        return None
    (left, right), yes = clear[int(of.generator.integers(len(clear)))], of.coin()
    return _yes_no((left, right) if yes else (right, left), yes)


def _side(of: Scenery) -> Asked | None:
    sides, wanted = of.sides(), "left" if of.coin() else "right"
    names = of.shuffled([name for name, side in sides.items() if side == wanted])
    return _one(names[:1], wanted) if names else None


def _same_side(of: Scenery) -> Asked | None:
    sides, same = of.sides(), of.coin()
    pairs = [(x, y) for x in sides for y in sides if x < y and (sides[x] == sides[y]) == same]
    if not pairs:
        return None
    names = of.shuffled(pairs[int(of.generator.integers(len(pairs)))])
    return _one(names, "same" if same else "different")


def _end(of: Scenery, right: bool) -> Asked | None:
    """What is at one end, if it is clear."""
    places = of.centres()[::-1] if right else of.centres()
    others = [abs(x - places[0][0]) for x, name in places if name != places[0][1]]
    return _one((), places[0][1]) if others and min(others) >= _APART else None


def _extreme(of: Scenery, largest: bool) -> Asked | None:
    """What is largest, or smallest, if it clearly is."""
    known = [(thing.box, thing.name) for thing in of.facts.objects if thing.box]
    areas = sorted(((_area(box), name) for box, name in known), reverse=largest)
    others = [area for area, name in areas if areas[0][1] != name]
    if len(known) < len(of.facts.objects) or not others:
        return None
    ratio = areas[0][0] / max(others) if largest else min(others) / areas[0][0]
    return _one((), areas[0][1]) if ratio >= _LARGER else None


def _area(box: Box) -> float:
    return box.width * box.height


def _which(of: Scenery) -> Asked | None:
    there, absent = of.present(1), of.absent(1)
    return _one(of.shuffled([*there, *absent]), there[0]) if there and absent else None


def _odd_one_out(of: Scenery) -> Asked | None:
    there, absent = of.present(2), of.absent(1)
    return _one(of.shuffled([*there, *absent]), absent[0]) if len(there) == 2 and absent else None


def _list(of: Scenery) -> Asked | None:
    """From left to right, as descriptions are."""
    names = list(dict.fromkeys(name for _, name in of.centres())) or [*of.facts.counts]
    return Asked((), ", ".join(names), frozenset(names)) if names else None


_K = InstructionKind
INSTRUCTION_KINDS: Mapping[str, InstructionKind] = {
    "present": _K(
        "presence", "yes or no",
        ("Is there {a} in the picture?", "Can you see {a}?", "Is it true that the picture has {a}?"),
        _present, conversed=True,
    ),
    "missing": _K(
        "presence", "yes or no",
        ("Is there no {x}?", "Is the picture without {a}?", "Is {a} missing?", "Is it true that there is no {x}?"),
        _missing,
    ),
    "both": _K(
        "presence", "yes or no",
        ("Is there {a} and {b}?", "Are there both {a} and {b}?", "Can you see {a} and {b} too?"),
        _both,
    ),
    "neither": _K(
        "presence", "yes or no",
        ("Is there neither {a} nor {b}?", "Is there no {x} and no {y}?", "Are both {a} and {b} missing?"),
        _neither,
    ),
    "present_as_digit": _K(
        "presence", "number",
        ("Is there {a}? Answer 1 for yes, 0 for no.", "Say 1 if there is {a}, else 0.", "Can you see {a}? 1 or 0?"),
        _as_digit,
    ),
    "count": _K(
        "counting", "number",
        ("How many {xs} are there?", "Count the {xs}.", "How many {xs} does the picture show?"),
        _count, conversed=True,
    ),
    "count_in_words": _K(
        "counting", "number word",
        (
            "How many {xs} are there? Answer with a word.", "In a word, how many {xs} can you see?",
            "Count the {xs}. Write the number as a word.",
        ),
        lambda of: _count(of, words=True),
    ),
    "total": _K(
        "counting", "number",
        ("How many things are there in all?", "Count everything.", "How many things does the picture show?"),
        _total,
    ),
    "more": _K(
        "counting", "yes or no",
        ("Are there more {xs} than {ys}?", "Can you see more {xs} than {ys}?", "Does it show more {xs} than {ys}?"),
        _more,
    ),
    "as_many": _K(
        "counting", "yes or no",
        ("Are there as many {xs} as {ys}?", "Can you see as many {xs} as {ys}?", "Is it as many {xs} as {ys}?"),
        _as_many,
    ),
    "left_of": _K(
        "placing", "yes or no",
        ("Is the {x} to the left of the {y}?", "Is the {x} left of the {y}?", "Can the {x} be seen left of the {y}?"),
        _left_of,
    ),
    "side": _K(
        "placing", "side",
        ("Is the {x} on the left or on the right?", "On which side is the {x}?", "Where is the {x}, left or right?"),
        _side,
    ),
    "same_side": _K(
        "placing", "same",
        (
            "Are the {x} and the {y} on the same side or on different sides?",
            "The {x} and the {y}: same side or different sides?",
            "Is the side of the {x} and of the {y} the same or different?",
        ),
        _same_side,
    ),
    "left_end": _K(
        "placing", "name",
        ("What is at the left end?", "What is furthest to the left?", "Name what is at the left of everything."),
        lambda of: _end(of, right=False),
    ),
    "right_end": _K(
        "placing", "name",
        ("What is at the right end?", "What is furthest to the right?", "Name what is at the right of everything."),
        lambda of: _end(of, right=True),
    ),
    "largest": _K(
        "sizing", "name",
        ("What is the largest thing?", "Name the largest thing.", "What takes the most room?"),
        lambda of: _extreme(of, largest=True),
    ),
    "smallest": _K(
        "sizing", "name",
        ("What is the smallest thing?", "Name the smallest thing.", "What takes the least room?"),
        lambda of: _extreme(of, largest=False),
    ),
    "which_of_two": _K(
        "choosing", "name",
        ("Which one is in the picture, {a} or {b}?", "What can you see, {a} or {b}?", "Is {a} there, or {b}?"),
        _which,
    ),
    "odd_one_out": _K(
        "choosing", "name",
        (
            "Which one is not in the picture, {a}, {b} or {c}?", "What is missing, {a}, {b} or {c}?",
            "Only one is not there: {a}, {b} or {c}?",
        ),
        _odd_one_out,
    ),
    "list": _K(
        "listing", "list",
        ("List the names of all things.", "Name everything, from left to right.", "Write a list of all that is there."),
        _list, conversed=True,
    ),
}  # fmt: skip
"""All kinds, by name."""
