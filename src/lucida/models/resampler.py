"""A few learned queries read a picture's places: the Perceiver resampler (Flamingo: Alayrac et al. 2022)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lucida.core.errors import LucidaError
from lucida.models.projectors import place_directions
from lucida.models.starts import pass_on, read_alike

HEAD_SIZE = 64
_SMALL = 0.3  # of queries beside what they read, where they start apart
_SAME = 1e-4


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
        self.regions: Tensor  # of which places a query speaks, bool [queries, T]: of all, unless they start apart
        self.register_buffer("regions", torch.ones(queries, tokens, dtype=torch.bool), persistent=False)
        self.norm = nn.LayerNorm(vision_size)
        self.linear = nn.Linear(vision_size, hidden_size)
        self.places = nn.Parameter(math.sqrt(hidden_size) / 2 * place_directions(tokens, hidden_size))
        self.latents = nn.Parameter(torch.randn(queries, hidden_size))
        self.blocks = nn.ModuleList(_Block(hidden_size) for _ in range(blocks))
        self.layer_norm = nn.LayerNorm(hidden_size)
        nn.init.constant_(self.layer_norm.weight, word_length / math.sqrt(hidden_size))

    def start_apart(self, *, match: float, copy: float) -> None:
        """Let every query of the first block look at a region of its own, and pass on what is shown there.

        Queries are drawn at random; the projection to queries is the one that takes each to the place in the middle of
        its region. Flamingo's find their way in training, for which a laptop has no time (:mod:`lucida.models.starts`).
        """
        first: _Block = self.blocks[0]  # type: ignore[assignment]
        with torch.no_grad():
            self.latents.mul_(_SMALL)
            read_alike(first.q_proj.weight, first.k_proj.weight, heads=first.heads, strength=match)
            centres = self.places[spread(self.places, len(self.latents))]
            drawn, wanted = first.latents_norm(self.latents), F.layer_norm(centres, centres.shape[1:])
            first.q_proj.weight.copy_(first.k_proj.weight @ (torch.linalg.pinv(drawn) @ wanted).T)
            pass_on(first.v_proj.weight, first.o_proj.weight, strength=copy)
            apart = torch.cdist(centres, self.places)
            self.regions.copy_(apart <= apart.amin(dim=0) * (1 + _SAME))

    def shown(self, grid: Tensor) -> Tensor:
        """What each place of ``[B, T, vision_size]`` shows, in the language model's width: ``[B, T, H]``."""
        return self.linear(self.norm(grid))

    def resample(self, context: Tensor) -> Tensor:
        """``[B, T, H]`` to ``[B, queries, H]``."""
        latents = self.latents.expand(len(context), -1, -1)
        for block in self.blocks:
            latents = block(context, latents)
        return self.layer_norm(latents)

    def forward(self, grid: Tensor, word_embeddings: Tensor) -> Tensor:
        """``[B, T, vision_size]`` to image tokens ``[B, queries, H]``."""
        return self.resample(self.shown(grid) + self.places)


def spread(points: Tensor, n: int) -> Tensor:
    """Numbers of ``n`` of the points, each in turn the farthest from those before it; then again from the first."""
    chosen = [0]
    distance = (points - points[0]).norm(dim=1)
    while len(chosen) < min(n, len(points)):
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (points - points[chosen[-1]]).norm(dim=1))
    return torch.tensor([chosen[i % len(chosen)] for i in range(n)])


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
