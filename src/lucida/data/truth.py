"""What is true of a picture whose objects are known: names, counts, places and relations, only where they are clear."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

PLACES = ("top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom", "bottom right")
"""Row by row, thirds of the picture."""

RELATIONS: Mapping[str, str] = {
    "left of": "to the left of",
    "right of": "to the right of",
    "above": "above",
    "below": "below",
}
"""Relations and how they read between two nouns."""

_PLACE_MARGIN = 0.03  # of the side: a centre nearer than this to a border of two thirds has no clear place
_RELATION_GAP = 0.15  # of the side: centres nearer than this are beside each other in no clear direction
_RELATION_SLOPE = 1.5  # one direction must dominate the other by this factor


class Relation(NamedTuple):
    """``subject`` is ``word`` (a key of :data:`RELATIONS`) ``other``."""

    subject: str
    word: str
    other: str


@dataclass(frozen=True)
class Box:
    """Pixels of the stored picture, origin top left."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class PictureObject:
    """Something a picture shows; its box where it is known."""

    name: str
    box: Box | None = None


@dataclass(frozen=True)
class Facts:
    """What is known of one picture.

    Attributes:
        objects: names, with boxes where known.
        width, height: of the picture in the boxes' pixels; 0 if unknown (then no place or relation is clear).
        exhaustive: an object not listed is truly absent.
        captions: what people wrote about it.
        label: its class.
        uncounted: names of objects that are there in unknown number.
    """

    objects: tuple[PictureObject, ...] = ()
    width: float = 0
    height: float = 0
    exhaustive: bool = False
    captions: tuple[str, ...] = ()
    label: str | None = None
    uncounted: tuple[str, ...] = ()

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """How many objects of each name are listed, in order of appearance; of `uncounted` names there may be more."""
        return Counter(thing.name for thing in self.objects)

    def only(self, name: str) -> PictureObject | None:
        """The object of that name if there is exactly one."""
        return self._singles.get(name)

    @cached_property
    def _singles(self) -> dict[str, PictureObject]:
        single = {name for name, count in self.counts.items() if count == 1} - {*self.uncounted}
        return {thing.name: thing for thing in self.objects if thing.name in single}

    @cached_property
    def places(self) -> Mapping[str, str]:
        """The place of each name that stands for one object at one clear place."""
        return {
            name: word
            for name, thing in self._singles.items()
            if thing.box and (word := place(thing.box, self.width, self.height))
        }

    @cached_property
    def relations(self) -> tuple[Relation, ...]:
        """Every clear relation between two names that stand for one object each."""
        singles = [(name, thing.box) for name, thing in self._singles.items() if thing.box]
        found = []
        for name, box in singles:
            for other, other_box in singles:
                word = None if other == name else relation(box, other_box, self.width, self.height)
                if word:
                    found.append(Relation(name, word, other))
        return tuple(found)


def _centre(box: Box) -> tuple[float, float]:
    return box.x + box.width / 2, box.y + box.height / 2


def place(box: Box, width: float, height: float) -> str | None:
    """Which ninth of the picture the centre of ``box`` lies in; None if it is near a border between two.

    >>> place(Box(0, 0, 20, 20), 128, 128), place(Box(54, 50, 20, 20), 128, 128), place(Box(33, 50, 20, 20), 128, 128)
    ('top left', 'middle', None)
    """
    if width <= 0 or height <= 0:
        return None
    thirds = []
    for centre, side in zip(_centre(box), (width, height), strict=True):
        share = centre / side
        if min(abs(share - 1 / 3), abs(share - 2 / 3)) < _PLACE_MARGIN:
            return None
        thirds.append(int(share * 3))
    return PLACES[min(thirds[1], 2) * 3 + min(thirds[0], 2)]


def relation(box: Box, other: Box, width: float, height: float) -> str | None:
    """The relation of ``box`` to ``other`` (a key of :data:`RELATIONS`); None if no direction is clear.

    >>> relation(Box(0, 50, 20, 20), Box(90, 60, 20, 20), 128, 128)
    'left of'
    >>> relation(Box(0, 0, 9, 9), Box(50, 50, 9, 9), 99, 99) is None
    True
    """
    if width <= 0 or height <= 0:
        return None
    (x, y), (other_x, other_y) = _centre(box), _centre(other)
    across, down = (other_x - x) / width, (other_y - y) / height
    if max(abs(across), abs(down)) < _RELATION_GAP:
        return None
    if abs(across) >= _RELATION_SLOPE * abs(down):
        return "left of" if across > 0 else "right of"
    if abs(down) >= _RELATION_SLOPE * abs(across):
        return "above" if down > 0 else "below"
    return None
