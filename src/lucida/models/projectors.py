"""Projectors: what a vision tower sees, as tokens a language model can read."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAX_SCALE = 50.0
_COMMON, _APART = 0.5, 0.1  # lengths of what all places share and of what tells them apart, beside a word's


class WordProjector(nn.Module):
    """Every place of a grid as a mixture of the language model's own words, plus where it lies.

    A two-layer perceptron says which words a place shows; the token is the mean of their embeddings, weighted by the
    softmax over the vocabulary (AlignVLM, Masry et al. 2025, arXiv:2502.01341), so that a picture is written in a
    language the model already reads and a word finds the places that show it. One more "word" stands for the ground. To
    this comes a learned vector for each place (they start with one direction in common, by which a token of the picture
    can be told from the same thing said in words), and a linear detail of what the words leave out, which starts at 0.

    Args:
        vision_size: channels of a place.
        hidden_size: of the language model.
        tokens: places.
        word_length: of the language model's embeddings, about.
    """

    def __init__(self, vision_size: int, hidden_size: int, tokens: int, *, word_length: float = 1.0):
        super().__init__()
        self.norm = nn.LayerNorm(vision_size)
        self.linear_1 = nn.Linear(vision_size, hidden_size)
        self.linear_2 = nn.Linear(hidden_size, hidden_size)
        self.ground = nn.Parameter(word_length * _direction(hidden_size))
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.detail = nn.Linear(vision_size, hidden_size, bias=False)
        nn.init.zeros_(self.detail.weight)
        apart = torch.randn(tokens, hidden_size) / hidden_size**0.5
        self.places = nn.Parameter(word_length * (_APART * apart + _COMMON * _direction(hidden_size)))

    def logits(self, grid: Tensor, word_embeddings: Tensor) -> Tensor:
        """Which word each place of ``[B, T, vision_size]`` shows, ``[B, T, V + 1]``; the last is the ground."""
        shown = F.normalize(self.linear_2(F.gelu(self.linear_1(self.norm(grid)))), dim=-1)
        scale = self.log_scale.clamp(max=math.log(MAX_SCALE)).exp()
        words = torch.cat([word_embeddings, self.ground[None]])
        return scale * shown @ F.normalize(words, dim=-1).T

    def forward(self, grid: Tensor, word_embeddings: Tensor) -> Tensor:
        """``[B, T, vision_size]`` to image tokens ``[B, T, H]``, given the language model's embeddings ``[V, H]``."""
        mixture = self.logits(grid, word_embeddings).softmax(dim=-1)
        content = mixture[..., :-1] @ word_embeddings + mixture[..., -1:] * self.ground
        return content + self.detail(self.norm(grid)) + self.places


def _direction(size: int) -> Tensor:
    return F.normalize(torch.randn(size), dim=0)
