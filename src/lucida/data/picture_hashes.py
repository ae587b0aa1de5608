"""What is cheap to keep of a picture and enough to find its near-copies: a perceptual hash and a few pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # evaluation compares looks where there is no Pillow
    from PIL import Image

_FLAT = 3.0  # levels: small pictures of less spread than this show nothing that could be compared
LOOK = 8  # pixels a side
_BOX = 4  # Pillow's Resampling.BOX: each value the mean of what it covers


def difference_hash(picture: Image.Image) -> tuple[int, int]:
    """128 bits: is a pixel of the grey picture, 9 x 9 pixels small, brighter than its left and its upper neighbour?

    Two saves, scales or brightnesses of a picture differ in a few bits (dHash: Krawetz 2013, "Kind of like that").

    Returns:
        The 64 comparisons across and the 64 down, as numbers.
    """
    grey = np.asarray(picture.convert("L").resize((9, 9), _BOX), np.int16)
    across, down = grey[:8, 1:] > grey[:8, :-1], grey[1:, :8] > grey[:-1, :8]
    return _number(across), _number(down)


def _number(bits: NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(bits.reshape(-1)).tobytes(), "big")


def look(picture: Image.Image) -> bytes:
    """The picture in 8 x 8 RGB pixels, row by row."""
    return picture.convert("RGB").resize((LOOK, LOOK), _BOX).tobytes()


def looks(stored: list[bytes]) -> NDArray[np.uint8]:
    """Stored looks as ``uint8 [n, 8, 8, 3]``."""
    return np.frombuffer(b"".join(stored), np.uint8).reshape(-1, LOOK, LOOK, 3)


def likeness_of(first: NDArray, second: NDArray) -> NDArray:
    """Correlation of small pictures over places and colours, ``[n]``: blind to brightness and contrast.

    Two that show nothing but one shade are alike (1) if the shades are, else 0.
    """
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (first, second))
    shades = np.abs(a.mean(axis=1) - b.mean(axis=1))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    spread_a, spread_b = (np.sqrt(np.square(x).mean(axis=1)) for x in (a, b))
    flat_a, flat_b = spread_a < _FLAT, spread_b < _FLAT
    products = (a * b).mean(axis=1) / np.maximum(spread_a * spread_b, 1e-9)
    return np.where(flat_a & flat_b, (shades < 2 * _FLAT).astype(float), np.where(flat_a | flat_b, 0.0, products))
