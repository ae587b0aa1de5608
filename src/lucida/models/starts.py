"""Starts of attention: what it does before it has learned anything (mimetic initialisation, arXiv:2305.09828).

Trockman & Kolter (2023) found what trained transformers' weights have in common, and start with it. A model that is
trained for minutes on a laptop has no time to find by itself that a word asks for what resembles it.
"""

from __future__ import annotations

import torch
from torch import Tensor

NOISE = 0.02


@torch.no_grad()
def read_alike(query: Tensor, key: Tensor, *, heads: int, strength: float, head_size: int = 0) -> None:
    """In place: queries and keys of the first heads read the same random directions, so that like attends to like.

    Args:
        query, key: weights ``[≥ heads * head_size, H]`` of both projections.
        heads: how many start so.
        strength: of a direction.
        head_size: rows of a head; by default the rows are those of ``heads``.
    """
    head_size = head_size or len(query) // heads
    for start in range(0, min(len(query), heads * head_size), head_size):
        directions = torch.linalg.qr(torch.randn(query.shape[1], head_size))[0].T
        for weight in (query, key):
            head = weight[start : start + head_size]
            head.copy_(strength * directions + NOISE * torch.randn_like(head))


@torch.no_grad()
def pass_on(value: Tensor, output: Tensor, *, strength: float) -> None:
    """In place: what is attended to is added nearly as it is, on top of the usual start.

    Args:
        value: weight ``[inner, H]`` of the projection to values.
        output: weight ``[H, inner]`` of the projection back.
        strength: 1 passes all of it on, as far as there is room.
    """
    size = value.shape[1]
    turn = torch.linalg.qr(torch.randn(size, size))[0]
    n = min(len(value), size)
    value[:n] += strength * turn[:n]
    output[:, :n] += strength * turn[:n].T
