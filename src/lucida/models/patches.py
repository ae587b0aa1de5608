"""Pictures cut into patches: what early fusion has in place of a vision tower."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lucida.core.errors import LucidaError
from lucida.models.towers import VisionFeatures

PATCHES = "patches"


class PatchTower(nn.Module):
    """A :class:`~lucida.models.towers.VisionTower` that sees nothing: its grid is the pixels of each patch.

    Args:
        image_size: side in pixels, a multiple of ``patch``.
        patch: side of a patch.

    Shapes: ``pooled [B, 3 patch²]``, the mean patch; ``grid [B, (image_size / patch)², 3 patch²]``, from -1 to 1.
    """

    name = PATCHES

    def __init__(self, image_size: int = 128, *, patch: int = 16):
        super().__init__()
        if patch < 1 or image_size % patch:
            raise LucidaError(f"{image_size} pixels are no whole number of patches of {patch}", where=PATCHES)
        self.image_size, self.patch = image_size, patch
        self.hidden_size = self.pooled_size = 3 * patch**2
        self.grid_tokens = (image_size // patch) ** 2

    def preprocess(self, pixels: Tensor) -> Tensor:
        """``uint8 [B, H, W, 3]`` to ``float32 [B, 3, image_size, image_size]``, from -1 to 1."""
        x, size = pixels.permute(0, 3, 1, 2).float(), (self.image_size, self.image_size)
        if x.shape[-2:] != size:
            x = F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
        return x / 127.5 - 1

    def forward(self, pixel_values: Tensor) -> VisionFeatures:
        """Patches row by row, the pixels of each by channel, row and column."""
        grid = F.unfold(pixel_values, self.patch, stride=self.patch).transpose(1, 2)
        return VisionFeatures(grid.mean(dim=1), grid)
