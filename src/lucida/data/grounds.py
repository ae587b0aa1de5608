"""Grounds: what lies behind the objects of a scene; plain colours, gradients, horizons and simple textures."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import cache

import numpy as np

Colour = tuple[int, int, int]
PATTERNS = ("plain", "gradient", "horizon", "stripes", "checks", "noise")


@dataclass(frozen=True)
class Ground:
    """A pattern of two colours.

    Attributes:
        pattern: one of :data:`PATTERNS`.
        colours: red, green and blue of each, 0–255.
        direction: 0 across, 1 down, 2 and 3 along the diagonals.
        scale: width of a stripe or check, or height of the horizon, as a share of the side.
        seed: of the noise.
    """

    pattern: str
    colours: tuple[Colour, Colour]
    direction: int = 0
    scale: float = 0.5
    seed: int = 0


def draw_ground(generator: np.random.Generator) -> Ground:
    """A random ground: mostly soft and of middling light, sometimes dark, never white: clouds and swans are white."""
    pattern = PATTERNS[int(generator.integers(len(PATTERNS)))]
    hue, saturation, light, shift, lift, scale = generator.random(6).tolist()
    dark = bool(generator.random() < 0.15)
    value = 0.2 + 0.15 * light if dark else 0.55 + 0.3 * light
    first = _colour(hue, 0.1 + 0.45 * saturation, value)
    near = pattern in ("stripes", "checks", "noise")  # a texture must not compete with the objects
    second = _colour(
        hue + (0.05 if near else 0.5) * (shift - 0.5),
        0.1 + 0.45 * saturation,
        value + (0.12 if near else 0.25) * (lift - 0.5),
    )
    share = 0.4 + 0.4 * scale if pattern == "horizon" else 0.04 + 0.16 * scale
    return Ground(pattern, (first, second), int(generator.integers(4)), share, int(generator.integers(2**31)))


def _colour(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, min(1.0, max(0.0, value)))
    return round(255 * red), round(255 * green), round(255 * blue)


def paint(ground: Ground, canvas: np.ndarray) -> None:
    """Fill ``canvas`` (``uint8 [S, S, 3]``) with the ground."""
    first, second = (np.array(colour, np.float32) for colour in ground.colours)
    if ground.pattern == "plain":
        canvas[...] = ground.colours[0]
    elif ground.pattern == "gradient":
        steps = np.linspace(0, 1, 256, dtype=np.float32)[:, None]
        table = np.rint(first + (second - first) * steps).astype(np.uint8)
        np.take(table, _ramp(len(canvas), ground.direction), axis=0, out=canvas)
    elif ground.pattern == "noise":
        table = np.rint(np.linspace(first, second, 16)).astype(np.uint8)
        picks = np.random.default_rng(ground.seed).integers(16, size=canvas.shape[:2], dtype=np.uint8)
        np.take(table, picks, axis=0, out=canvas)
    else:
        canvas[...] = ground.colours[0]
        canvas[_second_colour(ground, len(canvas))] = ground.colours[1]


@cache
def _ramp(size: int, direction: int) -> np.ndarray:
    """0–255 along a direction, ``uint8 [size, size]``."""
    down, across = np.mgrid[0:size, 0:size] / max(1, size - 1)
    along = (across, down, (across + down) / 2, (across + 1 - down) / 2)[direction]
    return np.rint(255 * along).astype(np.uint8)


def _second_colour(ground: Ground, size: int) -> np.ndarray:
    """Where the second colour of a horizon, of stripes or of checks lies, ``bool [size, size]``."""
    width = max(2, round(ground.scale * size))
    places = np.arange(size)
    if ground.pattern == "horizon":
        return np.broadcast_to((places >= width)[:, None], (size, size))
    bands = places // width % 2 == 1
    if ground.pattern == "checks":
        return bands[:, None] ^ bands
    if ground.direction < 2:
        return np.broadcast_to(bands if ground.direction == 0 else bands[:, None], (size, size))
    slanted = places[:, None] + (places if ground.direction == 2 else -places)
    return np.asarray(slanted // width % 2 == 1)
