"""Answers to instructions: read in the form that was asked for, and scored by kind beside what needs no picture."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from lucida.core.results import Metric
from lucida.data.captions import named_kinds
from lucida.evaluation.answers import parse_count, parse_place, parse_yes_no, plain
from lucida.evaluation.intervals import mean_by_cluster, share_by_cluster

if TYPE_CHECKING:  # instructions are drawn from galleries, which read pictures; to score them takes none
    from lucida.data.instruction_kinds import AnswerForm
    from lucida.data.instructions import Instruction


class Asked(NamedTuple):
    """An instruction about a picture, by number."""

    picture: int
    instruction: Instruction


class Scored(NamedTuple):
    """Whether answers were right, ``right[i]`` of ``asked[i]``, and the answer each gave (None: none in its form)."""

    right: list[bool]
    said: list[frozenset[str] | None]


def read_answer(text: str, form: AnswerForm, surfaces: Mapping[str, str]) -> frozenset[str] | None:
    """What an answer says, in the form that was asked for; None if it says nothing clear in that form.

    Args:
        text: the answer.
        form: that was asked for.
        surfaces: every way to name an object (:func:`lucida.data.captions.vocabulary`).

    >>> from lucida.data.captions import vocabulary
    >>> known = vocabulary(["cat", "owl"])
    >>> sorted(read_answer("Two owls, a cat", "list", known)), read_answer("an owl or a cat", "name", known)
    (['cat', 'owl'], None)
    >>> read_answer("2", "number word", known), read_answer("two", "number word", known)
    (None, frozenset({'2'}))
    """
    if form == "list":
        return frozenset(named_kinds(text, surfaces)) or None
    value = _READERS[form](text) if form in _READERS else _only(named_kinds(text, surfaces))
    return None if value is None else frozenset([value])


def _yes_no(text: str) -> str | None:
    said = parse_yes_no(text)
    return None if said == "abstain" else said


def _number(text: str) -> str | None:
    count = parse_count(text)
    return None if count is None else str(count)


def _number_word(text: str) -> str | None:
    return None if re.search(r"\d", text) else _number(text)


def _side(text: str) -> str | None:
    place = parse_place(text)
    return place if place in ("left", "right") else None


def _same(text: str) -> str | None:
    return _only(re.findall(r"\b(same|different)\b", plain(text)))


def _only(values: Sequence[str]) -> str | None:
    """The one value, however often it is there."""
    return values[0] if len({*values}) == 1 else None


_READERS: Mapping[str, Callable[[str], str | None]] = {
    "yes or no": _yes_no,
    "number": _number,
    "number word": _number_word,
    "side": _side,
    "same": _same,
}


def score(asked: Sequence[Asked], texts: Sequence[str], surfaces: Mapping[str, str]) -> Scored:
    """Which answers are right: a list must name everything and nothing else, all others the one right value."""
    said = [read_answer(text, one.instruction.form, surfaces) for one, text in zip(asked, texts, strict=True)]
    return Scored([value == one.instruction.accepted for one, value in zip(asked, said, strict=True)], said)


def baseline_metrics(asked: Sequence[Asked], prefix: str) -> dict[str, Metric]:
    """What needs no picture: guessing between the choices, and the best answer that is always the same.

    Both are taken kind by kind, the second with hindsight, so that it is as high as it can be. Where a question leaves
    no choice, guessing is between all answers that are right somewhere.
    """
    by_kind: dict[str, list[Asked]] = {}
    for one in asked:
        by_kind.setdefault(one.instruction.kind, []).append(one)
    chances, constant = {}, {}
    for kind, own in by_kind.items():
        counted = Counter(one.instruction.accepted for one in own)
        chances[kind] = [1 / (one.instruction.choices or len(counted)) for one in own]
        constant[kind] = counted.most_common(1)[0][1] / len(own)
    guessed = [value for values in chances.values() for value in values]
    always = [constant[one.instruction.kind] for one in asked]
    n = len({one.picture for one in asked})
    return {
        f"{prefix}/chance_accuracy": Metric(sum(guessed) / len(guessed), None, n),
        f"{prefix}/majority_accuracy": Metric(sum(always) / len(always), None, n),
    }


def accuracy(asked: Sequence[Asked], right: Sequence[bool]) -> Metric:
    """The share of right answers; its interval keeps the instructions of a picture together."""
    return share_by_cluster(right, clusters=[one.picture for one in asked])


def gain(asked: Sequence[Asked], before: Sequence[bool], after: Sequence[bool]) -> Metric:
    """What answers gained, instruction by instruction."""
    changes = [float(b) - float(a) for a, b in zip(before, after, strict=True)]
    return mean_by_cluster(changes, [one.picture for one in asked])
