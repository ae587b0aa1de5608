"""What a multimodal LLM is taught: first to name places of a picture, then to answer questions about it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lucida.core.errors import LucidaError
from lucida.data.collation import IGNORE_INDEX, ChatFormat, collate
from lucida.data.conversations import PICTURE_TURNS, SCENE_TURNS, Turn, answerable, converse
from lucida.data.galleries import Gallery, SceneGallery
from lucida.data.scenes import SKEWED_STREAMS, SceneWorld
from lucida.data.statistics import ObjectStatistics
from lucida.data.truth import Facts

Draw = Callable[[int], np.random.Generator]


class Conversed(Protocol):
    """Pictures that are talked about, as :class:`ConversationData` takes them: a :class:`Lesson`, or instructions."""

    @property
    def turns(self) -> Collection[str]:
        """What is asked, by name."""

    @property
    def rows(self) -> list[int]:
        """The pictures about which something can be asked."""

    def converse(self, i: int, generator: np.random.Generator) -> list[Turn]:
        """Questions and answers about picture ``i``."""


_CORE = 0.8  # of a box's width and height: nearer to its border a place shows the ground as much as the object


@dataclass(frozen=True)
class Lesson:
    """Pictures and the questions asked about them.

    Attributes:
        gallery: the pictures.
        statistics: the vocabulary of objects, with their frequencies in training; None if no objects are known.
        turns: how many questions of each form a picture gets, at most.
        negative_share: of "is there a …?" questions, those answered "no".
        caption_noise: see :func:`lucida.data.captions.describe`.
    """

    gallery: Gallery
    statistics: ObjectStatistics | None
    turns: Mapping[str, int]
    negative_share: float = 0.5
    caption_noise: float = 0.0

    @classmethod
    def of_scenes(cls, world: SceneWorld, stream: str, n: int, start: int = 0) -> Lesson:
        """``n`` scenes of a stream, from ``start``.

        The world's knobs act in training; other conversations are balanced and true.
        """
        lesson = cls(SceneGallery(world, stream, n, start), world.statistics_of(stream), SCENE_TURNS)
        if stream not in SKEWED_STREAMS:
            return lesson
        config = world.config
        return replace(lesson, negative_share=config.negative_share, caption_noise=config.caption_noise)

    @property
    def names(self) -> tuple[str, ...]:
        """The vocabulary of objects."""
        return self.statistics.names if self.statistics else ()

    @cached_property
    def rows(self) -> list[int]:
        """The pictures about which at least one of the questions can be asked."""
        facts = (self.gallery.facts(i) for i in range(len(self.gallery)))
        return [i for i, one in enumerate(facts) if answerable(one, self.statistics) & {*self.turns}]

    @cached_property
    def boxed(self) -> list[int]:
        """The pictures that show an object of the vocabulary at a known place."""
        known = {*self.names}
        facts = (self.gallery.facts(i) for i in range(len(self.gallery)))
        return [i for i, one in enumerate(facts) if any(o.box and o.name in known for o in one.objects)]

    def converse(self, i: int, generator: np.random.Generator) -> list[Turn]:
        """Questions and answers about picture ``i``."""
        return converse(
            self.gallery.facts(i),
            generator,
            turns=self.turns,
            statistics=self.statistics,
            negative_share=self.negative_share,
            caption_noise=self.caption_noise,
        )


def supported_turns(facts: Sequence[Facts], statistics: ObjectStatistics | None) -> dict[str, int]:
    """The questions that what is known of some pictures can answer, out of :data:`PICTURE_TURNS`.

    >>> supported_turns([Facts(captions=("a red door",))], None)
    {'caption': 2}
    """
    found = {form for one in facts for form in answerable(one, statistics)}
    if not any(set(one.counts) - {*one.uncounted} for one in facts):
        found.discard("describe")  # nothing but a label: "describe" would be the same question as "what is this"
    return {form: n for form, n in PICTURE_TURNS.items() if form in found}


class NamingData:
    """Pictures with the name of what each place shows.

    Args:
        lesson: only its pictures with boxes are shown.
        preprocess: ``uint8 [B, S, S, 3]`` to the vision tower's ``pixel_values``.
        side: places along a side of the tower's grid.

    Raises:
        LucidaError: no picture has a box.
    """

    def __init__(self, lesson: Lesson, preprocess: Callable[[Tensor], Tensor], side: int):
        self.lesson, self.preprocess, self.side = lesson, preprocess, side
        self.number = {name: i for i, name in enumerate(lesson.names)}
        self.rows = lesson.boxed
        if not self.rows:
            raise LucidaError("no picture has an object with a box: places cannot be named")

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, indices: Sequence[int], draw: Draw) -> dict[str, Tensor]:
        gallery = self.lesson.gallery
        chosen = [self.rows[int(index)] for index in indices]
        targets = np.stack([place_names(gallery.facts(i), self.number, self.side) for i in chosen])
        pixels = torch.from_numpy(gallery.pixels(chosen))
        return {"pixel_values": self.preprocess(pixels), "targets": torch.from_numpy(targets)}


def place_names(facts: Facts, number: Mapping[str, int], side: int) -> np.ndarray:
    """The class of each place of a grid, ``int64 [side * side]``: the topmost object that covers its centre.

    Every object has the place of its own centre, however small it is. A place that shows no object is ground
    (``len(number)``) where the list of objects is exhaustive, else unknown (``IGNORE_INDEX``).

    >>> from lucida.data.truth import Box, PictureObject
    >>> place_names(Facts((PictureObject("cat", Box(0, 0, 5, 10)),), 10, 10, exhaustive=True), {"cat": 0}, 2)
    array([0, 1, 0, 1])
    """
    grid = np.full((side, side), len(number) if facts.exhaustive else IGNORE_INDEX)
    boxed = [(number[o.name], o.box) for o in facts.objects if o.box is not None and o.name in number]
    if any(o.box is None for o in facts.objects):  # it is somewhere: no place is surely ground
        grid[:] = IGNORE_INDEX
    if not boxed:
        return grid.reshape(-1)
    across, down = ((np.arange(side) + 0.5) * length / side for length in (facts.width, facts.height))
    for name, box in boxed:
        columns = np.abs(across - box.x - box.width / 2) < _CORE / 2 * box.width
        rows = np.abs(down - box.y - box.height / 2) < _CORE / 2 * box.height
        grid[np.ix_(rows, columns)] = name
    for name, box in boxed:
        row = int((box.y + box.height / 2) / facts.height * side)
        column = int((box.x + box.width / 2) / facts.width * side)
        grid[min(row, side - 1), min(column, side - 1)] = name
    return grid.reshape(-1)


class ConversationData:
    """Conversations about pictures whose features a frozen tower has computed; new questions every epoch.

    Args:
        lesson: the pictures and their questions; pictures that support none of them are left out.
        chat: the format.
        see: the features of all pictures of the lesson's gallery, ``[N, T, D]``; called when the first batch is made.

    Raises:
        LucidaError: no picture supports a question.
    """

    def __init__(self, lesson: Conversed, chat: ChatFormat, see: Callable[[], Tensor]):
        self.lesson, self.chat, self._see = lesson, chat, see
        self.rows = np.array(lesson.rows, np.int64)
        if len(self.rows) == 0:
            raise LucidaError(f"no picture can be asked about: {', '.join(lesson.turns)}")

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def features(self) -> Tensor:
        """``float16 [N, T, D]``."""
        return self._see()

    def conversations(self, indices: Sequence[int], draw: Draw) -> dict[str, Tensor]:
        """The texts of a batch."""
        return collate([self.lesson.converse(int(self.rows[i]), draw(k)) for k, i in enumerate(indices)], self.chat)

    def batch(self, indices: Sequence[int], draw: Draw) -> dict[str, Tensor]:
        rows = torch.from_numpy(self.rows[np.asarray(indices)])
        return {**self.conversations(indices, draw), "vision_features": self.features[rows].float()}
