"""Random views of photographs: turned, scaled, cropped, mirrored and recoloured, many at a time.

Turning, scaling, cropping and mirroring are one affine map, so that a picture is resampled once and not four times;
brightness, contrast, saturation and hue are one affine map of its colours. What a picture draws is a row of
:data:`DRAWS` numbers whose columns have fixed meanings: a view depends on its row alone, not on the batch, on the
device, or on what else is switched on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lucida.core.errors import LucidaError

Padding = Literal["reflection", "border"]

_CHUNK = 16  # pictures resampled at once: what fits a processor's cache is faster than what does not
# Brightness, and two axes of colour (YIQ of NTSC). A turn around the first changes no grey and no brightness.
_TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_FROM_YIQ = torch.linalg.inv(_TO_YIQ.double()).float()


@dataclass(frozen=True)
class Drawn:
    """What views are made of: numbers in [0, 1), each ``[n]``, in the order of the columns of a row."""

    angle: Tensor
    scale: Tensor
    crop: Tensor
    across: Tensor
    down: Tensor
    mirror: Tensor
    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    hue: Tensor
    cut_across: Tensor
    cut_down: Tensor


DRAWS = len(fields(Drawn))
"""Numbers that one view takes."""


@dataclass(frozen=True)
class PictureAugmentation:
    """A random view of each picture; everything is off by default.

    In this order: a turn around the centre, a scale around the centre, a crop that is stretched to the whole view,
    a mirror; brightness, contrast, saturation, hue; a square cut out.

    Attributes:
        rotate: at most so many degrees either way.
        scale: smallest and largest magnification; below 1 what lies beyond the border is padded. Drawn evenly in log.
        crop: the smallest share of a side that is kept; 1 for no crop. The place is drawn evenly.
        flip: chance of a left-right mirror. Not for pictures whose texts speak of sides.
        brightness, contrast, saturation: the factor is drawn from ``1 - x`` to ``1 + x``; as Pillow's ``ImageEnhance``.
        hue: at most so many degrees around the circle of colours, either way; brightness stays.
        cutout: side of a square of the picture's mean colour, as a share of the view's (DeVries & Taylor 2017); 0 for
            none. Part of it may lie outside.
        padding: beyond the border the picture is mirrored (what lies there may then be seen twice), or its last row is
            repeated.
        size: pixels a side of a view; ``None`` for that of the picture.

    Raises:
        LucidaError: a setting is out of range.

    >>> pixels = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
    >>> PRESETS["all"](pixels, torch.Generator().manual_seed(0)).shape
    torch.Size([2, 8, 8, 3])
    """

    rotate: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    crop: float = 1.0
    flip: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    cutout: float = 0.0
    padding: Padding = "reflection"
    size: int | None = None

    def __post_init__(self) -> None:
        low, high = self.scale
        allowed = {
            "rotate": 0 <= self.rotate <= 180,
            "scale": 0 < low <= high < math.inf,
            "crop": 0 < self.crop <= 1,
            "flip": 0 <= self.flip <= 1,
            "brightness": 0 <= self.brightness <= 1,
            "contrast": 0 <= self.contrast <= 1,
            "saturation": 0 <= self.saturation <= 1,
            "hue": 0 <= self.hue <= 180,
            "cutout": 0 <= self.cutout <= 1,
            "padding": self.padding in get_args(Padding),
            "size": self.size is None or self.size >= 1,
        }
        for name, fine in allowed.items():
            if not fine:
                raise LucidaError(f"{name} cannot be {getattr(self, name)!r}", where="PictureAugmentation")

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """A view of each picture, on the device of the pictures.

        Args:
            pixels: ``uint8 [N, H, H, 3]``.
            generator: any device's; the same state gives the same views.

        Returns:
            ``uint8 [N, S, S, 3]``.

        Raises:
            LucidaError: the pixels have another type or shape.
        """
        return self.view(pixels, torch.rand(len(pixels), DRAWS, generator=generator, device=generator.device))

    def view(self, pixels: Tensor, drawn: Tensor) -> Tensor:
        """The views that given numbers make, ``uint8 [N, S, S, 3]``.

        Args:
            pixels: ``uint8 [N, H, H, 3]``.
            drawn: ``[N, DRAWS]`` in [0, 1), as of :func:`draws`.

        Raises:
            LucidaError: the pixels have another type or shape, or the numbers do not fit.
        """
        if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3:
            raise LucidaError(f"pixels must be uint8 [N, H, H, 3], not {pixels.dtype} {list(pixels.shape)}")
        if pixels.shape[1] != pixels.shape[2]:
            raise LucidaError(f"pictures must be squares, not {pixels.shape[2]} x {pixels.shape[1]}")
        if drawn.shape != (len(pixels), DRAWS):
            raise LucidaError(f"{len(pixels)} views take numbers [{len(pixels)}, {DRAWS}], not {list(drawn.shape)}")
        size = self.size or pixels.shape[1]
        views = torch.empty(len(pixels), size, size, 3, dtype=torch.uint8, device=pixels.device)
        drawn = drawn.to(device=pixels.device, dtype=torch.float32)
        for start in range(0, len(pixels), _CHUNK):
            rows = slice(start, start + _CHUNK)
            numbers = Drawn(*drawn[rows].unbind(dim=1))
            x = pixels[rows].permute(0, 3, 1, 2).float()
            x = self._cut(self._recoloured(self._resampled(x, numbers, size), numbers), numbers)
            views[rows] = x.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        return views

    def _resampled(self, x: Tensor, drawn: Drawn, size: int) -> Tensor:
        """One bilinear resampling for all that moves pixels; ``x [n, 3, H, H]``."""
        if x.shape[-1] > size:  # smooth first: an affine grid does not
            x = F.interpolate(x, (size, size), mode="bilinear", antialias=True, align_corners=False)
        if not (self.rotate or self.scale != (1.0, 1.0) or self.crop < 1) and x.shape[-1] == size:
            mirrored = (drawn.mirror < self.flip)[:, None, None, None]  # no place lies between two pixels
            return torch.where(mirrored, x.flip(-1), x) if self.flip else x
        grid = F.affine_grid(self.maps(drawn), [len(x), 3, size, size], align_corners=False)
        return F.grid_sample(x, grid, mode="bilinear", padding_mode=self.padding, align_corners=False)

    def maps(self, drawn: Drawn) -> Tensor:
        """From places of the view to places of the picture, ``[n, 2, 3]``, in PyTorch's coordinates from -1 to 1.

        A place of the view is mirrored, put into the crop's window, shrunk by the scale and turned back.
        """
        angle = torch.deg2rad((2 * drawn.angle - 1) * self.rotate)
        low, high = (math.log(end) for end in self.scale)
        shrink = torch.exp(-(low + (high - low) * drawn.scale))
        side = self.crop + (1 - self.crop) * drawn.crop
        mirror = 1 - 2 * (drawn.mirror < self.flip).float()
        cosine, sine = shrink * angle.cos(), shrink * angle.sin()
        x, y = (2 * drawn.across - 1) * (1 - side), (2 * drawn.down - 1) * (1 - side)
        first = torch.stack([cosine * side * mirror, -sine * side, cosine * x - sine * y], dim=1)
        second = torch.stack([sine * side * mirror, cosine * side, sine * x + cosine * y], dim=1)
        return torch.stack([first, second], dim=1)

    def _recoloured(self, x: Tensor, drawn: Drawn) -> Tensor:
        """Colours ``c`` become ``M c + offset``, of each picture its own."""
        if not (self.brightness or self.contrast or self.saturation or self.hue):
            return x
        matrix, spread = self.colour_maps(drawn)
        to_grey = _TO_YIQ[0].to(x)
        brightness = 1 + self.brightness * (2 * drawn.brightness - 1)
        # Contrast stretches around the picture's own mean grey, rounded as Pillow does.
        mean = (brightness * (x.mean(dim=(2, 3)) @ to_grey)).round()
        offset = ((1 - spread) * mean)[:, None, None].expand(-1, 3, 1)
        return torch.baddbmm(offset, matrix, x.flatten(2)).view_as(x)

    def colour_maps(self, drawn: Drawn) -> tuple[Tensor, Tensor]:
        """Brightness, contrast, saturation and hue as one matrix, ``[n, 3, 3]``, and the contrast's factor, ``[n]``."""
        brightness, contrast, saturation = (
            1 + width * (2 * number - 1)
            for width, number in (
                (self.brightness, drawn.brightness),
                (self.contrast, drawn.contrast),
                (self.saturation, drawn.saturation),
            )
        )
        angle = torch.deg2rad((2 * drawn.hue - 1) * self.hue)
        turn = torch.zeros(len(angle), 3, 3, device=angle.device)
        turn[:, 0, 0] = 1
        turn[:, 1, 1] = turn[:, 2, 2] = saturation * angle.cos()  # more saturated: farther from the axis of greys
        turn[:, 1, 2], turn[:, 2, 1] = -saturation * angle.sin(), saturation * angle.sin()
        matrix = _FROM_YIQ.to(turn) @ turn @ _TO_YIQ.to(turn)
        return matrix * (brightness * contrast)[:, None, None], contrast

    def _cut(self, x: Tensor, drawn: Drawn) -> Tensor:
        if not self.cutout:
            return x
        size = x.shape[-1]
        places = torch.arange(size, device=x.device) + 0.5
        half = self.cutout * size / 2
        across = (places - drawn.cut_across[:, None] * size).abs() < half
        down = (places - drawn.cut_down[:, None] * size).abs() < half
        inside = down[:, None, :, None] & across[:, None, None, :]
        return torch.where(inside, x.mean(dim=(2, 3), keepdim=True), x)


_COLOUR = PictureAugmentation(brightness=0.3, contrast=0.3, saturation=0.3, hue=20.0)

PRESETS: Mapping[str, PictureAugmentation] = {
    "rotate": PictureAugmentation(rotate=20.0),
    "scale": PictureAugmentation(scale=(0.75, 1 / 0.75)),
    "crop": PictureAugmentation(crop=0.7),
    "flip": PictureAugmentation(flip=0.5),
    "colour": _COLOUR,
    "all": replace(_COLOUR, rotate=20.0, scale=(0.75, 1 / 0.75), crop=0.7, flip=0.5),
}
"""Each operation alone, and all of them with the same strengths."""


def draws(generator: np.random.Generator) -> np.ndarray:
    """What one view takes of a generator, ``float32 [DRAWS]``."""
    return generator.random(DRAWS, np.float32)
