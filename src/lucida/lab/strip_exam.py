"""What models of strips say and answer, and how it errs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lucida.core.seeds import derive_seed, stream
from lucida.data.statistics import NEGATIVES
from lucida.lab.stack import Stack
from lucida.lab.strips import (
    ASKED,
    DESCRIBE,
    END,
    KINDS,
    NO,
    PLACES,
    SAID,
    TOLD,
    YES,
    Strips,
    World,
    absent_kinds,
    row,
)

Say = Callable[[Tensor], Tensor]
"""Tokens ``int64 [M, N, L]`` to the logits of what follows each, ``[M, N, L, WORDS]``, about the strips at hand."""
PRESENT = ASKED - len(NEGATIVES)  # questions about kinds that are there
AT_LEAST = 5  # names where a long description is asked for


class Examined(NamedTuple):
    """What ``M`` models are shown and asked, ``N`` strips each.

    Attributes:
        strips: of each model.
        pictures: of all, ``[M, N, PLACES, 3, SIDE, SIDE]``.
        asked: kinds, ``int64 [M, N, ASKED]``: some that are there (one twice, where there are too few), then an absent
            one of each of :data:`~lucida.data.statistics.NEGATIVES`.
        own: the world of each.
    """

    strips: tuple[Strips, ...]
    pictures: Tensor
    asked: Tensor
    own: tuple[World, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Models and strips."""
        return self.asked.shape[0], self.asked.shape[1]

    @property
    def there(self) -> NDArray[np.bool_]:
        """``bool [M, N, KINDS]``."""
        return np.stack([one.there for one in self.strips])


def examined(strips: list[Strips], worlds: list[World], seeds: list[int]) -> Examined:
    """Strips with questions; those of one seed are the same whatever the model learned from."""
    asked = []
    for one, own, seed in zip(strips, worlds, seeds, strict=True):
        generator, counted = stream(seed, "lab", "strips", "examined"), (one.kinds >= 0).sum(axis=1)
        present = np.take_along_axis(one.kinds, np.arange(PRESENT) % counted[:, None], axis=1)
        absent = [absent_kinds(one, own, how, generator) for how in NEGATIVES]
        asked.append(np.concatenate([present, np.stack(absent, axis=1)], axis=1))
    pictures = torch.stack([one.pictures for one in strips])
    return Examined(tuple(strips), pictures, torch.from_numpy(np.stack(asked)), tuple(worlds))


def plainly(stack: Stack, pictures: Tensor) -> Say:
    """As the models are."""

    def say(tokens: Tensor) -> Tensor:
        logits: Tensor = stack(pictures, tokens)[1]
        return logits

    return say


@torch.no_grad()
def described(say: Say, shape: tuple[int, int], *, temperature: float = 0.0, at_least: int = 0) -> NDArray[np.int64]:
    """What is said of each strip, ``int64 [M, N, TOLD]``; after the end there are ends.

    Args:
        say: the models.
        shape: models and strips.
        temperature: 0 takes the likeliest word.
        at_least: so many names are said before the end may come.
    """
    generator = torch.Generator().manual_seed(derive_seed(0, "lab", "strips", "sampling"))
    tokens = torch.full((*shape, PLACES + 1), DESCRIBE)
    for step in range(TOLD):
        logits = say(tokens)[:, :, -1].clone()
        logits[..., KINDS:END] = logits[..., END + 1 :] = -torch.inf  # names or the end
        logits[..., END] = -torch.inf if step < at_least else logits[..., END]
        logits[..., END] = torch.where(logits.amax(dim=-1) == -torch.inf, 0.0, logits[..., END])  # a contrast left none
        if temperature:
            chances = (logits / temperature).softmax(dim=-1)
            chosen = torch.multinomial(chances.flatten(0, 1), 1, generator=generator).view(shape)
        else:
            chosen = logits.argmax(dim=-1)
        ended = tokens[:, :, -1] == END
        tokens = torch.cat([tokens, torch.where(ended, END, chosen)[..., None]], dim=-1)
    return np.asarray(tokens[:, :, PLACES + 1 :])


@torch.no_grad()
def leaning(say: Say, asked: Tensor) -> NDArray[np.float64]:
    """Log-odds of yes over no to each question ``[M, N, Q]``."""
    m, n, _ = asked.shape
    nothing = np.full((m * n, TOLD), END)
    tokens = torch.from_numpy(row(nothing, asked.flatten(0, 1).numpy())).view(m, n, -1)
    logits = say(tokens)[:, :, SAID.stop + 1 :: 2]
    return np.asarray((logits[..., YES] - logits[..., NO]).double())


class Made(NamedTuple):
    """What descriptions name, counted for each model.

    Attributes:
        named: different kinds named, ``[M]``; as in CHAIR a kind counts once a description.
        made_up: of these, kinds that are not there.
        found, there: kinds that are there and named; that are there.
        company: of the made-up ones, those of a context that is shown.
        frequent: of the made-up ones, those of the most frequent third.
    """

    named: NDArray
    made_up: NDArray
    found: NDArray
    there: NDArray
    company: NDArray
    frequent: NDArray

    @property
    def chair(self) -> NDArray[np.float64]:
        """CHAIR_i: the share of what is named that is not there, ``[M]`` (0 where nothing is named)."""
        return np.asarray(self.made_up / np.maximum(self.named, 1))

    @property
    def recall(self) -> NDArray[np.float64]:
        """The share of what is there that is named, ``[M]``."""
        return np.asarray(self.found / self.there)


def made(told: NDArray[np.int64], exam: Examined, names: slice = slice(None)) -> Made:
    """Of descriptions ``[M, N, TOLD]``; of their first ``names`` alone where that is asked for."""
    there, named = exam.there, np.zeros((*told.shape[:2], END + 1), bool)
    np.put_along_axis(named, told[..., names], True, axis=2)
    named = named[..., :KINDS]
    company = np.stack([one.there @ own.company for one, own in zip(exam.strips, exam.own, strict=True)])
    frequent = np.stack([own.rank < KINDS // 3 for own in exam.own])[:, None]
    wrong = named & ~there
    counted = (named, wrong, named & there, there, wrong & company, wrong & frequent)
    return Made(*(each.sum(axis=(1, 2)).astype(float) for each in counted))


def rates_of_yes(odds: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Shares of questions answered yes, ``[M]``: of kinds that are there, and of absent ones as they were chosen."""
    yes = odds > 0
    found = {"there": yes[..., :PRESENT].mean(axis=(1, 2))}
    return found | {how: yes[..., PRESENT + k].mean(axis=1) for k, how in enumerate(NEGATIVES)}
