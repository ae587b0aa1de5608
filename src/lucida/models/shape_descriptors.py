"""What a drawing looks like without any training: where its colours lie, its outline, and the direction of its edges.

Two artists draw one concept with other lines and shades, but often with the same silhouette and layout. A tower that
was trained to tell photographs apart throws much of that away.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 64
LAYOUT, SILHOUETTE, EDGES = 3 * 12 * 12, 12 * 12, 8 * 8 * 8
SIZES = (LAYOUT, SILHOUETTE, EDGES)
"""Lengths of the three parts of :func:`shape_descriptors`."""
_INK = 0.06  # darker than white by this much


def shape_descriptors(pixels: Tensor) -> Tensor:
    """Layout, silhouette and edges of pictures on white, ``uint8 [N, H, W, 3]`` to ``float32 [N, sum(SIZES)]``.

    Each picture is cut to the square around its ink first. Edges are histograms of oriented gradients (Dalal & Triggs
    2005): 8 directions without sign in 8 x 8 cells, each cell of length at most one.
    """
    cut = torch.cat([_square(picture) for picture in pixels.permute(0, 3, 1, 2).float() / 255])
    layout = F.adaptive_avg_pool2d(cut, 12).flatten(1)
    silhouette = F.adaptive_avg_pool2d(_ink(cut).float(), 12).flatten(1)
    return torch.cat([layout, silhouette, _edges(cut.mean(dim=1, keepdim=True))], dim=1)


def _ink(pictures: Tensor) -> Tensor:
    """Where ``[N, 3, H, W]`` is not white, ``bool [N, 1, H, W]``."""
    return (1 - pictures).amax(dim=1, keepdim=True) > _INK


def _square(picture: Tensor) -> Tensor:
    """The square around the ink of ``[3, H, W]``, ``[1, 3, SIDE, SIDE]``; the whole picture where there is none."""
    rows, columns = torch.where(_ink(picture[None])[0, 0])
    whole = picture[None]
    if len(rows):
        top, bottom = int(rows.min()), int(rows.max()) + 1
        left, right = int(columns.min()), int(columns.max()) + 1
        side = max(bottom - top, right - left)
        y, x = (top + bottom + side) // 2, (left + right + side) // 2  # the middle less half a side, after padding
        whole = F.pad(whole, (side,) * 4, value=1.0)[:, :, y : y + side, x : x + side]
    return F.interpolate(whole, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)


def _edges(grey: Tensor) -> Tensor:
    """Histograms of oriented gradients of ``[N, 1, SIDE, SIDE]``, ``[N, EDGES]``."""
    smooth = F.avg_pool2d(F.pad(grey, (2,) * 4, mode="replicate"), 3, 1)
    across = smooth[:, :, 1:-1, 2:] - smooth[:, :, 1:-1, :-2]
    down = smooth[:, :, 2:, 1:-1] - smooth[:, :, :-2, 1:-1]
    direction = torch.atan2(down, across) % torch.pi / torch.pi * 8
    bins = torch.arange(8).view(1, 8, 1, 1)
    share = (1 - ((direction - bins + 4) % 8 - 4).abs()).clamp(min=0)
    cells = F.adaptive_avg_pool2d((across**2 + down**2).sqrt() * share, 8)
    return (cells / (cells.norm(dim=1, keepdim=True) + 0.02)).flatten(1)
