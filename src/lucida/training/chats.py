"""Conversations about pictures as training data: tokens in one row, pictures by what a frozen tower saw of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from lucida.core.errors import LucidaError
from lucida.models.image_text_models import Seen, in_one_row
from lucida.models.seen_pictures import SeenPictures
from lucida.training.batches import Batch, Draw


class Tokens(Protocol):
    """A conversation in tokens.

    Attributes:
        input_ids, labels: ``int64 [n]``; labels are of each token itself.
    """

    @property
    def input_ids(self) -> NDArray: ...

    @property
    def labels(self) -> NDArray: ...


class ChatData:
    """Conversations by index, collated for :class:`~lucida.models.image_text_models.ImageTextModel`.

    Args:
        chats: in tokens.
        pictures: the numbers of each one's pictures, in their order.
        seen: all pictures.
        what: is kept of them.

    Raises:
        LucidaError: the lists differ in length.
    """

    def __init__(
        self, chats: Sequence[Tokens], pictures: Sequence[Sequence[int]], seen: SeenPictures, what: Seen = "projected"
    ):
        if len(chats) != len(pictures):
            raise LucidaError(f"pictures of {len(pictures)} conversations do not fit {len(chats)}", where="pictures")
        self.chats, self.pictures, self.seen, self.what = chats, pictures, seen, what

    def __len__(self) -> int:
        return len(self.chats)

    def batch(self, indices: Sequence[int], draw: Draw | None = None) -> Batch:
        """Some conversations in one row, with the features of their pictures; nothing is drawn."""
        row = in_one_row([_tensors(self.chats[i]) for i in indices])
        features = self.seen[[number for i in indices for number in self.pictures[i]]]
        return {**row, "image_tokens" if self.what == "projected" else "tower_features": features}


def _tensors(chat: Tokens) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(chat.input_ids), torch.from_numpy(chat.labels)
