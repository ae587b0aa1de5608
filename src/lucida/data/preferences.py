"""Pairs of a better and a worse answer to a question about a picture, as batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lucida.core.errors import LucidaError
from lucida.data.collation import IGNORE_INDEX, Batch, ChatFormat, collate
from lucida.data.conversations import Turn
from lucida.data.lessons import Draw


@dataclass(frozen=True)
class Preference:
    """Two answers to a question about a picture.

    Attributes:
        form: of the question, a key of :data:`~lucida.data.conversations.FORMS`.
        question: what is asked.
        chosen: the better answer.
        rejected: the worse one.
        picture: number of the picture.
        other: number of a picture for which ``chosen`` is not true.
    """

    form: str
    question: str
    chosen: str
    rejected: str
    picture: int
    other: int


class PreferenceData:
    """Training data whose examples are pictures, each with all its pairs: a picture is read once for all of them.

    A batch holds two packed batches (:func:`~lucida.data.collation.collate`), ``shown`` and ``distorted``, each with
    its ``vision_features``. In the first, every row is a picture and has its pairs' chosen and rejected answers as
    turns, which do not see each other; in the second, rows are other pictures with the chosen answers. ``turns`` of
    both, ``int64 [B, L]``, numbers each token's turn through all rows. ``chosen``, ``rejected`` and ``beside``,
    ``int64 [P]``, are the numbers of each pair's turns; ``reference`` ``[P, 3]``, where it is known, their
    log-likelihoods before the training (in the order of :class:`~lucida.losses.preference.AnswerLogs`), and ``pairs``
    ``int64 [P]`` which pairs they are.

    Args:
        pairs: in any order.
        chat: the format.
        features: of the pictures, ``[N, T, D]``.
        reference: ``[pairs, 3]``.

    Raises:
        LucidaError: no pairs, a pair about a picture that is not there, or a reference of other pairs.
    """

    def __init__(
        self, pairs: Sequence[Preference], chat: ChatFormat, features: Tensor, reference: Tensor | None = None
    ):
        if not pairs:
            raise LucidaError("there are no pairs of answers to learn from")
        for pair in pairs:
            if not (0 <= pair.picture < len(features) and 0 <= pair.other < len(features)):
                what = f"a pair is about pictures {pair.picture} and {pair.other}"
                raise LucidaError(what, where=f"{len(features)} pictures")
        if reference is not None and reference.shape != (len(pairs), 3):
            raise LucidaError(f"log-likelihoods {list(reference.shape)} for {len(pairs)} pairs", where="reference")
        self.pairs, self.chat, self.features, self.reference = tuple(pairs), chat, features, reference
        by_picture: dict[int, list[int]] = {}
        for i, pair in enumerate(pairs):
            by_picture.setdefault(pair.picture, []).append(i)
        self._examples = [by_picture[picture] for picture in sorted(by_picture)]

    def __len__(self) -> int:
        return len(self._examples)

    def batch(self, indices: Sequence[int], draw: Draw) -> dict[str, Any]:
        examples = [self._examples[int(index)] for index in indices]
        numbers = [i for example in examples for i in example]
        shown = [[turn for i in example for turn in self._turns(i)] for example in examples]
        places: dict[int, list[int]] = {}
        for place, i in enumerate(numbers):
            places.setdefault(self.pairs[i].other, []).append(place)
        beside = torch.empty(len(numbers), dtype=torch.int64)
        beside[[place for row in places.values() for place in row]] = torch.arange(len(numbers))
        chosen = torch.arange(0, 2 * len(numbers), 2)
        made: dict[str, Any] = {
            "shown": self._packed(shown, [self.pairs[example[0]].picture for example in examples]),
            "distorted": self._packed(
                [[self._turns(numbers[place])[0] for place in row] for row in places.values()], list(places)
            ),
            "chosen": chosen,
            "rejected": chosen + 1,
            "beside": beside,
            "pairs": torch.tensor(numbers),
        }
        return made if self.reference is None else {**made, "reference": self.reference[numbers]}

    def _turns(self, i: int) -> tuple[Turn, Turn]:
        pair = self.pairs[i]
        return Turn(pair.form, pair.question, pair.chosen), Turn(pair.form, pair.question, pair.rejected)

    def _packed(self, conversations: list[list[Turn]], pictures: list[int]) -> Batch:
        batch = collate(conversations, self.chat)
        before = np.cumsum([0, *map(len, conversations[:-1])])
        turns = batch["segment_ids"] - 1 + torch.from_numpy(before)[:, None]
        turns = turns.masked_fill(batch["labels"] == IGNORE_INDEX, -1)
        return {**batch, "turns": turns, "vision_features": self.features[pictures].float()}
