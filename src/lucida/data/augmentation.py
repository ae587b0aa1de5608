"""Views of artwork: turned, scaled, shifted, mirrored and recoloured, over white."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def plain_view(rgba: Tensor, size: int) -> Tensor:
    """``uint8 [N, S, S, 4]`` over white, as ``uint8 [N, size, size, 3]``."""
    x = rgba.permute(0, 3, 1, 2).float() / 255
    x = F.interpolate(x, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return _over_white(x[:, :3], x[:, 3:])


def augmented_view(rgba: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """A random view of each picture, ``uint8 [N, size, size, 3]``.

    Up to 17 degrees of turning, 0.85 to 1.35 times the scale, shifts, a mirror in 30 %; brightness, saturation and
    tint; 10 % without colour.
    """
    n = len(rgba)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(n, *shape, generator=generator)

    x = rgba.permute(0, 3, 1, 2).float() / 255
    if x.shape[-1] > 2 * size:  # grid_sample does not antialias
        x = F.interpolate(x, (size, size), mode="bilinear", antialias=True, align_corners=False)
    angle, zoom = uniform(-0.3, 0.3), 1 / uniform(0.85, 1.35)
    stretch = zoom * torch.exp(0.08 * torch.randn(n, generator=generator))
    mirror = torch.where(torch.rand(n, generator=generator) < 0.3, -1.0, 1.0)
    shift = 0.07 * torch.randn(n, 2, generator=generator)
    first = torch.stack([mirror * zoom * angle.cos(), -stretch * angle.sin(), shift[:, 0]], dim=1)
    second = torch.stack([mirror * zoom * angle.sin(), stretch * angle.cos(), shift[:, 1]], dim=1)
    grid = F.affine_grid(torch.stack([first, second], dim=1), [n, 4, size, size], align_corners=False)
    x = F.grid_sample(x, grid, align_corners=False)
    colour, alpha = x[:, :3], x[:, 3:]
    grey = colour.mean(dim=1, keepdim=True)
    saturation = uniform(0.6, 1.4, 1, 1, 1)
    saturation = torch.where(torch.rand(n, 1, 1, 1, generator=generator) < 0.1, torch.zeros(()), saturation)
    colour = (grey + (colour - grey) * saturation) * uniform(0.75, 1.25, 1, 1, 1) + uniform(-0.075, 0.075, 3, 1, 1)
    return _over_white(colour.clamp(0, 1), alpha)


def _over_white(colour: Tensor, alpha: Tensor) -> Tensor:
    return ((colour * alpha + 1 - alpha) * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
