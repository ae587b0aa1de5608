"""Galleries: pictures with what is true of each, whether composed as they are needed or somebody's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np

from lucida.data.coco import uncounted
from lucida.data.pixels import DecodedPictures
from lucida.data.scenes import Scene, SceneWorld
from lucida.data.truth import Box, Facts, PictureObject


class Gallery(Protocol):
    """Pictures of one size, by number."""

    def __len__(self) -> int:
        """How many there are."""

    def facts(self, i: int) -> Facts:
        """What is true of picture ``i``, boxes in pixels of the square."""

    def pixels(self, numbers: Sequence[int]) -> np.ndarray:
        """Pictures, ``uint8 [n, S, S, 3]``."""


class PixelGallery:
    """Pictures that are at hand, ``uint8 [n, S, S, 3]``; nothing is known of them."""

    def __init__(self, own: np.ndarray):
        self.own = own

    def __len__(self) -> int:
        return len(self.own)

    def facts(self, i: int) -> Facts:
        """None."""
        return Facts()

    def pixels(self, numbers: Sequence[int]) -> np.ndarray:
        """A copy."""
        return np.array(self.own[list(numbers)])


class SceneGallery:
    """``n`` scenes of a stream of a world, from ``start``; pixels are composed when they are asked for."""

    def __init__(self, world: SceneWorld, stream: str, n: int, start: int = 0):
        self.world, self.stream, self.n, self.start = world, stream, n, start

    def __len__(self) -> int:
        return self.n

    @cached_property
    def scenes(self) -> list[Scene]:
        """What the pictures show; drawn once."""
        return self.world.draw_many(self.stream, range(self.start, self.start + self.n))

    def facts(self, i: int) -> Facts:
        """Everything in a scene is known."""
        return self.scenes[i].facts

    def pixels(self, numbers: Sequence[int]) -> np.ndarray:
        """Composed anew each time: faster than reading them from a disk."""
        return self.world.compose_many([self.scenes[int(i)] for i in numbers])


class PictureGallery:
    """Rows of decoded pictures of a corpus.

    A label where no objects are listed is taken as the one thing the whole picture shows, so that "is there a …?" can
    be asked about it; nothing is said about how many there are, nor where.

    Args:
        decoded: the pictures.
        rows: which of them, in this order.
        labels_are_objects: the corpus has labels and no objects.
    """

    def __init__(self, decoded: DecodedPictures, rows: Iterable[int], *, labels_are_objects: bool = False):
        self.decoded, self.rows, self.labels_are_objects = decoded, [int(row) for row in rows], labels_are_objects
        self._facts: dict[int, Facts] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def facts(self, i: int) -> Facts:
        """Worked out once: every batch asks for them."""
        if i not in self._facts:
            self._facts[i] = self._worked_out(i)
        return self._facts[i]

    def _worked_out(self, i: int) -> Facts:
        """Names with underscores become words; a name of nothing else is none."""
        row = self.rows[i]
        facts, picture = self.decoded.facts(row), self.decoded.corpus.pictures[row]
        label = as_words(facts.label or "") or None
        objects = tuple(PictureObject(as_words(o.name), o.box) for o in facts.objects if as_words(o.name))
        if self.labels_are_objects and label:
            objects = (PictureObject(label, Box(0, 0, facts.width, facts.height)),)
            return dataclasses.replace(facts, objects=objects, label=label, exhaustive=True, uncounted=(label,))
        crowds = tuple(as_words(name) for name in uncounted(picture))
        return dataclasses.replace(facts, objects=objects, label=label, uncounted=crowds)

    def pixels(self, numbers: Sequence[int]) -> np.ndarray:
        """A copy of the decoded pixels."""
        return np.array(self.decoded.pixels[[self.rows[int(i)] for i in numbers]])


def readable(names: Sequence[str]) -> list[str]:
    """Names as words, or as they are where two would read alike.

    >>> readable(["stop_sign", "cat"]), readable(["stop_sign", "stop sign"])
    (['stop sign', 'cat'], ['stop_sign', 'stop sign'])
    """
    words = [as_words(name) for name in names]
    return words if len({*words, ""}) == len(words) + 1 else [*names]


def as_words(name: str) -> str:
    """A label as a person would say it.

    >>> as_words("fire_truck ")
    'fire truck'
    """
    return " ".join(name.replace("_", " ").split())
