"""Batches of pictures and captions: no token that is padding in all of them, and each caption its picture's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lucida.data.pairs import PixelPairs
from lucida.training.batches import Draw

LENGTHS = (2, 5, 3)


@pytest.mark.parametrize("trimmed", [True, False])
def test_texts_are_as_long_as_their_batch_needs(trimmed: bool) -> None:
    mask = (torch.arange(9) < torch.tensor(LENGTHS)[:, None]).long()
    tokens = {"input_ids": mask * torch.tensor([[1], [2], [3]]), "attention_mask": mask}
    pixels = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    texts = [np.array([0]), np.array([1]), np.array([0, 2])]
    rows = np.array([2, 0, 1])
    data = PixelPairs(pixels, rows, lambda x: x.float(), tokens, texts, np.array([7, 8, 9]), trimmed=trimmed)
    for indices in ([0], [1, 0], [2, 2, 2, 2]):
        batch = data.batch(indices, Draw(0, [(epoch, i) for epoch, i in enumerate(indices)]))
        read, kept = batch["text"]["input_ids"], batch["text"]["attention_mask"]
        assert read.shape[1] == (int(kept.sum(dim=1).max()) if trimmed else 9)
        assert batch["image"]["pixel_values"][:, 0, 0, 0].tolist() == rows[indices].tolist()
        for one, index in zip(read, indices, strict=True):
            assert int(one[0]) - 1 in texts[index]
            assert int((one > 0).sum()) == LENGTHS[int(one[0]) - 1]
