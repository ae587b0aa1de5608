"""Sprites: artwork cut out, cropped and resized once, so that composing a scene is only pasting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from lucida.core.errors import LucidaError
from lucida.core.seeds import stream

Artwork = Mapping[tuple[str, str], np.ndarray]
"""RGBA pictures, ``uint8 [H, W, 4]`` with straight alpha, by (name of the kind, artist)."""

_VISIBLE = 24  # alpha from which a pixel belongs to the object; below it lie the soft edges of shadows


@dataclass(frozen=True)
class Sprite:
    """One picture at one size, ready to paste.

    Attributes:
        colour: the colour times the alpha, ``uint16 [h, w, 3]``, 0–255 × 255.
        cover: 255 minus the alpha, ``uint16 [h, w, 1]``.
        fill: the visible share of the box, 0–1.
    """

    colour: np.ndarray
    cover: np.ndarray
    fill: float

    @property
    def width(self) -> int:
        """Pixels."""
        return self.colour.shape[1]

    @property
    def height(self) -> int:
        """Pixels."""
        return self.colour.shape[0]

    @property
    def mask(self) -> np.ndarray:
        """Where the object is, ``bool [h, w]``."""
        return self.cover[..., 0] <= 255 - _VISIBLE

    def paste(self, canvas: np.ndarray, x: int, y: int, *, flipped: bool = False) -> None:
        """Blend into ``canvas`` (``uint8 [H, W, 3]``) in place, the top left corner at ``x, y``; it must fit."""
        colour, cover = (self.colour[:, ::-1], self.cover[:, ::-1]) if flipped else (self.colour, self.cover)
        region = canvas[y : y + self.height, x : x + self.width]
        blended = region * cover
        blended += colour
        blended += 128  # rounds; (v + v/256) / 256 is v / 255 exactly after rounding
        region[...] = (blended + (blended >> 8)) >> 8


class SpriteSet:
    """Sprites by kind and artist at a few sizes.

    Args:
        artwork: RGBA arrays by (kind, artist).
        sizes: the lengths of the longer side that are prepared, pixels.

    Raises:
        LucidaError: no artwork, an array that is not RGBA, or a fully transparent picture.
    """

    def __init__(self, artwork: Artwork, sizes: Iterable[int]):
        if not artwork:
            raise LucidaError("no artwork to make scenes of")
        self.sizes = tuple(sorted(set(sizes)))
        self._sprites = {
            (kind, artist, size): sprite
            for (kind, artist), picture in artwork.items()
            for size, sprite in zip(self.sizes, _prepare(picture, self.sizes, f"{kind} by {artist}"), strict=True)
        }
        self._artists: dict[str, list[str]] = {}
        for kind, artist in artwork:
            self._artists.setdefault(kind, []).append(artist)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names, sorted."""
        return tuple(sorted(self._artists))

    def artists(self, kind: str) -> tuple[str, ...]:
        """Who drew this kind, sorted."""
        return tuple(sorted(self._artists[kind]))

    def get(self, kind: str, artist: str, size: int) -> Sprite:
        """The sprite whose longer side is ``size`` pixels.

        Raises:
            KeyError: it was not prepared.
        """
        return self._sprites[kind, artist, size]


def _prepare(picture: np.ndarray, sizes: tuple[int, ...], where: str) -> list[Sprite]:
    """Cropped to what is visible and resized with premultiplied alpha, so that edges keep the object's colour."""
    if picture.ndim != 3 or picture.shape[2] != 4 or picture.dtype != np.uint8:
        raise LucidaError(f"artwork must be uint8 RGBA, found {picture.dtype}{picture.shape}", where=where)
    rows, columns = np.nonzero(picture[..., 3] >= _VISIBLE)
    if not rows.size:
        raise LucidaError("the artwork is fully transparent", where=where)
    cropped = picture[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].astype(np.float32)
    cropped[..., :3] *= cropped[..., 3:] / 255
    channels = [Image.fromarray(np.ascontiguousarray(cropped[..., c])) for c in range(4)]
    height, width = cropped.shape[:2]
    sprites = []
    for size in sizes:
        target = (max(1, round(width * size / max(width, height))), max(1, round(height * size / max(width, height))))
        resized = np.stack([np.asarray(c.resize(target, Image.Resampling.HAMMING)) for c in channels], axis=-1)
        alpha = np.rint(resized[..., 3:]).clip(0, 255)
        colour = np.rint(np.minimum(resized[..., :3], alpha) * 255).astype(np.uint16)
        cover = (255 - alpha).astype(np.uint16)
        sprites.append(Sprite(colour, cover, float((alpha >= _VISIBLE).mean())))
    return sprites


def shape_artwork(
    names: Iterable[str], artists: Iterable[str] = ("first", "second"), *, size: int = 48, seed: int = 0
) -> dict[tuple[str, str], np.ndarray]:
    """Stand-in artwork without any package: a coloured polygon a kind, drawn a little differently by each artist."""
    artwork = {}
    artists = tuple(artists)
    for name in names:
        base = stream(seed, "shape", name)
        corners, colour = base.random((int(base.integers(3, 9)), 2)), base.integers(40, 220, 3)
        angles = np.sort(corners[:, 0]) * 2 * np.pi
        for artist in artists:
            hand = stream(seed, "shape", name, artist)
            radius = size * (0.3 + 0.15 * corners[:, 1]) * hand.uniform(0.9, 1.1, len(corners))
            points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius[:, None] + size / 2
            shade = tuple(int(c) for c in (colour + hand.integers(-30, 30, 3)).clip(0, 255))
            picture = Image.new("RGBA", (size, size), (0, 0, 0, 0))
            ImageDraw.Draw(picture).polygon([tuple(p) for p in points.tolist()], fill=(*shade, 255), outline=(0, 0, 0))
            artwork[name, artist] = np.array(picture)
    return artwork
