"""Strips: tiny pictures of a few things in a row, whose objects are known, and what is said and asked about them.

A strip has six places. Things of two to five kinds stand in the first of them, one a place, drawn by either artist;
the other places show the ground. What is said of it names the things from left to right; what is asked is whether a
kind is there. The knobs of :class:`Habits` act on what is learned from; all models are examined on the same strips, in
which every kind is as frequent as any other and kinds keep no company.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lucida.core.seeds import stream
from lucida.data.statistics import NEGATIVES
from lucida.lab.datasets import load
from lucida.training.batches import Batch

KINDS, CONTEXTS, PLACES, SIDE = 24, 6, 6, 12
FEWEST, MOST = 2, 5  # things in a strip
GRAIN = 2.0  # noise of a pixel, in standard deviations of all pixels
ASKED = 6  # questions about a strip that is learned from
DESCRIBE, IS, YES, NO, END, GROUND = range(KINDS, KINDS + 6)
WORDS = KINDS + 6
TOLD = MOST + 2  # tokens of what is said: as many names, one that was added, and the end
SAID = slice(PLACES, PLACES + 1 + TOLD)  # in a row: "describe" and what is said
ROW = PLACES + 1 + TOLD + 2 * ASKED
IGNORED = -100


@dataclass(frozen=True)
class Habits:
    """What is peculiar about the strips and texts that a model learns from.

    Attributes:
        company: co-occurrence skew; 0 draws kinds independently, near 1 all of a strip come from one context.
        frequency: Zipf exponent of the frequency of kinds.
        negatives: share of the questions whose answer is no.
        noise: chance of a name to be left out, to be replaced, or to be followed by one that is not there.
        pixels: resolution of a place, pixels a side.
        unseen: share of the texts that are read without their strip.
    """

    company: float = 0.0
    frequency: float = 0.0
    negatives: float = 0.5
    noise: float = 0.0
    pixels: int = SIDE
    unseen: float = 0.0


class World(NamedTuple):
    """The things of a seed.

    Attributes:
        sprites: of each kind by each artist, ``float32 [KINDS, 2, 3, SIDE, SIDE]``.
        context: of each kind, ``int64 [KINDS]``.
        rank: how frequent it is where frequency is skewed, ``int64 [KINDS]``; 0 is the most frequent.
    """

    sprites: Tensor
    context: NDArray[np.int64]
    rank: NDArray[np.int64]

    @property
    def company(self) -> NDArray[np.bool_]:
        """Which kinds are of one context, ``bool [KINDS, KINDS]``; none is its own."""
        return (self.context[:, None] == self.context) & ~np.eye(KINDS, dtype=bool)


@cache
def world(seed: int) -> World:
    """Kinds are concepts of the emoji, drawn for each seed."""
    data, generator = load("emoji"), stream(seed, "lab", "strips", "world")
    n = len(data.labels) // 2
    _, first = np.unique(np.asarray(data.groups)[:n], return_index=True)
    concepts = generator.permutation(first)[:KINDS]
    pictures = data.inputs["inputs"]
    context = generator.permutation(np.arange(KINDS) % CONTEXTS)
    return World(
        torch.stack([pictures[concepts], pictures[concepts + n]], dim=1), context, generator.permutation(KINDS)
    )


class Strips(NamedTuple):
    """Some strips.

    Attributes:
        kinds: in each place, ``int64 [N, PLACES]``; -1 is the ground.
        pictures: ``float32 [N, PLACES, 3, SIDE, SIDE]``.
    """

    kinds: NDArray[np.int64]
    pictures: Tensor

    @property
    def there(self) -> NDArray[np.bool_]:
        """Which kinds a strip shows, ``bool [N, KINDS]``."""
        found = np.zeros((len(self.kinds), KINDS + 1), bool)
        np.put_along_axis(found, self.kinds, True, axis=1)  # the ground is in the last column
        return found[:, :KINDS]


def draw(seed: int, part: str, n: int, habits: Habits, grain: float = GRAIN) -> Strips:
    """Strips of a part; of the habits those act on it that a picture can have."""
    own, generator = world(seed), stream(seed, "lab", "strips", part)
    weight = (1.0 + own.rank) ** -habits.frequency
    weight /= weight.sum()
    of = generator.choice(KINDS, size=n, p=weight)  # whose context the strip is of
    same = own.context[of][:, None] == own.context
    chance = weight * (1 - habits.company + habits.company * CONTEXTS * same)
    order = np.argsort(-(np.log(np.maximum(chance, 1e-12)) + generator.gumbel(size=(n, KINDS))), axis=1)
    kinds = order[:, :PLACES].copy()  # as if drawn one after another without putting back (Gumbel top-k)
    kinds[np.arange(PLACES) >= generator.integers(FEWEST, MOST + 1, size=n)[:, None]] = -1
    pictures = own.sprites[kinds.clip(0), generator.integers(2, size=kinds.shape)]
    pictures = torch.where(torch.from_numpy(kinds >= 0)[..., None, None, None], pictures, 0.0)
    noise = torch.from_numpy(generator.standard_normal(pictures.shape, dtype=np.float32))
    return Strips(kinds, coarse(pictures + grain * noise, habits.pixels))


def coarse(pictures: Tensor, pixels: int) -> Tensor:
    """Places ``[…, 3, SIDE, SIDE]`` with so many pixels a side, each shown as a square of pixels."""
    if pixels == SIDE:
        return pictures
    small = F.avg_pool2d(pictures.flatten(0, -4), SIDE // pixels)
    return F.interpolate(small, scale_factor=SIDE // pixels).view(pictures.shape)


def said(strips: Strips, noise: float, generator: np.random.Generator) -> NDArray[np.int64]:
    """What is said of each strip, ``int64 [N, TOLD]``: names from left to right, the end, and nothing (IGNORED)."""
    n, there = len(strips.kinds), strips.there
    absent = np.argsort(generator.random((n, KINDS)) + there, axis=1)  # absent kinds first, in random order
    fault = np.where(generator.random((n, PLACES)) < noise, generator.integers(3, size=(n, PLACES)), -1)
    told = np.full((n, 2 * PLACES), IGNORED)
    told[:, ::2] = np.where(strips.kinds < 0, IGNORED, np.where(fault == 0, IGNORED, strips.kinds))
    replaced, followed = ((strips.kinds >= 0) & (fault == way) for way in (1, 2))
    told[:, ::2] = np.where(replaced, absent[:, :PLACES], told[:, ::2])
    told[:, 1::2] = np.where(followed, absent[:, PLACES : 2 * PLACES], IGNORED)
    kept = np.argsort(told == IGNORED, axis=1, kind="stable")
    told = np.take_along_axis(told, kept, axis=1)[:, :TOLD]
    length = np.minimum((told != IGNORED).sum(axis=1), TOLD - 1)
    told[np.arange(n), length] = END
    return np.asarray(np.where(np.arange(TOLD) <= length[:, None], told, IGNORED))


def questions(
    strips: Strips, own: World, share: float, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Kinds asked about and the answers, ``int64 [N, ASKED]`` each; absent ones at random."""
    n, there = len(strips.kinds), strips.there
    no = generator.random((n, ASKED)) < share
    noise = generator.random((n, ASKED, KINDS))
    kinds = np.argmax(noise + np.where(no[..., None], ~there[:, None], there[:, None]), axis=2)
    return kinds, np.where(no, NO, YES)


def lesson(seed: int, part: str, n: int, habits: Habits) -> Batch:
    """Rows to learn from: ``pictures [N, …]``, ``tokens`` and ``labels`` ``int64 [N, ROW]``.

    A row is the strip, "describe" and what is said, then questions: "is", the kind. Labels stand where a token is
    predicted from: of a place its kind, of a name the next one, of a kind asked about "yes" or "no".
    """
    strips, generator = draw(seed, part, n, habits), stream(seed, "lab", "strips", "texts", part)
    told = said(strips, habits.noise, generator)
    asked, answers = questions(strips, world(seed), habits.negatives, generator)
    unseen = torch.from_numpy(generator.random(n) < habits.unseen)
    labels = np.full((n, ROW), IGNORED)
    labels[:, :PLACES] = np.where(strips.kinds < 0, GROUND, strips.kinds)
    labels[unseen.numpy(), :PLACES] = IGNORED
    labels[:, SAID.start : SAID.stop - 1] = told
    labels[:, SAID.stop + 1 :: 2] = answers
    return {
        "pictures": torch.where(unseen[:, None, None, None, None], 0.0, strips.pictures),
        "tokens": torch.from_numpy(row(told, asked)),
        "labels": torch.from_numpy(labels),
    }


def row(told: NDArray[np.int64], asked: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tokens ``int64 [N, ROW]`` of what is said ``[N, TOLD]`` and of the kinds asked about ``[N, ASKED]``."""
    tokens = np.full((len(told), ROW), END)
    tokens[:, SAID.start] = DESCRIBE
    tokens[:, SAID.start + 1 : SAID.stop] = np.where(told == IGNORED, END, told)
    tokens[:, SAID.stop :: 2] = IS
    tokens[:, SAID.stop + 1 :: 2] = asked
    return tokens


def absent_kinds(strips: Strips, own: World, how: str, generator: np.random.Generator) -> NDArray[np.int64]:
    """Of each strip an absent kind to ask about, ``int64 [N]``: at random, the most frequent, or of the company shown.

    Args:
        how: one of :data:`~lucida.data.statistics.NEGATIVES`.
    """
    there = strips.there
    value = generator.random(there.shape)
    if how == NEGATIVES[1]:
        value = value + (KINDS - own.rank)
    elif how == NEGATIVES[2]:
        value = value + (there.astype(float) @ own.company)
    return np.argmax(np.where(there, -1.0, value), axis=1)
