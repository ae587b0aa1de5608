"""A few learned queries read a picture's places: the Perceiver resampler (Flamingo: Alayrac et al. 2022)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lucida.core.errors import LucidaError
from lucida.models.projectors import place_directions

HEAD_SIZE = 64


class Resampler(nn.Module):
    """Any number of places as ``queries`` image tokens (arXiv:2204.14198, section 3.1.1; like BLIP-2's Q-Former).

    Places are brought to the language model's width, with a learned vector for where each lies. Every block lets the
    queries attend to the places and to themselves, then passes them through a perceptron; a layer norm ends it.

    Args:
        vision_size, hidden_size, tokens: as of :class:`~lucida.models.projectors.WordProjector`.
        queries: image tokens that the language model reads in place of ``tokens``.
        blocks: of the resampler.
        word_length: of the language model's embeddings, about; image tokens start as long.

    Raises:
        LucidaError: no queries, or no blocks.
    """

    def __init__(
        self,
        vision_size: int,
        hidden_size: int,
        tokens: int,
        *,
        queries: int = 16,
        blocks: int = 2,
        word_length: float = 1.0,
    ):
        super().__init__()
        if min(queries, blocks) < 1:
            raise LucidaError(f"a resampler of {queries} queries and {blocks} blocks", remedy="use at least 1 of each")
        self.image_tokens = queries
        self.norm = nn.LayerNorm(vision_size)
        self.linear = nn.Linear(vision_size, hidden_size)
        self.places = nn.Parameter(math.sqrt(hidden_size) / 2 * place_directions(tokens, hidden_size))
        self.latents = nn.Parameter(torch.randn(queries, hidden_size))
        self.blocks = nn.ModuleList(_Block(hidden_size) for _ in range(blocks))
        self.layer_norm = nn.LayerNorm(hidden_size)
        nn.init.constant_(self.layer_norm.weight, word_length / math.sqrt(hidden_size))

    def resample(self, context: Tensor) -> Tensor:
        """``[B, T, H]`` to ``[B, queries, H]``."""
        latents = self.latents.expand(len(context), -1, -1)
        for block in self.blocks:
            latents = block(context, latents)
        return self.layer_norm(latents)

    def forward(self, grid: Tensor, word_embeddings: Tensor) -> Tensor:
        """``[B, T, vision_size]`` to image tokens ``[B, queries, H]``."""
        return self.resample(self.linear(self.norm(grid)) + self.places)


class _Block(nn.Module):
    """Queries attend to places and queries, then a perceptron of four times the width."""

    def __init__(self, size: int):
        super().__init__()
        self.heads = max(1, size // HEAD_SIZE)
        inner = self.heads * (size // self.heads)
        self.context_norm, self.latents_norm, self.mlp_norm = (nn.LayerNorm(size) for _ in range(3))
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(size, inner, bias=False) for _ in range(3))
        self.o_proj = nn.Linear(inner, size, bias=False)
        self.up_proj, self.down_proj = nn.Linear(size, 4 * size, bias=False), nn.Linear(4 * size, size, bias=False)

    def forward(self, context: Tensor, latents: Tensor) -> Tensor:
        own = self.latents_norm(latents)
        everything = torch.cat([self.context_norm(context), own], dim=1)
        parts = (self.q_proj(own), self.k_proj(everything), self.v_proj(everything))
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        read = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        latents = latents + self.o_proj(read)
        return latents + self.down_proj(F.relu(self.up_proj(self.mlp_norm(latents))))
