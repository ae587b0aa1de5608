"""Features of texts by a frozen tower, each distinct text encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from lucida.core.cache import cached_array, content_hash
from lucida.models.features import fingerprint
from lucida.models.text_towers import encode_texts
from lucida.models.towers import TextTower


class TextFeatures:
    """A frozen text tower with a memory.

    Args:
        tower: the text tower.
        batch_size: texts in a forward pass.
    """

    def __init__(self, tower: TextTower, *, batch_size: int = 128):
        self.tower, self.batch_size = tower, batch_size
        self.hidden_size = tower.hidden_size
        self._known: dict[str, np.ndarray] = {}

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """``float32 [N, hidden_size]``."""
        new = list(dict.fromkeys(text for text in texts if text not in self._known))
        if new:
            self._known.update(zip(new, encode_texts(self.tower, new, self.batch_size), strict=True))
        return torch.from_numpy(np.stack([self._known[text] for text in texts]))

    def remember(self, texts: Sequence[str]) -> None:
        """Know all of these from now on; what the same tower has read before comes from the cache on disk."""
        unique = list(dict.fromkeys(texts))

        def build(out: np.ndarray) -> None:
            out[:] = self(unique).numpy()

        key = content_hash("texts 1", fingerprint(cast(nn.Module, self.tower)), unique)
        stored = cached_array("texts", key, (len(unique), self.hidden_size), np.float32, build)
        self._known.update(zip(unique, stored, strict=True))
