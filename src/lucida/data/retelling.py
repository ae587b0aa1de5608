"""Somebody's caption told again as it should have been: the same words as far as they are true."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from lucida.data.captions import OPENINGS, PLACE_PHRASES, leftmost, write_caption
from lucida.data.truth import RELATIONS, Facts, Relation

_LISTS = {"{there}": r"There (?:is|are)", "{list}": r".+?", "{List}": r".+?"}
_RELATION = re.compile(rf"\bThe (?P<subject>[^.]+?) is (?:{'|'.join(RELATIONS.values())}) the (?P<other>[^.]+)\.")


def _pattern(opening: str) -> re.Pattern[str]:
    text = re.escape(opening).replace(r"\{", "{").replace(r"\}", "}").replace(r"\ ", " ")
    for slot, words in _LISTS.items():
        text = text.replace(slot, words)
    return re.compile(text)


_BY_LENGTH = [(opening, _pattern(opening)) for opening in sorted(OPENINGS, key=len, reverse=True)]


class Manner(NamedTuple):
    """How a caption is worded.

    Attributes:
        opening: one of :data:`~lucida.data.captions.OPENINGS`.
        with_places: it says where something is.
        related: the two nouns of its second sentence; None without one.
    """

    opening: str
    with_places: bool
    related: tuple[str, str] | None


def manner(text: str) -> Manner:
    """How a caption in the words of :func:`~lucida.data.captions.describe` is worded; anything else is a bare list.

    >>> manner("There are two owls at the top. The owl is above the cat.")
    Manner(opening='{there} {list}.', with_places=True, related=('owl', 'cat'))
    """
    second = _RELATION.search(text)
    first = text[: second.start()].strip() if second else text.strip()
    opening = next((opening for opening, pattern in _BY_LENGTH if pattern.fullmatch(first)), OPENINGS[-1])
    placed = any(re.search(rf"\b{phrase}\b", first) for phrase in PLACE_PHRASES.values())
    return Manner(opening, placed, (second["subject"], second["other"]) if second else None)


def retell(text: str, named: Sequence[str], facts: Facts, generator: np.random.Generator, *, more: int = 0) -> str:
    """A true caption in the manner of ``text``, which names as many objects as that, if the picture has as many.

    What ``text`` names and the picture shows is kept. Objects it left out take the place of those it made up, so that
    the true caption is not merely the shorter one. Numbers and places are put right; a sentence that relates two
    objects stays, is replaced by a true one, or left out where no relation is clear.

    Args:
        text: the caption.
        named: the names it gives, true or not.
        facts: what the picture shows, completely.
        generator: draws which of the objects left out are told.
        more: so many objects more are named, if the picture has them.

    Raises:
        ValueError: the picture has no objects, or nothing is named.

    >>> from lucida.data.truth import PictureObject
    >>> facts = Facts((PictureObject("cat"), PictureObject("owl"), PictureObject("owl")), exhaustive=True)
    >>> retell("I can see a cat and a bus.", ["cat", "bus"], facts, np.random.default_rng(0))
    'I can see a cat and two owls.'
    """
    if not facts.counts or not named:
        raise ValueError("nothing to tell: the picture has no objects, or the caption names none")
    wanted = list(dict.fromkeys(named))
    kept = [name for name in wanted if name in facts.counts]
    left_out = [name for name in facts.counts if name not in kept]
    fill = [left_out[i] for i in generator.permutation(len(left_out))[: max(0, len(wanted) + more - len(kept))]]
    told = sorted([*kept, *fill], key=lambda name: leftmost(facts, name))
    items = [(0 if name in facts.uncounted else facts.counts[name], name, name) for name in told]
    how = manner(text)
    relation = _relation(how.related, told, facts, generator) if how.related else None
    return write_caption(facts, items, how.opening, with_places=how.with_places, relation=relation)


def _relation(
    related: tuple[str, str], told: Collection[str], facts: Facts, generator: np.random.Generator
) -> Relation | None:
    """Of the same two, or else of the first of them, or else of any two."""
    clear = [r for r in facts.relations if r.subject in told and r.other in told]
    for some in (
        [r for r in clear if (r.subject, r.other) == related],
        [r for r in clear if r.subject == related[0]],
        clear,
    ):
        if some:
            return some[int(generator.integers(len(some)))]
    return None
