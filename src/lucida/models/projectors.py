"""Projectors: what a vision tower sees, as tokens a language model can read."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GridProjector(nn.Module):
    """A two-layer perceptron on every place of a grid, plus a learned vector for each place.

    What a place shows comes out with length ``scale``, so that it can be compared with word embeddings by the cosine;
    where it lies is added after that.

    Args:
        vision_size: channels of a place.
        hidden_size: of the language model.
        tokens: places.
    """

    def __init__(self, vision_size: int, hidden_size: int, tokens: int):
        super().__init__()
        self.norm = nn.LayerNorm(vision_size)
        self.linear_1 = nn.Linear(vision_size, hidden_size)
        self.linear_2 = nn.Linear(hidden_size, hidden_size)
        self.places = nn.Parameter(torch.randn(tokens, hidden_size) * 0.02)
        self.scale = nn.Parameter(torch.ones(()))

    def content(self, grid: Tensor) -> Tensor:
        """``[B, T, vision_size]`` to ``[B, T, hidden_size]`` of length one, without places."""
        return F.normalize(self.linear_2(F.gelu(self.linear_1(self.norm(grid)))), dim=-1)

    def forward(self, grid: Tensor) -> Tensor:
        """``[B, T, vision_size]`` to image tokens ``[B, T, hidden_size]``."""
        return self.scale * self.content(grid) + self.places
