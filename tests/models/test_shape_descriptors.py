"""Layout, silhouette and edges."""

from __future__ import annotations

import torch

from lucida.models.shape_descriptors import LAYOUT, SILHOUETTE, SIZES, shape_descriptors


def drawn(top: int, left: int, height: int, width: int, colour: int = 0) -> torch.Tensor:
    """A bar on white, ``uint8 [96, 96, 3]``."""
    picture = torch.full((96, 96, 3), 255, dtype=torch.uint8)
    picture[top : top + height, left : left + width] = colour
    return picture


def test_place_and_size_do_not_matter_but_shape_does():
    small, large, flat = shape_descriptors(
        torch.stack([drawn(5, 10, 32, 16), drawn(20, 20, 64, 32), drawn(20, 20, 32, 64)])
    )
    assert small.shape == (sum(SIZES),)
    assert (small - large).norm() < 0.2 * (flat - large).norm()


def test_colour_is_in_the_layout_alone():
    black, grey = shape_descriptors(torch.stack([drawn(20, 20, 40, 40), drawn(20, 20, 40, 40, 128)]))
    silhouette = slice(LAYOUT, LAYOUT + SILHOUETTE)
    torch.testing.assert_close(black[silhouette], grey[silhouette], atol=0.02, rtol=0)
    assert (black[:LAYOUT] - grey[:LAYOUT]).norm() > 1


def test_an_empty_picture_is_described():
    empty = torch.full((1, 96, 96, 3), 255, dtype=torch.uint8)
    assert shape_descriptors(empty).isfinite().all()
