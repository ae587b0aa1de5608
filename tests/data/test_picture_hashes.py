"""Perceptual hashes: equal for saves of one picture, far for others; likeness tells flat shades apart."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from lucida.data.picture_hashes import difference_hash, likeness_of, look, looks


def soft(seed: int) -> Image.Image:
    rough = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((240, 180), Image.Resampling.BICUBIC)


def bits(a: Image.Image, b: Image.Image) -> int:
    return sum((x ^ y).bit_count() for x, y in zip(difference_hash(a), difference_hash(b), strict=True))


def saved(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def test_saves_of_one_picture_stay_within_a_few_bits():
    changed = 0
    for seed in range(30):
        picture = soft(seed)
        copies = [saved(picture, 60), picture.resize((120, 90)), ImageEnhance.Brightness(picture).enhance(0.8)]
        changed = max(changed, *(bits(picture, copy) for copy in copies))
    assert changed <= 7


def test_other_pictures_are_far():
    nearest = min(bits(soft(a), soft(b)) for a in range(30) for b in range(a))
    assert nearest > 25


def test_likeness_follows_the_pixels_and_not_the_brightness():
    a, b = soft(0), soft(1)
    stored = looks([look(one) for one in (a, ImageEnhance.Brightness(a).enhance(0.7), b)])
    near, far = likeness_of(stored[[0, 0]], stored[[1, 2]])
    assert near > 0.98
    assert far < 0.6


@pytest.mark.parametrize(
    "shades", [((90, 90, 90), (92, 92, 91), (200, 200, 200)), ((200, 10, 10), (202, 12, 10), (10, 10, 250))]
)
def test_flat_pictures_are_alike_by_their_shade_alone(shades):
    flat, near, far = (Image.new("RGB", (40, 40), shade) for shade in shades)
    assert difference_hash(flat) == difference_hash(far) == (0, 0)  # which is why the look is compared too
    stored = looks([look(one) for one in (flat, near, far)])
    same, other = likeness_of(stored[[0, 0]], stored[[1, 2]])
    assert same > 0.99
    assert other <= 0
